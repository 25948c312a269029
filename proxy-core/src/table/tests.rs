use proptest::prelude::*;

use super::*;
use crate::{pattern::PathKind, service::DestinationSpec};

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
fn equals_are_told_apart_by_acl_name_then_service() {
    let table: RouteTable = [service("b", &[], &["/x"]), service("a", &[], &["/x"])]
        .into_iter()
        .collect();
    assert_eq!(winner(&table, None, "/x").as_deref(), Some("a"));
    let rivals = table.rivals(&service("a", &[], &["/x", "/y"]));
    assert_eq!(rivals.len(), 1);
    assert_eq!(rivals[0].1.as_str(), "b");
}

#[test]
fn a_removed_service_leaves_no_claim_behind() {
    let a = service("a", &["acme.com"], &["/x"]);
    let table = RouteTable::new().with(&Change::Put(Arc::clone(&a)));
    let table = table.with(&Change::Remove(a.name().clone()));
    assert!(table.is_empty() && table.claims.is_empty() && table.acl_names.is_empty());
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

proptest! {
    /// The first match in rank order is what `resolve` says: the law the ACL form is built on.
    #[test]
    fn resolve_is_the_first_match_in_rank_order(
        shapes in proptest::collection::vec(("[a-d]", "[xy]?", "(/[ab]{0,2}){1,3}"), 1..20),
        host in "[xy]?",
        path in "(/[ab]{0,2}){1,4}",
    ) {
        let table: RouteTable = shapes
            .iter()
            .map(|(name, domain, path)| {
                let domains: Vec<&str> = Some(domain.as_str()).filter(|d| !d.is_empty()).into_iter().collect();
                service(name, &domains, &[path])
            })
            .collect();
        let head = RequestHead::new(Some(host.as_bytes()), path.as_bytes());
        let first = table.routes_by_rank().into_iter().find(|r| r.matches(&head));
        let resolved = table.resolve(&head);
        prop_assert_eq!(
            first.map(|r| r.service.name().clone()),
            resolved.map(|r| r.service.name().clone())
        );
    }
}
