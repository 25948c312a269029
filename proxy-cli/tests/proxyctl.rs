//! The built program against an API that answers from a script.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers say what they expect as its body does"
)]

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use wiremock::matchers::{body_string, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const BASE: &str = "/v1/docker-flow-proxy";

fn proxyctl(address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyctl"));
    command
        .env_clear()
        .env("PROXY_ADDRESS", address)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(address: &str, arguments: &[&str]) -> Output {
    proxyctl(address, arguments).output().await.unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn answering(status: u16, answer: Value) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(ResponseTemplate::new(status).set_body_json(answer))
        .mount(&server)
        .await;
    server
}

/// Says what it parts lists by.
async fn parting_by(server: &MockServer, separator: &str) {
    let status = json!({"Status": "OK", "Message": "", "Separator": separator});
    Mock::given(method("GET"))
        .and(path(format!("{BASE}/status")))
        .respond_with(ResponseTemplate::new(200).set_body_json(status))
        .expect(1)
        .mount(server)
        .await;
}

#[tokio::test]
async fn items_of_a_list_are_joined_as_the_server_parts_them() {
    let server = MockServer::start().await;
    parting_by(&server, ";").await;
    Mock::given(method("PUT"))
        .and(query_param("servicePath", "/a;/b,c"))
        .and(query_param("serviceDomain", "a.com;b.com"))
        // Which has what parts it from Docker Flow Proxy, and not from the server's settings.
        .and(query_param("reqPathSearchReplace", "/a;b,/c:/d,/e"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Status": "OK"})))
        .expect(1)
        .mount(&server)
        .await;
    let items = ["--service-path", "/a", "--service-path", "/b,c"];
    let whole = ["--service-domain", "a.com;b.com", "--port", "80"];
    let rewrite = "--req-path-search-replace";
    let pairs = [rewrite, "/a;b,/c", rewrite, "/d,/e"];
    let arguments = [&["reconfigure", "a"][..], &items, &whole, &pairs].concat();
    let output = run(&server.uri(), &arguments).await;
    assert_eq!(code(&output), 0, "{}", err(&output));

    // Where nobody says it nothing is sent.
    let stranger = answering(401, json!({"Status": "NOK", "Message": "no token"})).await;
    let output = run(&stranger.uri(), &arguments).await;
    assert_ne!(code(&output), 0);
    assert!(err(&output).contains("no token"), "{}", err(&output));
    let asked = stranger.received_requests().await.unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    // Nor is anything asked that does not matter.
    let old = answering(200, json!({"Status": "OK"})).await;
    let output = run(&old.uri(), &[&["reconfigure", "a"][..], &whole].concat()).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(old.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn reconfigure_sends_every_parameter_and_shows_every_replica() {
    let server = MockServer::start().await;
    Mock::given(method("PUT"))
        .and(path(format!("{BASE}/reconfigure")))
        .and(query_param("serviceName", "go-demo"))
        .and(query_param("servicePath", "/demo,/a b"))
        .and(query_param("port", "8080"))
        .and(query_param("distribute", "true"))
        .and(query_param("reqMode", "http"))
        .and(header("authorization", "Bearer geheim"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({
            "Status": "OK",
            "Message": "",
            "ServiceName": "go-demo",
            "Revision": {"Epoch": "e", "Number": 3, "Id": "i"},
            "Stored": true,
            "Peers": [{"Address": "127.0.0.2:8080", "Instance": "aa", "Status": "Applied", "Milliseconds": 12}],
        })))
        .expect(1)
        .mount(&server)
        .await;

    let output = proxyctl(
        &server.uri(),
        &[
            "reconfigure",
            "go-demo",
            "--service-path=/demo,/a b",
            "--port=8080",
            "--distribute",
            "--param=reqMode=http",
        ],
    )
    .env("PROXY_TOKEN", "geheim")
    .output()
    .await
    .unwrap();

    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        out(&output),
        "done (revision 3)\nREPLICA         INSTANCE  STATUS   MS  REASON\n127.0.0.2:8080  aa        Applied  12\n"
    );
}

#[tokio::test]
async fn passwords_and_keys_are_in_no_url_and_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let [users, pem] = ["users", "a.pem"].map(|name| folder.path().join(name));
    std::fs::write(&users, "ann:geheim\nbob:auch geheim\n").unwrap();
    std::fs::write(&pem, "-----BEGIN X-----\ngeheim+/=\n").unwrap();
    let [users, pem] = [("users-file", users), ("service-cert", pem)]
        .map(|(flag, file)| format!("--{flag}={}", file.display()));
    for (flags, form) in [
        (
            &[users.as_str(), &pem][..],
            "serviceCert=-----BEGIN+X-----%0Ageheim%2B%2F%3D%0A&users=ann%3Ageheim%0Abob%3Aauch+geheim",
        ),
        (&["--users=ann:geheim"][..], "users=ann%3Ageheim"),
    ] {
        let server = answering(400, json!({"Status": "NOK", "Message": "no"})).await;
        let mut arguments = vec!["reconfigure", "a", "--port=1", "--users-pass-encrypted"];
        arguments.extend(flags);
        let output = run(&server.uri(), &arguments).await;
        assert_eq!(code(&output), 1, "{}", err(&output));
        let [request] = &server.received_requests().await.unwrap()[..] else {
            panic!()
        };
        assert_eq!(String::from_utf8_lossy(&request.body), form);
        assert_eq!(
            request.headers["content-type"],
            "application/x-www-form-urlencoded"
        );
        let url = request.url.to_string();
        assert!(
            url.ends_with("?serviceName=a&port=1&usersPassEncrypted=true"),
            "{url}"
        );
        let printed = format!("{}{}", out(&output), err(&output));
        assert!(!printed.contains("geheim"), "{printed}");
    }
    let missing = run(
        "http://127.0.0.1:1",
        &["reconfigure", "a", "--users-file=/no/such"],
    )
    .await;
    assert_eq!(code(&missing), 2, "{}", err(&missing));
}

#[tokio::test]
async fn remove_is_a_delete() {
    let server = MockServer::start().await;
    Mock::given(method("DELETE"))
        .and(path(format!("{BASE}/remove")))
        .and(query_param("serviceName", "go-demo"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Status": "OK"})))
        .expect(1)
        .mount(&server)
        .await;

    let output = run(&server.uri(), &["remove", "go-demo"]).await;

    assert_eq!(code(&output), 0, "{}", err(&output));
}

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
    let asked = server.received_requests().await.unwrap();
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
async fn exit_codes_are_what_help_says() {
    for (status, answer, expected) in [
        (200, json!({"Status": "OK"}), 0),
        (400, json!({"Status": "NOK", "Message": "no"}), 1),
        (409, json!({"Status": "NOK", "Message": "no"}), 1),
        (503, json!({"Status": "NOK", "Message": "no store"}), 1),
        (
            502,
            json!({"Status": "NOK", "Stored": true, "Message": "one is missing"}),
            4,
        ),
        (504, json!({"Status": "NOK", "Message": "unknown"}), 5),
    ] {
        let server = answering(status, answer).await;
        let output = run(&server.uri(), &["reconfigure", "a", "--port=1"]).await;
        assert_eq!(code(&output), expected, "{status}: {}", err(&output));
        let json = run(&server.uri(), &["--json", "reconfigure", "a", "--port=1"]).await;
        assert_eq!(code(&json), expected);
        assert!(
            serde_json::from_slice::<Value>(&json.stdout).is_ok(),
            "{}",
            out(&json)
        );
    }
    assert_eq!(code(&run("http://127.0.0.1:1", &["nonsense"]).await), 2);
    let help = out(&run("http://127.0.0.1:1", &["--help"]).await);
    assert!(help.contains("Exit codes:"), "{help}");
}

#[tokio::test]
async fn a_refusal_names_every_parameter() {
    let server = answering(
        400,
        json!({
            "Status": "NOK", "Message": "2 parameters were refused; nothing was changed",
            "Errors": [
                {"Parameter": "port", "Value": "0", "Problem": "is no port", "Allowed": "1 to 65535"},
                {"Parameter": "servicePath", "Value": "", "Problem": "is missing", "Allowed": "a path"},
            ],
        }),
    )
    .await;

    let output = run(&server.uri(), &["reconfigure", "a", "--param=x=y"]).await;

    assert_eq!(out(&output), "");
    let text = err(&output);
    assert!(text.contains("nothing was changed"), "{text}");
    assert!(
        text.contains("port \"0\": is no port (allowed: 1 to 65535)"),
        "{text}"
    );
    assert!(text.contains("servicePath"), "{text}");
}

#[tokio::test]
async fn nobody_there_is_three_and_says_where() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);

    for command in [&["ping"][..], &["reconfigure", "a", "--port=1"]] {
        let output = run(&address, command).await;
        assert_eq!(code(&output), 3);
        assert!(err(&output).contains(&address), "{}", err(&output));
    }
    let json = run(&address, &["--json", "ping"]).await;
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(answer["Status"], "NOK");
}

#[tokio::test]
async fn silence_is_three_for_a_question_and_unknown_for_a_change() {
    let slow = MockServer::start().await;
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .mount(&slow)
        .await;

    let question = run(&slow.uri(), &["--timeout=300ms", "ping"]).await;
    let change = run(&slow.uri(), &["--timeout=300ms", "remove", "a"]).await;

    assert_eq!(code(&question), 3, "{}", err(&question));
    assert!(
        err(&question).contains("within 300 ms"),
        "{}",
        err(&question)
    );
    assert_eq!(code(&change), 5, "{}", err(&change));
    assert!(err(&change).contains("may or may not"), "{}", err(&change));
}

#[tokio::test]
async fn config_is_printed_as_it_came_and_as_json() {
    let server = MockServer::start().await;
    let config = "global\n    daemon\n\nfrontend services\n    bind *:80\n";
    Mock::given(path(format!("{BASE}/config")))
        .and(query_param("type", "json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"go-demo": {}})))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(path(format!("{BASE}/config")))
        .respond_with(ResponseTemplate::new(200).set_body_string(config))
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
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path(format!("{BASE}/export")))
        .respond_with(ResponseTemplate::new(200).set_body_string(document))
        .mount(&server)
        .await;
    Mock::given(method("PUT"))
        .and(path(format!("{BASE}/import")))
        .and(query_param("distribute", "true"))
        .and(body_string(document))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"Status": "OK", "Message": "1 service"})),
        )
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
    let server = MockServer::start().await;
    let output = run(&server.uri(), &["import", "/no/such/file"]).await;
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("/no/such/file"), "{}", err(&output));
    assert!(server.received_requests().await.unwrap().is_empty());
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
    let asked = server.received_requests().await.unwrap();
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
    let asked = server.received_requests().await.unwrap();
    assert_eq!(asked[0].url.query(), Some("peers=true"));
}

#[tokio::test]
async fn a_probe_is_good_or_bad_and_nothing_else() {
    let server = MockServer::start().await;
    for (name, status) in [("healthz", 200), ("readyz", 503)] {
        Mock::given(method("GET"))
            .and(path(format!("/{name}")))
            .respond_with(
                ResponseTemplate::new(status).set_body_json(json!({"Message": "so it is"})),
            )
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
async fn a_change_that_waits_longer_is_waited_for_longer() {
    let server = MockServer::start().await;
    let late = ResponseTemplate::new(200)
        .set_body_json(json!({"Status": "OK"}))
        .set_delay(Duration::from_millis(500));
    Mock::given(query_param("wait", "quorum"))
        .and(query_param("timeout", "1"))
        .respond_with(late)
        .mount(&server)
        .await;
    let arguments = ["--timeout=100ms", "remove", "a", "--wait=quorum"];
    let output = run(
        &server.uri(),
        &[&arguments[..], &["--wait-timeout=1"]].concat(),
    )
    .await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    let both = ["remove", "a", "--wait=all", "--distribute"];
    assert_eq!(code(&run(&server.uri(), &both).await), 2);
}

#[tokio::test]
async fn the_past_is_shown_as_the_proxy_writes_it() {
    let server = MockServer::start().await;
    Mock::given(query_param("type", "text"))
        .respond_with(ResponseTemplate::new(200).set_body_string("REVISION  AT\n7         now\n"))
        .mount(&server)
        .await;
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Commits": []})))
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
    let asked = server.received_requests().await.unwrap();
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
async fn a_rollback_and_an_accept_are_changes() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(format!("{BASE}/rollback")))
        .and(query_param("revision", "7"))
        .and(query_param("wait", "all"))
        .respond_with(
            ResponseTemplate::new(502).set_body_json(
                json!({"Status": "NOK", "Stored": true, "Message": "one is missing"}),
            ),
        )
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path(format!("{BASE}/accept")))
        .and(query_param("serviceName", "a,b"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Message": "dropped: a, b"})))
        .mount(&server)
        .await;
    let gone = json!({"Status": "NOK", "Message": "revision 1 is no longer kept; the oldest is 5"});
    Mock::given(query_param("revision", "1"))
        .respond_with(ResponseTemplate::new(410).set_body_json(gone))
        .mount(&server)
        .await;
    let output = run(&server.uri(), &["rollback", "7", "--wait=all"]).await;
    assert_eq!(code(&output), 4, "{}", err(&output));
    let output = run(&server.uri(), &["accept", "a", "b"]).await;
    assert_eq!(
        (code(&output), out(&output)),
        (0, "dropped: a, b\n".to_owned())
    );
    let output = run(&server.uri(), &["rollback", "1"]).await;
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("the oldest is 5"), "{}", err(&output));
}

#[tokio::test]
async fn something_that_is_no_proxy_is_shown_as_such() {
    let server = MockServer::start().await;
    let page = ResponseTemplate::new(404).set_body_string("<html>\u{1b}[2Jnot here</html>");
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(page)
        .mount(&server)
        .await;

    let output = run(&server.uri(), &["ping"]).await;

    assert_eq!(code(&output), 1);
    let text = err(&output);
    assert!(
        text.contains("HTTP 404") && text.contains("not here"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));
}

#[tokio::test]
async fn the_token_is_printed_nowhere() {
    let server = answering(401, json!({"Status": "NOK", "Message": "no token"})).await;
    let mut texts = String::new();
    for arguments in [
        &["ping"][..],
        &["--json", "ping"],
        &["--help"],
        &["reconfigure", "--help"],
        &["reconfigure"],
        &["--address=http://127.0.0.1:1", "ping"],
    ] {
        let output = proxyctl(&server.uri(), arguments)
            .env("PROXY_TOKEN", "geheim")
            .output()
            .await
            .unwrap();
        texts.push_str(&out(&output));
        texts.push_str(&err(&output));
    }
    assert!(texts.contains("PROXY_TOKEN"), "{texts}");
    assert!(!texts.contains("geheim"), "{texts}");
}

#[tokio::test]
async fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run("http://127.0.0.1:1", &["completions", shell]).await;
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains("reconfigure"), "{shell}");
    }
}

#[tokio::test]
async fn a_change_goes_nowhere_else() {
    let elsewhere = answering(200, json!({"Status": "OK"})).await;
    let server = MockServer::start().await;
    let redirect = ResponseTemplate::new(307).insert_header("location", elsewhere.uri());
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(redirect)
        .mount(&server)
        .await;

    let output = run(&server.uri(), &["remove", "a"]).await;

    assert_eq!(code(&output), 1, "{}", err(&output));
    assert!(elsewhere.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dry_run_shows_the_difference_and_knows_a_proxy_that_made_the_change() {
    let server = MockServer::start().await;
    let tried = json!({
        "Status": "OK",
        "Message": "dry run: 1 service would be removed; nothing was changed",
        "DryRun": true,
        "Stored": false,
        "Diff": "--- haproxy.cfg (live)\n+++ haproxy.cfg\n-backend a\u{1b}\n",
        "DiffLeftOut": 7,
    });
    Mock::given(method("DELETE"))
        .and(query_param("dryRun", "true"))
        .and(query_param("serviceName", "a"))
        .respond_with(ResponseTemplate::new(200).set_body_json(tried))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(query_param("dryRun", "true"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "Status": "OK" })))
        .mount(&server)
        .await;
    let output = run(&server.uri(), &["remove", "a", "--dry-run"]).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    assert!(
        text.starts_with("dry run: 1 service would be removed"),
        "{text}"
    );
    assert!(
        text.contains("\n-backend a") && text.contains("(7 more lines are left out)"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    // One that does not know the parameter does what it was not asked for.
    let output = run(&server.uri(), &["reload", "--dry-run"]).await;
    assert_eq!(code(&output), 1, "{}", out(&output));
    assert!(
        err(&output).contains("it made the change"),
        "{}",
        err(&output)
    );
}

#[tokio::test]
async fn certificates_are_given_taken_away_and_listed() {
    let server = MockServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.pem");
    std::fs::write(&file, "the certificate").unwrap();
    let done = ResponseTemplate::new(200).set_body_json(json!({
        "Status": "OK", "Message": "the certificate acme is shown for acme.com", "Stored": true,
    }));
    Mock::given(method("PUT"))
        .and(path(format!("{BASE}/cert")))
        .and(query_param("certName", "acme"))
        .and(query_param("distribute", "true"))
        .and(body_string("the certificate"))
        .respond_with(done)
        .mount(&server)
        .await;
    let gone = json!({ "Status": "OK", "Message": "the certificate acme is removed" });
    Mock::given(method("DELETE"))
        .and(path(format!("{BASE}/cert")))
        .and(query_param("certName", "acme"))
        .respond_with(ResponseTemplate::new(200).set_body_json(gone))
        .mount(&server)
        .await;
    let certs = json!({
        "Status": "OK", "Message": "1 certificates",
        "Certs": [{ "ProxyServiceName": "acme", "Domains": ["acme.com"], "DaysLeft": 12 }],
    });
    Mock::given(method("GET"))
        .and(path(format!("{BASE}/certs")))
        .respond_with(ResponseTemplate::new(200).set_body_json(certs))
        .mount(&server)
        .await;

    let name = file.to_str().unwrap();
    let put = run(
        &server.uri(),
        &["cert", "put", "acme", name, "--distribute"],
    )
    .await;
    assert_eq!(put.status.code(), Some(0), "{put:?}");
    assert!(out(&put).contains("shown for acme.com"), "{}", out(&put));
    let deleted = run(&server.uri(), &["cert", "delete", "acme"]).await;
    assert!(out(&deleted).contains("is removed"), "{}", out(&deleted));
    let listed = run(&server.uri(), &["cert", "list"]).await;
    for part in ["acme", "acme.com", "12"] {
        assert!(out(&listed).contains(part), "{}", out(&listed));
    }
}
