//! The domains that a route is for.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    host::{HostError, HostName},
    words,
};

/// The longest text of another comparison in bytes, as long as a host name may be.
const MAX_DOMAIN_TEXT_BYTES: usize = 253;

/// A domain that a route is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DomainPattern {
    /// `acme.com`: this domain and no other.
    Exact(Domain),
    /// `*.acme.com`: every domain that ends in `.acme.com`, however deep, and not `acme.com`.
    Wildcard(Domain),
    /// A text that is compared in another way, as `serviceDomainAlgo` asks.
    Other(DomainAlgo, Domain),
}

/// How a domain is compared, where it is neither the whole nor a wildcard. The words of
/// `serviceDomainAlgo` are HAProxy's (configuration manual, section 7.3.6, "req.hdr").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DomainAlgo {
    /// `hdr_beg(host)`: the host begins with the text.
    Begin,
    /// `hdr_end(host)`: the host ends in the text.
    End,
    /// `hdr_sub(host)`: the text stands somewhere in the host.
    Substring,
    /// `hdr_dom(host)`: the text, without dots at its ends, stands in the host between dots or its
    /// ends.
    Labels,
}

/// How the domains of a service are compared: what `serviceDomainAlgo` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainComparison {
    /// `hdr(host)`: exact, or as a wildcard where the text is one.
    #[default]
    Whole,
    /// In another way.
    Other(DomainAlgo),
}

/// A domain name, or a part of one, in lower case, as the Host header is compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

/// Why a text is no domain pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// What stands there, or stands behind `*.`, is no host name.
    #[error(transparent)]
    Name(#[from] HostError),
    /// A star that is not the whole first label.
    #[error("a wildcard is written *.example.com: the star is the whole first label")]
    BadWildcard,
    /// A wildcard together with another comparison.
    #[error("a wildcard needs no serviceDomainAlgo; leave one of the two out")]
    WildcardWithAlgo,
    /// A text for another comparison that no host contains.
    #[error("it must be 1 to {MAX_DOMAIN_TEXT_BYTES} letters, digits, '.', '_' and '-'")]
    BadText,
}

/// Why a word is no comparison of domains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of hdr(host), hdr_beg(host), hdr_end(host), hdr_sub(host), hdr_dom(host)")]
pub struct DomainAlgoError;

// === impl DomainPattern ===

impl DomainPattern {
    /// A pattern that is compared as asked.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn new(comparison: DomainComparison, text: &str) -> Result<Self, DomainError> {
        match comparison {
            DomainComparison::Whole => text.parse(),
            DomainComparison::Other(_) if text.contains('*') => Err(DomainError::WildcardWithAlgo),
            DomainComparison::Other(algo) => {
                let text = text.to_ascii_lowercase();
                let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
                let only_dots = algo == DomainAlgo::Labels && text.bytes().all(|b| b == b'.');
                if text.is_empty()
                    || text.len() > MAX_DOMAIN_TEXT_BYTES
                    || only_dots
                    || !text.bytes().all(fits)
                {
                    return Err(DomainError::BadText);
                }
                Ok(Self::Other(algo, Domain(text.into())))
            }
        }
    }

    /// The text, without the star.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        match self {
            Self::Exact(domain) | Self::Wildcard(domain) | Self::Other(_, domain) => domain,
        }
    }

    /// Whether a request for this host (lower case, no port) is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(domain) => domain.as_str() == host,
            Self::Wildcard(domain) => host
                .strip_suffix(domain.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty()),
            Self::Other(algo, text) => algo.matches(text.as_str(), host),
        }
    }
}

impl FromStr for DomainPattern {
    type Err = DomainError;

    /// `acme.com` or `*.acme.com`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(DomainError::BadWildcard);
        }
        let name: HostName = name.to_ascii_lowercase().parse()?;
        let domain = Domain(name.as_str().trim_end_matches('.').into());
        Ok(if wildcard {
            Self::Wildcard(domain)
        } else {
            Self::Exact(domain)
        })
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(domain) => domain.fmt(f),
            Self::Wildcard(domain) => write!(f, "*.{domain}"),
            Self::Other(algo, text) => write!(f, "{algo} {text}"),
        }
    }
}

impl Serialize for DomainPattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DomainPattern {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let wrong = |problem: &dyn fmt::Display| {
            serde::de::Error::custom(format!("{text:?} is no domain: {problem}"))
        };
        match text.split_once(' ') {
            None => text.parse().map_err(|problem| wrong(&problem)),
            Some((algo, rest)) => {
                let comparison = algo.parse().map_err(|problem| wrong(&problem))?;
                Self::new(comparison, rest).map_err(|problem| wrong(&problem))
            }
        }
    }
}

// === impl DomainAlgo ===

impl DomainAlgo {
    pub(crate) fn matches(self, text: &str, host: &str) -> bool {
        match self {
            Self::Begin => host.starts_with(text),
            Self::End => host.ends_with(text),
            Self::Substring => host.contains(text),
            Self::Labels => words::has(host.as_bytes(), text.as_bytes(), b'.'),
        }
    }

    /// HAProxy's match method (configuration manual, section 7.1.3), as in `-m beg`.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Begin => "beg",
            Self::End => "end",
            Self::Substring => "sub",
            Self::Labels => "dom",
        }
    }
}

impl fmt::Display for DomainAlgo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hdr_{}(host)", self.method())
    }
}

// === impl DomainComparison ===

impl FromStr for DomainComparison {
    type Err = DomainAlgoError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::Other(match text {
            "hdr(host)" => return Ok(Self::Whole),
            "hdr_beg(host)" => DomainAlgo::Begin,
            "hdr_end(host)" => DomainAlgo::End,
            "hdr_sub(host)" => DomainAlgo::Substring,
            "hdr_dom(host)" => DomainAlgo::Labels,
            _ => return Err(DomainAlgoError),
        }))
    }
}

// === impl Domain ===

impl Domain {
    /// The text in lower case, without a trailing dot where it is a whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl std::borrow::Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_compared_whole() {
        let exact: DomainPattern = "Acme.com".parse().unwrap();
        assert!(exact.matches("acme.com"));
        assert!(!exact.matches("acme.com.evil.tld"));
        let wildcard: DomainPattern = "*.acme.com".parse().unwrap();
        assert!(wildcard.matches("a.b.acme.com"));
        for not in ["acme.com", ".acme.com", "xacme.com", "acme.com.evil.tld"] {
            assert!(!wildcard.matches(not), "{not}");
        }
        for bad in ["*acme.com", "a.*.com", "*", "*.", "", "acme.com:80", "a b"] {
            assert!(bad.parse::<DomainPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn other_comparisons_are_haproxys() {
        for (algo, text, yes, no) in [
            ("hdr_beg(host)", "acme", "acme.com", "xacme.com"),
            ("hdr_end(host)", ".com", "acme.com", "acme.com.evil"),
            ("hdr_sub(host)", "cm", "acme.com", "ac.me"),
            ("hdr_dom(host)", ".acme.", "www.acme.com", "www.acmes.com"),
        ] {
            let pattern = DomainPattern::new(algo.parse().unwrap(), text).unwrap();
            assert!(pattern.matches(yes) && !pattern.matches(no), "{pattern}");
            let json = serde_json::to_string(&pattern).unwrap();
            assert_eq!(
                serde_json::from_str::<DomainPattern>(&json).unwrap(),
                pattern
            );
        }
        let begin = DomainComparison::Other(DomainAlgo::Begin);
        for bad in ["", "*.a", "a b", "a\n", "a/b"] {
            assert!(DomainPattern::new(begin, bad).is_err(), "{bad:?}");
        }
    }
}
