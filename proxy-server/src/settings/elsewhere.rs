//! Where services come from beside the API and the store: the environment and swarm listeners.

use std::{collections::BTreeMap, fmt, time::Duration};

use proxy_core::Params;

/// Where services come from beside the API and the store.
#[derive(Debug)]
#[non_exhaustive]
pub struct SourceSettings {
    /// Services of the environment.
    pub given: Vec<GivenService>,
    /// Swarm listeners, where there are any.
    pub listener: Option<ListenerSettings>,
    /// The Docker API, where the labels of its services count.
    pub docker: Option<DockerSettings>,
    /// The name of this proxy, where services that name another are left alone.
    pub only_instance: Option<String>,
}

/// A service of the environment.
#[derive(Clone)]
#[non_exhaustive]
pub struct GivenService {
    /// What its variables begin with.
    pub prefix: String,
    /// Its parameters, or why they cannot be read.
    pub params: Result<Params, String>,
}

/// Swarm listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerSettings {
    /// Their URLs, without a path.
    pub urls: Vec<String>,
    /// How long to wait until a listener that failed is asked again.
    pub interval: Duration,
    /// Whether one that answered is asked again, too.
    pub repeat: Repeat,
}

/// The Docker API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DockerSettings {
    /// Where it listens: `unix://` and a path, or `tcp://host:port`.
    pub host: String,
    /// How often all services are looked at.
    pub interval: Duration,
}

/// Whether listeners that answered are asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repeat {
    /// Only when somebody says so: they tell what changes.
    WhenAsked,
    /// Again and again; what vanished from their list is removed.
    Always,
}

/// What the variables of services begin with.
pub(super) const PREFIX: &str = "DFP_SERVICE_";

/// The services of the environment: `DFP_SERVICE_<PARAMETER>` and `DFP_SERVICE_<number>_<PARAMETER>`, where a
/// number behind the parameter is a destination's.
pub(super) fn given(variables: BTreeMap<String, Result<String, String>>) -> Vec<GivenService> {
    let mut services: BTreeMap<Option<u32>, Result<Params, String>> = BTreeMap::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let numbered = rest
            .split_once('_')
            .and_then(|(number, rest)| Some((number.parse().ok()?, rest)));
        let (number, parameter) = match numbered {
            Some((number, rest)) => (Some(number), rest),
            None => (None, rest),
        };
        let params = services
            .entry(number)
            .or_insert_with(|| Ok(Params::default()));
        let added = match (&mut *params, value) {
            (Ok(params), Ok(value)) => params
                .insert(camel_case(parameter), value)
                .map_err(|problem| problem.to_string()),
            (_, Err(problem)) => Err(format!("{name}: {problem}")),
            (Err(_), _) => continue,
        };
        if let Err(problem) = added {
            *params = Err(problem);
        }
    }
    let services = services.into_iter().map(|(number, params)| GivenService {
        prefix: match number {
            Some(number) => format!("{PREFIX}{number}"),
            None => PREFIX.trim_end_matches('_').to_owned(),
        },
        params,
    });
    services.collect()
}

/// `REQ_PATH_SEARCH_1` as `reqPathSearch.1`.
fn camel_case(upper_snake: &str) -> String {
    let (words, index) = match upper_snake.rsplit_once('_') {
        Some((words, index)) if index.parse::<u16>().is_ok() => (words, Some(index)),
        _ => (upper_snake, None),
    };
    let mut name = String::with_capacity(words.len());
    for (place, word) in words.split('_').enumerate() {
        let lower = word.to_ascii_lowercase();
        let mut letters = lower.chars();
        match letters.next() {
            Some(first) if place > 0 => {
                name.push(first.to_ascii_uppercase());
                name.push_str(letters.as_str());
            }
            _ => name.push_str(&lower),
        }
    }
    if let Some(index) = index {
        name.push('.');
        name.push_str(index);
    }
    name
}

/// `http://swarm-listener:8080` for `swarm-listener`, as Docker Flow Proxy has it.
pub(super) fn listener_url(text: &str) -> Result<String, String> {
    let url = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            format!("{scheme}://{}", rest.trim_end_matches('/'))
        }
        Some((scheme, _)) => return Err(format!("{scheme:?} is neither http nor https")),
        None if text.contains(':') => format!("http://{text}"),
        None => format!("http://{text}:8080"),
    };
    match url.parse::<axum::http::Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(url),
        _ => Err(format!("{text:?} is no address")),
    }
}

/// Why an address with a user is refused: addresses are shown in `status`, logs and answers.
const USER: &str =
    "it holds a user or a password (before an @), which are never used and would be shown";

/// Refuses a text that holds a user, without repeating it. A whole list is to be given: a password may hold
/// commas.
pub(super) fn without_user(text: &str) -> Result<&str, &'static str> {
    match text.contains('@') {
        true => Err(USER),
        false => Ok(text),
    }
}

/// Where the Docker API listens.
pub(super) fn docker_host(text: &str) -> Result<String, &'static str> {
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(text.to_owned()),
        Some(("tcp" | "http", host)) if host.contains('@') => Err(USER),
        Some(("tcp" | "http", host)) if host.contains(':') => Ok(text.to_owned()),
        _ => Err("it is neither unix:// and a path nor tcp://host:port"),
    }
}

// === impl GivenService ===

impl fmt::Debug for GivenService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        let names = self.params.as_ref().map(|params| {
            let names: Vec<_> = params.names().collect();
            names
        });
        f.debug_struct("GivenService")
            .field("prefix", &self.prefix)
            .field("params", &names)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_the_environment_are_told_apart() {
        let variables = [
            ("DFP_SERVICE_SERVICE_NAME", "plain"),
            ("DFP_SERVICE_PORT_1", "81"),
            ("DFP_SERVICE_1_SERVICE_NAME", "one"),
            ("DFP_SERVICE_1_REQ_PATH_SEARCH_REPLACE_2", "/a,/b"),
            ("DFP_SERVICE_12_ACL_NAME", "twelve"),
            ("DFP_SERVICE_12_USERS", "me:hush"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), Ok(value.to_owned())));
        let services = given(BTreeMap::from(variables));
        let all: Vec<_> = services
            .iter()
            .map(|service| {
                let params = service.params.as_ref().unwrap();
                let pairs: Vec<_> = params
                    .names()
                    .map(|name| format!("{name}={}", params.get(name).unwrap()))
                    .collect();
                (service.prefix.as_str(), pairs.join(" "))
            })
            .collect();
        assert_eq!(
            all,
            [
                ("DFP_SERVICE", "port.1=81 serviceName=plain".to_owned()),
                (
                    "DFP_SERVICE_1",
                    "reqPathSearchReplace.2=/a,/b serviceName=one".to_owned()
                ),
                ("DFP_SERVICE_12", "aclName=twelve users=me:hush".to_owned()),
            ]
        );
        assert!(!format!("{services:?}").contains("hush"));
    }

    #[test]
    fn a_variable_that_cannot_be_read_spoils_its_service_alone() {
        let services = given(BTreeMap::from([
            (
                "DFP_SERVICE_1_PORT".to_owned(),
                Err("the variable is not UTF-8".to_owned()),
            ),
            ("DFP_SERVICE_1_SERVICE_NAME".to_owned(), Ok("a".to_owned())),
            ("DFP_SERVICE_2_SERVICE_NAME".to_owned(), Ok("b".to_owned())),
        ]));
        let problem = services[0].params.as_ref().unwrap_err();
        assert!(problem.contains("DFP_SERVICE_1_PORT"), "{problem}");
        assert!(services[1].params.is_ok());
    }

    #[test]
    fn the_docker_api_is_a_socket_or_a_port() {
        for right in ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375"] {
            assert_eq!(docker_host(right).as_deref(), Ok(right));
        }
        for wrong in [
            "/var/run/docker.sock",
            "unix://here",
            "tcp://a",
            "tcp://user:secret@a:2375",
            "ssh://a:22",
        ] {
            assert!(docker_host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn listeners_are_called_as_docker_flow_proxy_calls_them() {
        for (text, url) in [
            ("swarm-listener", "http://swarm-listener:8080"),
            ("10.0.0.1:81", "http://10.0.0.1:81"),
            ("https://a.b/", "https://a.b"),
        ] {
            assert_eq!(listener_url(text).unwrap(), url);
        }
        for wrong in ["ftp://a", "a b", "http://"] {
            assert!(listener_url(wrong).is_err(), "{wrong}");
        }
    }
}
