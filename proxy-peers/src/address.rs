//! Where a peer listens: for whoever lists peers and whoever calls them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

/// The longest host name that DNS can carry.
const MAX_HOST_BYTES: usize = 253;

/// A host and a port, as `10.0.0.2:8080`, `[fd00::2]:8080` or `proxy-2:8080`.
/// Cheap to clone.
///
/// ```
/// use proxy_peers::PeerAddress;
///
/// let peer: PeerAddress = "[fd00::2]:8080".parse()?;
/// assert_eq!(peer.to_string(), "[fd00::2]:8080");
/// assert!("10.0.0.2".parse::<PeerAddress>().is_err());
/// # Ok::<(), proxy_peers::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    host: PeerHost,
    port: NonZeroU16,
}

/// The host of a peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeerHost {
    /// An address, as DNS discovery finds it.
    Ip(IpAddr),
    /// A name, resolved at each new connection.
    Name(Arc<str>),
}

/// A text that is no peer's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no peer address: {problem}; write host:port, with an IPv6 address in brackets"
)]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

impl PeerAddress {
    /// A peer at an IP address.
    pub fn from_ip(ip: IpAddr, port: NonZeroU16) -> Self {
        Self {
            host: PeerHost::Ip(ip),
            port,
        }
    }

    /// The host.
    pub fn host(&self) -> &PeerHost {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> NonZeroU16 {
        self.port
    }

    /// The socket's address, where the host needs no resolving.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            PeerHost::Ip(ip) => Some(SocketAddr::new(ip, self.port.get())),
            PeerHost::Name(_) => None,
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            PeerHost::Ip(ip) => SocketAddr::new(*ip, self.port.get()).fmt(f),
            PeerHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem| AddressError {
            // What is shown of a hostile text stays short.
            text: text.chars().take(MAX_HOST_BYTES).collect(),
            problem,
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| error("no port"))?;
        let port = port
            .parse()
            .map_err(|_| error("the port is no number from 1 to 65535"))?;
        let host = parse_host(host).map_err(error)?;
        Ok(Self { host, port })
    }
}

fn parse_host(host: &str) -> Result<PeerHost, &'static str> {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner
            .parse::<Ipv6Addr>()
            .map(|ip| PeerHost::Ip(ip.into()))
            .map_err(|_| "what stands in brackets is no IPv6 address");
    }
    if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
        return Ok(PeerHost::Ip(ip.into()));
    }
    if host.is_empty() || host.len() > MAX_HOST_BYTES {
        return Err("the host is empty or longer than 253 bytes");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !host.bytes().all(plain) {
        return Err("the host holds something else than letters, digits, '-', '_' and '.'");
    }
    Ok(PeerHost::Name(host.to_ascii_lowercase().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            "10.0.0.2:8080",
            "[fd00::2]:1",
            "proxy-2.lan:65535",
            "a_b:80",
        ] {
            assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_are_compared_without_case() {
        let upper: PeerAddress = "Proxy:80".parse().unwrap();
        assert_eq!(upper, "proxy:80".parse().unwrap());
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for (text, reason) in [
            ("proxy", "no port"),
            ("proxy:0", "65535"),
            ("proxy:65536", "65535"),
            (":80", "empty"),
            ("fd00::2:80", "letters"),
            ("[fd00::zz]:80", "IPv6"),
            ("a/b:80", "letters"),
            ("a@b:80", "letters"),
            ("a\r\nb:80", "letters"),
        ] {
            let error = text.parse::<PeerAddress>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
