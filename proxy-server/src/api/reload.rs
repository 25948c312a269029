//! `reload`: HAProxy loads its configuration again, rendered anew.

use axum::{extract::State, http::StatusCode};

use super::{Api, answer::Answered};

pub(super) async fn reload(State(api): State<Api>) -> Answered {
    let answered = match api.engine.reload().await {
        Ok(()) => Answered::ok("HAProxy runs the configuration, rendered anew"),
        Err(why) => Answered::refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("HAProxy was not reloaded: {why}; what ran before runs on"),
        ),
    };
    api.metrics.change("reload", answered.outcome());
    answered
}
