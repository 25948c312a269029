//! What an operator adds to every configuration: error pages, the access log, captured headers, and lines
//! of HAProxy's own language.

use std::time::Duration;

use proxy_haproxy::{
    AccessLog, AddressBook, ErrorAnswer, ErrorStatus, Extras, Logged, RenderSettings, render,
};
use testkit::haproxy::{DemoBackend, Greeted, Greeter, Request, ReservedPort, request};
use tokio::net::UdpSocket;

use crate::bench::{Bench, at, table};

/// The lines of a log that is sent to a socket, one by one.
struct Lines(UdpSocket);

impl Lines {
    /// The next one of a request or a connection: a worker that ends has some of its own.
    async fn next(&self) -> String {
        loop {
            let mut line = vec![0; 4096];
            let received = tokio::time::timeout(Duration::from_secs(10), self.0.recv(&mut line));
            let length = received.await.expect("a line within 10 s").unwrap();
            let line = String::from_utf8(line[..length].to_vec()).unwrap();
            if !line.starts_with("Proxy ") {
                return line.trim().to_owned();
            }
        }
    }
}

#[tokio::test]
async fn what_an_operator_adds_has_its_effect() {
    let bench = Bench::new();
    let lines = Lines(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let demo = DemoBackend::start("demo").await.unwrap();
    let greeter = Greeter::start("greeter").await.unwrap();
    let entry = ReservedPort::new().unwrap();
    let nobody = ReservedPort::new().unwrap();
    let tcp = format!(
        "serviceName=tcp&reqMode=tcp&srcPort={}&port={}&outboundHostname=127.0.0.1",
        entry.get(),
        greeter.address().port()
    );
    let queries = [
        at("demo", "/demo", demo.address()),
        at("down", "/down", nobody.address()),
        tcp,
    ];

    let mut extras = Extras::default();
    for (status, text) in [(404, "nothing here"), (503, "back soon")] {
        let length = text.len();
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{text}");
        extras.error_files.insert(
            ErrorStatus::new(status).unwrap(),
            ErrorAnswer::new(&answer).unwrap(),
        );
    }
    let to = lines.0.local_addr().unwrap();
    extras.global = format!("log {to} format raw local0 info").parse().unwrap();
    extras.frontend = "http-request set-header X-Added \"by 'EXTRA_FRONTEND'\""
        .parse()
        .unwrap();
    extras.captures = vec!["X-Request-Id:6".parse().unwrap()];
    extras.log.http = Some("it's %ST %HP {%[capture.req.hdr(0)]}".parse().unwrap());
    extras.log.tcp = Some("to %b by \"%f\"".parse().unwrap());

    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let settings = |extras: Extras| -> RenderSettings {
        let settings = bench.render_settings().with_access_log(AccessLog::Stdout);
        settings.with_extras(extras)
    };
    let config = render(
        &table(&queries),
        &settings(extras.clone()),
        &AddressBook::new(),
    )
    .unwrap();
    applier.apply(&config).await.unwrap();
    let ask = async |path: &str| {
        let asked = Request::get(path).with_header("X-Request-Id", "123456789");
        request(bench.address(), &asked).await.unwrap()
    };
    assert_eq!(ask("/demo").await.body, "demo", "{}", config.main_text());
    assert!(
        demo.last_head().contains("by 'EXTRA_FRONTEND'"),
        "{}",
        demo.last_head()
    );
    assert_eq!(lines.next().await, "it's 200 /demo {123456}");
    let missing = ask("/nope").await;
    assert_eq!(
        (missing.status, missing.body.as_str()),
        (404, "nothing here")
    );
    assert_eq!(lines.next().await, "it's 404 /nope {123456}");
    let down = ask("/down").await;
    assert_eq!((down.status, down.body.as_str()), (503, "back soon"));
    assert_eq!(lines.next().await, "it's 503 /down {123456}");
    drop(Greeted::connect(entry.address(), b"x").await.unwrap());
    let (port, to) = (entry.get(), greeter.address().port());
    assert_eq!(
        lines.next().await,
        format!("to tcp-be{to} by \"tcpFE_{port}\"")
    );

    // Only what went wrong: the line of the good request never comes.
    extras.log.which = Logged::Errors;
    let config = render(&table(&queries), &settings(extras), &AddressBook::new()).unwrap();
    applier.apply(&config).await.unwrap();
    assert_eq!(ask("/demo").await.status, 200);
    assert_eq!(ask("/down").await.status, 503);
    assert_eq!(lines.next().await, "it's 503 /down {123456}");
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// HAProxy reads them for its own HTTP client, which only an operator's lines can use.
#[tokio::test]
async fn authorities_of_the_system_are_left_alone_unless_something_may_want_them() {
    let bench = Bench::new();
    let (haproxy, _applier) = bench.serve::<&str>(&[]).await;
    let authorities = bench.say("show ssl ca-file\n").await;
    assert!(!authorities.contains("@system-ca"), "{authorities}");
    haproxy.shutdown(Duration::from_secs(5)).await;

    let mut extras = Extras::default();
    extras.global = "httpclient.resolvers.prefer ipv4".parse().unwrap();
    let settings = bench.render_settings().with_extras(extras);
    let config = render(&table::<&str>(&[]), &settings, &AddressBook::new()).unwrap();
    let text = config.main_text();
    assert!(!text.contains("httpclient.ssl.verify"), "{text}");
}
