use std::sync::Arc;

use proptest::{prelude::*, sample::subsequence};
use proxy_core::{Params, parse_reconfigure};

use super::*;
use crate::{Routing, RunPath, render};

fn settings() -> RenderSettings {
    RenderSettings::new(RunPath::new("/r").unwrap()).with_routing(Routing::Map)
}

fn put(query: &str) -> Change {
    let params = Params::from_query(query).unwrap();
    Change::Put(parse_reconfigure(&params).unwrap().value.service)
}

/// One service of few, so that they often claim the same; most versions differ in their routes alone.
fn change() -> impl Strategy<Value = Change> {
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/b", "/%7E;x"].to_vec();
    let domains = ["acme.com", "www.acme.com", "*.acme.com", "*.x.acme.com"].to_vec();
    let rare = |words: &'static [&'static str]| prop_oneof![9 => Just(""), 1 => proptest::sample::select(words)];
    (
        proptest::sample::select(&["s1", "s2", "s3", "s4"][..]),
        subsequence(paths, 1..4),
        prop_oneof![2 => Just(Vec::new()), 1 => subsequence(domains, 1..3)],
        proptest::sample::select(&["", "&pathType=path"][..]),
        rare(&[
            "&srcPort=81",
            "&serviceHeader=x-a:1",
            "&servicePathExclude=/a/b",
        ]),
        rare(&[
            "&aclName=s1",
            "&aclName=zz",
            "&pathType=path_end",
            "&outboundHostname=h",
            "&addReqHeader=X-A%20a",
            "&deniedMethods=PUT",
            "&backendExtra=retries%202",
        ]),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(name, paths, domains, kind, one, other, gone)| {
            if gone {
                return Change::Remove(name.parse().unwrap());
            }
            let kind = if other.contains("pathType") { "" } else { kind };
            let domains = match domains.as_slice() {
                [] => String::new(),
                some => format!("&serviceDomain={}", some.join(",")),
            };
            let paths = paths.join(",").replace('%', "%25").replace(';', "%3B");
            put(&format!(
                "serviceName={name}&servicePath={paths}&port=80{domains}{kind}{one}{other}"
            ))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever came before, a table is rendered as if it were the first.
    #[test]
    fn what_is_followed_is_what_is_rendered(changes in prop::collection::vec(change(), 1..20)) {
        let mut renderer = Renderer::new(settings());
        let mut table = RouteTable::new();
        let book = AddressBook::new();
        for change in changes {
            table.apply(&change);
            let followed = renderer.render(&table, None, &book).unwrap();
            let anew = render(&table, &settings(), &book).unwrap();
            prop_assert_eq!(followed.map_text(), anew.map_text(), "after {:?}", change);
            prop_assert_eq!(followed, anew, "after {:?}", change);
        }
    }
}

/// Whether HAProxy's own text was taken over from the rendering before.
fn is_followed(renderer: &mut Renderer, table: &mut RouteTable, query: &str) -> bool {
    let book = AddressBook::new();
    let before = renderer.render(table, None, &book).unwrap();
    table.apply(&put(query));
    let after = renderer.render(table, None, &book).unwrap();
    assert_eq!(after, render(table, &settings(), &book).unwrap());
    Arc::ptr_eq(&before.shared_main_text(), &after.shared_main_text())
}

#[test]
fn only_a_change_of_the_map_alone_is_followed() {
    let mut renderer = Renderer::new(settings());
    let mut table = RouteTable::new();
    for query in [
        "serviceName=a&servicePath=/a&port=80",
        "serviceName=b&servicePath=/b&port=80&serviceDomain=b.com",
        "serviceName=rule&servicePath=/r&port=80&serviceHeader=x:1",
    ] {
        assert!(!is_followed(&mut renderer, &mut table, query), "{query}");
    }
    let mut followed = |query| is_followed(&mut renderer, &mut table, query);
    assert!(followed("serviceName=a&servicePath=/a,/more&port=80"));
    assert!(followed(
        "serviceName=a&servicePath=/b&port=80&serviceDomain=b.com"
    ));
    assert!(followed(
        "serviceName=b&servicePath=/b&port=80&serviceDomain=c.com"
    ));
    assert!(!followed(
        "serviceName=b&servicePath=/b&port=81&serviceDomain=c.com"
    ));
    assert!(!followed(
        "serviceName=b&servicePath=/b&port=81&serviceDomain=*.c.com"
    ));
    assert!(!followed(
        "serviceName=b&servicePath=/b&port=81&serviceHeader=y:1"
    ));
    assert!(!followed(
        "serviceName=a&servicePath=/b&port=80&serviceDomain=b.com&setResHeader=X%20y"
    ));
    assert!(followed(
        "serviceName=a&servicePath=/c&port=80&serviceDomain=b.com&setResHeader=X%20y"
    ));
}

#[test]
fn settings_and_addresses_are_rendered_anew() {
    let mut renderer = Renderer::new(settings().with_routing(Routing::Auto));
    let queries = (0..6).map(|n| put(&format!("serviceName=s{n}&servicePath=/{n}&port=80")));
    let mut table = RouteTable::new();
    queries.for_each(|change| table.apply(&change));
    let mut book = AddressBook::new();
    let config = renderer.render(&table, None, &book).unwrap();
    assert_eq!(config.form(), RoutingForm::Map);
    book.insert(
        "s1".parse().unwrap(),
        crate::Resolution::System {
            address: [10, 0, 0, 1].into(),
        },
    );
    let config = renderer
        .render(&table, Some(RoutingForm::Map), &book)
        .unwrap();
    assert!(config.main_text().contains("server s1 10.0.0.1:80"));

    table.apply(&Change::Remove("s1".parse().unwrap()));
    table.apply(&Change::Remove("s2".parse().unwrap()));
    let mut form = |in_use| renderer.render(&table, in_use, &book).unwrap().form();
    assert_eq!(form(Some(RoutingForm::Map)), RoutingForm::Map);
    assert_eq!(form(None), RoutingForm::Acl);
    assert_eq!(form(Some(RoutingForm::Map)), RoutingForm::Map);
}
