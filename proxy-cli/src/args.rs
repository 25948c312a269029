//! The command line: what can be asked, with its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use secrecy::SecretString;

use crate::address::ApiAddress;

/// Longer than the server's own `WAIT_TIMEOUT` of 10 s, so that it is the server
/// that says who did not confirm.
const DEFAULT_TIMEOUT: &str = "15s";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused by the proxy: nothing was changed
  2  wrong usage, or a file that cannot be read or written
  3  the proxy was not reached, or gave no answer in time to a question
  4  stored, but in part or not confirmed by every replica (HTTP 502)
  5  the outcome is unknown (HTTP 504, or no answer to a change that was sent)";

/// Changes and questions for a running proxy, over its HTTP API.
#[derive(Debug, Parser)]
#[command(name = "proxyctl", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The admin API of any replica.
    #[arg(
        long,
        global = true,
        env = "PROXY_ADDRESS",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub(crate) address: ApiAddress,

    /// The API token. In the environment it is seen by fewer than on the command line.
    #[arg(
        long,
        global = true,
        env = "PROXY_TOKEN",
        hide_env_values = true,
        value_parser = parse_token,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<SecretString>,

    /// Print the proxy's answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// How long to wait for an answer: 500ms, 15s, 2m.
    #[arg(long, global = true, default_value = DEFAULT_TIMEOUT, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a service's routes, or replace them.
    Reconfigure(Box<Reconfigure>),
    /// Remove a service's routes.
    Remove(Remove),
    /// Show the HAProxy config that runs (with --json: the services).
    Config,
    /// Ask whether the proxy is alive.
    Ping,
    /// Write all services out as one file.
    Export {
        /// Where to; standard output if absent.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put the services of an exported file in place of those that are there.
    Import {
        /// The file; `-` is standard input.
        file: PathBuf,
        /// Wait until every replica has it.
        #[arg(long)]
        distribute: bool,
    },
    /// Show the state of the replica: revision, store, HAProxy, services in trouble.
    Status {
        /// Also what became of the change with this id, where its answer was lost.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Make HAProxy load its config again.
    Reload,
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The parameters of a service. What is not a flag here goes through `--param`.
#[derive(Debug, Args)]
pub(crate) struct Reconfigure {
    /// The service's name, and its host where --outbound-hostname names no other.
    #[arg(value_name = "SERVICE", required_unless_present = "service_name")]
    pub(crate) service: Option<String>,

    /// The same as SERVICE.
    #[arg(
        long = "service-name",
        alias = "serviceName",
        value_name = "NAME",
        conflicts_with = "service"
    )]
    pub(crate) service_name: Option<String>,

    /// Paths that lead to the service; repeat or part by commas.
    #[arg(long = "service-path", alias = "servicePath", value_name = "PATH")]
    pub(crate) service_path: Vec<String>,

    /// The service's port.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Domains that lead to the service, as `acme.com` or `*.acme.com`; repeat or part by commas.
    #[arg(
        long = "service-domain",
        alias = "serviceDomain",
        value_name = "DOMAIN"
    )]
    pub(crate) service_domain: Vec<String>,

    /// How paths are compared.
    #[arg(long = "path-type", alias = "pathType", value_enum)]
    pub(crate) path_type: Option<PathType>,

    /// The name of its ACL, which orders it among equals.
    #[arg(long = "acl-name", alias = "aclName", value_name = "NAME")]
    pub(crate) acl_name: Option<String>,

    /// Its colour in a blue-green deployment.
    #[arg(long = "service-color", alias = "serviceColor", value_name = "COLOR")]
    pub(crate) service_color: Option<String>,

    /// The host to send requests to, where it is not the service's name.
    #[arg(
        long = "outbound-hostname",
        alias = "outboundHostname",
        value_name = "HOST"
    )]
    pub(crate) outbound_hostname: Option<String>,

    /// Wait until every replica serves it.
    #[arg(long)]
    pub(crate) distribute: bool,

    /// Any other parameter, by the name that the API knows; repeatable.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param, action = ArgAction::Append)]
    pub(crate) params: Vec<(String, String)>,
}

/// Which service to remove.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The service's name.
    #[arg(value_name = "SERVICE")]
    pub(crate) service_name: String,
    /// Wait until every replica has removed it.
    #[arg(long)]
    pub(crate) distribute: bool,
}

/// How a path is compared, by the names that HAProxy and the API use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathType {
    /// The whole path.
    #[value(name = "path")]
    Exact,
    /// Its beginning (the default).
    #[value(name = "path_beg")]
    Prefix,
    /// Its end.
    #[value(name = "path_end")]
    Suffix,
    /// Any part of it.
    #[value(name = "path_sub")]
    Substring,
    /// A whole part between slashes.
    #[value(name = "path_dir")]
    Dir,
    /// A regular expression.
    #[value(name = "path_reg")]
    Regex,
}

impl PathType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "path",
            Self::Prefix => "path_beg",
            Self::Suffix => "path_end",
            Self::Substring => "path_sub",
            Self::Dir => "path_dir",
            Self::Regex => "path_reg",
        }
    }
}

/// A parameter that is given twice: by its flag and by `--param`, or twice by `--param`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameter {0} is given twice")]
pub(crate) struct GivenTwice(String);

impl Reconfigure {
    /// The parameters by the names that the API knows, in a fixed order.
    pub(crate) fn params(&self) -> Result<Vec<(String, String)>, GivenTwice> {
        let list = |values: &[String]| (!values.is_empty()).then(|| values.join(","));
        let typed = [
            (
                "serviceName",
                self.service.clone().or_else(|| self.service_name.clone()),
            ),
            ("servicePath", list(&self.service_path)),
            ("port", self.port.map(|port| port.to_string())),
            ("serviceDomain", list(&self.service_domain)),
            (
                "pathType",
                self.path_type.map(|kind| kind.as_str().to_owned()),
            ),
            ("aclName", self.acl_name.clone()),
            ("serviceColor", self.service_color.clone()),
            ("outboundHostname", self.outbound_hostname.clone()),
            ("distribute", self.distribute.then(|| "true".to_owned())),
        ];
        let mut params: Vec<(String, String)> = typed
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        for (name, value) in &self.params {
            if params.iter().any(|(known, _)| known == name) {
                return Err(GivenTwice(name.clone()));
            }
            params.push((name.clone(), value.clone()));
        }
        Ok(params)
    }
}

fn parse_token(text: &str) -> Result<SecretString, String> {
    // Not a word of the value: the message is printed.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token is printable ASCII without blanks".to_owned());
    }
    Ok(text.to_owned().into())
}

fn parse_param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        _ => return Err("the units are ms, s and m".to_owned()),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| "write a whole number and a unit, as 15s".to_owned())?;
    match count.checked_mul(milliseconds) {
        Some(total) if total > 0 => Ok(Duration::from_millis(total)),
        _ => Err("it must be more than nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["proxyctl"].iter().chain(arguments))
    }

    fn reconfigure(arguments: &[&str]) -> Result<Vec<(String, String)>, GivenTwice> {
        let arguments: Vec<_> = ["reconfigure"].iter().chain(arguments).copied().collect();
        match parse(&arguments).unwrap().command {
            Command::Reconfigure(service) => service.params(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_the_names_of_the_api() {
        let params = reconfigure(&[
            "go-demo",
            "--service-path=/demo",
            "--service-path=/other,/third",
            "--port=8080",
            "--service-domain=acme.com",
            "--path-type=path_end",
            "--acl-name=first",
            "--service-color=blue",
            "--outbound-hostname=10.0.0.1",
            "--distribute",
            "--param=reqMode=http",
            "--param=x=a=b",
        ])
        .unwrap();
        let text: Vec<_> = params
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            text,
            [
                "serviceName=go-demo",
                "servicePath=/demo,/other,/third",
                "port=8080",
                "serviceDomain=acme.com",
                "pathType=path_end",
                "aclName=first",
                "serviceColor=blue",
                "outboundHostname=10.0.0.1",
                "distribute=true",
                "reqMode=http",
                "x=a=b",
            ]
        );
    }

    #[test]
    fn the_apis_own_spelling_of_a_flag_is_taken_too() {
        let params = reconfigure(&["--serviceName=a", "--servicePath=/x", "--aclName=b"]).unwrap();
        assert_eq!(params.len(), 3);
        assert_eq!(
            params,
            reconfigure(&["a", "--service-path=/x", "--acl-name=b"]).unwrap()
        );
    }

    #[test]
    fn what_is_given_twice_is_refused() {
        let twice = reconfigure(&["a", "--port=1", "--param=port=2"]).unwrap_err();
        assert_eq!(twice.to_string(), "the parameter port is given twice");
        assert!(reconfigure(&["a", "--param=x=1", "--param=x=1"]).is_err());
    }

    #[test]
    fn wrong_values_are_refused() {
        for arguments in [
            &["--timeout=0", "ping"][..],
            &["--timeout=5h", "ping"],
            &["--timeout=soon", "ping"],
            &["--address=ftp://x", "ping"],
            &["reconfigure"],
            &["reconfigure", "a", "--service-name=a"],
            &["reconfigure", "a", "--port=0x"],
            &["reconfigure", "a", "--param=novalue"],
            &["reconfigure", "a", "--path-type=other"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("3").unwrap(), Duration::from_secs(3));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        assert!(parse_duration("99999999999999999999m").is_err());
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        let cli = parse(&["--token=geheim", "ping"]).unwrap();
        assert!(!format!("{cli:?}").contains("geheim"));
        let error = parse(&["--token=ge heim", "ping"]).unwrap_err().to_string();
        assert!(error.contains("printable"), "{error}");
    }
}
