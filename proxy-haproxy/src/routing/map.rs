//! The form for many services: one map file with every plain route, and a rule for each of the
//! others, so that a request costs the same however many plain routes there are.
//!
//! A key is `[port|][domain|]path`: a port, a domain or `*.suffix`, each where the route names one
//! (with a port and no domain, `port||path`), and a path, with `?` behind it where it is exact. The
//! looked-up key ends in `?`, which is in no path, so an exact key is found before every prefix, and
//! HAProxy's `map_beg` finds the longest key of all. Where no path is exact the looked-up key ends in
//! nothing, which spares every request a copy of its path. A path begins with `/`, and a host that is looked
//! up holds neither `/` nor `|` nor `*`, so no key is found by a question of another kind. Questions
//! go from the most specific port and domain to the least, and the first hit is the plain route of
//! least rank.
//!
//! What no tree holds (conditions, exclusions, other comparisons of path or domain) is a rule. Rules
//! stand in rank order, and a value says how many of them rank before its route: those are the ones
//! that may take the request from it. Where there is no rule a value is the backend alone, since every
//! request would pay for taking the two apart.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use proxy_core::{Criterion, DomainPattern, PathKind, Route, RouteOrder, RouteTable};

use self::follow::Group;
use super::rule::{Acls, Place, Rule, UnknownDomain, place};

#[cfg_attr(
    not(any(feature = "run", test)),
    expect(dead_code, reason = "only a running HAProxy is told edits")
)]
mod edits;
mod follow;

#[cfg(feature = "run")]
pub(crate) use self::edits::{Edit, between, in_order};
pub(crate) use self::{
    edits::{Edits, edited},
    follow::Followed,
};

/// What an exact path ends in, in the map and in the question.
const MARK: &str = "?";

/// A table in the map form.
#[derive(Debug)]
pub(crate) struct MapForm {
    /// What no map holds, least rank first.
    pub(crate) rules: Vec<Rule>,
    /// The numbers of labels that some lookup asks the end of the host for.
    pub(crate) suffixes: BTreeSet<usize>,
    /// The map file.
    pub(crate) text: String,
    /// How the map is asked, and what it takes to follow changes of the table.
    pub(crate) followed: Followed,
}

/// One question to the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lookup {
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
    let mut entries: BTreeMap<String, Value<'_>> = BTreeMap::new();
    let mut groups = Vec::new();
    let mut exact = 0;
    // One is always there: the map must be read for HAProxy to know it.
    let always = Lookup {
        any_port: true,
        domain: DomainLevel::Any,
    };
    let mut lookups = BTreeMap::from([(always, 1)]);
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
                entries.entry(key).or_insert(Value {
                    rules_before: rules.len(),
                    backend,
                });
                *lookups.entry(lookup).or_insert(0) += 1;
                exact += usize::from(is_exact(first));
            }
            None => {
                let guard = rules.len();
                groups.extend(Group::new(table, first, guard));
                for mut rule in acls.rules(group, backend)? {
                    rule.guard = Some(guard);
                    rules.push(rule);
                }
            }
        }
    }
    let mut text = String::new();
    for (key, value) in &entries {
        let value = value.text(rules.len());
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} {value}");
    }
    Ok(MapForm {
        suffixes: lookups.keys().filter_map(Lookup::labels).collect(),
        text,
        followed: Followed::new(lookups, exact, groups, rules.len()),
        rules,
    })
}

/// What the map says of a route.
struct Value<'a> {
    rules_before: usize,
    /// Where it leads.
    backend: &'a str,
}

/// The key and the lookup of a route that the map holds.
fn plain(route: &Route<'_>) -> Option<(String, Lookup)> {
    let destination = route.destination;
    let port = destination.entry_port();
    let (domain, level) = match route.domain {
        None => (String::new(), DomainLevel::Any),
        Some(DomainPattern::Exact(domain)) => (format!("{domain}|"), DomainLevel::Exact),
        Some(DomainPattern::Wildcard(domain)) => {
            let labels = domain.as_str().split('.').count();
            (format!("*.{domain}|"), DomainLevel::Suffix(Reverse(labels)))
        }
        Some(_) => return None,
    };
    let end = match route.path.kind() {
        PathKind::Exact => MARK,
        PathKind::Prefix => "",
        _ => return None,
    };
    if destination.is_conditional() {
        return None;
    }
    let path = route.path.text();
    let key = match port {
        None => format!("{domain}{path}{end}"),
        Some(port) if domain.is_empty() => format!("{port}||{path}{end}"),
        Some(port) => format!("{port}|{domain}{path}{end}"),
    };
    let lookup = Lookup {
        any_port: port.is_none(),
        domain: level,
    };
    Some((key, lookup))
}

fn is_exact(route: &Route<'_>) -> bool {
    route.path.kind() == PathKind::Exact
}

/// Whether two routes are of one destination and no other route can ever rank between them. They
/// then need one rule, whatever else there is.
fn is_tied(a: &Route<'_>, b: &Route<'_>) -> bool {
    place(a) == place(b)
        && a.rank(RouteOrder::Specific)
            .criterion(&b.rank(RouteOrder::Specific))
            == Criterion::Index
}

// === impl Value ===

impl Value<'_> {
    /// As it stands in the map, where there are so many rules in all.
    fn text(&self, rules: usize) -> String {
        match rules {
            0 => self.backend.to_owned(),
            _ => format!("{}|{}", self.rules_before, self.backend),
        }
    }
}

// === impl MapForm ===

impl MapForm {
    /// The sample expression of the path that the map is asked for.
    pub(crate) fn path(&self) -> String {
        match self.followed.has_exact_paths() {
            false => "path".to_owned(),
            true => format!("path,concat({MARK})"),
        }
    }

    /// The sample expressions of the keys that the map is asked for. Where it is asked once, the path
    /// is not kept in a variable first.
    pub(crate) fn keys(&self) -> Vec<String> {
        let lookups: Vec<_> = self.followed.lookups().map(ToString::to_string).collect();
        match lookups.as_slice() {
            [_] => vec![self.path()],
            _ => lookups,
        }
    }
}

impl Lookup {
    /// How many labels at the end of the host it asks for.
    fn labels(&self) -> Option<usize> {
        match self.domain {
            DomainLevel::Suffix(Reverse(labels)) => Some(labels),
            DomainLevel::Exact | DomainLevel::Any => None,
        }
    }
}

impl fmt::Display for Lookup {
    /// As a sample expression that makes the key. `txn.path` has its end already.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.any_port {
            f.write_str("dst_port,")?;
        }
        match (self.any_port, self.domain) {
            (true, DomainLevel::Any) => f.write_str("var(txn.path)"),
            (true, DomainLevel::Exact) => f.write_str("var(txn.host),concat(|,txn.path)"),
            (true, DomainLevel::Suffix(Reverse(labels))) => {
                write!(f, "str(*.),concat(,txn.suffix{labels}),concat(|,txn.path)")
            }
            (false, DomainLevel::Any) => f.write_str("concat(||,txn.path)"),
            (false, DomainLevel::Exact) => f.write_str("concat(|,txn.host),concat(|,txn.path)"),
            (false, DomainLevel::Suffix(Reverse(labels))) => {
                write!(f, "concat(|*.,txn.suffix{labels}),concat(|,txn.path)")
            }
        }
    }
}

#[cfg(test)]
mod tests;
