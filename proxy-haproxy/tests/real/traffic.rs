//! What a client and a service see of the proxy.

use std::time::Duration;

use testkit::haproxy::{DemoBackend, Request, request};

use crate::bench::{Bench, at};

/// What the client says of itself is replaced, not added to.
#[tokio::test]
async fn a_service_is_told_who_asks() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, _applier) = bench.serve(&[at("go-demo", "/demo", demo.address())]).await;
    let asked = Request::get("/demo/hello?x=1")
        .with_header("Host", "acme.com")
        .with_header("X-Forwarded-For", "6.6.6.6")
        .with_header("x-forwarded-for", "7.7.7.7")
        .with_header("X-Forwarded-Proto", "https");
    assert_eq!(request(bench.address(), &asked).await.unwrap().body, "demo");
    let head = demo.last_head().to_ascii_lowercase();
    let told: Vec<&str> = head
        .lines()
        .filter(|line| line.starts_with("x-forwarded-"))
        .collect();
    assert_eq!(
        told,
        ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"]
    );
    assert!(
        head.starts_with("get /demo/hello?x=1 http/1.1\r\n"),
        "{head}"
    );
    assert_eq!(demo.requests(), 1);
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn no_route_is_404_and_a_service_that_is_down_503() {
    let bench = Bench::new();
    let nobody = testkit::haproxy::ReservedPort::new().unwrap();
    let (haproxy, _applier) = bench.serve(&[at("down", "/down", nobody.address())]).await;
    assert_eq!(bench.get("/nope").await.status, 404);
    assert_eq!(bench.get("/down").await.status, 503);
    haproxy.shutdown(Duration::from_secs(5)).await;
}
