//! The built program against an API that answers from a script.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers say what they expect as its body does"
)]

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::process::Command;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

mod changes;
mod failures;
mod questions;
mod strangers;

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

/// An answer of the API.
fn reply(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("x-proxy-api", "proxy-server")
}

/// An API, which says so to whoever asks without a token before asking for more.
async fn proxy() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(is_greeting)
        .respond_with(reply(200).set_body_json(json!({"Status": "OK"})))
        .with_priority(1)
        .mount(&server)
        .await;
    server
}

fn is_greeting(request: &wiremock::Request) -> bool {
    request.url.path() == format!("{BASE}/ping") && !request.headers.contains_key("authorization")
}

/// What came in but for greetings.
async fn heard(server: &MockServer) -> Vec<wiremock::Request> {
    let mut all = server.received_requests().await.unwrap();
    all.retain(|request| !is_greeting(request));
    all
}

async fn answering(status: u16, answer: Value) -> MockServer {
    let server = proxy().await;
    Mock::given(|_: &wiremock::Request| true)
        .respond_with(reply(status).set_body_json(answer))
        .mount(&server)
        .await;
    server
}

/// Says what it parts lists by.
async fn parting_by(server: &MockServer, separator: &str) {
    let status = json!({"Status": "OK", "Message": "", "Separator": separator});
    Mock::given(method("GET"))
        .and(path(format!("{BASE}/status")))
        .respond_with(reply(200).set_body_json(status))
        .expect(1)
        .mount(server)
        .await;
}
