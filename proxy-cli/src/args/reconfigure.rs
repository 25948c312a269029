//! The parameters of a service, as flags and by the names that the API knows.

use clap::{ArgAction, Args, ValueEnum};

use self::options::Options;
use super::Waiting;

mod options;

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

    #[command(flatten)]
    pub(crate) options: Options,

    #[command(flatten)]
    pub(crate) wait: Waiting,

    /// Any other parameter, by the name that the API knows; repeatable.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param, action = ArgAction::Append)]
    pub(crate) params: Vec<(String, String)>,
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
        ];
        let mut params: Vec<(String, String)> = typed
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        params.extend(self.options.params());
        params.extend(self.wait.params());
        for (name, value) in &self.params {
            if params.iter().any(|(known, _)| known == name) {
                return Err(GivenTwice(name.clone()));
            }
            params.push((name.clone(), value.clone()));
        }
        Ok(params)
    }
}

fn parse_param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn reconfigure(arguments: &[&str]) -> Result<Vec<(String, String)>, GivenTwice> {
        let arguments: Vec<_> = ["proxyctl", "reconfigure"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Reconfigure(service) => service.params(),
            other => panic!("{other:?}"),
        }
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
            "--add-req-header=X-A a",
            "--add-req-header=X-B b",
            "--https-only",
            "--backend-extra=retries 2",
            "--backend-extra=option x",
            "--wait=quorum",
            "--wait-timeout=30",
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
                "addReqHeader=X-A a,X-B b",
                "httpsOnly=true",
                "backendExtra=retries 2\noption x",
                "wait=quorum",
                "timeout=30",
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
}
