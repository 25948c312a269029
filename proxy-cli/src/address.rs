//! Where the API is: a URL without secrets in it.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// The port of the admin API, unless its setting `PORT` says another.
pub(crate) const DEFAULT_PORT: u16 = 8080;

/// The path under which the API lies; Docker Flow Proxy's own.
const BASE: &str = "v1/docker-flow-proxy/";

/// The address of a replica's admin API.
#[derive(Debug, Clone)]
pub(crate) struct ApiAddress(Url);

/// An address that cannot be used. It does not show the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("it is no URL; write http://host:port")]
    NoUrl,
    #[error("only http and https lead to a proxy")]
    Scheme,
    #[error("it holds a user or password; the token goes into --token or PROXY_TOKEN")]
    Credentials,
}

impl ApiAddress {
    /// The URL of one path at the root, where probes are.
    pub(crate) fn root(&self, name: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{name}", self.0.path()));
        url
    }

    /// The same host, by the port that the API has unless somebody says another.
    pub(crate) fn usual(&self) -> Self {
        let mut url = self.0.clone();
        // Only what has no host has no port.
        let _ = url.set_port(Some(DEFAULT_PORT));
        Self(url)
    }

    /// The URL of one endpoint.
    pub(crate) fn endpoint(&self, name: &str, params: &[(String, String)]) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{BASE}{name}", self.0.path()));
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        url
    }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for ApiAddress {
    type Err = AddressError;

    /// A text without a scheme is taken for `host:port`; http without a port has that of the API, since the
    /// scheme's own is one that the proxy serves, and https, which is spoken by something in front, its own.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let full = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let mut url = Url::parse(&full).map_err(|_| AddressError::NoUrl)?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(AddressError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        if url.scheme() == "http" && !says_port(&full) {
            url.set_port(Some(DEFAULT_PORT))
                .map_err(|()| AddressError::NoUrl)?;
        }
        url.set_query(None);
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self(url))
    }
}

/// Whether a port is said, which a URL forgets where it is the scheme's own.
fn says_port(full: &str) -> bool {
    let rest = full.split_once("://").map(|(_, rest)| rest);
    let unknown = rest.and_then(|rest| Url::parse(&format!("any://{rest}")).ok());
    unknown.is_some_and(|url| url.port().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, params: &[(&str, &str)]) -> String {
        let params: Vec<_> = params
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let address: ApiAddress = address.parse().unwrap();
        address.endpoint("ping", &params).to_string()
    }

    #[test]
    fn a_host_and_port_are_enough() {
        let url = "http://proxy:8080/v1/docker-flow-proxy/ping";
        assert_eq!(endpoint("proxy:8080", &[]), url);
        assert_eq!(endpoint("http://proxy:8080/", &[]), url);
        assert_eq!(
            endpoint("https://lb/proxy", &[]),
            "https://lb/proxy/v1/docker-flow-proxy/ping"
        );
    }

    #[test]
    fn without_a_port_it_is_the_apis_and_one_that_is_said_is_kept() {
        let base = "/v1/docker-flow-proxy/ping";
        for (said, meant) in [
            ("proxy", "http://proxy:8080"),
            ("http://proxy", "http://proxy:8080"),
            ("http://[::1]/", "http://[::1]:8080"),
            ("http://proxy/below", "http://proxy:8080/below"),
            ("http://proxy:80", "http://proxy"),
            ("proxy:80", "http://proxy"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://proxy", "https://proxy"),
            ("https://proxy:8443", "https://proxy:8443"),
        ] {
            assert_eq!(endpoint(said, &[]), format!("{meant}{base}"), "{said}");
        }
    }

    #[test]
    fn values_stay_values() {
        assert_eq!(
            endpoint("p:1", &[("servicePath", "/a&b=c #é"), ("x", "1")]),
            "http://p:1/v1/docker-flow-proxy/ping?servicePath=%2Fa%26b%3Dc+%23%C3%A9&x=1"
        );
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let error = "http://me:geheim@p:1".parse::<ApiAddress>().unwrap_err();
        assert_eq!(error, AddressError::Credentials);
        assert!(!error.to_string().contains("geheim"));
    }
}
