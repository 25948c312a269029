//! The readable form: ACLs and `use_backend` lines in an order whose first match is the answer of
//! [`RouteTable::resolve`].
//!
//! A destination becomes one rule, as a person would write it, wherever that cannot change an
//! answer; otherwise its routes become rules of their own, at their ranks.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use proxy_core::{
    Destination, DomainPattern, PathKind, PathPattern, Route, RouteTable, ServiceName,
};
use serde::Serialize;

use super::overlap::may_overlap;

/// HAProxy reads at most 64 words a line.
const MAX_VALUES_A_LINE: usize = 40;
/// Keeps lines readable; HAProxy takes longer ones.
const MAX_VALUE_BYTES_A_LINE: usize = 1024;

/// How many pairs of routes are compared, for the whole table, to find destinations that can be one
/// rule. Past it, destinations are split into rules of one route each, which is always right. Where
/// a table is that large and that interleaved, nobody reads its rules.
const MAX_COMPARISONS: usize = 5_000_000;

/// One `use_backend` with the ACLs that are not declared before it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rule {
    pub(crate) acls: Vec<AclLine>,
    pub(crate) backend: String,
    pub(crate) conditions: Vec<String>,
}

/// One `acl` line; lines of the same name are alternatives.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AclLine {
    pub(crate) name: String,
    pub(crate) test: Test,
    /// A value begins with `-` or `(`, and HAProxy would take it for a flag or a mistake.
    pub(crate) ends_flags: bool,
    pub(crate) values: Vec<String>,
}

/// What an ACL compares, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Test {
    /// A path, by this fetch (`path_beg`).
    Path(&'static str),
    /// The normal form of the Host header, by this match (`str`).
    Host(&'static str),
    /// The port that the request came in on.
    EntryPort,
    /// The User-Agent header, by a part of it in any case.
    UserAgent,
    /// The header of this name, whole.
    Header(String),
}

/// Whether a condition must hold or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    Holds,
    HoldsNot,
}

/// Where a destination stands in the table: the index of its service and its own.
pub(crate) type Place<'a> = (&'a str, u16);

/// A domain pattern of a newer proxy-core.
#[derive(Debug)]
pub(crate) struct UnknownDomain {
    pub(crate) service: ServiceName,
    pub(crate) domain: String,
}

/// Names that are given out once. Two services can come to one name (`a1` on port 1 and `a` on port
/// 11 are both `url_a11`, and HAProxy would merge the two ACLs in silence), so the later one gets a
/// suffix with a character that no service's name holds.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    pub(crate) fn take(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        let mut count = 1;
        while !self.0.insert(name.clone()) {
            count += 1;
            name = format!("{wanted}:{count}");
        }
        name
    }
}

/// The ACLs of a frontend, by what was wanted of them.
#[derive(Debug, Default)]
struct Acls {
    names: Names,
    declared: BTreeMap<(String, Vec<(Test, String)>), String>,
}

/// The rules of a table. `backends` gives the name of each destination's backend.
///
/// # Errors
/// When a route has a domain pattern that this crate does not know: leaving the condition out would
/// send other domains' requests there.
pub(crate) fn compile(
    table: &RouteTable,
    backends: &BTreeMap<Place<'_>, String>,
) -> Result<Vec<Rule>, UnknownDomain> {
    let routes = table.routes_by_rank();
    let mut acls = Acls::default();
    let mut rules = Vec::new();
    for run in runs(&routes) {
        let Some(first) = run.first() else { continue };
        let Some(backend) = backends.get(&place(first)) else {
            continue;
        };
        // The routes of a run are alternatives that lead to one backend. Paths with the same
        // domains stand together; that is all of them unless the run is a part of a destination.
        let mut domains_of: BTreeMap<(PathKind, &str), Vec<Option<&DomainPattern>>> =
            BTreeMap::new();
        for route in &run {
            domains_of
                .entry(path_key(route.path))
                .or_default()
                .push(route.domain);
        }
        let mut groups: Vec<(Vec<Option<&DomainPattern>>, Vec<&PathPattern>)> = Vec::new();
        for route in &run {
            let Some(domains) = domains_of.remove(&path_key(route.path)) else {
                continue;
            };
            match groups.iter_mut().find(|(known, _)| *known == domains) {
                Some((_, paths)) => paths.push(route.path),
                None => groups.push((domains, vec![route.path])),
            }
        }
        let object = first.service.object_name(first.destination, "");
        for (domains, paths) in groups {
            let mut rule = Rule {
                acls: Vec::new(),
                backend: backend.clone(),
                conditions: Vec::new(),
            };
            let tests = paths.into_iter().map(path_test).collect();
            rule.require(&mut acls, format!("url_{object}"), tests, Sense::Holds);
            if !domains.contains(&None) {
                let tests = domains
                    .into_iter()
                    .flatten()
                    .map(|domain| {
                        domain_test(domain).ok_or_else(|| UnknownDomain {
                            service: first.service.name().clone(),
                            domain: domain.to_string(),
                        })
                    })
                    .collect::<Result<_, _>>()?;
                rule.require(&mut acls, format!("domain_{object}"), tests, Sense::Holds);
            }
            rule.require_conditions(&mut acls, first.destination, &object);
            rules.push(rule);
        }
    }
    Ok(rules)
}

impl Rule {
    /// Adds what a destination asks beyond domain and path.
    fn require_conditions(&mut self, acls: &mut Acls, destination: &Destination, object: &str) {
        if let Some(port) = destination.entry_port() {
            let tests = vec![(Test::EntryPort, port.to_string())];
            self.require(acls, format!("port_{object}"), tests, Sense::Holds);
        }
        let agents = destination.user_agents().iter();
        let tests: Vec<_> = agents
            .map(|agent| (Test::UserAgent, agent.to_string()))
            .collect();
        if !tests.is_empty() {
            self.require(acls, format!("agent_{object}"), tests, Sense::Holds);
        }
        for header in destination.headers() {
            let tests = vec![(
                Test::Header(header.name().to_owned()),
                header.value().to_owned(),
            )];
            self.require(acls, format!("header_{object}"), tests, Sense::Holds);
        }
        let excluded = destination.excluded_paths().iter();
        let tests: Vec<_> = excluded.map(path_test).collect();
        if !tests.is_empty() {
            self.require(acls, format!("excluded_{object}"), tests, Sense::HoldsNot);
        }
    }

    /// Adds a condition: the ACL that makes these tests, declared here unless it was before.
    fn require(
        &mut self,
        acls: &mut Acls,
        wanted: String,
        tests: Vec<(Test, String)>,
        sense: Sense,
    ) {
        let not = match sense {
            Sense::Holds => "",
            Sense::HoldsNot => "!",
        };
        let wanted = (wanted, tests);
        if let Some(name) = acls.declared.get(&wanted) {
            return self.conditions.push(format!("{not}{name}"));
        }
        let name = acls.names.take(wanted.0.clone());
        let tests = wanted.1.clone();
        acls.declared.insert(wanted, name.clone());
        let mut by_test: BTreeMap<Test, Vec<String>> = BTreeMap::new();
        for (test, value) in tests {
            by_test.entry(test).or_default().push(value);
        }
        for (test, values) in by_test {
            for values in lines_of(values) {
                self.acls.push(AclLine {
                    name: name.clone(),
                    test: test.clone(),
                    ends_flags: values.iter().any(|value| value.starts_with(['-', '('])),
                    values,
                });
            }
        }
        self.conditions.push(format!("{not}{name}"));
    }
}

impl Test {
    /// The words of the comparison (configuration manual, sections 7.1.3 and 7.3).
    fn words(&self) -> Vec<Cow<'_, str>> {
        match self {
            Self::Path(fetch) => vec![(*fetch).into()],
            Self::Host(method) => vec!["var(txn.host)".into(), "-m".into(), (*method).into()],
            Self::EntryPort => vec!["dst_port".into()],
            Self::UserAgent => ["req.fhdr(user-agent)", "-m", "sub", "-i"]
                .map(Into::into)
                .into(),
            Self::Header(name) => {
                vec![
                    format!("req.fhdr({name})").into(),
                    "-m".into(),
                    "str".into(),
                ]
            }
        }
    }
}

impl Serialize for Test {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.words())
    }
}

/// Routes that share a rule, in the order of their first rank.
fn runs<'a>(routes: &[Route<'a>]) -> Vec<Vec<Route<'a>>> {
    let mut positions: BTreeMap<Place<'_>, Vec<usize>> = BTreeMap::new();
    for (position, route) in routes.iter().enumerate() {
        positions.entry(place(route)).or_default().push(position);
    }
    let mut budget = MAX_COMPARISONS;
    let whole: BTreeMap<Place<'_>, bool> = positions
        .iter()
        .map(|(place, own)| (*place, can_stand_together(routes, *place, own, &mut budget)))
        .collect();

    let mut runs: Vec<Vec<Route<'a>>> = Vec::new();
    let mut run_of: BTreeMap<Place<'_>, usize> = BTreeMap::new();
    let mut previous = None;
    for route in routes {
        let place = place(route);
        let is_whole = whole.get(&place).copied().unwrap_or(false);
        // A split destination goes on in its last run only where nothing came between.
        let goes_on = is_whole || previous == Some(place);
        let known = run_of.get(&place).copied().filter(|_| goes_on);
        match known.and_then(|index| runs.get_mut(index)) {
            Some(run) => run.push(*route),
            None => {
                run_of.insert(place, runs.len());
                runs.push(vec![*route]);
            }
        }
        previous = Some(place);
    }
    runs
}

/// Whether all routes of a destination can move up to its first one: whatever each of them passes
/// on the way must match no request that it matches.
fn can_stand_together(
    routes: &[Route<'_>],
    own_place: Place<'_>,
    own: &[usize],
    budget: &mut usize,
) -> bool {
    let (Some(first), Some(last)) = (own.first(), own.last()) else {
        return true;
    };
    let passed = routes.get(*first..*last).unwrap_or_default();
    let own_routes = || own.iter().filter_map(|at| Some((*at, routes.get(*at)?)));
    for (at, other) in (*first..).zip(passed) {
        if place(other) == own_place {
            continue;
        }
        for (_, mine) in own_routes().filter(|(mine, _)| *mine > at) {
            let Some(left) = budget.checked_sub(1) else {
                return false;
            };
            *budget = left;
            if may_overlap(mine, other) {
                return false;
            }
        }
    }
    true
}

fn place<'a>(route: &Route<'a>) -> Place<'a> {
    (route.service.name().as_str(), route.destination.index())
}

fn path_key(path: &PathPattern) -> (PathKind, &str) {
    (path.kind(), path.text())
}

fn path_test(path: &PathPattern) -> (Test, String) {
    (Test::Path(path.kind().fetch()), path.text().to_owned())
}

fn domain_test(domain: &DomainPattern) -> Option<(Test, String)> {
    match domain {
        DomainPattern::Exact(domain) => Some((Test::Host("str"), domain.as_str().to_owned())),
        DomainPattern::Wildcard(domain) => Some((Test::Host("end"), format!(".{domain}"))),
        DomainPattern::Other(algo, text) => Some((Test::Host(algo.method()), text.to_string())),
        _ => None,
    }
}

fn lines_of(values: Vec<String>) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for value in values {
        let fits = bytes + value.len() <= MAX_VALUE_BYTES_A_LINE;
        match lines
            .last_mut()
            .filter(|line| fits && line.len() < MAX_VALUES_A_LINE)
        {
            Some(line) => {
                bytes += value.len();
                line.push(value);
            }
            None => {
                bytes = value.len();
                lines.push(vec![value]);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests;
