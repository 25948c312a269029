//! Why a request goes where it goes.

use std::{fmt, sync::Arc};

use crate::{
    condition::HeaderMatch,
    name::ServiceName,
    path::PathPattern,
    route::{Criterion, RequestHead, Route},
    service::Service,
    table::RouteTable,
};

/// The most runners-up, and the most misses, that an explanation lists.
pub const MAX_EXPLAINED: usize = 100;

/// Where a request goes, and why nowhere else.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation<'a> {
    /// The route that the request takes; none: 404.
    pub winner: Option<Route<'a>>,
    /// Routes that would take the request if those before them were not there, in the order in
    /// which they would.
    pub runners_up: Vec<(Route<'a>, Lost)>,
    /// Routes for a path that matches, which want something else that the request lacks.
    pub misses: Vec<(Route<'a>, Missed)>,
    /// Services whose templates have lines for the frontend, in order. HAProxy asks those before all routes,
    /// and they are not read here: the request may go where they say.
    pub asked_before: Vec<&'a ServiceName>,
    /// How many more runners-up and misses there are than [`MAX_EXPLAINED`] of each.
    pub left_out: usize,
}

/// By what a route that matches lost against the winner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The first criterion by which the two differ.
    pub by: Criterion,
}

/// What a request lacks for a route whose path it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missed {
    /// It came in on another port.
    EntryPort,
    /// It is for another domain, or for none.
    Domain,
    /// Its path is one that the route leaves out.
    ExcludedPath(PathPattern),
    /// Its User-Agent header holds none of those that are wanted.
    UserAgent,
    /// It lacks a header.
    Header(HeaderMatch),
}

impl RouteTable {
    /// Why a request goes where it goes. Looks at every route, so it is for people and not for
    /// traffic.
    #[must_use]
    pub fn explain(&self, request: &RequestHead) -> Explanation<'_> {
        let mut matching = Vec::new();
        let mut misses = Vec::new();
        for route in self.routes_by_rank() {
            if !route.path.matches(&request.path) {
                continue;
            }
            match missed(&route, request) {
                None => matching.push(route),
                Some(why) => misses.push((route, why)),
            }
        }
        let mut matching = matching.into_iter();
        let winner = matching.next().or_else(|| self.default_route());
        let mut runners_up: Vec<_> = winner
            .into_iter()
            .flat_map(|winner| {
                let order = self.order();
                let lost = move |route: Route<'_>| Lost {
                    by: winner.rank(order).criterion(&route.rank(order)),
                };
                matching
                    .by_ref()
                    .map(move |route| (route, lost(route)))
                    .collect::<Vec<_>>()
            })
            .collect();
        let beyond = |count: usize| count.saturating_sub(MAX_EXPLAINED);
        let with_lines = |service: &&Arc<Service>| service.options().templates.frontend.is_some();
        let asked_before = self
            .iter()
            .filter(with_lines)
            .map(|service| service.name())
            .collect();
        let left_out = beyond(runners_up.len()) + beyond(misses.len());
        runners_up.truncate(MAX_EXPLAINED);
        misses.truncate(MAX_EXPLAINED);
        Explanation {
            winner,
            runners_up,
            misses,
            asked_before,
            left_out,
        }
    }
}

/// What a request lacks for a route whose path it matches; none where it lacks nothing.
fn missed(route: &Route<'_>, request: &RequestHead) -> Option<Missed> {
    let destination = route.destination;
    if destination.entry_port().is_some() && destination.entry_port() != request.entry_port {
        return Some(Missed::EntryPort);
    }
    let host = request.host.as_deref();
    if let Some(domain) = route.domain
        && !host.is_some_and(|host| domain.matches(host))
    {
        return Some(Missed::Domain);
    }
    let mut excluded = destination.excluded_paths().iter();
    if let Some(path) = excluded.find(|path| path.matches(&request.path)) {
        return Some(Missed::ExcludedPath(path.clone()));
    }
    if let Some(header) = destination.missing_header(request) {
        return Some(Missed::Header(header.clone()));
    }
    // Nothing else is left that it could lack.
    (!destination.admits(request)).then_some(Missed::UserAgent)
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by {
            Criterion::Class => {
                "by aclName: a service with a path below /.well-known comes first, one with / last"
            }
            Criterion::EntryPort => "the winner is bound to the entry port",
            Criterion::Domain => "the winner's domain is more specific",
            Criterion::Path => "the winner's path is more specific",
            Criterion::Conditions => "the winner has more conditions",
            Criterion::AclName => "the winner's aclName comes first",
            Criterion::Index => "equal, and the winner's destination comes first",
        })
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryPort => f.write_str("it is for another entry port"),
            Self::Domain => f.write_str("it is for another domain"),
            Self::ExcludedPath(path) => write!(f, "it leaves out {path}"),
            Self::UserAgent => f.write_str("it is for another user agent"),
            Self::Header(header) => write!(f, "it wants the header {header}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Params, ReconfigureRules, TemplateSource, TemplateSources, parse_reconfigure,
        parse_reconfigure_with,
    };

    fn table(queries: &[&str]) -> RouteTable {
        let service = |query: &&str| {
            let params = Params::from_query(query).unwrap();
            parse_reconfigure(&params).unwrap().value.service
        };
        queries.iter().map(service).collect()
    }

    #[test]
    fn in_the_order_by_acl_name_names_are_why() {
        let table = table(&[
            "serviceName=root&aclName=a&servicePath=/&port=80",
            "serviceName=long&aclName=m&servicePath=/api/v1&port=80",
            "serviceName=short&aclName=b&servicePath=/api&port=80",
            "serviceName=known&aclName=z&servicePath=/,/.Well-Known/x&port=80",
        ]);
        let table = table.in_order(crate::RouteOrder::AclName);
        let told = table.explain(&RequestHead::new(None, b"/api/v1/x"));
        assert_eq!(told.winner.unwrap().service.name().as_str(), "known");
        let lost: Vec<_> = told
            .runners_up
            .iter()
            .map(|(r, why)| (r.service.name().as_str(), why.by))
            .collect();
        let class = Criterion::Class;
        assert_eq!(lost, [("short", class), ("long", class), ("root", class)]);
    }

    #[test]
    fn services_with_lines_of_their_own_in_the_frontend_are_named() {
        let text = || TemplateSource::Text("use_backend {{ backend }} if TRUE".to_owned());
        let sources = TemplateSources::new(text(), text());
        let rules = ReconfigureRules::default().with_templates(sources);
        let service = |query: &str| {
            let params = Params::from_query(query).unwrap();
            parse_reconfigure_with(&params, &rules)
                .unwrap()
                .value
                .service
        };
        let mut services = vec![
            service("serviceName=none&servicePath=/&port=80"),
            service("serviceName=servers&servicePath=/s&templateBePath=be"),
            service("serviceName=z&port=80&templateFePath=fe"),
            service("serviceName=a&servicePath=/a&port=80&templateFePath=fe"),
        ];
        let table: RouteTable = services.iter().cloned().collect();
        let told = table.explain(&RequestHead::new(None, b"/x"));
        let names: Vec<_> = told.asked_before.iter().map(|name| name.as_str()).collect();
        assert_eq!((names, told.left_out), (vec!["a", "z"], 0));
        assert_eq!(told.winner.unwrap().service.name().as_str(), "none");
        for number in 0..MAX_EXPLAINED {
            let query = format!("serviceName=b{number}&port=80&templateFePath=fe");
            services.push(service(&query));
        }
        let table: RouteTable = services.into_iter().collect();
        let told = table.explain(&RequestHead::new(None, b"/x"));
        // No line is spent on them, so all are named.
        assert_eq!(
            (told.asked_before.len(), told.left_out),
            (MAX_EXPLAINED + 2, 0)
        );
    }

    #[test]
    fn every_loser_is_told_why() {
        let table = table(&[
            "serviceName=root&servicePath=/&port=80",
            "serviceName=api&servicePath=/api&port=80",
            "serviceName=rival&servicePath=/api&port=80",
            "serviceName=acme&servicePath=/&port=80&serviceDomain=acme.com",
            "serviceName=beta&servicePath=/api&port=80&serviceHeader=X-Beta:1",
            "serviceName=port&servicePath=/api&port=80&srcPort=81",
            "serviceName=rest&servicePath=/&port=80&servicePathExclude=/api",
            "serviceName=other&servicePath=/b&port=80",
        ]);
        let told = table.explain(&RequestHead::new(None, b"/api/x"));
        assert_eq!(told.winner.unwrap().service.name().as_str(), "api");
        let lost: Vec<_> = told
            .runners_up
            .iter()
            .map(|(r, why)| (r.service.name().as_str(), why.by))
            .collect();
        assert_eq!(
            lost,
            [("rival", Criterion::AclName), ("root", Criterion::Path)]
        );
        let missed: Vec<_> = told
            .misses
            .iter()
            .map(|(r, why)| format!("{}: {why}", r.service.name()))
            .collect();
        assert_eq!(
            missed,
            [
                "port: it is for another entry port",
                "acme: it is for another domain",
                "beta: it wants the header x-beta:1",
                "rest: it leaves out path_beg /api",
            ]
        );
        assert!(
            table
                .explain(&RequestHead::new(None, b"/api"))
                .winner
                .is_some()
        );
        assert!(
            RouteTable::new()
                .explain(&RequestHead::new(None, b"/"))
                .winner
                .is_none()
        );
    }
}
