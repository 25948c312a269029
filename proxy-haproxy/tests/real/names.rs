//! Names that HAProxy follows: they appear, move, fall silent and are denied.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use proxy_core::Host;
use proxy_haproxy::{AddressBook, NameResolver, RenderedConfig, Resolution, render};
use testkit::{
    dns::{Fault, TestDns},
    haproxy::DemoBackend,
};

use crate::bench::{Bench, equal, eventually, table};

fn at_name(name: &str, path: &str, port: u16) -> String {
    format!("serviceName={name}&servicePath={path}&port={port}")
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn rendered(
    bench: &Bench,
    dns: &TestDns,
    queries: &[String],
    book: &AddressBook,
) -> RenderedConfig {
    let settings = bench
        .render_settings()
        .with_nameservers(vec![dns.address()]);
    render(&table(queries), &settings, book).unwrap()
}

async fn answer(bench: &Bench, path: &str) -> (u16, String) {
    let answer = bench.get(path).await;
    (answer.status, answer.body)
}

fn is(body: &str) -> (u16, String) {
    (200, body.to_owned())
}

#[tokio::test]
async fn a_name_that_appears_goes_live_and_one_that_moves_is_followed() {
    let bench = Bench::new();
    let dns = TestDns::start().await.unwrap();
    let one = DemoBackend::start("one").await.unwrap();
    let port = one.address().port();
    let two = DemoBackend::start_at(SocketAddr::from(([127, 0, 0, 2], port)), "two")
        .await
        .unwrap();
    assert_eq!(two.address().port(), port);
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let query = at_name("Stack_late", "/late", port);
    let config = rendered(&bench, &dns, &[query], &AddressBook::new());
    applier.apply(&config).await.unwrap();

    let begun = Instant::now();
    assert_eq!(answer(&bench, "/late").await.0, 503);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    dns.set("Stack_late", [ip("127.0.0.1")]);
    eventually("live", async || {
        equal(answer(&bench, "/late").await, is("one"))
    })
    .await;
    dns.set("Stack_late", [ip("127.0.0.2")]);
    eventually("moved", async || {
        equal(answer(&bench, "/late").await, is("two"))
    })
    .await;
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_name_with_only_an_ipv6_address_goes_live() {
    let bench = Bench::new();
    let dns = TestDns::start().await.unwrap();
    let six = DemoBackend::start_at("[::1]:0".parse().unwrap(), "six")
        .await
        .unwrap();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let queries = [
        at_name("six", "/name", six.address().port()),
        crate::bench::at("literal", "/literal", six.address()),
    ];
    applier
        .apply(&rendered(&bench, &dns, &queries, &AddressBook::new()))
        .await
        .unwrap();
    assert_eq!(answer(&bench, "/literal").await, is("six"));
    dns.set("six", [ip("::1")]);
    eventually("live", async || {
        equal(answer(&bench, "/name").await, is("six"))
    })
    .await;
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// HAProxy's own holds are 30 seconds, so this takes longer than that.
#[tokio::test]
async fn dns_that_is_silent_or_denies_takes_no_healthy_server_down() {
    let bench = Bench::new();
    let dns = TestDns::start().await.unwrap();
    let demo = DemoBackend::start("demo").await.unwrap();
    let names = ["silent", "denied", "refused", "failed", "empty"];
    for name in names {
        dns.set(name, [ip("127.0.0.1")]);
    }
    let hosts: BTreeSet<Host> = names.iter().map(|name| name.parse().unwrap()).collect();
    let resolver = NameResolver::new(vec![dns.address()], vec![]).unwrap();
    let previous = AddressBook::new();
    let book = resolver
        .resolve_all(&hosts, Duration::from_secs(5), &previous)
        .await;
    assert_eq!(
        book.get(&names[0].parse().unwrap()),
        Resolution::Dns {
            last: Some(ip("127.0.0.1"))
        }
    );
    let queries = names.map(|name| at_name(name, &format!("/{name}"), demo.address().port()));
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    applier
        .apply(&rendered(&bench, &dns, &queries, &book))
        .await
        .unwrap();
    for name in names {
        assert_eq!(
            answer(&bench, &format!("/{name}")).await,
            is("demo"),
            "{name}"
        );
    }
    let asked: Vec<u64> = names.iter().map(|name| dns.queries(name)).collect();
    eventually("HAProxy asks for each name", async || {
        let now: Vec<u64> = names.iter().map(|name| dns.queries(name)).collect();
        equal(now.iter().zip(&asked).all(|(now, asked)| now > asked), true)
    })
    .await;

    let faults = [
        Fault::Silent,
        Fault::NxDomain,
        Fault::Refused,
        Fault::ServFail,
        Fault::Empty,
    ];
    for (name, fault) in names.iter().zip(faults) {
        dns.fault(name, fault);
    }
    let until = Instant::now() + Duration::from_secs(40);
    while Instant::now() < until {
        for name in names {
            assert_eq!(
                answer(&bench, &format!("/{name}")).await,
                is("demo"),
                "{name}"
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // A reload in the middle of it, with the addresses that were kept.
    let kept = resolver
        .resolve_all(&hosts, Duration::from_secs(2), &book)
        .await;
    let queries: Vec<String> = queries
        .into_iter()
        .chain([at_name("more", "/more", 1)])
        .collect();
    applier
        .apply(&rendered(&bench, &dns, &queries, &kept))
        .await
        .unwrap();
    for name in names {
        assert_eq!(
            answer(&bench, &format!("/{name}")).await,
            is("demo"),
            "{name}"
        );
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_name_of_the_hosts_file_alone_works() {
    let bench = Bench::new();
    let dns = TestDns::start().await.unwrap();
    let demo = DemoBackend::start("demo").await.unwrap();
    let file = bench.sandbox.folder().join("hosts");
    std::fs::write(&file, "127.0.0.1 legacy\n").unwrap();
    let resolver = NameResolver::new(vec![dns.address()], vec![])
        .unwrap()
        .with_hosts_file(file);
    let hosts = BTreeSet::from(["legacy".parse().unwrap()]);
    let previous = AddressBook::new();
    let book = resolver
        .resolve_all(&hosts, Duration::from_secs(5), &previous)
        .await;
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let query = at_name("legacy", "/legacy", demo.address().port());
    applier
        .apply(&rendered(&bench, &dns, &[query], &book))
        .await
        .unwrap();
    assert_eq!(answer(&bench, "/legacy").await, is("demo"));
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_service_that_is_spread_begins_with_all_addresses_though_dns_is_silent() {
    let bench = Bench::new();
    let dns = TestDns::start().await.unwrap();
    let one = DemoBackend::start("one").await.unwrap();
    let port = one.address().port();
    let at = |last| SocketAddr::from(([127, 0, 0, last], port));
    let _two = DemoBackend::start_at(at(2), "two").await.unwrap();
    let _three = DemoBackend::start_at(at(3), "three").await.unwrap();
    dns.set("tasks.web", [1, 2, 3].map(|last| at(last).ip()));
    let host: Host = "tasks.web".parse().unwrap();
    let hosts = BTreeSet::from([host.clone()]);
    let resolver = NameResolver::new(vec![dns.address()], vec![]).unwrap();
    let found = resolver
        .resolve_all(&hosts, Duration::from_secs(5), &AddressBook::new())
        .await;
    assert_eq!(found.all(&host).len(), 3);
    dns.fault_all(Fault::Refused);
    let book = resolver
        .resolve_all(&hosts, Duration::from_secs(5), &found)
        .await;
    assert_eq!(book, found, "silence is no reason to forget");

    let query = format!("{}&discoveryType=DNS&replicas=3", at_name("web", "/", port));
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let config = rendered(&bench, &dns, &[query], &book);
    applier.apply(&config).await.unwrap();
    let mut bodies = BTreeSet::new();
    for _ in 0..3 {
        bodies.insert(answer(&bench, "/").await);
    }
    assert_eq!(bodies, ["one", "two", "three"].map(is).into());
    haproxy.shutdown(Duration::from_secs(5)).await;
}
