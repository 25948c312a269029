//! Connections that carry no requests: by port, by the server name of their TLS hello, and in groups.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use proxy_core::{Port, RouteTable};
use proxy_haproxy::{AddressBook, Validate as _, Validator, render};
use testkit::haproxy::{DemoBackend, Greeted, Greeter, ReservedPort, client_hello};

use crate::bench::{Bench, at, table};

/// A service for connections at an address of this machine.
fn connections(name: &str, mode: &str, entry: &ReservedPort, to: SocketAddr, more: &str) -> String {
    let (ip, port, entry) = (to.ip(), to.port(), entry.get());
    format!(
        "serviceName={name}&reqMode={mode}&srcPort={entry}&port={port}&outboundHostname={ip}{more}"
    )
}

async fn who(entry: &ReservedPort, first: &[u8]) -> Option<String> {
    let greeted = Greeted::connect(entry.address(), first).await;
    greeted.ok().map(|greeted| greeted.name)
}

/// Every service has a server of its own that says its name; each question goes through HAProxy and
/// through the definition.
#[tokio::test]
async fn connections_go_where_the_table_resolves_them() {
    let bench = Bench::new();
    let [plain, named, closed] = [(); 3].map(|()| ReservedPort::new().unwrap());
    let web = DemoBackend::start("web").await.unwrap();
    let mut greeters = Vec::new();
    let mut queries = vec![at("web", "/", web.address())];
    for (name, mode, entry, more) in [
        ("db", "tcp", &plain, ""),
        ("db-late", "tcp", &plain, ""),
        ("z-default", "tcp", &named, ""),
        ("wide", "tcp", &named, "&serviceDomain=*.acme.com"),
        ("narrow", "sni", &named, "&servicePath=*.eu.acme.com"),
        ("exact", "sni", &named, "&serviceDomain=a.eu.acme.com,b.com"),
        (
            "part",
            "sni",
            &named,
            "&servicePath=longest-part-of-a-name&pathType=req_ssl_sni+-i+-m+sub",
        ),
        (
            "begin",
            "tcp",
            &named,
            "&serviceDomain=old-&serviceDomainAlgo=hdr_beg(host)",
        ),
        ("only", "sni", &closed, "&serviceDomain=only.com"),
    ] {
        let greeter = Greeter::start(name).await.unwrap();
        queries.push(connections(name, mode, entry, greeter.address(), more));
        greeters.push(greeter);
    }
    let config = bench.render(&queries);
    let (haproxy, _applier) = bench.serve(&queries).await;
    assert_eq!(bench.get("/x").await.body, "web");

    let table: RouteTable = table(&queries);
    let names = [
        "a.eu.acme.com",
        "A.EU.Acme.Com",
        "b.eu.acme.com",
        "b.acme.com",
        "acme.com",
        "b.com",
        "x.b.com",
        ".acme.com",
        "the-longest-part-of-a-name.acme.com",
        "old-thing",
        "an-old-thing",
        "only.com",
        "not only.com",
        "a.acme.com:1",
        "-dash.acme.com",
    ];
    for entry in [&plain, &named, &closed] {
        let port = Port::new(entry.get()).unwrap();
        let asked = names.iter().copied().map(Some).chain([None]);
        for name in asked {
            let defined = table.resolve_tcp(port, name.map(str::as_bytes));
            let defined = defined.map(|route| route.service.name().to_string());
            let found = who(entry, &client_hello(name)).await;
            assert_eq!(found, defined, "{name:?} on {port}\n{}", config.main_text());
        }
    }
    // Who says something else than a TLS hello, or waits to be spoken to, gets the default.
    assert_eq!(
        who(&named, b"HELO there, server\r\n").await.as_deref(),
        Some("z-default")
    );
    assert_eq!(who(&named, b"").await.as_deref(), Some("z-default"));
    assert_eq!(who(&plain, b"").await.as_deref(), Some("db"));
    let mut greeted = Greeted::connect(plain.address(), b"first").await.unwrap();
    greeted.echo(&[0, 255, 10, 13, 0]).await.unwrap();
    greeted.echo(&vec![0x5a; 300_000]).await.unwrap();
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_group_spreads_connections_over_its_services() {
    let bench = Bench::new();
    let entry = ReservedPort::new().unwrap();
    let mut greeters = Vec::new();
    let mut queries = Vec::new();
    for name in ["one", "two", "three"] {
        let greeter = Greeter::start(name).await.unwrap();
        let more = "&serviceGroup=db&balanceGroup=roundrobin&checkTcp=true";
        queries.push(connections(name, "tcp", &entry, greeter.address(), more));
        greeters.push(greeter);
    }
    let config = bench.render(&queries);
    let (haproxy, _applier) = bench.serve(&queries).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.extend(who(&entry, b"").await);
    }
    let all = ["one", "three", "two"].map(str::to_owned);
    assert!(seen.iter().eq(&all), "{seen:?}\n{}", config.main_text());
    // One that is gone is left out: its connections go to the others.
    drop(greeters.remove(0));
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        seen.extend(who(&entry, b"").await);
    }
    assert!(seen.iter().eq(&all[1..]), "{seen:?}");
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// Tunnels may be silent for an hour, which must not hide a limit that a service asks for.
#[tokio::test]
async fn a_client_that_is_silent_for_too_long_is_sent_away() {
    let bench = Bench::new();
    let entry = ReservedPort::new().unwrap();
    let greeter = Greeter::start("demo").await.unwrap();
    let query = connections(
        "demo",
        "tcp",
        &entry,
        greeter.address(),
        "&timeoutClient=1&clitcpka=true",
    );
    let (haproxy, _applier) = bench.serve(&[query]).await;
    let mut greeted = Greeted::connect(entry.address(), b"x").await.unwrap();
    greeted.echo(b"still here").await.unwrap();
    greeted.ended().await.unwrap();
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// With every parameter for connections HAProxy has nothing to say.
#[tokio::test]
async fn haproxy_takes_every_parameter_without_a_warning() {
    let bench = Bench::new();
    let all = "&serviceGroup=g&balanceGroup=leastconn&checkTcp=true&clitcpka=true&timeoutClient=60&serviceDomain=a.com,*.b.com&serviceDomainAlgo=hdr(host)";
    let query = |name: &str, port: u16| {
        format!(
            "serviceName={name}&reqMode=tcp&srcPort={port}&port=1&outboundHostname=127.0.0.1{all}"
        )
    };
    let queries = [
        query("a", 7001),
        query("b", 7001),
        "serviceName=n&reqMode=tcp&srcPort=7002&port=1".to_owned(),
    ];
    let settings = bench
        .render_settings()
        .with_access_log(proxy_haproxy::AccessLog::Stdout)
        .with_nameservers(vec!["127.0.0.1:53".parse().unwrap()]);
    let config = render(&table(&queries), &settings, &AddressBook::new()).unwrap();
    let staged = bench.dir().stage(&config).unwrap();
    let warnings = Validator::new(bench.sandbox.binary())
        .validate(&staged.main_path())
        .await
        .unwrap();
    assert!(warnings.is_empty(), "{warnings:?}\n{}", config.main_text());
}

/// Servers whose names would meet: several of `db`, and the one of `db-1`.
#[tokio::test]
async fn servers_of_a_group_never_have_one_name() {
    let bench = Bench::new();
    let entry = ReservedPort::new().unwrap();
    let greeter = Greeter::start("one").await.unwrap();
    let (group, port) = ("&serviceGroup=g", entry.get());
    let many = format!(
        "serviceName=db&discoveryType=DNS&outboundHostname=nowhere.invalid&reqMode=tcp&srcPort={port}&port=1{group}"
    );
    let one = connections("db-1", "tcp", &entry, greeter.address(), group);
    let queries = [many, one];
    let (haproxy, _applier) = bench.serve(&queries).await;
    assert_eq!(who(&entry, b"").await.as_deref(), Some("one"));
    haproxy.shutdown(Duration::from_secs(5)).await;
}
