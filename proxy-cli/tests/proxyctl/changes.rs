//! Calls that change something, and what is shown of what came of them.

use std::time::Duration;

use serde_json::json;
use wiremock::Mock;
use wiremock::matchers::{body_string, header, method, path, query_param};

use crate::{BASE, answering, code, err, heard, out, parting_by, proxy, proxyctl, reply, run};

#[tokio::test]
async fn items_of_a_list_are_joined_as_the_server_parts_them() {
    let server = proxy().await;
    parting_by(&server, ";").await;
    Mock::given(method("PUT"))
        .and(query_param("servicePath", "/a;/b,c"))
        .and(query_param("serviceDomain", "a.com;b.com"))
        // Which has what parts it from Docker Flow Proxy, and not from the server's settings.
        .and(query_param("reqPathSearchReplace", "/a;b,/c:/d,/e"))
        .respond_with(reply(200).set_body_json(json!({"Status": "OK"})))
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
    let asked = heard(&stranger).await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    // Nor is anything asked that does not matter.
    let old = answering(200, json!({"Status": "OK"})).await;
    let output = run(&old.uri(), &[&["reconfigure", "a"][..], &whole].concat()).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(heard(&old).await.len(), 1);
}

#[tokio::test]
async fn reconfigure_sends_every_parameter_and_shows_every_replica() {
    let server = proxy().await;
    Mock::given(method("PUT"))
        .and(path(format!("{BASE}/reconfigure")))
        .and(query_param("serviceName", "go-demo"))
        .and(query_param("servicePath", "/demo,/a b"))
        .and(query_param("port", "8080"))
        .and(query_param("distribute", "true"))
        .and(query_param("reqMode", "http"))
        .and(header("authorization", "Bearer geheim"))
        .respond_with(reply(200).set_body_json(json!({
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
        let [request] = &heard(&server).await[..] else {
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
    let server = proxy().await;
    Mock::given(method("DELETE"))
        .and(path(format!("{BASE}/remove")))
        .and(query_param("serviceName", "go-demo"))
        .respond_with(reply(200).set_body_json(json!({"Status": "OK"})))
        .expect(1)
        .mount(&server)
        .await;

    let output = run(&server.uri(), &["remove", "go-demo"]).await;

    assert_eq!(code(&output), 0, "{}", err(&output));
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
async fn a_change_that_waits_longer_is_waited_for_longer() {
    let server = proxy().await;
    let late = reply(200)
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
async fn a_rollback_and_an_accept_are_changes() {
    let server = proxy().await;
    Mock::given(method("POST"))
        .and(path(format!("{BASE}/rollback")))
        .and(query_param("revision", "7"))
        .and(query_param("wait", "all"))
        .respond_with(
            reply(502).set_body_json(
                json!({"Status": "NOK", "Stored": true, "Message": "one is missing"}),
            ),
        )
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path(format!("{BASE}/accept")))
        .and(query_param("serviceName", "a,b"))
        .respond_with(reply(200).set_body_json(json!({"Message": "dropped: a, b"})))
        .mount(&server)
        .await;
    let gone = json!({"Status": "NOK", "Message": "revision 1 is no longer kept; the oldest is 5"});
    Mock::given(query_param("revision", "1"))
        .respond_with(reply(410).set_body_json(gone))
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
async fn a_change_goes_nowhere_else() {
    let elsewhere = answering(200, json!({"Status": "OK"})).await;
    let server = proxy().await;
    let redirect = reply(307).insert_header("location", elsewhere.uri());
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(redirect)
        .mount(&server)
        .await;

    let output = run(&server.uri(), &["remove", "a"]).await;

    assert_eq!(code(&output), 1, "{}", err(&output));
    assert!(heard(&elsewhere).await.is_empty());
}

#[tokio::test]
async fn a_dry_run_shows_the_difference_and_knows_a_proxy_that_made_the_change() {
    let server = proxy().await;
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
        .respond_with(reply(200).set_body_json(tried))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(query_param("dryRun", "true"))
        .respond_with(reply(200).set_body_json(json!({ "Status": "OK" })))
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
    let server = proxy().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.pem");
    std::fs::write(&file, "the certificate").unwrap();
    let done = reply(200).set_body_json(json!({
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
        .respond_with(reply(200).set_body_json(gone))
        .mount(&server)
        .await;
    let certs = json!({
        "Status": "OK", "Message": "1 certificates",
        "Certs": [{ "ProxyServiceName": "acme", "Domains": ["acme.com"], "DaysLeft": 12 }],
    });
    Mock::given(method("GET"))
        .and(path(format!("{BASE}/certs")))
        .respond_with(reply(200).set_body_json(certs))
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
