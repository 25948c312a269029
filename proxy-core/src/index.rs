//! The index of a table's routes: finds the winner without looking at the others.
//!
//! Routes are kept by entry port, then in levels, one per domain, and in each level by path. The
//! most significant parts of a rank are the port and the domain, so levels are asked from the most
//! specific to the least, and the first with a match has the answer. A lookup costs the domains and
//! the lengths of prefixes that the request and the level share, not the services of the table; only
//! comparisons that no map holds (`path_end`, `hdr_sub`, ...) are tried one after another, within
//! their level.
//!
//! Texts are found by their hashes, which stand in the nodes of the maps: a comparison that follows a
//! pointer to a text waits for memory, and happens once where the hashes are equal.

use std::{cmp::Reverse, sync::Arc};

use imbl::{GenericHashMap, OrdMap, shared_ptr::DefaultSharedPtr};
use rustc_hash::FxBuildHasher;

use crate::{
    domain::{DomainAlgo, DomainPattern},
    host::Port,
    route::{RequestHead, Route, RouteOrder},
    service::Service,
};

mod claimant;
mod level;

use claimant::{Claimant, Claimants, Step};
use level::Level;

/// By text. Whoever chooses the texts may change the table, so nobody gains by texts of one hash.
type ByText<V> = GenericHashMap<Arc<str>, V, FxBuildHasher, DefaultSharedPtr>;

/// Every route of a table, by what it is for.
#[derive(Clone, Default)]
pub(crate) struct RouteIndex {
    ports: OrdMap<Option<Port>, PortLevel>,
}

/// The routes for one port.
#[derive(Clone, Default)]
struct PortLevel {
    exact: ByText<Level>,
    wildcard: ByText<Level>,
    /// Longest first: the order of ranks.
    other: OrdMap<(Reverse<usize>, DomainAlgo, Arc<str>), Level>,
    /// Without a domain.
    any: Level,
}

// === impl RouteIndex ===

impl RouteIndex {
    pub(crate) fn insert(&mut self, service: &Arc<Service>) {
        self.change(service, Step::Enter);
    }

    pub(crate) fn remove(&mut self, service: &Arc<Service>) {
        self.change(service, Step::Leave);
    }

    fn change(&mut self, service: &Arc<Service>, step: Step) {
        for claimant in Claimant::of(service) {
            let Some(route) = claimant.route() else {
                continue;
            };
            let port = route.destination.entry_port();
            let levels = self.ports.entry(port).or_default();
            levels.change(&route, &claimant, step);
            if levels.is_empty() {
                self.ports.remove(&port);
            }
        }
    }

    /// Everyone who claims what a route claims, in the order of ranks.
    pub(crate) fn claimants(&self, route: &Route<'_>) -> impl Iterator<Item = Route<'_>> {
        let levels = self.ports.get(&route.destination.entry_port());
        let claimants = levels
            .and_then(|levels| levels.level(route.domain))
            .and_then(|level| level.claimants(route.path));
        claimants.into_iter().flat_map(Claimants::routes)
    }

    /// The winner for a request.
    pub(crate) fn resolve(&self, request: &RequestHead) -> Option<Route<'_>> {
        let ports = [request.entry_port.map(Some), Some(None)];
        let mut levels = ports
            .iter()
            .flatten()
            .filter_map(|port| self.ports.get(port));
        levels.find_map(|levels| levels.resolve(request))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }
}

// === impl PortLevel ===

impl PortLevel {
    /// From the most specific domain to none.
    fn resolve(&self, request: &RequestHead) -> Option<Route<'_>> {
        if let Some(host) = request.host.as_deref() {
            let exact = self.exact.get(host);
            if let Some(found) = exact.and_then(|level| level.resolve(request)) {
                return Some(found);
            }
            if let Some(found) = self.in_parts(host, request) {
                return Some(found);
            }
        }
        self.any.resolve(request)
    }

    /// Wildcards and other comparisons, longest first. Several patterns of one length are of one
    /// rank so far, and the rest of the rank decides between their winners.
    fn in_parts(&self, host: &str, request: &RequestHead) -> Option<Route<'_>> {
        let mut levels: Vec<(Reverse<usize>, &Level)> = Vec::new();
        if !self.wildcard.is_empty() {
            let suffixes = host.match_indices('.').filter(|(at, _)| *at > 0);
            for suffix in suffixes.filter_map(|(at, _)| host.get(at + 1..)) {
                let level = self.wildcard.get(suffix);
                levels.extend(level.map(|level| (Reverse(suffix.len()), level)));
            }
        }
        let others = self.other.iter();
        let matching = others.filter(|((_, algo, text), _)| algo.matches(text, host));
        levels.extend(matching.map(|((length, ..), level)| (*length, level)));
        levels.sort_by_key(|(length, _)| *length);
        levels.chunk_by(|(a, _), (b, _)| a == b).find_map(|equals| {
            let winners = equals
                .iter()
                .filter_map(|(_, level)| level.resolve(request));
            winners.min_by(|a, b| {
                a.rank(RouteOrder::Specific)
                    .cmp(&b.rank(RouteOrder::Specific))
            })
        })
    }

    fn level(&self, domain: Option<&DomainPattern>) -> Option<&Level> {
        let Some(pattern) = domain else {
            return Some(&self.any);
        };
        let text = pattern.domain().as_str();
        match pattern {
            DomainPattern::Exact(_) => self.exact.get(text),
            DomainPattern::Wildcard(_) => self.wildcard.get(text),
            DomainPattern::Other(algo, _) => {
                self.other.get(&(Reverse(text.len()), *algo, text.into()))
            }
        }
    }

    /// Levels that nobody claims are dropped.
    fn change(&mut self, route: &Route<'_>, claimant: &Claimant, step: Step) {
        let Some(pattern) = route.domain else {
            self.any.change(route.path, claimant, step);
            return;
        };
        let text = pattern.domain().shared();
        match pattern {
            DomainPattern::Exact(_) => in_level(&mut self.exact, text, route, claimant, step),
            DomainPattern::Wildcard(_) => in_level(&mut self.wildcard, text, route, claimant, step),
            DomainPattern::Other(algo, _) => {
                let key = (Reverse(text.len()), *algo, text);
                let level = self.other.entry(key.clone()).or_default();
                level.change(route.path, claimant, step);
                if level.is_empty() {
                    self.other.remove(&key);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.wildcard.is_empty()
            && self.other.is_empty()
            && self.any.is_empty()
    }
}

fn in_level(
    levels: &mut ByText<Level>,
    text: Arc<str>,
    route: &Route<'_>,
    claimant: &Claimant,
    step: Step,
) {
    let level = levels.entry(Arc::clone(&text)).or_default();
    level.change(route.path, claimant, step);
    if level.is_empty() {
        levels.remove(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Params, parse_reconfigure};

    fn service(query: &str) -> Arc<Service> {
        let params = Params::from_query(query).unwrap();
        parse_reconfigure(&params).unwrap().value.service
    }

    /// Or a table whose services come and go would ask for every length that ever was.
    #[test]
    fn a_length_that_no_prefix_has_any_more_is_not_asked_for() {
        let services = ["/a", "/b", "/long/one", "/long/two"].map(|path| {
            let name = path.replace('/', "");
            service(&format!("serviceName={name}&servicePath={path}&port=80"))
        });
        let mut index = RouteIndex::default();
        let lengths = |index: &RouteIndex| index.ports.get(&None).unwrap().any.lengths.to_vec();
        services.iter().for_each(|service| index.insert(service));
        index.insert(&services[0]);
        assert_eq!(lengths(&index), [(2, 2), (9, 2)]);
        index.remove(&services[2]);
        index.remove(&services[2]);
        assert_eq!(lengths(&index), [(2, 2), (9, 1)]);
        index.remove(&services[3]);
        assert_eq!(lengths(&index), [(2, 2)]);
    }
}
