//! The form for many services: one map file with every plain route, and a rule for each of the
//! others, so that a request costs the same however many plain routes there are.
//!
//! A key is `port|domain|path`: a port or `*`, a domain or `*.suffix` or nothing, a path, with `?`
//! behind it where it is exact. The looked-up key ends in `?`, which is in no path, so an exact key
//! is found before every prefix, and HAProxy's `map_beg` finds the longest key of all. `|` and `*`
//! are in no host that is looked up. Lookups go from the most specific port and domain to the
//! least, and the first hit is the plain route of least rank.
//!
//! What no tree holds (conditions, exclusions, other comparisons of path or domain) is a rule. Rules
//! stand in rank order, and a value says how many of them rank before its route: those are the ones
//! that may take the request from it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use proxy_core::{Criterion, DomainPattern, PathKind, Port, Route, RouteTable};
use serde::{Serialize, ser::SerializeStruct as _};

use super::rule::{Acls, Place, Rule, UnknownDomain, place};

/// A table in the map form.
#[derive(Debug)]
pub(crate) struct MapForm {
    /// What no map holds, least rank first.
    pub(crate) rules: Vec<Rule>,
    /// How the map is asked, most specific first.
    pub(crate) lookups: Vec<Lookup>,
    /// The numbers of labels that some lookup asks the end of the host for.
    pub(crate) suffixes: BTreeSet<usize>,
    /// The map file.
    pub(crate) text: String,
}

/// One question to the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lookup {
    /// For any port, not the one that the request came in on. The order is that of ranks.
    any_port: bool,
    domain: DomainLevel,
}

/// Which part of the host is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DomainLevel {
    /// All of it.
    Exact,
    /// Its last labels, for wildcards; more of them first.
    Suffix(Reverse<usize>),
    /// Nothing of it.
    Any,
}

/// The map form of a table. `backends` gives the name of each destination's backend.
///
/// # Errors
/// When a route has a domain pattern that this crate does not know.
pub(crate) fn compile(
    table: &RouteTable,
    backends: &BTreeMap<Place<'_>, String>,
) -> Result<MapForm, UnknownDomain> {
    let mut acls = Acls::default();
    let mut rules: Vec<Rule> = Vec::new();
    let mut entries: BTreeMap<String, String> = BTreeMap::new();
    // These two are always there, so that the first domain of a table adds none.
    let mut lookups = BTreeSet::from([DomainLevel::Exact, DomainLevel::Any].map(Lookup::any_port));
    let routes = table.routes_by_rank();
    let mut rest = routes.as_slice();
    while let Some(first) = rest.first() {
        let plain = plain(first);
        let count = match plain {
            Some(_) => 1,
            None => rest.iter().take_while(|next| is_tied(first, next)).count(),
        };
        let (group, after) = rest.split_at(count);
        rest = after;
        let Some(backend) = backends.get(&place(first)) else {
            continue;
        };
        match plain {
            Some((key, lookup)) => {
                // Routes come by rank: the first one that claims a key has it.
                entries
                    .entry(key)
                    .or_insert_with(|| format!("{}|{backend}", rules.len()));
                lookups.insert(lookup);
            }
            None => {
                let guard = rules.len();
                for mut rule in acls.rules(group, backend)? {
                    rule.guard = Some(guard);
                    rules.push(rule);
                }
            }
        }
    }
    let mut text = String::new();
    for (key, value) in &entries {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} {value}");
    }
    Ok(MapForm {
        rules,
        suffixes: lookups.iter().filter_map(Lookup::labels).collect(),
        lookups: lookups.into_iter().collect(),
        text,
    })
}

/// The key and the lookup of a route that the map holds.
fn plain(route: &Route<'_>) -> Option<(String, Lookup)> {
    let destination = route.destination;
    let (star, domain, level) = match route.domain {
        None => ("", "", DomainLevel::Any),
        Some(DomainPattern::Exact(domain)) => ("", domain.as_str(), DomainLevel::Exact),
        Some(DomainPattern::Wildcard(domain)) => {
            let labels = domain.as_str().split('.').count();
            let level = DomainLevel::Suffix(Reverse(labels));
            ("*.", domain.as_str(), level)
        }
        Some(_) => return None,
    };
    let end = match route.path.kind() {
        PathKind::Exact => "?",
        PathKind::Prefix => "",
        _ => return None,
    };
    if destination.is_conditional() {
        return None;
    }
    let port = destination.entry_port();
    let port_text = port.map_or_else(|| "*".to_owned(), |port: Port| port.to_string());
    let key = format!("{port_text}|{star}{domain}|{}{end}", route.path.text());
    let lookup = Lookup {
        any_port: port.is_none(),
        domain: level,
    };
    Some((key, lookup))
}

/// Whether two routes are of one destination and no other route can ever rank between them. They
/// then need one rule, whatever else there is.
fn is_tied(a: &Route<'_>, b: &Route<'_>) -> bool {
    place(a) == place(b) && a.rank().criterion(&b.rank()) == Criterion::Index
}

impl Lookup {
    fn any_port(domain: DomainLevel) -> Self {
        Self {
            any_port: true,
            domain,
        }
    }

    /// How many labels at the end of the host it asks for.
    fn labels(&self) -> Option<usize> {
        match self.domain {
            DomainLevel::Suffix(Reverse(labels)) => Some(labels),
            DomainLevel::Exact | DomainLevel::Any => None,
        }
    }
}

impl Serialize for Lookup {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut lookup = to.serialize_struct("Lookup", 3)?;
        lookup.serialize_field("any_port", &self.any_port)?;
        let domain = match self.domain {
            DomainLevel::Exact => "exact",
            DomainLevel::Suffix(_) => "suffix",
            DomainLevel::Any => "any",
        };
        lookup.serialize_field("domain", domain)?;
        lookup.serialize_field("labels", &self.labels())?;
        lookup.end()
    }
}

#[cfg(test)]
mod tests;
