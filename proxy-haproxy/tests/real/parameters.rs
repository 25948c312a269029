//! What parameters do to requests and answers: one HAProxy with a service for each, and what arrives.

use std::{net::SocketAddr, time::Duration};

use testkit::haproxy::{DemoBackend, HttpAnswer, KeptConnection, Request, get, request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::bench::{Bench, at, silent};

/// Nothing here takes as long.
const DEADLINE: Duration = Duration::from_secs(10);

/// A path of its own leads to each service; the parameters are written as people write them.
fn services(demo: SocketAddr, parameters: &[(&str, &str)]) -> Vec<String> {
    let service = |(name, more): &(&str, &str)| {
        let mut query = at(name, &format!("/{name}"), demo);
        for (parameter, value) in more.split('&').filter_map(|pair| pair.split_once('=')) {
            let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            query.push_str(&format!("&{parameter}={value}"));
        }
        query
    };
    parameters.iter().map(service).collect()
}

/// One HAProxy, and the service that is behind all names.
struct Stage {
    address: SocketAddr,
    demo: DemoBackend,
}

impl Stage {
    /// The answer, and what the service was asked in lower case; empty where it was not asked.
    async fn ask(&self, asked: Request) -> (HttpAnswer, String) {
        let before = self.demo.requests();
        let asked = asked.with_header("Host", "acme.com");
        let answer = request(self.address, &asked).await.unwrap();
        let head = match self.demo.requests() == before {
            true => String::new(),
            false => self.demo.last_head().to_ascii_lowercase(),
        };
        (answer, head)
    }

    async fn get(&self, target: &str) -> (HttpAnswer, String) {
        self.ask(Request::get(target)).await
    }
}

fn location(answer: &HttpAnswer) -> String {
    let mut lines = answer.head.lines();
    let line = lines.find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("location: ")
            .map(str::to_owned)
    });
    line.unwrap_or_else(|| panic!("no redirect: {}", answer.head))
}

#[tokio::test]
async fn each_parameter_does_what_it_says() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let services = services(
        demo.address(),
        &[
            (
                "headers",
                r#"addReqHeader=X-Add %[src,ipmask(8)],X-Quote "it's; \"q\" \$HOME"&setReqHeader=X-Set set me&delReqHeader=X-Gone,x-set-not&addResHeader=X-Back %[status]&setResHeader=Content-Type text/x"#,
            ),
            ("bare", "delResHeader=content-type"),
            ("methods", "allowedMethods=GET,PUT&deniedMethods=PUT"),
            ("denied", "denyHttp=true&httpsOnly=true"),
            ("secure", "httpsOnly=true&httpsRedirectCode=308"),
            ("when", "redirectWhenHttpProto=true&httpsRedirectCode=301"),
            ("unless", "redirectUnlessHttpsProto=true"),
            (
                "rewritten",
                r#"reqPathSearchReplace=^/rewritten/(.*),/v1/\1:x[\,"')\]{}]+y(z|$),-\1'"-"#,
            ),
            (
                "older",
                "reqPathSearch=/older/([^/]+)&reqPathReplace=/new,\\1",
            ),
            ("shorter", "reqPathSearchReplace=^/shorter,"),
            ("twice", "reqPathSearchReplace=^/twice,:^/,"),
            (
                "extra",
                r#"backendExtra=http-request return status 418 if { path /extra/tea }\nhttp-request set-header X-Extra "a b""#,
            ),
            ("packed", "compressionAlgo=gzip&compressionType=text/plain"),
            ("closed", "connectionMode=forceclose"),
            (
                "moved",
                "serviceDomain=www.acme.com&redirectFromDomain=old.com,*.acme.com",
            ),
            ("rest", "isDefaultBackend=true"),
        ],
    );
    let (haproxy, _applier) = bench.serve(&services).await;
    let stage = Stage {
        address: bench.address(),
        demo,
    };

    let asked = Request::get("/headers")
        .with_header("X-Set", "old")
        .with_header("X-Gone", "here");
    let (answer, head) = stage.ask(asked).await;
    for line in [
        "x-add: 127.0.0.0",
        "x-quote: it's; \"q\" $home",
        "x-set: set me",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(!head.contains("x-gone") && !head.contains("old"), "{head}");
    let told = answer.head.to_ascii_lowercase();
    assert!(told.contains("x-back: 200"), "{told}");
    assert!(told.contains("content-type: text/x\r\n"), "{told}");
    assert!(!told.contains("text/plain"), "{told}");

    let told = stage.get("/bare").await.0.head.to_ascii_lowercase();
    assert!(!told.contains("content-type"), "{told}");

    let (answer, _) = stage.get("/methods").await;
    assert_eq!(answer.status, 200);
    for method in ["PUT", "DELETE", "get"] {
        let (answer, head) = stage
            .ask(Request::get("/methods").with_method(method))
            .await;
        assert_eq!((answer.status, head.as_str()), (403, ""), "{method}");
    }

    let (answer, head) = stage.get("/denied").await;
    assert_eq!((answer.status, head.as_str()), (403, ""));
    let (answer, _) = stage.get("/secure/x?y=1").await;
    assert_eq!(answer.status, 308);
    assert_eq!(location(&answer), "https://acme.com/secure/x?y=1");

    // (service, what the header said, the status of the redirect, what the service is told)
    for (service, said, redirected, told) in [
        ("when", Some("http"), Some(301), ""),
        ("when", Some("https"), None, "https"),
        ("when", None, None, "http"),
        ("unless", Some("http"), Some(302), ""),
        ("unless", Some("HTTPS"), None, "https"),
        ("unless", None, Some(302), ""),
        ("unless", Some("gopher"), Some(302), ""),
        ("methods", Some("https"), None, "http"),
    ] {
        let asked = Request::get(format!("/{service}"));
        let asked = match said {
            Some(said) => asked.with_header("X-Forwarded-Proto", said),
            None => asked,
        };
        let (answer, head) = stage.ask(asked).await;
        let case = format!("{service} {said:?}: {} {head}", answer.head);
        match redirected {
            Some(status) => {
                assert_eq!(answer.status, status, "{case}");
                assert_eq!(location(&answer), format!("https://acme.com/{service}"));
            }
            None => {
                assert_eq!(answer.status, 200, "{case}");
                assert!(
                    head.contains(&format!("x-forwarded-proto: {told}\r\n")),
                    "{case}"
                );
            }
        }
    }

    for (asked, arrives) in [
        ("/rewritten/a?b=/rewritten/", "/v1/a?b=/rewritten/"),
        (r#"/rewritten/x,'")]y"#, r#"/v1/-'"-"#),
        (r#"/rewritten/x]yz"#, r#"/v1/-z'"-"#),
        ("/older/a/b", "/new,a/b"),
        ("/shorter/a", "/a"),
        ("/shorter", "/"),
        ("/shorter?b=c", "/?b=c"),
        ("/shortermore", "/more"),
        ("/shorter//a", "//a"),
        ("/twice/a/b?c", "/a/b?c"),
        ("/twice", "/"),
    ] {
        let (answer, head) = stage.get(asked).await;
        assert_eq!(answer.status, 200, "{asked}");
        let arrived = head
            .strip_prefix("get ")
            .and_then(|rest| rest.split(' ').next());
        assert_eq!(arrived, Some(arrives), "{asked}");
    }

    assert_eq!(stage.get("/extra/tea").await.0.status, 418);
    let (_, head) = stage.get("/extra").await;
    assert!(head.contains("x-extra: a b\r\n"), "{head}");

    let zip = Request::get("/packed").with_header("Accept-Encoding", "gzip");
    let told = stage.ask(zip).await.0.head.to_ascii_lowercase();
    assert!(told.contains("content-encoding: gzip"), "{told}");
    let zip = Request::get("/closed").with_header("Accept-Encoding", "gzip");
    let told = stage.ask(zip).await.0.head.to_ascii_lowercase();
    assert!(!told.contains("content-encoding"), "{told}");

    // The requests of one client, to a service whose connections are kept and to one whose are not.
    let mut kept = KeptConnection::new(stage.address);
    let mut connects = async |target: &str| {
        let before = stage.demo.connections();
        for _ in 0..3 {
            let asked = Request::get(target).with_header("Host", "acme.com");
            assert_eq!(kept.ask(&asked).await.unwrap().status, 200);
        }
        stage.demo.connections() - before
    };
    assert!(connects("/extra").await <= 1);
    assert!(connects("/closed").await >= 2);

    for (host, elsewhere) in [
        ("old.com", Some("//www.acme.com/moved/x?y=1")),
        ("old.com:8080", Some("//www.acme.com/moved/x?y=1")),
        ("api.acme.com", Some("//www.acme.com/moved/x?y=1")),
        ("www.acme.com", None),
    ] {
        let answer = get(stage.address, host, "/moved/x?y=1").await.unwrap();
        match elsewhere {
            Some(elsewhere) => {
                assert_eq!(answer.status, 301, "{host}: {}", answer.head);
                assert_eq!(location(&answer), elsewhere, "{host}");
            }
            None => assert_eq!(answer.status, 200, "{host}: {}", answer.head),
        }
    }

    let (answer, head) = stage.get("/nobody's").await;
    assert_eq!(answer.status, 200);
    assert!(head.starts_with("get /nobody's "), "{head}");
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// The settings' own are 20 s and an hour, which no test waits for.
#[tokio::test]
async fn a_service_has_timeouts_of_its_own() {
    let bench = Bench::new();
    let address = silent().await;
    let services = services(
        address,
        &[("slow", "timeoutServer=1"), ("tunnel", "timeoutTunnel=1")],
    );
    let (haproxy, _applier) = bench.serve(&services).await;
    assert_eq!(bench.get("/slow").await.status, 504);

    let mut stream = TcpStream::connect(bench.address()).await.unwrap();
    let asked =
        "GET /tunnel HTTP/1.1\r\nHost: acme.com\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut told = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut told))
        .await
        .expect("the silent tunnel ends")
        .unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(told.starts_with("HTTP/1.1 101 "), "{told}");
    haproxy.shutdown(Duration::from_secs(5)).await;
}
