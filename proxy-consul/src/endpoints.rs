//! The Consul servers in the order in which they are tried.
//!
//! For everyone who writes `CONSUL_ADDRESS`: a comma list, tried from the first to the last. An
//! address that just failed is tried last for a while, so that a dead first server costs one
//! connect timeout per cool-down and not one per request.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::Url;
use tokio::time::Instant;

/// How long an address that failed is tried last. Long enough that a hanging server is met a few
/// times a minute only, short enough that one that came back is used again soon.
pub const DEFAULT_COOL_DOWN: Duration = Duration::from_secs(10);

/// The port of an address that says neither scheme nor port: the one that Consul's API has unless it is told another.
pub const DEFAULT_PORT: u16 = 8500;

/// The most addresses of one list. Consul clusters have three to seven servers.
pub const MAX_ADDRESSES: usize = 32;

/// One Consul server: `http` or `https`, host and port. It never holds a password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    base: Arc<str>,
}

/// Why a text is not the address of a Consul server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The list holds no address at all.
    #[error("it names no server")]
    Empty,
    /// More than [`MAX_ADDRESSES`].
    #[error("it names {0} servers; at most {MAX_ADDRESSES} are allowed")]
    TooMany(usize),
    /// It is not a URL, not even with `http://` before it.
    #[error("{address:?} is no address: {problem}; it is written {SHAPE}")]
    NotUrl {
        /// What was given.
        address: String,
        /// What the parser of URLs says.
        problem: String,
    },
    /// Neither `http` nor `https`.
    #[error(
        "{address:?} begins with another scheme than http:// or https://; it is written {SHAPE}"
    )]
    Scheme {
        /// What was given.
        address: String,
    },
    /// A path that leads to no Consul: that of its API, which is added to each request, or one that a slip of the
    /// pen left behind.
    #[error(
        "{address:?} has a path where none belongs (that of the API, /v1, is added to it); it is written {SHAPE}"
    )]
    Path {
        /// What was given.
        address: String,
    },
    /// A user, a password, a query or a fragment, none of which Consul takes. What was given is not
    /// repeated, as it may hold a secret.
    #[error(
        "the address of {host:?} holds more than scheme, host, port and path; give a token through its own setting"
    )]
    Extra {
        /// The host part of what was given.
        host: String,
    },
}

/// How an address is written.
const SHAPE: &str = "host:port, http://host:port or https://host:port";

/// What follows `/v1` in Consul's API.
const API: [&str; 21] = [
    "acl",
    "agent",
    "catalog",
    "config",
    "connect",
    "coordinate",
    "discovery-chain",
    "event",
    "health",
    "internal",
    "kv",
    "namespace",
    "namespaces",
    "operator",
    "peering",
    "query",
    "session",
    "snapshot",
    "status",
    "txn",
    "validate",
];

/// The addresses in order, and which of them failed just now.
pub struct Endpoints {
    list: Arc<[Address]>,
    cool_down: Duration,
    failed_at: Mutex<Vec<Option<Instant>>>,
}

// === impl Address ===

impl Address {
    /// Scheme, host, port and path, with no slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// Whether it is spoken to through TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.base.starts_with("https://")
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let has_scheme = text.contains("://");
        let url = match has_scheme {
            true => Url::parse(text),
            false => Url::parse(&format!("http://{text}")),
        };
        let mut url = url.map_err(|problem| AddressError::NotUrl {
            address: without_user(text),
            problem: problem.to_string(),
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Scheme {
                address: without_user(text),
            });
        }
        let more = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        if more {
            return Err(AddressError::Extra {
                host: url.host_str().unwrap_or_default().to_owned(),
            });
        }
        let path = url.path().trim_end_matches('/');
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        // Who asks Consul through another server may need a path, and writes a whole URL.
        let is_stray = parts.iter().any(|part| !has_scheme || part.is_empty());
        if is_stray || is_of_the_api(&parts) {
            return Err(AddressError::Path {
                address: without_user(text),
            });
        }
        // A URL does not show the port that is its scheme's own, so both are asked.
        let is_port_given = || {
            let other = Url::parse(&format!("https://{text}"));
            url.port()
                .or(other.ok().and_then(|other| other.port()))
                .is_some()
        };
        if !has_scheme && !is_port_given() {
            // Only a URL that cannot have one refuses it.
            let _ = url.set_port(Some(DEFAULT_PORT));
        }
        Ok(Self {
            base: url.as_str().trim_end_matches('/').into(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What may be shown of a text that is no address: what stands before an `@` may be a password.
fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, after)) => format!("…@{after}"),
        None => text.to_owned(),
    }
}

/// Whether a path holds that of Consul's API. A gate may have a `v1` of its own before Consul's place behind it.
fn is_of_the_api(parts: &[&str]) -> bool {
    let is_last = parts.last() == Some(&"v1");
    is_last
        || parts
            .windows(2)
            .any(|pair| matches!(pair, ["v1", next] if API.contains(next)))
}

// === impl Endpoints ===

impl Endpoints {
    /// Addresses in the order in which they are tried.
    ///
    /// # Errors
    /// When there is none, or more than [`MAX_ADDRESSES`].
    pub fn new(list: Vec<Address>, cool_down: Duration) -> Result<Self, AddressError> {
        if list.is_empty() {
            return Err(AddressError::Empty);
        }
        if list.len() > MAX_ADDRESSES {
            return Err(AddressError::TooMany(list.len()));
        }
        Ok(Self {
            failed_at: Mutex::new(vec![None; list.len()]),
            list: list.into(),
            cool_down,
        })
    }

    /// Parses a comma list. White space and line breaks around an address do not matter, empty
    /// places are skipped, a repeated address counts once, and where no scheme is given `http://` is
    /// added, and [`DEFAULT_PORT`] where there is no port either.
    ///
    /// # Errors
    /// When the list names no server, or one of its parts is no address.
    pub fn parse_list(text: &str) -> Result<Vec<Address>, AddressError> {
        let mut list: Vec<Address> = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let address = part.parse()?;
            if !list.contains(&address) {
                list.push(address);
            }
        }
        match list.len() {
            0 => Err(AddressError::Empty),
            many if many > MAX_ADDRESSES => Err(AddressError::TooMany(many)),
            _ => Ok(list),
        }
    }

    /// The addresses as they were given.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.list
    }

    /// The order for a request that starts now: first those that are well, then those that failed
    /// within the cool-down, each part in the order given.
    #[must_use]
    pub fn order(&self, now: Instant) -> Vec<Address> {
        let failed = self.lock();
        let cooling = |at: &Option<Instant>| {
            at.is_some_and(|at| now.saturating_duration_since(at) < self.cool_down)
        };
        let pick = |wanted: bool| {
            let failed = &failed;
            self.list
                .iter()
                .zip(failed.iter())
                .filter(move |(_, at)| cooling(at) == wanted)
                .map(|(address, _)| address.clone())
        };
        pick(false).chain(pick(true)).collect()
    }

    /// Notes that an address failed.
    pub fn failed(&self, address: &Address, now: Instant) {
        self.note(address, Some(now));
    }

    /// Notes that an address answered.
    pub fn worked(&self, address: &Address) {
        self.note(address, None);
    }

    fn note(&self, address: &Address, at: Option<Instant>) {
        let mut failed = self.lock();
        for (known, slot) in self.list.iter().zip(failed.iter_mut()) {
            if known == address {
                *slot = at;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Endpoints {
        let list = Endpoints::parse_list("a:1,b:2,c:3").unwrap();
        Endpoints::new(list, Duration::from_secs(10)).unwrap()
    }

    fn names(order: &[Address]) -> Vec<&str> {
        order.iter().map(Address::as_str).collect()
    }

    #[test]
    fn the_list_of_the_story_is_read() {
        // A shell continues the line in the middle of the list, so white space and breaks arrive.
        let text =
            "192.168.99.100:8500 \\\n,192.168.99.101:8500,\n https://third:8501/ ,,http://third"
                .replace('\\', "");
        let list = Endpoints::parse_list(&text).unwrap();
        assert_eq!(
            names(&list),
            [
                "http://192.168.99.100:8500",
                "http://192.168.99.101:8500",
                "https://third:8501",
                "http://third"
            ]
        );
    }

    #[test]
    fn host_names_keep_their_first_letters() {
        // DFP trimmed "http://" as a set of characters (FIELD K9).
        assert_eq!(
            "http://http-proxy:8500"
                .parse::<Address>()
                .unwrap()
                .as_str(),
            "http://http-proxy:8500"
        );
        assert_eq!(
            "tph:8500".parse::<Address>().unwrap().as_str(),
            "http://tph:8500"
        );
        assert_eq!(
            "[::1]:8500".parse::<Address>().unwrap().as_str(),
            "http://[::1]:8500"
        );
    }

    #[test]
    fn a_host_alone_is_asked_on_consuls_own_port() {
        for (text, meant) in [
            ("10.0.0.1", "http://10.0.0.1:8500"),
            ("[::1]", "http://[::1]:8500"),
            ("consul/", "http://consul:8500"),
            // What is written counts, also where it is what a URL would not show.
            ("10.0.0.1:80", "http://10.0.0.1"),
            ("10.0.0.1:443", "http://10.0.0.1:443"),
            ("http://10.0.0.1", "http://10.0.0.1"),
            ("https://10.0.0.1", "https://10.0.0.1"),
            ("https://gate/consul/", "https://gate/consul"),
            // A gate whose own API is another's v1.
            ("https://gate/v1/consul", "https://gate/v1/consul"),
            (
                "https://gate/api/v1/kv-store/",
                "https://gate/api/v1/kv-store",
            ),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().as_str(), meant, "{text}");
        }
    }

    #[test]
    fn a_path_that_leads_to_no_consul_is_refused_with_the_shape_of_an_address() {
        for bad in [
            "http//foo:abc",
            "http:/foo:8500",
            "10.0.0.1/v1",
            "10.0.0.1:8500/ui",
            "http://10.0.0.1:8500/v1",
            "http://10.0.0.1:8500/v1/",
            "https://gate/consul/v1/kv",
            "https://gate/v1/consul/v1",
            "http://10.0.0.1:8500/v1/kv/docker-flow",
            "http://gate//consul",
        ] {
            let error = bad.parse::<Address>().unwrap_err();
            assert!(matches!(error, AddressError::Path { .. }), "{bad}: {error}");
            let error = error.to_string();
            assert!(
                error.contains(bad) && error.contains("host:port"),
                "{error}"
            );
        }
        let error = "foo:abc".parse::<Address>().unwrap_err().to_string();
        assert!(error.contains("host:port"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for bad in [
            "",
            " , ",
            "ftp://a",
            "http://",
            "a:b:c",
            "http://u:geheim@a",
            "ftp://u:geheim@a",
            "a?token=geheim",
        ] {
            let error = Endpoints::parse_list(bad).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
        let many = (0..33)
            .map(|n| format!("h{n}:1"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(
            Endpoints::parse_list(&many).unwrap_err(),
            AddressError::TooMany(33)
        );
    }

    #[test]
    fn a_failed_address_is_tried_last_for_the_cool_down() {
        let endpoints = three();
        let [a, b] = [
            endpoints.addresses()[0].clone(),
            endpoints.addresses()[1].clone(),
        ];
        let now = Instant::now();
        endpoints.failed(&a, now);
        assert_eq!(
            names(&endpoints.order(now)),
            ["http://b:2", "http://c:3", "http://a:1"]
        );
        endpoints.failed(&b, now + Duration::from_secs(5));
        assert_eq!(
            names(&endpoints.order(now + Duration::from_secs(9))),
            ["http://c:3", "http://a:1", "http://b:2"]
        );
        assert_eq!(
            names(&endpoints.order(now + Duration::from_secs(10))),
            ["http://a:1", "http://c:3", "http://b:2"]
        );
        endpoints.worked(&b);
        assert_eq!(
            names(&endpoints.order(now + Duration::from_secs(10))),
            ["http://a:1", "http://b:2", "http://c:3"]
        );
    }

    #[test]
    fn when_all_failed_the_order_is_the_given_one() {
        let endpoints = three();
        let now = Instant::now();
        for address in endpoints.addresses() {
            endpoints.failed(address, now);
        }
        assert_eq!(
            names(&endpoints.order(now)),
            ["http://a:1", "http://b:2", "http://c:3"]
        );
    }
}
