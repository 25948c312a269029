//! Calls that only ask, and files that are written and read.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use wiremock::Mock;
use wiremock::matchers::{body_string, method, path, query_param};

use crate::{BASE, answering, code, err, heard, out, proxy, proxyctl, reply, run};

#[tokio::test]
async fn explain_sends_every_header_and_shows_every_route() {
    let answer = json!({
        "Status": "OK", "Message": "the request goes to the service api, by path_beg /api",
        "Winner": {"ServiceName": "api", "Rule": "path_beg /api", "Backend": "api-be80", "Why": null},
        "RunnersUp": [{"ServiceName": "root", "Rule": "path_beg /", "Backend": "root-be80", "Why": "less"}],
        "Misses": [], "LeftOut": 0,
    });
    let server = answering(200, answer.clone()).await;
    let arguments = [
        "explain",
        "http://acme.com:81/api?x=1&y",
        "-H=X-Beta: a+b",
        "--header=Cookie:c=d",
    ];

    let text = run(&server.uri(), &arguments).await;
    let json = run(&server.uri(), &[&["--json"], &arguments[..]].concat()).await;
    run(&server.uri(), &["explain", "/api", "--host=acme.com"]).await;

    assert_eq!(code(&text), 0, "{}", err(&text));
    assert_eq!(
        out(&text),
        "the request goes to the service api, by path_beg /api\n\
         RESULT  SERVICE  RULE           BACKEND    WHY\n\
         wins    api      path_beg /api  api-be80\n\
         loses   root     path_beg /     root-be80  less\n"
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&json.stdout).unwrap(),
        answer
    );
    let asked = heard(&server).await;
    assert_eq!(asked[0].method, "GET");
    assert_eq!(asked[0].url.path(), format!("{BASE}/explain"));
    let pairs: Vec<_> = asked[0].url.query_pairs().into_owned().collect();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| [&**name, value]).collect();
    assert_eq!(
        pairs,
        [
            ["url", "http://acme.com:81/api?x=1&y"],
            ["header", "X-Beta: a+b"],
            ["header", "Cookie:c=d"],
        ]
    );
    assert_eq!(
        asked.last().unwrap().url.query(),
        Some("url=%2Fapi&host=acme.com")
    );
}

#[tokio::test]
async fn what_cannot_be_explained_is_refused() {
    let server = answering(
        400,
        json!({"Status": "NOK", "Message": "url: it is no URL"}),
    )
    .await;
    let output = run(&server.uri(), &["explain", "a b"]).await;
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("it is no URL"), "{}", err(&output));
}

#[tokio::test]
async fn config_is_printed_as_it_came_and_as_json() {
    let server = proxy().await;
    let config = "global\n    daemon\n\nfrontend services\n    bind *:80\n";
    Mock::given(path(format!("{BASE}/config")))
        .and(query_param("type", "json"))
        .respond_with(reply(200).set_body_json(json!({"go-demo": {}})))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(path(format!("{BASE}/config")))
        .respond_with(reply(200).set_body_string(config))
        .mount(&server)
        .await;

    let text = run(&server.uri(), &["config"]).await;
    let json = run(&server.uri(), &["config", "--json"]).await;

    assert_eq!(out(&text), config);
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(answer, json!({"go-demo": {}}));
}

#[tokio::test]
async fn an_export_is_imported_byte_for_byte() {
    let document = "{\"Services\": {\"go-demo\":   {\"x\": 1}}}\n";
    let server = proxy().await;
    Mock::given(method("GET"))
        .and(path(format!("{BASE}/export")))
        .respond_with(reply(200).set_body_string(document))
        .mount(&server)
        .await;
    Mock::given(method("PUT"))
        .and(path(format!("{BASE}/import")))
        .and(query_param("distribute", "true"))
        .and(body_string(document))
        .respond_with(reply(200).set_body_json(json!({"Status": "OK", "Message": "1 service"})))
        .expect(2)
        .mount(&server)
        .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("table.json");
    let name = file.to_str().unwrap();

    let exported = run(&server.uri(), &["export", "--output", name]).await;
    let printed = run(&server.uri(), &["export"]).await;
    let imported = run(&server.uri(), &["import", name, "--distribute"]).await;
    let mut piped = proxyctl(&server.uri(), &["import", "-", "--distribute"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = piped.stdin.take().unwrap();
    stdin.write_all(document.as_bytes()).await.unwrap();
    drop(stdin);
    let piped = piped.wait_with_output().await.unwrap();

    assert_eq!(code(&exported), 0, "{}", err(&exported));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), document);
    assert_eq!(out(&printed), document);
    assert_eq!(out(&imported), "1 service\n");
    assert_eq!(out(&piped), "1 service\n");
}

#[tokio::test]
async fn a_failed_export_leaves_the_file_alone() {
    let server = answering(503, json!({"Status": "NOK", "Message": "starting"})).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("table.json");
    std::fs::write(&file, "older").unwrap();

    let output = run(&server.uri(), &["export", "-o", file.to_str().unwrap()]).await;

    assert_eq!(code(&output), 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "older");
}

#[tokio::test]
async fn a_file_that_is_not_there_asks_nobody() {
    let server = proxy().await;
    let output = run(&server.uri(), &["import", "/no/such/file"]).await;
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("/no/such/file"), "{}", err(&output));
    assert!(heard(&server).await.is_empty());
}

#[tokio::test]
async fn status_and_ping_are_short() {
    let server = answering(200, json!({"Status": "OK", "Store": {"Kind": "consul"}})).await;
    assert_eq!(out(&run(&server.uri(), &["ping"]).await), "OK\n");
    assert_eq!(
        out(&run(&server.uri(), &["status"]).await),
        "Status      OK\nStore.Kind  consul\n"
    );
    run(&server.uri(), &["status", "--id=ab12"]).await;
    let asked = heard(&server).await;
    assert_eq!(asked.last().unwrap().url.query(), Some("id=ab12"));
}

#[tokio::test]
async fn drift_is_shown_and_is_no_success() {
    let answer =
        json!({"Status": "OK", "Drift": true, "Peers": [{"Address": "p:1", "Place": "drifted"}]});
    let server = answering(200, answer).await;
    let output = run(&server.uri(), &["status", "--peers"]).await;
    assert_eq!(code(&output), 6, "{}", err(&output));
    assert!(out(&output).contains("drifted"), "{}", out(&output));
    let asked = heard(&server).await;
    assert_eq!(asked[0].url.query(), Some("peers=true"));
}

#[tokio::test]
async fn a_probe_is_good_or_bad_and_nothing_else() {
    let server = proxy().await;
    for (name, status) in [("healthz", 200), ("readyz", 503)] {
        Mock::given(method("GET"))
            .and(path(format!("/{name}")))
            .respond_with(reply(status).set_body_json(json!({"Message": "so it is"})))
            .mount(&server)
            .await;
    }
    let health = run(&server.uri(), &["health"]).await;
    assert_eq!((code(&health), out(&health)), (0, "so it is\n".to_owned()));
    let ready = run(&server.uri(), &["ready"]).await;
    assert_eq!(code(&ready), 1);
    assert!(err(&ready).contains("so it is"), "{}", err(&ready));
    assert_eq!(code(&run("http://127.0.0.1:1", &["ready"]).await), 1);
}

#[tokio::test]
async fn the_past_is_shown_as_the_proxy_writes_it() {
    let server = proxy().await;
    Mock::given(query_param("type", "text"))
        .respond_with(reply(200).set_body_string("REVISION  AT\n7         now\n"))
        .mount(&server)
        .await;
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(reply(200).set_body_json(json!({"Commits": []})))
        .mount(&server)
        .await;
    let text = run(
        &server.uri(),
        &["history", "--service=a", "--limit=3", "--before=9"],
    )
    .await;
    assert_eq!(out(&text), "REVISION  AT\n7         now\n");
    run(&server.uri(), &["diff", "3", "7"]).await;
    let json = run(&server.uri(), &["history", "--json", "--full"]).await;
    assert_eq!(
        serde_json::from_slice::<Value>(&json.stdout).unwrap(),
        json!({"Commits": []})
    );
    let asked = heard(&server).await;
    let asked: Vec<_> = asked
        .iter()
        .map(|it| (it.url.path(), it.url.query().unwrap()))
        .collect();
    let base = |name: &str| format!("{BASE}/{name}");
    assert_eq!(
        asked,
        [
            (&*base("history"), "service=a&limit=3&before=9&type=text"),
            (&*base("diff"), "from=3&to=7&type=text"),
            (&*base("history"), "full=true"),
        ]
    );
}

#[tokio::test]
async fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run("http://127.0.0.1:1", &["completions", shell]).await;
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains("reconfigure"), "{shell}");
    }
}
