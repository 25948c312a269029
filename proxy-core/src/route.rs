//! Routes and their order: which of several matching routes a request takes.
//!
//! A route is one pair of domain and path of one destination. Every route of a table has a [`Rank`];
//! the order of ranks is total and does not depend on the request, and a request takes the matching
//! route of least rank. That is the whole semantic; the configurations given to HAProxy are
//! compilations of it.

use std::cmp::Reverse;

use crate::{
    name::{AclName, ServiceName},
    pattern::{DomainPattern, PathKind, PathPattern},
    service::{Destination, Service},
};

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

/// Where a route stands among all routes: the least that matches wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank<'a> {
    domain: DomainRank,
    path: PathRank,
    acl_name: &'a AclName,
    index: u16,
    service: &'a ServiceName,
    // Two routes of one destination give the same answer; these only make the order total.
    tie: (Option<&'a DomainPattern>, &'a PathPattern),
}

/// Exact before wildcard (longer suffix first) before none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DomainRank {
    Exact,
    Wildcard(Reverse<usize>),
    Any,
}

/// Exact before the other matchers (longer pattern first) before prefix (longer first).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Other(Reverse<usize>),
    Prefix(Reverse<usize>),
}

/// What of a request decides its route, in the form in which it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestHead {
    /// The Host header in lower case without its port; none where it is absent or no domain name.
    pub host: Option<String>,
    /// The path as sent, undecoded, without the query.
    pub path: Vec<u8>,
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

    /// Where it stands among all routes.
    #[must_use]
    pub fn rank(&self) -> Rank<'a> {
        Rank {
            domain: match self.domain {
                Some(DomainPattern::Exact(_)) => DomainRank::Exact,
                Some(DomainPattern::Wildcard(domain)) => {
                    DomainRank::Wildcard(Reverse(domain.as_str().len()))
                }
                None => DomainRank::Any,
            },
            path: match (self.path.kind(), Reverse(self.path.text().len())) {
                (PathKind::Exact, _) => PathRank::Exact,
                (PathKind::Prefix, length) => PathRank::Prefix(length),
                (_, length) => PathRank::Other(length),
            },
            acl_name: self.service.acl_name(),
            index: self.destination.index(),
            service: self.service.name(),
            tie: (self.domain, self.path),
        }
    }

    /// Whether a request is meant.
    #[must_use]
    pub fn matches(&self, request: &RequestHead) -> bool {
        let domain = match (self.domain, &request.host) {
            (None, _) => true,
            (Some(pattern), Some(host)) => pattern.matches(host),
            (Some(_), None) => false,
        };
        domain && self.path.matches(&request.path)
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
        }
    }
}

/// Lower case, without `:<digits>` at the end; none where what is left is not `[a-z0-9._-]+`.
fn normal_host(header: &[u8]) -> Option<String> {
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
    if name.is_empty() || !name.iter().all(fits) {
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
