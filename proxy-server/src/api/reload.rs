//! `reload`: HAProxy loads its configuration again, rendered anew.

use axum::{extract::State, http::StatusCode};

use super::{
    Api,
    answer::Answered,
    dry_run::{Mode, tried},
    request::{Received, flag, params},
    wait::{Manner, manner_of},
};
use crate::{chain::chain, engine::ChangeRequest};

/// What is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// What is live, as it stands on disk.
    Live,
    /// What is stored: read, rendered and written anew (`recreate=true`).
    Stored,
}

pub(super) async fn reload(State(api): State<Api>, received: Received) -> Answered {
    let answered = run(&api, &received).await.unwrap_or_else(|refused| refused);
    api.metrics
        .change(answered.operation("reload"), answered.outcome());
    answered
}

async fn run(api: &Api, (uri, headers, body): &Received) -> Result<Answered, Answered> {
    let mut params = params(uri, headers, body)?;
    let from = match flag(&params, "recreate")? {
        true => From::Stored,
        false => From::Live,
    };
    let Manner { wait, mode } = manner_of(api, &mut params)?;
    if flag(&params, "fromListener")? && mode == Mode::Made {
        return Ok(match api.sources.ask_listeners().await {
            Ok(count) => Answered::ok(format!(
                "the listeners were asked; they have {count} services, and those that are right are configured"
            )),
            Err(why) => Answered::refused(
                StatusCode::BAD_GATEWAY,
                format!("the listeners were not asked: {why}; what is served is served on"),
            ),
        });
    }
    if mode == Mode::Tried {
        let answered = tried(api, ChangeRequest::new(Vec::new(), wait), &[]).await;
        return Ok(match answered.outcome() {
            // What rendering anew brings is in the diff; the reload comes in any case.
            "ok" => answered.with("Effect", "reload").with(
                "Message",
                "dry run: HAProxy would be reloaded; nothing was changed",
            ),
            _ => answered,
        });
    }
    api.certificates.scan().await;
    let reloaded = match from {
        From::Live => api.engine.reload().await,
        From::Stored => {
            // What was read of it before counts as little as what stands on disk.
            if let Err(why) = api.store.reread().await {
                let message = format!(
                    "the store could not be read anew: {}; nothing was changed",
                    chain(&why)
                );
                return Err(Answered::refused(StatusCode::SERVICE_UNAVAILABLE, message));
            }
            api.engine.recreate().await
        }
    };
    Ok(match reloaded {
        Ok(()) => Answered::ok("HAProxy runs the configuration, rendered anew"),
        Err(why) => Answered::refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("HAProxy was not reloaded: {why}; what ran before runs on"),
        ),
    })
}
