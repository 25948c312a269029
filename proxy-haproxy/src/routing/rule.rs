//! One `use_backend` line and the ACLs it names, for both forms.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use proxy_core::{Destination, DomainPattern, Leg, PathKind, PathPattern, Route, ServiceName};
use serde::Serialize;

use crate::expression::Expression;

/// HAProxy reads at most 64 words a line.
const MAX_VALUES_A_LINE: usize = 40;
/// Keeps lines readable; HAProxy takes longer ones.
const MAX_VALUE_BYTES_A_LINE: usize = 1024;

/// One `use_backend` with the ACLs that are not declared before it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rule {
    pub(crate) acls: Vec<AclLine>,
    pub(crate) backend: String,
    #[serde(serialize_with = "expressions")]
    pub(crate) conditions: Vec<String>,
    /// In the map form: the rule is meant where more rules than this rank before the map's hit.
    pub(crate) guard: Option<usize>,
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

/// Where a destination stands in the table: its service, and what tells it from others there.
pub(crate) type Place<'a> = (&'a str, (u16, Leg));

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

/// The ACLs of a frontend, by what was wanted of them.
#[derive(Debug, Default)]
pub(super) struct Acls {
    names: Names,
    declared: BTreeMap<(String, Vec<(Test, String)>), String>,
}

// === impl Rule ===

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

// === impl Test ===

impl Test {
    /// The words of the comparison (configuration manual, sections 7.1.3 and 7.3).
    pub(super) fn words(&self) -> Vec<Cow<'_, str>> {
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
        expressions(&self.words(), to)
    }
}

fn expressions<S: serde::Serializer>(texts: &[impl AsRef<str>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(texts.iter().map(|text| Expression::from(text.as_ref())))
}

// === impl Names ===

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

// === impl Acls ===

impl Acls {
    /// The rules of routes of one destination that are alternatives to each other.
    ///
    /// # Errors
    /// When a route has a domain pattern that this crate does not know: leaving the condition out
    /// would send other domains' requests there.
    pub(super) fn rules(
        &mut self,
        run: &[Route<'_>],
        backend: &str,
    ) -> Result<Vec<Rule>, UnknownDomain> {
        let Some(first) = run.first() else {
            return Ok(Vec::new());
        };
        // Paths with the same domains stand together; that is all of them unless the run is a part
        // of a destination.
        let mut domains_of: BTreeMap<(PathKind, &str), Vec<Option<&DomainPattern>>> =
            BTreeMap::new();
        for route in run {
            domains_of
                .entry(path_key(route.path))
                .or_default()
                .push(route.domain);
        }
        let mut groups: Vec<(Vec<Option<&DomainPattern>>, Vec<&PathPattern>)> = Vec::new();
        for route in run {
            let Some(domains) = domains_of.remove(&path_key(route.path)) else {
                continue;
            };
            match groups.iter_mut().find(|(known, _)| *known == domains) {
                Some((_, paths)) => paths.push(route.path),
                None => groups.push((domains, vec![route.path])),
            }
        }
        let object = first.service.object_name(first.destination, "");
        let mut rules = Vec::new();
        for (domains, paths) in groups {
            let mut rule = Rule {
                acls: Vec::new(),
                backend: backend.to_owned(),
                conditions: Vec::new(),
                guard: None,
            };
            let tests = paths.into_iter().map(path_test).collect();
            rule.require(self, format!("url_{object}"), tests, Sense::Holds);
            if !domains.contains(&None) {
                let tests = domains
                    .into_iter()
                    .flatten()
                    .map(|domain| {
                        domain_test(domain).ok_or_else(|| UnknownDomain::of(first, domain))
                    })
                    .collect::<Result<_, _>>()?;
                rule.require(self, format!("domain_{object}"), tests, Sense::Holds);
            }
            rule.require_conditions(self, first.destination, &object);
            rules.push(rule);
        }
        Ok(rules)
    }
}

// === impl UnknownDomain ===

impl UnknownDomain {
    pub(super) fn of(route: &Route<'_>, domain: &DomainPattern) -> Self {
        Self {
            service: route.service.name().clone(),
            domain: domain.to_string(),
        }
    }
}

pub(crate) fn place<'a>(route: &Route<'a>) -> Place<'a> {
    (route.service.name().as_str(), route.destination.key())
}

fn path_key(path: &PathPattern) -> (PathKind, &str) {
    (path.kind(), path.text())
}

fn path_test(path: &PathPattern) -> (Test, String) {
    (Test::Path(path.kind().fetch()), path.text().to_owned())
}

fn domain_test(domain: &DomainPattern) -> Option<(Test, String)> {
    let (method, value) = host_match(domain)?;
    Some((Test::Host(method), value))
}

/// HAProxy's match method for a host in its normal form, and what it is held against; none where this
/// crate does not know the pattern.
pub(super) fn host_match(domain: &DomainPattern) -> Option<(&'static str, String)> {
    match domain {
        DomainPattern::Exact(domain) => Some(("str", domain.as_str().to_owned())),
        DomainPattern::Wildcard(domain) => Some(("end", format!(".{domain}"))),
        DomainPattern::Other(algo, text) => Some((algo.method(), text.to_string())),
        _ => None,
    }
}

pub(super) fn lines_of(values: Vec<String>) -> Vec<Vec<String>> {
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
