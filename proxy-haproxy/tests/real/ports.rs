//! Services that listen on one port for HTTP and on another for HTTPS.

use std::time::Duration;

use proxy_haproxy::{AddressBook, Bind, BindAddress, Routing, render};
use testkit::haproxy::{DemoBackend, ReservedPort, get};

use crate::bench::{Bench, table};

#[tokio::test]
async fn requests_go_to_the_port_that_is_for_their_entry_port() {
    let bench = Bench::new();
    let secure = ReservedPort::new().unwrap();
    let [plain, https, alone] = ["plain", "https", "alone"].map(DemoBackend::start);
    let (plain, https, alone) = (
        plain.await.unwrap(),
        https.await.unwrap(),
        alone.await.unwrap(),
    );
    let (entry, secure_entry) = (bench.address().port(), secure.get());
    let query = |name: &str, path: &str, ports: String| {
        format!(
            "serviceName={name}&servicePath={path}&outboundHostname=127.0.0.1&srcHttpsPort={secure_entry}&{ports}"
        )
    };
    let port = |demo: &DemoBackend| demo.address().port();
    let queries = [
        query(
            "both",
            "/both",
            format!(
                "port={}&srcPort={entry}&httpsPort={}",
                port(&plain),
                port(&https)
            ),
        ),
        query("alone", "/alone", format!("httpsPort={}", port(&alone))),
    ];
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    for routing in [Routing::Acl, Routing::Map] {
        let binds = [entry, secure_entry].map(|port| {
            Bind::plain(
                BindAddress::Ip(bench.address().ip()),
                port.to_string().parse().unwrap(),
            )
        });
        let settings = bench
            .render_settings()
            .with_binds(binds.to_vec())
            .with_routing(routing);
        let config = render(&table(&queries), &settings, &AddressBook::new()).unwrap();
        applier.apply(&config).await.unwrap();
        for (to, path, wanted) in [
            (bench.address(), "/both", "plain"),
            (secure.address(), "/both", "https"),
            (secure.address(), "/alone", "alone"),
            (bench.address(), "/alone", "no route\n"),
        ] {
            let answer = get(to, "acme.com", path).await.unwrap();
            assert_eq!(answer.body, wanted, "{to} {path}\n{}", config.main_text());
        }
        if routing == Routing::Acl {
            let backend = format!("backend https-both-be{}\n", port(&https));
            assert!(
                config.main_text().contains(&backend),
                "{}",
                config.main_text()
            );
            let acl = format!("acl url_https_both{} ", port(&https));
            assert!(config.main_text().contains(&acl), "{}", config.main_text());
        }
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}
