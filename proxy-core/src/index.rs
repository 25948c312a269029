//! The index of a table's routes: finds the winner without looking at the others.
//!
//! Routes are kept in levels, one per pair of entry port and domain, and in each level by path. The
//! most significant parts of a rank are the port and the domain, so levels are asked from the most
//! specific to the least, and the first with a match has the answer. A lookup costs the domains and
//! prefixes that the request itself contains, not the services of the table; only comparisons that
//! no tree holds (`path_end`, `hdr_sub`, ...) are tried one after another, within their level.

use std::{cmp::Reverse, sync::Arc};

use imbl::{OrdMap, OrdSet};

use crate::{
    domain::{DomainAlgo, DomainPattern},
    host::Port,
    name::{AclName, ServiceName},
    path::{PathKind, PathPattern},
    route::{RequestHead, Route, RouteOrder},
    service::{Destination, Service},
};

/// Every route of a table, by what it is for.
#[derive(Clone, Default)]
pub(crate) struct RouteIndex {
    exact: OrdMap<(Option<Port>, Arc<str>), Level>,
    wildcard: OrdMap<(Option<Port>, Arc<str>), Level>,
    /// Longest first: the order of ranks.
    other: OrdMap<OtherKey, Level>,
    any: OrdMap<Option<Port>, Level>,
}

/// Entry port, length of the text, comparison, text.
type OtherKey = (Option<Port>, Reverse<usize>, DomainAlgo, Arc<str>);

/// The routes for one port and one domain.
#[derive(Clone, Default)]
struct Level {
    exact: OrdMap<Arc<str>, Claimants>,
    prefix: OrdMap<Arc<str>, Claimants>,
    /// Longest first: the order of ranks.
    other: OrdMap<(Reverse<usize>, PathPattern), Claimants>,
}

/// Who claims one domain and path, in the order of ranks.
type Claimants = OrdSet<Claimant>;

/// One destination, ordered as its routes are among those for the same domain and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claimant {
    conditions: Reverse<usize>,
    acl_name: AclName,
    index: u16,
    pub(crate) service: ServiceName,
}

// === impl RouteIndex ===

impl RouteIndex {
    pub(crate) fn insert(&mut self, service: &Service) {
        for route in Route::of(service) {
            self.change(&route, |claimants| {
                claimants.insert(Claimant::of(&route));
            });
        }
    }

    pub(crate) fn remove(&mut self, service: &Service) {
        for route in Route::of(service) {
            self.change(&route, |claimants| {
                claimants.remove(&Claimant::of(&route));
            });
        }
    }

    /// Everyone who claims what a route claims, in the order of ranks.
    pub(crate) fn claimants(&self, route: &Route<'_>) -> impl Iterator<Item = &Claimant> {
        let port = route.destination.entry_port();
        let level = match route.domain {
            None => self.any.get(&port),
            Some(pattern) => {
                let text: Arc<str> = pattern.domain().as_str().into();
                match pattern {
                    DomainPattern::Exact(_) => self.exact.get(&(port, text)),
                    DomainPattern::Wildcard(_) => self.wildcard.get(&(port, text)),
                    DomainPattern::Other(algo, _) => {
                        self.other.get(&(port, Reverse(text.len()), *algo, text))
                    }
                }
            }
        };
        level
            .and_then(|level| level.claimants(route.path))
            .into_iter()
            .flatten()
    }

    /// The winner for a request. `destination` finds what a claimant stands for.
    pub(crate) fn resolve<'t>(
        &self,
        request: &RequestHead,
        destination: impl Fn(&Claimant) -> Option<(&'t Service, &'t Destination)>,
    ) -> Option<Route<'t>> {
        let seek = Seek {
            request,
            destination: &destination,
        };
        let ports = [request.entry_port.map(Some), Some(None)];
        ports
            .into_iter()
            .flatten()
            .find_map(|port| self.on_port(port, &seek))
    }

    /// The levels of one port, from the most specific domain to none.
    fn on_port<'t, F>(&self, port: Option<Port>, seek: &Seek<'_, F>) -> Option<Route<'t>>
    where
        F: Fn(&Claimant) -> Option<(&'t Service, &'t Destination)>,
    {
        if let Some(host) = seek.request.host.as_deref() {
            let exact = self.exact.get(&(port, host.into()));
            if let Some(found) = exact.and_then(|level| level.resolve(seek)) {
                return Some(found);
            }
            if let Some(found) = self.in_parts(port, host, seek) {
                return Some(found);
            }
        }
        self.any.get(&port).and_then(|level| level.resolve(seek))
    }

    /// Wildcards and other comparisons, longest first. Several patterns of one length are of one
    /// rank so far, and the rest of the rank decides between their winners.
    fn in_parts<'t, F>(
        &self,
        port: Option<Port>,
        host: &str,
        seek: &Seek<'_, F>,
    ) -> Option<Route<'t>>
    where
        F: Fn(&Claimant) -> Option<(&'t Service, &'t Destination)>,
    {
        let mut levels: Vec<(Reverse<usize>, &Level)> = Vec::new();
        if !self.wildcard.is_empty() {
            let suffixes = host.match_indices('.').filter(|(at, _)| *at > 0);
            for suffix in suffixes.filter_map(|(at, _)| host.get(at + 1..)) {
                let level = self.wildcard.get(&(port, suffix.into()));
                levels.extend(level.map(|level| (Reverse(suffix.len()), level)));
            }
        }
        if !self.other.is_empty() {
            let matching = self
                .other
                .iter()
                .filter(|((at, _, algo, text), _)| *at == port && algo.matches(text, host));
            levels.extend(matching.map(|((_, length, _, _), level)| (*length, level)));
        }
        levels.sort_by_key(|(length, _)| *length);
        levels.chunk_by(|(a, _), (b, _)| a == b).find_map(|equals| {
            let winners = equals.iter().filter_map(|(_, level)| level.resolve(seek));
            winners.min_by(|a, b| {
                a.rank(RouteOrder::Specific)
                    .cmp(&b.rank(RouteOrder::Specific))
            })
        })
    }

    fn change(&mut self, route: &Route<'_>, change: impl FnOnce(&mut Claimants)) {
        let port = route.destination.entry_port();
        let text = route
            .domain
            .map(|pattern| Arc::<str>::from(pattern.domain().as_str()));
        match (route.domain, text) {
            (Some(DomainPattern::Exact(_)), Some(text)) => {
                in_level(&mut self.exact, (port, text), route.path, change);
            }
            (Some(DomainPattern::Wildcard(_)), Some(text)) => {
                in_level(&mut self.wildcard, (port, text), route.path, change);
            }
            (Some(DomainPattern::Other(algo, _)), Some(text)) => {
                let key = (port, Reverse(text.len()), *algo, text);
                in_level(&mut self.other, key, route.path, change);
            }
            _ => in_level(&mut self.any, port, route.path, change),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.wildcard.is_empty()
            && self.other.is_empty()
            && self.any.is_empty()
    }
}

/// Changes the claimants of a path in a level; levels and paths that nobody claims are dropped.
fn in_level<K: Ord + Clone>(
    levels: &mut OrdMap<K, Level>,
    key: K,
    path: &PathPattern,
    change: impl FnOnce(&mut Claimants),
) {
    let level = levels.entry(key.clone()).or_default();
    let text = || Arc::<str>::from(path.text());
    match path.kind() {
        PathKind::Exact => in_claimants(&mut level.exact, text(), change),
        PathKind::Prefix => in_claimants(&mut level.prefix, text(), change),
        _ => {
            let key = (Reverse(path.text().len()), path.clone());
            in_claimants(&mut level.other, key, change);
        }
    }
    if level.exact.is_empty() && level.prefix.is_empty() && level.other.is_empty() {
        levels.remove(&key);
    }
}

fn in_claimants<K: Ord + Clone>(
    paths: &mut OrdMap<K, Claimants>,
    key: K,
    change: impl FnOnce(&mut Claimants),
) {
    let claimants = paths.entry(key.clone()).or_default();
    change(claimants);
    if claimants.is_empty() {
        paths.remove(&key);
    }
}

// === impl Level ===

impl Level {
    fn claimants(&self, path: &PathPattern) -> Option<&Claimants> {
        match path.kind() {
            PathKind::Exact => self.exact.get(path.text()),
            PathKind::Prefix => self.prefix.get(path.text()),
            _ => self.other.get(&(Reverse(path.text().len()), path.clone())),
        }
    }

    fn resolve<'t, F>(&self, seek: &Seek<'_, F>) -> Option<Route<'t>>
    where
        F: Fn(&Claimant) -> Option<(&'t Service, &'t Destination)>,
    {
        let path = seek.request.path.as_slice();
        // A path that is not ASCII equals no pattern and begins with none beyond its ASCII part.
        let ascii = path
            .iter()
            .position(|b| !b.is_ascii())
            .unwrap_or(path.len());
        let text = std::str::from_utf8(path.get(..ascii).unwrap_or_default()).unwrap_or_default();
        if ascii == path.len()
            && let Some(found) = self
                .exact
                .get(text)
                .and_then(|c| seek.first(c, PathKind::Exact, text))
        {
            return Some(found);
        }
        if let Some(found) = self.in_others(path, seek) {
            return Some(found);
        }
        let mut longest = text;
        while let Some((prefix, claimants)) = self.longest_prefix(longest) {
            if let Some(found) = seek.first(claimants, PathKind::Prefix, prefix) {
                return Some(found);
            }
            longest = prefix.get(..prefix.len().checked_sub(1)?)?;
        }
        None
    }

    /// Comparisons that no tree holds, longest first. Several of one length are of one rank so far,
    /// and the rest of the rank decides between their winners.
    fn in_others<'t, F>(&self, path: &[u8], seek: &Seek<'_, F>) -> Option<Route<'t>>
    where
        F: Fn(&Claimant) -> Option<(&'t Service, &'t Destination)>,
    {
        let mut best: Option<Route<'t>> = None;
        for ((_, pattern), claimants) in &self.other {
            if best.is_some_and(|best| best.path.text().len() > pattern.text().len()) {
                break;
            }
            if pattern.matches(path)
                && let Some(found) = seek.first(claimants, pattern.kind(), pattern.text())
                && best.is_none_or(|best| {
                    found.rank(RouteOrder::Specific) < best.rank(RouteOrder::Specific)
                })
            {
                best = Some(found);
            }
        }
        best
    }

    /// The longest prefix of a text that somebody claims. The greatest key that is not greater than
    /// the text is it, or shares less with the text than it; then only what is shared can be one.
    fn longest_prefix(&self, text: &str) -> Option<(&str, &Claimants)> {
        let mut text = text;
        loop {
            let (key, claimants) = self.prefix.get_prev(text)?;
            if text.starts_with(&**key) {
                return Some((key, claimants));
            }
            let shared = text
                .bytes()
                .zip(key.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            text = text.get(..shared)?;
        }
    }
}

/// A request that looks for its route.
struct Seek<'a, F> {
    request: &'a RequestHead,
    destination: &'a F,
}

impl<'t, F> Seek<'_, F>
where
    F: Fn(&Claimant) -> Option<(&'t Service, &'t Destination)>,
{
    /// The first claimant that admits the request, as a route.
    fn first(&self, claimants: &Claimants, kind: PathKind, text: &str) -> Option<Route<'t>> {
        claimants.iter().find_map(|claimant| {
            let (service, destination) = (self.destination)(claimant)?;
            if !destination.admits(self.request) {
                return None;
            }
            let host = self.request.host.as_deref();
            let domain = match destination.domains() {
                [] => None,
                // The best of its domains that match: the level was reached through it.
                domains => {
                    let matching = domains
                        .iter()
                        .filter(|d| host.is_some_and(|h| d.matches(h)));
                    Some(matching.min_by_key(|d| crate::route::DomainRank::of(Some(d)))?)
                }
            };
            let same = |path: &&PathPattern| path.kind() == kind && path.text() == text;
            let path = destination.paths().iter().find(same)?;
            Some(Route {
                service,
                destination,
                domain,
                path,
            })
        })
    }
}

// === impl Claimant ===

impl Claimant {
    pub(crate) fn of(route: &Route<'_>) -> Self {
        Self {
            conditions: Reverse(route.destination.condition_count()),
            acl_name: route.service.acl_name().clone(),
            index: route.destination.index(),
            service: route.service.name().clone(),
        }
    }

    pub(crate) fn index(&self) -> u16 {
        self.index
    }
}
