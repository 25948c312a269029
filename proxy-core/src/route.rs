//! Routes and their order: which of several matching routes a request takes.
//!
//! A route is one pair of domain and path of one destination. Every route of a table has a [`Rank`];
//! the order of ranks is total and does not depend on the request, and a request takes the matching
//! route of least rank. That is the whole semantic; the configurations given to HAProxy are
//! compilations of it.

use std::cmp::Reverse;

use crate::{
    destination::Destination,
    domain::DomainPattern,
    host::Port,
    https_port::Leg,
    name::{AclName, ServiceName},
    path::{PathKind, PathPattern},
    service::Service,
};

/// Where a machine answers for itself (RFC 8615).
const WELL_KNOWN: &str = "/.well-known";

/// One pair of domain and path that leads to a destination.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Route<'a> {
    /// The service it leads to.
    pub service: &'a Service,
    /// The destination of the service.
    pub destination: &'a Destination,
    /// The domain it is for; none means every domain.
    pub domain: Option<&'a DomainPattern>,
    /// The path it is for.
    pub path: &'a PathPattern,
}

/// What decides between routes that match the same request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RouteOrder {
    /// The most specific route wins, whatever it is called.
    #[default]
    Specific,
    /// Docker Flow Proxy's: services with a path that begins with `/.well-known` come first and those
    /// with the path `/` last; otherwise the ACL name decides, in the order of its bytes. How specific
    /// a route is does not matter.
    AclName,
}

/// Why a word is no [`RouteOrder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of specific, acl-name")]
pub struct RouteOrderError;

/// Where a route stands among all routes in some order: the least that matches wins. Ranks of different
/// orders are not to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank<'a> {
    /// In the order by ACL name, what decides before all else.
    by_name: Option<(Class, &'a AclName, &'a ServiceName, (u16, Leg))>,
    port: PortRank,
    domain: DomainRank,
    path: PathRank,
    conditions: Reverse<usize>,
    acl_name: &'a AclName,
    index: (u16, Leg),
    service: &'a ServiceName,
    // Two routes of one destination give the same answer; these only make the order total.
    tie: (Option<&'a DomainPattern>, &'a PathPattern),
}

/// What tells two routes apart first: see [`Rank::criterion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Criterion {
    /// In the order by ACL name: services with `/.well-known` first, with `/` last.
    Class,
    /// One is bound to the entry port.
    EntryPort,
    /// Exact domain before wildcard (longer suffix first) before none.
    Domain,
    /// Exact path before the other matchers (longer first) before prefix (longer first).
    Path,
    /// More extra conditions before fewer.
    Conditions,
    /// The ACL name, in the order of its bytes.
    AclName,
    /// The index of the destination, then the name of the service.
    Index,
}

/// Where a service stands in the order by ACL name, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    well_known: WellKnown,
    root: Root,
}

/// A service that answers for the machine before all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WellKnown {
    Has,
    HasNot,
}

/// A service that takes what no other wants after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Root {
    HasNot,
    Has,
}

/// Bound to an entry port before any port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PortRank {
    Bound,
    Any,
}

/// Exact before wildcard and other comparisons (longer first) before none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DomainRank {
    Exact,
    Part(Reverse<usize>),
    Any,
}

/// Exact before the other matchers (longer pattern first) before prefix (longer first).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathRank {
    Exact,
    Other(Reverse<usize>),
    Prefix(Reverse<usize>),
}

/// What of a request decides its route, in the form in which it is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestHead {
    /// The port it came in on; none where that is not known, and then no route bound to a port is
    /// meant.
    pub entry_port: Option<Port>,
    /// The Host header in lower case without its port; none where it is absent or no domain name.
    pub host: Option<String>,
    /// The path as sent, undecoded, without the query.
    pub path: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

// === impl Route ===

impl<'a> Route<'a> {
    /// The routes of a service, destination by destination.
    pub fn of(service: &'a Service) -> impl Iterator<Item = Route<'a>> {
        service.destinations().iter().flat_map(move |destination| {
            let domains = destination.domains();
            let any = domains.is_empty().then_some(None);
            domains.iter().map(Some).chain(any).flat_map(move |domain| {
                destination.paths().iter().map(move |path| Route {
                    service,
                    destination,
                    domain,
                    path,
                })
            })
        })
    }

    /// What a default backend takes, with its first destination that takes requests.
    pub(crate) fn of_everything(service: &'a Service) -> Option<Self> {
        Some(Route {
            service,
            destination: service.destinations().iter().find(|d| !d.mode().is_tcp())?,
            domain: None,
            path: PathPattern::everything(),
        })
    }

    /// Whether it is what a default backend takes, and no route of a parameter.
    #[must_use]
    pub fn is_default(&self) -> bool {
        std::ptr::eq(self.path, PathPattern::everything())
    }

    /// Where it stands among all routes.
    #[must_use]
    pub fn rank(&self, order: RouteOrder) -> Rank<'a> {
        let (acl_name, service) = (self.service.acl_name(), self.service.name());
        let index = self.destination.key();
        Rank {
            by_name: match order {
                RouteOrder::Specific => None,
                RouteOrder::AclName => Some((Class::of(self.service), acl_name, service, index)),
            },
            port: match self.destination.entry_port() {
                Some(_) => PortRank::Bound,
                None => PortRank::Any,
            },
            domain: DomainRank::of(self.domain),
            path: PathRank::of(self.path),
            conditions: Reverse(self.destination.condition_count()),
            acl_name,
            index,
            service,
            tie: (self.domain, self.path),
        }
    }

    /// Whether a request is meant.
    #[must_use]
    pub fn matches(&self, request: &RequestHead) -> bool {
        if self.is_default() {
            return true;
        }
        let port = self.destination.entry_port();
        let domain = match (self.domain, &request.host) {
            (None, _) => true,
            (Some(pattern), Some(host)) => pattern.matches(host),
            (Some(_), None) => false,
        };
        (port.is_none() || port == request.entry_port)
            && domain
            && self.path.matches(&request.path)
            && self.destination.admits(request)
    }
}

// === impl Rank ===

impl Rank<'_> {
    /// The first criterion by which this rank differs from another.
    #[must_use]
    pub fn criterion(&self, other: &Self) -> Criterion {
        if let (Some(mine), Some(theirs)) = (self.by_name, other.by_name) {
            return match (mine.0 == theirs.0, mine.1 == theirs.1) {
                (false, _) => Criterion::Class,
                (true, false) => Criterion::AclName,
                (true, true) => Criterion::Index,
            };
        }
        if self.port != other.port {
            Criterion::EntryPort
        } else if self.domain != other.domain {
            Criterion::Domain
        } else if self.path != other.path {
            Criterion::Path
        } else if self.conditions != other.conditions {
            Criterion::Conditions
        } else if self.acl_name != other.acl_name {
            Criterion::AclName
        } else {
            Criterion::Index
        }
    }
}

// === impl RouteOrder ===

impl std::str::FromStr for RouteOrder {
    type Err = RouteOrderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "specific" => Ok(Self::Specific),
            "acl-name" => Ok(Self::AclName),
            _ => Err(RouteOrderError),
        }
    }
}

// === impl Class ===

impl Class {
    fn of(service: &Service) -> Self {
        let paths = || service.destinations().iter().flat_map(Destination::paths);
        let is_well_known = |path: &PathPattern| {
            let start = path.text().get(..WELL_KNOWN.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(WELL_KNOWN))
        };
        Self {
            well_known: match paths().any(is_well_known) {
                true => WellKnown::Has,
                false => WellKnown::HasNot,
            },
            root: match paths().any(|path| path.text() == "/") {
                true => Root::Has,
                false => Root::HasNot,
            },
        }
    }
}

// === impl DomainRank ===

impl DomainRank {
    pub(crate) fn of(domain: Option<&DomainPattern>) -> Self {
        match domain {
            Some(DomainPattern::Exact(_)) => Self::Exact,
            Some(pattern) => Self::Part(Reverse(pattern.domain().as_str().len())),
            None => Self::Any,
        }
    }
}

// === impl PathRank ===

impl PathRank {
    pub(crate) fn of(path: &PathPattern) -> Self {
        match (path.kind(), Reverse(path.text().len())) {
            (PathKind::Exact, _) => Self::Exact,
            (PathKind::Prefix, length) => Self::Prefix(length),
            (_, length) => Self::Other(length),
        }
    }
}

// === impl RequestHead ===

impl RequestHead {
    /// The head of a request with this Host header and this request target.
    #[must_use]
    pub fn new(host_header: Option<&[u8]>, target: &[u8]) -> Self {
        let path = target.split(|b| *b == b'?').next().unwrap_or_default();
        Self {
            host: host_header.and_then(normal_host),
            path: path.to_vec(),
            ..Self::default()
        }
    }

    /// The same, come in on this port.
    #[must_use]
    pub fn on_port(mut self, port: Port) -> Self {
        self.entry_port = Some(port);
        self
    }

    /// The same with one more header. White space around the value is dropped.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &[u8]) -> Self {
        let value = value.trim_ascii().to_vec();
        self.headers.push((name.to_ascii_lowercase(), value));
        self
    }

    /// The values of a header, by its name in lower case, in the order they were sent.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    }
}

/// Lower case, without `:<digits>` at the end; none where what is left is not `[a-z0-9._-]+` or begins
/// with a dot, which no name does and a wildcard must not take for a label.
pub(crate) fn normal_host(header: &[u8]) -> Option<String> {
    let digits = header
        .iter()
        .rev()
        .take_while(|b| b.is_ascii_digit())
        .count();
    let (head, tail) = header.split_at(header.len() - digits);
    let name = match head.strip_suffix(b":") {
        Some(name) => name.to_vec(),
        None => [head, tail].concat(),
    };
    let name = name.to_ascii_lowercase();
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.starts_with(b".") || !name.iter().all(fits) {
        return None;
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_compared_bare() {
        let host = |header: &str| RequestHead::new(Some(header.as_bytes()), b"/").host;
        assert_eq!(host("ACME.com:8080").as_deref(), Some("acme.com"));
        assert_eq!(host("acme.com:").as_deref(), Some("acme.com"));
        assert_eq!(host("10.0.0.1").as_deref(), Some("10.0.0.1"));
        for none in [
            "", ":80", "a b", "a,b", "[::1]:80", "a/b", "a:b", "é", "a:1:2",
        ] {
            assert_eq!(host(none), None, "{none}");
        }
    }

    #[test]
    fn the_query_is_no_part_of_the_path() {
        assert_eq!(RequestHead::new(None, b"/a?b=/c").path, b"/a");
    }
}
