//! Exit codes, and what is said when no proxy answers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use wiremock::Mock;

use crate::{answering, code, err, out, proxy, proxyctl, reply, run};

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
    let slow = proxy().await;
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(reply(200).set_delay(Duration::from_secs(30)))
        .mount(&slow)
        .await;

    let question = run(&slow.uri(), &["--timeout=300ms", "status"]).await;
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
