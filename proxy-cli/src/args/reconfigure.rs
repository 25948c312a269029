//! The parameters of a service, as flags and by the names that the API knows.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{ArgAction, Args};
use secrecy::ExposeSecret;

use self::flags::{Given, Secret, Value};
use super::Waiting;
use crate::run::read_file;

mod flags;

/// Whose value may also come from a file.
const USERS: &str = "users";

/// The parameters of a service. Those of one of several destinations (`port.1`) go through `--param`.
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

    #[command(flatten)]
    given: Given,

    /// The same as --users, one a line, from a file that others cannot read; `-` is standard input.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "users",
        help_heading = "Who may come in"
    )]
    users_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) wait: Waiting,

    /// Any other parameter, by the name that the API knows; repeatable.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param, action = ArgAction::Append)]
    pub(crate) params: Vec<(String, String)>,
}

/// A parameter that is given twice: by its flag and by `--param`, or twice by `--param`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameter {0} is given twice")]
pub(crate) struct GivenTwice(String);

impl Reconfigure {
    /// Whether a list is given item by item, so that it matters what the server parts lists by.
    pub(crate) fn has_items(&self) -> bool {
        let mut given = self.given.params.iter();
        given.any(|(_, value)| matches!(value, Value::Items(_)))
    }

    /// The parameters by the names that the API knows, in a fixed order, without those that are secret.
    pub(crate) fn params(&self, separator: &str) -> Result<Vec<(String, String)>, GivenTwice> {
        let name = self.service.as_ref().or(self.service_name.as_ref());
        let name = name.map(|name| ("serviceName".to_owned(), name.clone()));
        let given = self.given.params.iter();
        let text = |value: &Value| match value {
            Value::Whole(text) => text.clone(),
            Value::Items(items) => items.join(separator),
        };
        let given = given.map(|(name, value)| ((*name).to_owned(), text(value)));
        let mut params: Vec<_> = name.into_iter().chain(given).collect();
        params.extend(self.wait.params());
        let secret = |name: &str| {
            let mut secrets = self.given.secrets.iter();
            secrets.any(|(known, _)| *known == name) || (name == USERS && self.users_file.is_some())
        };
        for (name, value) in &self.params {
            if params.iter().any(|(known, _)| known == name) || secret(name) {
                return Err(GivenTwice(name.clone()));
            }
            params.push((name.clone(), value.clone()));
        }
        params.retain(|(name, _)| !flags::is_secret(name));
        Ok(params)
    }

    /// The parameters that are secret, as a form; none where none is given.
    ///
    /// # Errors
    /// When a file cannot be read, or standard input is to be several of them.
    pub(crate) fn form(&self) -> Result<Option<String>> {
        let given = self.given.secrets.iter();
        let files = given.filter_map(|(_, secret)| match secret {
            Secret::Text(_) => None,
            Secret::File(file) => Some(file),
        });
        let files = files.chain(&self.users_file);
        if files.filter(|file| *file == Path::new("-")).count() > 1 {
            bail!("standard input (`-`) can be one file and not two; nothing was sent");
        }
        let mut form = reqwest::Url::parse("form:///")?;
        let read = |file: &PathBuf| -> Result<String> {
            String::from_utf8(read_file(file)?)
                .map_err(|_| anyhow::anyhow!("{} is no text", file.display()))
        };
        for (name, secret) in &self.given.secrets {
            let value = match secret {
                Secret::Text(text) => text.expose_secret().to_owned(),
                Secret::File(file) => read(file)?,
            };
            form.query_pairs_mut().append_pair(name, &value);
        }
        if let Some(file) = &self.users_file {
            form.query_pairs_mut()
                .append_pair(USERS, read(file)?.trim());
        }
        for (name, value) in &self.params {
            if flags::is_secret(name) {
                form.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(form.query().map(str::to_owned))
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
            Command::Reconfigure(service) => service.params(","),
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
            "--check-resolvers=false",
            "--req-mode=tcp",
            "--param=port.1=81",
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
                "checkResolvers=false",
                "addReqHeader=X-A a,X-B b",
                "httpsOnly=true",
                "backendExtra=retries 2\noption x",
                "reqMode=tcp",
                "wait=quorum",
                "timeout=30",
                "port.1=81",
                "x=a=b",
            ]
        );
    }

    #[test]
    fn what_is_secret_is_sent_in_the_body_however_it_is_given() {
        let service = |arguments: &[&str]| {
            let arguments = ["proxyctl", "reconfigure", "a"].iter().chain(arguments);
            match Cli::try_parse_from(arguments).unwrap().command {
                Command::Reconfigure(service) => service,
                other => panic!("{other:?}"),
            }
        };
        let given = service(&["--param=users=b:c d", "--param=port=1"]);
        let names: Vec<_> = given
            .params(",")
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["serviceName", "port"]);
        assert_eq!(given.form().unwrap().unwrap(), "users=b%3Ac+d");
        let twice = service(&["--users-file=-", "--service-cert=-"])
            .form()
            .unwrap_err();
        assert!(twice.to_string().contains("standard input"), "{twice}");
        assert_eq!(service(&["--port=1"]).form().unwrap(), None);
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
        assert!(reconfigure(&["a", "--users=b:c", "--param=users=d:e"]).is_err());
        assert!(reconfigure(&["a", "--users-file=b", "--param=users=d:e"]).is_err());
    }
}
