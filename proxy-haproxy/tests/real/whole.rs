//! What settings do to every service: timeouts, what becomes of connections, and HAProxy's own page of
//! figures.

use std::{net::SocketAddr, time::Duration};

use proxy_core::UserList;
use proxy_haproxy::{AddressBook, Extras, RenderSettings, StatsPage, Timeouts, render};
use secrecy::SecretString;
use testkit::haproxy::{DemoBackend, KeptConnection, Request, ReservedPort, request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::bench::{Bench, at, silent, table};

const SECOND: Duration = Duration::from_secs(1);
/// A wait that has no end of its own fails after this.
const DEADLINE: Duration = Duration::from_secs(15);

/// What is written on a connection of its own, and what is said until it is closed.
async fn said(to: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut told = Vec::new();
    let closed = timeout(DEADLINE, stream.read_to_end(&mut told)).await;
    // One that is closed while it still sends is closed as well.
    let _ = closed.expect("the connection is closed");
    String::from_utf8_lossy(&told).into_owned()
}

/// Serves with settings of its own.
async fn with(
    bench: &Bench,
    queries: &[String],
    settings: RenderSettings,
) -> (std::sync::Arc<proxy_haproxy::Haproxy>, String) {
    let config = render(&table(queries), &settings, &AddressBook::new()).unwrap();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    applier.apply(&config).await.unwrap();
    (haproxy, config.main_text().to_owned())
}

#[tokio::test]
async fn each_timeout_of_the_settings_ends_its_wait() {
    let bench = Bench::new();
    let silent = silent().await;
    // A listener whose queue is full answers no more connections: the wait is for the connection.
    let full = tokio::net::TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let crowd = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = timeout(SECOND / 2, TcpStream::connect(crowd)).await {
        waiting.push(stream);
    }
    let queries = [
        at("silent", "/silent", silent),
        at("crowd", "/crowd", crowd),
    ];
    let mut timeouts = Timeouts::default();
    timeouts.connect = SECOND;
    timeouts.server = SECOND;
    timeouts.tunnel = SECOND;
    timeouts.client = 2 * SECOND;
    timeouts.http_request = SECOND;
    timeouts.http_keep_alive = SECOND;
    let settings = bench.render_settings().with_timeouts(timeouts);
    let (haproxy, text) = with(&bench, &queries, settings).await;
    let to = bench.address();
    let get =
        |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");

    let (server, connect, head, next, body, tunnel) = (
        get("/silent", "Connection: close\r\n"),
        get("/crowd", "Connection: close\r\n"),
        "GET /silent HTTP/1.1\r\n".to_owned(),
        get("/nope", ""),
        "POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx".to_owned(),
        get("/silent", "Connection: Upgrade\r\nUpgrade: test\r\n"),
    );
    let (server, connect, head, next, body, tunnel) = tokio::join!(
        said(to, &server),
        said(to, &connect),
        said(to, &head),
        said(to, &next),
        said(to, &body),
        said(to, &tunnel),
    );
    assert!(
        server.starts_with("HTTP/1.1 504 "),
        "TIMEOUT_SERVER: {server}\n{text}"
    );
    assert!(
        connect.starts_with("HTTP/1.1 503 "),
        "TIMEOUT_CONNECT: {connect}"
    );
    assert!(
        head.starts_with("HTTP/1.1 408 "),
        "TIMEOUT_HTTP_REQUEST: {head}"
    );
    assert!(
        next.starts_with("HTTP/1.1 404 "),
        "TIMEOUT_HTTP_KEEP_ALIVE: {next}"
    );
    // HAProxy 3.0 calls the request that never ended a bad one.
    let ended = ["408", "504", "400"].map(|status| format!("HTTP/1.1 {status} "));
    assert!(
        ended.iter().any(|begin| body.starts_with(begin)),
        "TIMEOUT_CLIENT: {body}"
    );
    assert!(
        tunnel.starts_with("HTTP/1.1 101 "),
        "TIMEOUT_TUNNEL: {tunnel}"
    );
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn connections_become_what_the_settings_say() {
    for (mode, closed) in [
        (None, false),
        (Some("httpclose"), true),
        (Some("http-server-close"), true),
    ] {
        let bench = Bench::new();
        let demo = DemoBackend::start("demo").await.unwrap();
        let mut extras = Extras::default();
        extras.connection_mode = mode.map(|mode| mode.parse().unwrap());
        let settings = bench.render_settings().with_extras(extras);
        let queries = [at("demo", "/demo", demo.address())];
        let (haproxy, text) = with(&bench, &queries, settings).await;
        let before = demo.connections();
        let mut kept = KeptConnection::new(bench.address());
        for _ in 0..3 {
            let asked = Request::get("/demo").with_header("Host", "acme.com");
            assert_eq!(kept.ask(&asked).await.unwrap().status, 200);
        }
        assert_eq!(demo.connections() - before >= 2, closed, "{mode:?}\n{text}");
        haproxy.shutdown(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn the_page_of_figures_is_for_who_may_see_it() {
    let own = ReservedPort::new().unwrap();
    for port in [None, Some(own.get())] {
        let bench = Bench::new();
        let demo = DemoBackend::start("demo").await.unwrap();
        let password = SecretString::from("geheim".to_owned());
        let users = UserList::of_one("ann".parse().unwrap(), &password).unwrap();
        let mut page = StatsPage::new("/admin?stats".parse().unwrap(), users);
        page.port = port.map(|port| port.to_string().parse().unwrap());
        let mut extras = Extras::default();
        extras.stats = Some(page);
        let settings = bench.render_settings().with_extras(extras);
        let (haproxy, text) = with(&bench, &[at("demo", "/", demo.address())], settings).await;
        let at = match port {
            None => bench.address(),
            Some(_) => own.address(),
        };
        let ask = async |path: &str, auth: &str| {
            let asked = Request::get(path).with_header("Host", "a");
            let asked = asked.with_header("Authorization", auth);
            request(at, &asked).await.unwrap()
        };
        // ann:geheim
        let page = ask("/admin?stats", "Basic YW5uOmdlaGVpbQ==").await;
        assert_eq!(page.status, 200, "{text}");
        assert!(page.body.contains("demo-be"), "{}", page.body);
        assert_eq!(ask("/admin?stats", "Basic YW5uOndyb25n").await.status, 401);
        match port {
            None => assert_eq!(ask("/admin", "Basic x").await.body, "demo"),
            Some(_) => {
                assert_eq!(ask("/admin", "Basic x").await.status, 404);
                assert_eq!(bench.get("/admin?stats").await.body, "demo");
            }
        }
        haproxy.shutdown(Duration::from_secs(5)).await;
    }
}
