//! What answers and is no proxy, and what stands between.

use std::process::Stdio;

use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::{code, err, is_greeting, out, proxy, proxyctl, reply, run};

/// What a service behind the proxy may say to whatever it is asked, with the token of nobody.
async fn stranger(status: u16, page: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(ResponseTemplate::new(status).set_body_string(page))
        .mount(&server)
        .await;
    server
}

#[tokio::test]
async fn what_is_no_proxy_is_told_nothing_and_believed_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [pem, table, backup] =
        ["a.pem", "t.json", "bk.json"].map(|name| folder.path().join(name).display().to_string());
    std::fs::write(&pem, "the private key").unwrap();
    std::fs::write(&table, "{}").unwrap();
    let page = "<html>\u{1b}[2Jwelcome</html>";
    for (status, page) in [(200, page), (200, "{\"Status\": \"OK\"}"), (404, page)] {
        for (code_wanted, arguments) in [
            (3, &["reconfigure", "a", "--port=1"][..]),
            (
                3,
                &["reconfigure", "a", "--service-path=/a", "--service-path=/b"],
            ),
            (3, &["remove", "a"]),
            (3, &["cert", "put", "a", &pem]),
            (3, &["import", &table]),
            (3, &["reload"]),
            (3, &["export", "-o", &backup]),
            (3, &["export"]),
            (3, &["status"]),
            (3, &["config"]),
            (3, &["history"]),
            (3, &["ping"]),
            (1, &["ready"]),
            (1, &["health"]),
        ] {
            let server = stranger(status, page).await;
            let output = proxyctl(&server.uri(), arguments)
                .env("PROXY_TOKEN", "geheim")
                .output()
                .await
                .unwrap();
            let (text, asked) = (err(&output), server.received_requests().await.unwrap());
            assert_eq!(code(&output), code_wanted, "{arguments:?}: {text}");
            assert_eq!(out(&output), "", "{arguments:?}");
            for part in [
                &format!("HTTP {status}: "),
                "no admin API",
                "--address http://127.0.0.1:8080",
            ] {
                assert!(text.contains(part), "{arguments:?}: {text}");
            }
            assert!(!text.contains('\u{1b}'), "{text:?}");
            assert_eq!(asked.len(), 1, "{arguments:?}: {asked:?}");
            assert_eq!(asked[0].method, "GET", "{arguments:?}");
            assert!(asked[0].body.is_empty(), "{arguments:?}");
            assert!(
                !asked[0].headers.contains_key("authorization"),
                "{arguments:?}"
            );
        }
    }
    assert!(!std::path::Path::new(&backup).exists());
    let server = stranger(200, page).await;
    let json = run(&server.uri(), &["--json", "status"]).await;
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((code(&json), &answer["Status"]), (3, &json!("NOK")));
}

#[tokio::test]
async fn a_change_of_which_something_else_says_what_became_is_unknown() {
    let server = MockServer::start().await;
    Mock::given(is_greeting)
        .respond_with(reply(200))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(ResponseTemplate::new(200).set_body_string("welcome"))
        .mount(&server)
        .await;
    let output = run(&server.uri(), &["remove", "a"]).await;
    assert_eq!(code(&output), 5, "{}", err(&output));
    // One of something between, which gave up, is heard as before.
    let server = proxy().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(504))
        .mount(&server)
        .await;
    assert_eq!(code(&run(&server.uri(), &["status"]).await), 3);
    Mock::given(method("DELETE"))
        .respond_with(ResponseTemplate::new(414))
        .mount(&server)
        .await;
    let output = run(&server.uri(), &["remove", "a"]).await;
    assert_eq!(code(&output), 1, "{}", err(&output));
    assert!(err(&output).contains("HTTP 414"), "{}", err(&output));
}

#[tokio::test]
async fn help_says_which_port_is_meant_without_one() {
    let help = out(&run("http://127.0.0.1:1", &["ping", "--help"]).await);
    let help: Vec<_> = help.split_whitespace().collect();
    assert!(
        help.join(" ").contains("Without a port it is 8080"),
        "{help:?}"
    );
}

#[tokio::test]
async fn a_reader_that_has_read_enough_is_no_mishap() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(ours);
    let output = proxyctl("http://127.0.0.1:1", &["completions", "bash"])
        .stdout(std::os::fd::OwnedFd::from(theirs))
        .stderr(Stdio::piped())
        .output()
        .await
        .unwrap();
    assert_eq!((code(&output), err(&output)), (0, String::new()));
}
