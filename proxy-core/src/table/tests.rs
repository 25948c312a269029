use proptest::prelude::*;

use super::*;
use crate::{
    condition::HeaderMatch, destination::DestinationSpec, domain::DomainComparison, path::PathKind,
};

fn service(name: &str, domains: &[&str], paths: &[&str]) -> Arc<Service> {
    let mut spec = DestinationSpec::new("80".parse().unwrap());
    spec.domains = domains.iter().map(|d| d.parse().unwrap()).collect();
    spec.paths = paths
        .iter()
        .map(|p| PathPattern::new(PathKind::Prefix, p).unwrap())
        .collect();
    Arc::new(Service::new(name.parse().unwrap(), None, None, vec![spec]).unwrap())
}

fn winner(table: &RouteTable, host: Option<&str>, path: &str) -> Option<String> {
    let head = RequestHead::new(host.map(str::as_bytes), path.as_bytes());
    table.resolve(&head).map(|m| m.service.name().to_string())
}

#[test]
fn the_most_specific_route_wins() {
    let table: RouteTable = [
        service("root", &[], &["/"]),
        service("a", &[], &["/a", "/x/long"]),
        service("b", &[], &["/a/b", "/x"]),
        service("exact", &["acme.com"], &["/"]),
        service("wild", &["*.acme.com"], &["/"]),
        service("deep", &["*.eu.acme.com"], &["/"]),
    ]
    .into_iter()
    .collect();
    for (host, path, expected) in [
        (None, "/", "root"),
        (None, "/a/c", "a"),
        (None, "/a/bc", "b"),
        (None, "/x/longer", "a"),
        (None, "/x/l", "b"),
        (Some("acme.com"), "/a", "exact"),
        (Some("www.acme.com:80"), "/a", "wild"),
        (Some("x.eu.acme.com"), "/a", "deep"),
        (Some("acme.com.evil.tld"), "/a", "a"),
    ] {
        assert_eq!(
            winner(&table, host, path).as_deref(),
            Some(expected),
            "{host:?} {path}"
        );
    }
}

#[test]
fn the_order_by_acl_name_is_docker_flow_proxys() {
    let named = |name: &str, acl: &str, paths: &[&str]| {
        let service = service(name, &[], paths);
        let specs = service.destinations().iter().map(|d| {
            let mut spec = DestinationSpec::new(d.port().unwrap());
            spec.paths = d.paths().to_vec();
            spec
        });
        let acl = Some(acl.parse().unwrap());
        Arc::new(Service::new(name.parse().unwrap(), acl, None, specs.collect()).unwrap())
    };
    let table: RouteTable = [
        // A path that is exactly / is last, whatever else the service has and is called.
        named("root", "a", &["/", "/api/long"]),
        named("long", "m", &["/api/long"]),
        named("short", "b", &["/api"]),
        named("upper", "B", &["/api"]),
        named("known", "z", &["/.WELL-known/acme", "/api"]),
        named("both", "y", &["/.well-known", "/"]),
    ]
    .into_iter()
    .collect();
    let order = |path: &str| {
        let table = table.in_order(RouteOrder::AclName);
        let told = table.explain(&RequestHead::new(None, path.as_bytes()));
        let runners_up = told.runners_up.iter().map(|(route, _)| *route);
        let routes = told.winner.into_iter().chain(runners_up);
        let mut names: Vec<_> = routes.map(|r| r.service.name().to_string()).collect();
        names.dedup();
        assert_eq!(winner(&table, None, path), names.first().cloned());
        names
    };
    assert_eq!(
        order("/api/long"),
        ["known", "both", "upper", "short", "long", "root"]
    );
    assert_eq!(order("/other"), ["both", "root"]);
    // Equal claims: the warning is about who comes first in this order.
    let outcome = |order| {
        table
            .in_order(order)
            .rivals(&named("x", "c", &["/api"]), 10)[0]
            .outcome
    };
    assert_eq!(outcome(RouteOrder::Specific), ConflictOutcome::Hidden);
    let late = table.in_order(RouteOrder::AclName);
    let early = named("x", "0", &["/api"]);
    let outcomes = late
        .rivals(&early, 10)
        .into_iter()
        .map(|rival| (rival.other, rival.outcome));
    for (other, outcome) in outcomes {
        let hidden = other.as_str() == "known";
        assert_eq!(outcome == ConflictOutcome::Hidden, hidden, "{other}");
    }
}

#[test]
fn equals_are_told_apart_by_acl_name_then_service() {
    let table: RouteTable = [service("b", &[], &["/x"]), service("a", &[], &["/x"])]
        .into_iter()
        .collect();
    assert_eq!(winner(&table, None, "/x").as_deref(), Some("a"));
    let rivals = table.rivals(&service("a", &[], &["/x", "/y"]), 10);
    assert_eq!(rivals.len(), 1);
    assert_eq!(rivals[0].other.as_str(), "b");
}

#[test]
fn a_removed_service_leaves_no_claim_behind() {
    let a = service("a", &["acme.com"], &["/x"]);
    let table = RouteTable::new().with(&Change::Put(Arc::clone(&a)));
    let table = table.with(&Change::Remove(a.name().clone()));
    assert!(table.is_empty() && table.index.is_empty() && table.acl_names.is_empty());
}

#[test]
fn the_changes_between_two_tables_make_one_out_of_the_other() {
    let older: RouteTable = [service("a", &[], &["/a"]), service("b", &[], &["/b"])]
        .into_iter()
        .collect();
    let newer = older
        .with(&Change::Remove("a".parse().unwrap()))
        .with(&Change::Put(service("b", &[], &["/c"])))
        .with(&Change::Put(service("c", &[], &["/d"])));
    let changes = newer.changes_since(&older);
    assert_eq!(changes.len(), 3);
    let mut made = older;
    changes.iter().for_each(|change| made.apply(change));
    assert_eq!(made, newer);
}

/// One service with everything that decides a route, small enough that routes meet.
fn any_service() -> impl Strategy<Value = Service> {
    let kind = prop_oneof![
        4 => Just(PathKind::Prefix),
        2 => Just(PathKind::Exact),
        1 => Just(PathKind::Suffix),
        1 => Just(PathKind::Substring),
        1 => Just(PathKind::Dir),
        1 => Just(PathKind::Regex),
    ];
    let algo = prop_oneof![
        4 => Just("hdr(host)"),
        1 => Just("hdr_beg(host)"),
        1 => Just("hdr_end(host)"),
        1 => Just("hdr_sub(host)"),
        1 => Just("hdr_dom(host)"),
    ];
    let path = "(/[ab]{0,2}){1,3}";
    let destination = (
        proptest::option::weighted(0.2, 80_u16..82),
        algo,
        proptest::collection::vec("([ab]\\.){0,2}[ab]", 0..3),
        any::<bool>(),
        kind,
        proptest::collection::vec(path, 1..4),
        proptest::collection::vec(path, 0..2),
        proptest::option::weighted(0.2, "[12]"),
    );
    let destinations = proptest::collection::vec(destination, 1..3);
    ("[a-d]{1,2}", destinations).prop_map(|(name, destinations)| {
        let specs = destinations.into_iter().enumerate().map(|(index, parts)| {
            let (port, algo, domains, wild, kind, paths, excluded, version) = parts;
            let comparison: DomainComparison = algo.parse().unwrap();
            let star = if wild && comparison == DomainComparison::Whole {
                "*."
            } else {
                ""
            };
            let path = |text: &String| PathPattern::new(kind, text);
            let mut spec = DestinationSpec::new("80".parse().unwrap());
            spec.index = u16::try_from(index).unwrap();
            spec.entry_port = port.and_then(Port::new);
            let domain = |text: &String| DomainPattern::new(comparison, &format!("{star}{text}"));
            spec.domains = domains.iter().map(|text| domain(text).unwrap()).collect();
            spec.paths = paths.iter().flat_map(path).collect();
            spec.excluded_paths = excluded.iter().flat_map(path).collect();
            let header = |version: String| format!("x-v:{version}").parse::<HeaderMatch>().unwrap();
            spec.headers = version.map(header).into_iter().collect();
            spec
        });
        Service::new(name.parse().unwrap(), None, None, specs.collect()).unwrap()
    })
}

fn any_request() -> impl Strategy<Value = RequestHead> {
    let parts = (
        proptest::option::of(80_u16..82),
        proptest::option::of("([ab]\\.){0,3}[ab]"),
        "(/[ab]{0,2}){1,4}",
        proptest::option::of("[12]"),
    );
    parts.prop_map(|(port, host, path, version)| {
        let mut head = RequestHead::new(host.as_deref().map(str::as_bytes), path.as_bytes());
        head.entry_port = port.and_then(Port::new);
        match version {
            Some(version) => head.with_header("X-V", version.as_bytes()),
            None => head,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The index answers as the rule says: the matching route of least rank. It is built step by
    /// step, with services replaced and removed on the way.
    #[test]
    fn resolve_is_the_matching_route_of_least_rank(
        services in proptest::collection::vec(any_service(), 1..12),
        removed in "[a-d]",
        requests in proptest::collection::vec(any_request(), 1..12),
    ) {
        let table: RouteTable = services.into_iter().map(Arc::new).collect();
        let table = table.with(&Change::Remove(removed.parse().unwrap()));
        let tables = [RouteOrder::Specific, RouteOrder::AclName].map(|order| table.in_order(order));
        for (table, request) in tables.iter().flat_map(|t| requests.iter().map(move |r| (t, r))) {
            let by_rule = table.routes_by_rank().into_iter().find(|r| r.matches(request));
            let found = table.resolve(request);
            prop_assert_eq!(
                by_rule.map(|r| (r.service.name().clone(), r.destination.index())),
                found.map(|r| (r.service.name().clone(), r.destination.index())),
                "{:?} in {:?}", request, table
            );
            if let Some(found) = found {
                prop_assert!(found.route.matches(request), "{:?}", found.route);
            }
        }
    }
}

#[test]
fn a_default_backend_takes_what_no_route_takes() {
    let service = |query: &str| {
        let params = crate::Params::from_query(query).unwrap();
        crate::parse_reconfigure(&params).unwrap().value.service
    };
    let mut table: RouteTable = [
        "serviceName=b&port=1&servicePath=/b&serviceHeader=x:1&srcPort=81&isDefaultBackend=true",
        "serviceName=c&port=1&servicePath=/c&isDefaultBackend=true",
        "serviceName=d&port=1&servicePath=/d",
    ]
    .into_iter()
    .map(service)
    .collect();
    let to = |table: &RouteTable, path: &[u8]| {
        let found = table.resolve(&RequestHead::new(None, path))?;
        Some(found.service.name().to_string())
    };
    for order in [RouteOrder::Specific, RouteOrder::AclName] {
        let table = table.in_order(order);
        assert_eq!(to(&table, b"/d").as_deref(), Some("d"));
        assert_eq!(to(&table, b"/c").as_deref(), Some("c"));
        assert_eq!(to(&table, b"/x").as_deref(), Some("b"));
        assert_eq!(to(&table, b"*").as_deref(), Some("b"));
        let told = table.explain(&RequestHead::new(None, b"/x"));
        assert!(told.winner.unwrap().is_default());
    }
    let c = table.get(&"c".parse().unwrap()).unwrap();
    let rivals = table.rivals(c, 10);
    assert_eq!(rivals.len(), 1);
    assert_eq!(rivals[0].outcome, ConflictOutcome::Hidden);
    assert_eq!(rivals[0].claim.to_string(), "all that no route takes");
    table.apply(&Change::Remove("b".parse().unwrap()));
    assert_eq!(to(&table, b"/x").as_deref(), Some("c"));
    table.apply(&Change::Put(service("serviceName=c&port=1&servicePath=/c")));
    assert_eq!(to(&table, b"/x"), None);
}
