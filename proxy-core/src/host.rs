//! Where a destination listens: a host and a port.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::name::text_newtype;

/// The longest host name in bytes (RFC 1035, section 2.3.4).
pub const MAX_HOST_BYTES: usize = 253;

/// Why a text is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// There was no text at all.
    #[error("it is empty")]
    Empty,
    /// The text is longer than [`MAX_HOST_BYTES`].
    #[error("it is {0} bytes long; at most {MAX_HOST_BYTES} are allowed")]
    TooLong(usize),
    /// A label between dots is empty, longer than 63 bytes or begins with `-`.
    #[error("the label {0:?} must be 1 to 63 characters long and not begin with '-'")]
    BadLabel(String),
    /// A character outside `[A-Za-z0-9._-]`.
    #[error("the character {0:?} is not allowed in a host name")]
    BadCharacter(char),
    /// A port stands behind the host.
    #[error("it must not carry a port; the parameter `port` says it")]
    HasPort,
}

/// Why a number is no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a whole number from 1 to 65535")]
pub struct PortError;

text_newtype!(
    /// A host name: letters, digits, `-` and `_` in labels of 1 to 63 characters, lower or upper
    /// case, with or without a trailing dot. `_` is not in RFC 1123 but in Docker's service names.
    HostName,
    HostError,
    check_host_name
);

/// Where a destination is: a name to resolve or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Host {
    /// A name that DNS or the hosts file knows.
    Name(HostName),
    /// An address that needs no resolving.
    Ip(IpAddr),
}

/// A TCP port that something can listen on: 1 to 65535.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

fn check_host_name(text: &str) -> Result<(), HostError> {
    let whole = text.strip_suffix('.').unwrap_or(text);
    if whole.is_empty() {
        return Err(HostError::Empty);
    }
    if whole.len() > MAX_HOST_BYTES {
        return Err(HostError::TooLong(whole.len()));
    }
    if let Some(bad) = whole
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        return Err(if bad == ':' {
            HostError::HasPort
        } else {
            HostError::BadCharacter(bad)
        });
    }
    match whole
        .split('.')
        .find(|label| label.is_empty() || label.len() > 63 || label.starts_with('-'))
    {
        Some(label) => Err(HostError::BadLabel(label.to_owned())),
        None => Ok(()),
    }
}

// === impl Host ===

impl Host {
    /// The address, where the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = bare.parse::<Ipv6Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        text.parse().map(Self::Name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl Serialize for Host {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse()
            .map_err(|problem| serde::de::Error::custom(format!("{text:?} is no host: {problem}")))
    }
}

// === impl Port ===

impl Port {
    /// A port, unless the number is 0.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// The number, 1 to 65535.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `u16::from_str` takes a leading `+`, which no port has.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PortError);
        }
        text.parse().map(Self).map_err(|_| PortError)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for name in ["go-demo", "tasks.go_demo", "a.b.", "10.0.0.1.example"] {
            assert!(matches!(name.parse(), Ok(Host::Name(_))), "{name}");
        }
        for ip in ["10.0.0.1", "::1", "[::1]", "fe80::1"] {
            assert!(matches!(ip.parse(), Ok(Host::Ip(_))), "{ip}");
        }
        for bad in [
            "", ".", "a..b", "-a", "a b", "a\n", "a/b", "[::1", "h#", "é",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?}");
        }
        assert_eq!("go-demo:8080".parse::<Host>(), Err(HostError::HasPort));
    }

    #[test]
    fn ports_are_numbers_that_can_be_listened_on() {
        assert_eq!("8080".parse::<Port>().unwrap().get(), 8080);
        for bad in ["", "0", "65536", "+80", "-1", "80a", " 80", "8e1"] {
            assert!(bad.parse::<Port>().is_err(), "{bad:?}");
        }
    }
}
