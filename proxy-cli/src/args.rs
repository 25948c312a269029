//! The command line: what can be asked, with its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use secrecy::SecretString;

use crate::address::ApiAddress;

mod cert;
mod reconfigure;

pub(crate) use self::{cert::Cert, reconfigure::Reconfigure};

/// Longer than twice the server's own `WAIT_TIMEOUT` of 10 s, which a change may wait to be judged and then for
/// the other replicas, so that it is the server that says who did not confirm.
const DEFAULT_TIMEOUT: &str = "25s";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused by the proxy: nothing was changed
  2  wrong usage, or a file that cannot be read or written
  3  the proxy was not reached, something else answered, or there was no answer in time to a question
  4  stored, but in part or not confirmed by every replica (HTTP 502)
  5  the outcome is unknown (HTTP 504, or no answer to a change that was sent)
  6  replicas drifted: at one commit they hold different tables";

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
    /// The admin API of any replica. Without a port it is 8080, the default of the proxy's setting PORT (443 for
    /// https).
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
    /// Give, take away and show certificates.
    #[command(subcommand)]
    Cert(Cert),
    /// Show the HAProxy config that runs (with --json: the services).
    Config,
    /// Say where a request goes, what else claims it, and why each lost.
    Explain(Explain),
    /// Ask whether the proxy is alive.
    Ping,
    /// Say whether the process is alive and its engine turns (exit code 0 or 1, for health checks).
    Health,
    /// Say whether the replica serves its table (exit code 0 or 1, for health checks).
    Ready,
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
        #[command(flatten)]
        wait: Waiting,
    },
    /// Show the state of the replica: revision, store, HAProxy, services in trouble.
    Status {
        /// Also what became of the change with this id, where its answer was lost.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// Also where every other replica stands, and who lags or drifted (exit code 6 on drift).
        #[arg(long)]
        peers: bool,
    },
    /// Show what changed, newest first: when, by which replica, which services.
    History {
        /// Only changes of this service.
        #[arg(long, value_name = "SERVICE")]
        service: Option<String>,
        /// How many commits.
        #[arg(long, value_name = "COUNT")]
        limit: Option<u16>,
        /// Only commits before this revision: the next page.
        #[arg(long, value_name = "REVISION")]
        before: Option<u64>,
        /// With the documents before and after (with --json).
        #[arg(long, requires = "json")]
        full: bool,
    },
    /// Show what is different between two revisions.
    Diff {
        /// The one revision.
        from: u64,
        /// The other; the newest if absent.
        to: Option<u64>,
    },
    /// Restore the table of an earlier revision, as a new change.
    Rollback {
        /// The revision, as history shows it.
        revision: u64,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Drop services that the store lost without a removal, and that are kept for that reason.
    Accept {
        /// Which; without any it says which there are.
        #[arg(value_name = "SERVICE", conflicts_with = "all")]
        services: Vec<String>,
        /// All of them; where the whole store is empty, the whole table.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Make HAProxy load its config again.
    Reload {
        /// Only say what it would do.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write the manual pages into a folder, for packagers.
    #[command(hide = true)]
    Manual {
        /// The folder, which exists.
        folder: PathBuf,
    },
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

impl Command {
    /// Whether nothing is to be done but to say what would be.
    pub(crate) fn is_dry_run(&self) -> bool {
        match self {
            Self::Reload { dry_run } => *dry_run,
            other => other.waiting().is_some_and(|waiting| waiting.dry_run),
        }
    }

    /// What a change waits for.
    pub(crate) fn waiting(&self) -> Option<&Waiting> {
        match self {
            Self::Reconfigure(service) => Some(&service.wait),
            Self::Remove(remove) => Some(&remove.wait),
            Self::Import { wait, .. }
            | Self::Rollback { wait, .. }
            | Self::Accept { wait, .. }
            | Self::Cert(Cert::Put { wait, .. } | Cert::Delete { wait, .. }) => Some(wait),
            _ => None,
        }
    }
}

/// Which service to remove.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The service's name.
    #[arg(value_name = "SERVICE")]
    pub(crate) service_name: String,
    #[command(flatten)]
    pub(crate) wait: Waiting,
}

/// How a change is made: what its answer waits for, and whether it is made at all.
#[derive(Debug, Args)]
pub(crate) struct Waiting {
    /// Wait until every replica serves it: --wait=all.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) distribute: bool,
    /// Wait until it is stored, live on the replica that is asked (the default), live on more than
    /// half of the replicas, or on all.
    #[arg(long, value_enum, value_name = "FOR")]
    pub(crate) wait: Option<WaitFor>,
    /// How long to wait for the other replicas, in whole seconds; the proxy's WAIT_TIMEOUT if absent. As long at
    /// most it waits before that to be judged behind others that HAProxy would not take; the answer is waited
    /// for through both.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=300))]
    pub(crate) wait_timeout: Option<u16>,
    /// Only say what it would do: whether it would be taken, what would be different in HAProxy's
    /// config, and whether that takes a reload.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What is waited for, by the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    /// It is stored.
    None,
    /// The replica that is asked serves it.
    Local,
    /// More than half of the replicas serve it.
    Quorum,
    /// Every replica serves it.
    All,
}

impl Waiting {
    /// The parameters of the API.
    pub(crate) fn params(&self) -> Vec<(String, String)> {
        let wait = self.wait.map(|wait| match wait {
            WaitFor::None => "none",
            WaitFor::Local => "local",
            WaitFor::Quorum => "quorum",
            WaitFor::All => "all",
        });
        let pairs = [
            ("distribute", self.distribute.then(|| "true".to_owned())),
            ("wait", wait.map(str::to_owned)),
            (
                "timeout",
                self.wait_timeout.map(|seconds| seconds.to_string()),
            ),
            ("dryRun", self.dry_run.then(|| "true".to_owned())),
        ];
        let given = pairs.into_iter();
        given
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    /// How long the proxy may wait each time, where that is said.
    pub(crate) fn each(&self) -> Option<Duration> {
        self.wait_timeout
            .map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// Which request to explain.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Where the request goes: `http://example.com/path`, or a path. The port, or the scheme's own,
    /// is the entry port.
    pub(crate) url: String,
    /// The Host header, where URL is a path.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// A header that the request carries; repeatable.
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = parse_header)]
    pub(crate) headers: Vec<String>,
}

fn parse_header(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, _)) if !name.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("write NAME:VALUE".to_owned()),
    }
}

fn parse_token(text: &str) -> Result<SecretString, String> {
    // Not a word of the value: the message is printed.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token is printable ASCII without blanks".to_owned());
    }
    Ok(text.to_owned().into())
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

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
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
            &["reconfigure", "a", "--req-mode=other"],
            &["explain"],
            &["explain", "/", "--header=novalue"],
            &["explain", "/", "--header=:value"],
            &["history", "--full"],
            &["diff"],
            &["diff", "a"],
            &["rollback"],
            &["accept", "a", "--all"],
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
