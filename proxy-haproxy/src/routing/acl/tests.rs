use std::sync::Arc;

use proxy_core::{Leg, Params, parse_reconfigure};

use super::*;
use crate::routing::rule::Test;

fn rules(queries: &[&str]) -> Vec<String> {
    let table: RouteTable = queries
        .iter()
        .map(|query| {
            let params = Params::from_query(query).unwrap();
            Arc::clone(&parse_reconfigure(&params).unwrap().value.service)
        })
        .collect();
    let mut backends = BTreeMap::new();
    for service in table.iter() {
        for destination in service.destinations() {
            let place = (service.name().as_str(), destination.key());
            backends.insert(place, service.name().to_string());
        }
    }
    compile(&table, &backends)
        .unwrap()
        .iter()
        .map(|rule| {
            let tests = rule.acls.iter().map(|acl| {
                let word = match &acl.test {
                    Test::Path(word) | Test::Host(word) => (*word).to_owned(),
                    other => other.words().join(" "),
                };
                format!("{}={word} {}", acl.name, acl.values.join(" "))
            });
            let tests: Vec<_> = tests.collect();
            format!(
                "{} if {} [{}]",
                rule.backend,
                rule.conditions.join(" "),
                tests.join("; ")
            )
        })
        .collect()
}

#[test]
fn what_a_destination_asks_beyond_domain_and_path_is_asked_too() {
    let query = "serviceName=a&servicePath=/a&port=80&srcPort=81&userAgent=Mobile,Safari\
        &serviceHeader=X-V:3,X-W:4&servicePathExclude=/a/x&serviceDomain=acme&serviceDomainAlgo=hdr_beg(host)";
    assert_eq!(
        rules(&[query]),
        [
            "a if url_a80 domain_a80 port_a80 agent_a80 header_a80 header_a80:2 !excluded_a80 \
             [url_a80=path_beg /a; domain_a80=beg acme; port_a80=dst_port 81; \
             agent_a80=req.fhdr(user-agent) -m sub -i Mobile Safari; \
             header_a80=req.fhdr(x-v) -m str 3; header_a80:2=req.fhdr(x-w) -m str 4; \
             excluded_a80=path_beg /a/x]"
        ]
    );
}

#[test]
fn a_destination_is_one_rule() {
    assert_eq!(
        rules(&["serviceName=a&servicePath=/a,/long/path&serviceDomain=x.com,*.y.com&port=1"]),
        [
            "a if url_a1 domain_a1 [url_a1=path_beg /long/path /a; domain_a1=end .y.com; domain_a1=str x.com]"
        ],
    );
}

/// The example of the design: /x/long before /a/b before /a and /x.
#[test]
fn services_that_interleave_are_split_only_where_they_must() {
    assert_eq!(
        rules(&[
            "serviceName=a&servicePath=/a,/x/long&port=1",
            "serviceName=b&servicePath=/a/b,/x&port=2",
        ]),
        [
            "a if url_a1 [url_a1=path_beg /x/long]",
            "b if url_b2 [url_b2=path_beg /a/b /x]",
            "a if url_a1:2 [url_a1:2=path_beg /a]",
        ],
    );
}

/// The domains keep the services apart, whatever lies between them in rank.
#[test]
fn services_that_share_no_request_stay_whole() {
    let found = rules(&[
        "serviceName=a&servicePath=/,/very/long&serviceDomain=a.com&port=1",
        "serviceName=b&servicePath=/,/long&serviceDomain=b.com&port=2",
    ]);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn long_lists_are_several_lines_of_one_acl() {
    let paths: Vec<String> = (0..100)
        .map(|number| format!("/path/{number:03}"))
        .collect();
    let query = format!("serviceName=a&port=1&servicePath={}", paths.join(","));
    let found = rules(&[&query]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].matches("url_a1=path_beg").count(), 3);
    let long = format!(
        "serviceName=a&port=1&servicePath=/{},/{}",
        "x".repeat(1000),
        "y".repeat(1000)
    );
    assert_eq!(rules(&[&long])[0].matches("url_a1=path_beg").count(), 2);
}

#[test]
fn a_value_is_no_flag() {
    let ends = |path: &str| {
        let query = format!("serviceName=a&port=1&pathType=path_end&servicePath={path}");
        let params = Params::from_query(&query).unwrap();
        let table: RouteTable = [parse_reconfigure(&params).unwrap().value.service]
            .into_iter()
            .collect();
        let backends = BTreeMap::from([(("a", (0, Leg::Plain)), "a".to_owned())]);
        compile(&table, &backends).unwrap()[0].acls[0].ends_flags
    };
    assert!(ends("-i") && ends("("));
    assert!(!ends("x-i"));
}
