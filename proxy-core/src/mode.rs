//! What the connections to a destination carry: HTTP requests, or bytes that nobody looks into.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    domain::DomainComparison,
    name::{NameError, check, text_newtype},
};

/// The longest time that a setting of a service may ask for: HAProxy keeps times in 31 bits of
/// milliseconds.
pub const MAX_SECONDS: u32 = i32::MAX as u32 / 1000;

/// What the connections to a destination carry, as `reqMode` says.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReqMode {
    /// HTTP requests, routed one by one.
    #[default]
    Http,
    /// Connections, by the port that they come in on and, where domains are given, the server name
    /// that their TLS hello asks for.
    Tcp,
    /// As `tcp`, with the server names where Docker Flow Proxy has them: in `servicePath` too.
    Sni,
}

/// Why a word is no [`ReqMode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of http, tcp, sni")]
pub struct ReqModeError;

text_newtype!(
    /// The name of a group of services that share a port and its connections.
    GroupName,
    NameError,
    check
);

/// How a group's connections are spread over its servers, as `balanceGroup` says: HAProxy's words, of
/// those that need no HTTP request (configuration manual, section 4.2, "balance").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Balance {
    /// One after the other.
    #[serde(rename = "roundrobin")]
    RoundRobin,
    /// One after the other, by weights that nobody changes.
    StaticRr,
    /// To the one with the fewest connections.
    #[serde(rename = "leastconn")]
    LeastConnections,
    /// To the first that has room.
    First,
    /// By the client's address, so that a client stays with its server.
    Source,
    /// By chance.
    Random,
}

/// Why a word is no [`Balance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of roundrobin, static-rr, leastconn, first, source, random")]
pub struct BalanceError;

/// Seconds that a service may ask for: 1 to [`MAX_SECONDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Seconds(u32);

/// Why a number is no [`Seconds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a whole number of seconds from 1 to {MAX_SECONDS}")]
pub struct SecondsError;

/// Why a `pathType` compares no server names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "server names are compared whole (req_ssl_sni), or with -m beg, end, sub or dom behind it; \
     *.example.com needs no pathType"
)]
pub(crate) struct SniComparisonError;

/// What a destination for connections is asked, beside its port and domains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TcpOptions {
    /// The group whose servers share the connections of the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// How the group spreads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// Whether HAProxy tries the server now and then, and leaves one out that does not answer.
    #[serde(skip_serializing_if = "is_false")]
    pub check: bool,
    /// Whether keep-alive packets are sent to clients.
    #[serde(skip_serializing_if = "is_false")]
    pub client_keep_alive: bool,
    /// How long a client may be silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_timeout: Option<Seconds>,
}

// === impl ReqMode ===

impl ReqMode {
    /// Whether connections are routed whole, and nobody looks for requests in them.
    #[must_use]
    pub fn is_tcp(self) -> bool {
        self != Self::Http
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Sni => "sni",
        }
    }
}

impl FromStr for ReqMode {
    type Err = ReqModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "http" => Ok(Self::Http),
            "tcp" => Ok(Self::Tcp),
            "sni" => Ok(Self::Sni),
            _ => Err(ReqModeError),
        }
    }
}

impl fmt::Display for ReqMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Balance ===

impl Balance {
    /// HAProxy's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundrobin",
            Self::StaticRr => "static-rr",
            Self::LeastConnections => "leastconn",
            Self::First => "first",
            Self::Source => "source",
            Self::Random => "random",
        }
    }
}

impl FromStr for Balance {
    type Err = BalanceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "roundrobin" => Self::RoundRobin,
            "static-rr" => Self::StaticRr,
            "leastconn" => Self::LeastConnections,
            "first" => Self::First,
            "source" => Self::Source,
            "random" => Self::Random,
            _ => return Err(BalanceError),
        })
    }
}

// === impl Seconds ===

impl Seconds {
    /// The time.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Seconds {
    type Error = SecondsError;

    fn try_from(seconds: u32) -> Result<Self, Self::Error> {
        match seconds {
            1..=MAX_SECONDS => Ok(Self(seconds)),
            _ => Err(SecondsError),
        }
    }
}

impl From<Seconds> for u32 {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}

impl FromStr for Seconds {
    type Err = SecondsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `u32::from_str` takes a leading `+`, which no number of ours has.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SecondsError);
        }
        let seconds: u32 = text.parse().map_err(|_| SecondsError)?;
        seconds.try_into()
    }
}

/// How server names are compared, as `pathType` says with `reqMode=sni`: Docker Flow Proxy writes it
/// into HAProxy's configuration as it is, so what users send are HAProxy's words. Names are compared in
/// any case, with `-i` or without.
pub(crate) fn sni_comparison(text: &str) -> Result<DomainComparison, SniComparisonError> {
    let mut words = text.split_ascii_whitespace().filter(|word| *word != "-i");
    let fetch = words.next().unwrap_or_default();
    let fetch = fetch.strip_suffix(",lower").unwrap_or(fetch);
    if !matches!(fetch, "req_ssl_sni" | "req.ssl_sni") {
        return Err(SniComparisonError);
    }
    let comparison = match (words.next(), words.next(), words.next()) {
        (None, ..) | (Some("-m"), Some("str"), None) => return Ok(DomainComparison::Whole),
        (Some("-m"), Some(method), None) => format!("hdr_{method}(host)"),
        _ => return Err(SniComparisonError),
    };
    comparison.parse().map_err(|_| SniComparisonError)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DomainAlgo;

    #[test]
    fn words_are_what_they_were_parsed_from() {
        for mode in ["http", "tcp", "sni"] {
            assert_eq!(mode.parse::<ReqMode>().unwrap().as_str(), mode);
        }
        assert!("TCP".parse::<ReqMode>().is_err());
        for word in [
            "roundrobin",
            "static-rr",
            "leastconn",
            "first",
            "source",
            "random",
        ] {
            let balance = word.parse::<Balance>().unwrap();
            assert_eq!(balance.as_str(), word);
            assert_eq!(serde_json::to_value(balance).unwrap(), word);
        }
        assert!("uri".parse::<Balance>().is_err());
    }

    #[test]
    fn a_time_is_at_least_a_second_and_no_longer_than_haproxy_takes() {
        assert_eq!("2147483".parse::<Seconds>().unwrap().get(), MAX_SECONDS);
        for bad in ["", "0", "+1", "-1", "1.5", "1s", "2147484", "99999999999"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<Seconds>("0").is_err());
    }

    #[test]
    fn server_names_are_compared_as_haproxys_words_say() {
        let other = |algo| Ok(DomainComparison::Other(algo));
        for (text, wanted) in [
            ("req_ssl_sni", Ok(DomainComparison::Whole)),
            ("req.ssl_sni -i", Ok(DomainComparison::Whole)),
            ("req.ssl_sni,lower -m str", Ok(DomainComparison::Whole)),
            ("req_ssl_sni -i -m end", other(DomainAlgo::End)),
            ("req_ssl_sni -m dom -i", other(DomainAlgo::Labels)),
            ("req_ssl_sni -m reg", Err(SniComparisonError)),
            ("req_ssl_sni a.com", Err(SniComparisonError)),
            ("path_end", Err(SniComparisonError)),
        ] {
            assert_eq!(sni_comparison(text), wanted, "{text}");
        }
    }
}
