//! `ping` and the test routes: the process answers. They look at nothing else. And `successfulinitreload`, which
//! Docker Flow Proxy's health check asks.

use axum::{extract::State, http::StatusCode};

use super::{Api, answer::Answered};

pub(super) async fn ping() -> Answered {
    Answered::ok("the proxy answers")
}

pub(super) async fn test() -> Answered {
    Answered::ok("the proxy answers")
}

/// Whether the listeners' services were brought in: the status alone says it.
pub(super) async fn listener_was_read(State(api): State<Api>) -> StatusCode {
    match api.sources.listener_was_read() {
        true => StatusCode::OK,
        false => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
