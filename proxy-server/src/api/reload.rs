//! `reload`: HAProxy loads its configuration again, or the listeners are asked for their services.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};

use super::{
    Api,
    answer::{Answered, Meanwhile},
    cert::undone,
    dry_run::{Mode, tried},
    request::{Received, flag, params},
    wait::{Manner, manner_of},
};
use crate::{
    chain::chain,
    engine::ChangeRequest,
    sources::{Shortfall, Told},
};

/// How many of the refused an answer names; `status` names more.
const MOST_TOLD: usize = 10;

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
    let recreate = flag(&params, "recreate")?;
    let Manner { wait, mode } = manner_of(api, &mut params)?;
    let from = match (flag(&params, "fromListener")?, recreate) {
        (true, true) => {
            let message = "fromListener=true asks the listeners in place of loading anything again; give it or recreate=true; nothing was changed";
            return Err(Answered::refused(StatusCode::BAD_REQUEST, message));
        }
        (true, false) => return Ok(from_listeners(api, mode).await),
        (false, true) => From::Stored,
        (false, false) => From::Live,
    };
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
    // It goes on where the caller hangs up: what it has read by then is not read again.
    let certificates = Arc::clone(&api.certificates);
    let look = async move { certificates.scan_soon().await };
    if let Err(why) = api.works.run(look).await.map_err(undone)? {
        let message = format!("{why}; HAProxy was not reloaded; nothing was changed; try again");
        return Err(Answered::refused(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    api.certificates.try_again();
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
        Ok(()) => Answered::ok(match from {
            From::Live => "HAProxy loaded its configuration again, as it stands in its files",
            From::Stored => {
                "HAProxy runs what is stored, which was read, rendered and written anew"
            }
        }),
        Err(why) => Answered::refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(
                "HAProxy was not reloaded: {why}; {}",
                Meanwhile::of(api).words()
            ),
        ),
    })
}

async fn from_listeners(api: &Api, mode: Mode) -> Answered {
    let not_asked = |why: String| {
        let message = format!("the listeners were not asked: {why}; what is served is served on");
        Answered::refused(StatusCode::BAD_GATEWAY, message)
    };
    if mode == Mode::Tried {
        let tried = match api.sources.has_listener() {
            Ok(()) => Answered::ok(
                "dry run: the listeners would be asked, and what they have would be configured; nothing was changed",
            ),
            Err(why) => not_asked(why),
        };
        return tried.with("Stored", false).with("DryRun", true);
    }
    match api.sources.ask_listeners().await {
        Ok(told) => answer(&told),
        Err(why) => not_asked(why),
    }
}

/// What the listeners told and what came of it; anything but all of it is no success.
fn answer(told: &Told) -> Answered {
    let Told {
        listed,
        again,
        shortfall,
        refused,
        doubted,
    } = told;
    let (status, mut message) = match (shortfall, again) {
        (Some(Shortfall::Empty { kept }), _) => (
            StatusCode::BAD_GATEWAY,
            format!(
                "the listeners have no services, which is not believed while {kept} are served that came from them: these are served on, and nothing was changed; ask again once the listeners have looked, or remove the services"
            ),
        ),
        (Some(Shortfall::Part(why)), _) => (
            StatusCode::BAD_GATEWAY,
            format!(
                "not all of the listeners' list could be read ({why}); of what was, {listed} services, those that are right are configured or tried again"
            ),
        ),
        (None, true) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "the listeners have {listed} services, and not all of them could be stored; what is served is served on, and it is tried again; see status"
            ),
        ),
        (None, false) => (
            StatusCode::OK,
            format!(
                "the listeners were asked; they have {listed} services, and those that are right are configured"
            ),
        ),
    };
    for (what, named) in [
        ("are refused", refused),
        ("are not listed and served on", doubted),
    ] {
        if named.count == 0 {
            continue;
        }
        let first = named.first.iter().take(MOST_TOLD);
        let first = first.map(|(called, why)| format!("{called}: {why}"));
        let first = first.collect::<Vec<_>>().join("; ");
        message = format!("{message}; {} {what}: {first}", named.count);
    }
    match status {
        StatusCode::OK => Answered::ok(message),
        _ => Answered::refused(status, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_did_not_all_get_through_is_no_success() {
        let named = |name: &str| {
            [(name.to_owned(), "no port".to_owned())]
                .into_iter()
                .collect()
        };
        let told = Told {
            listed: 2,
            again: false,
            shortfall: None,
            refused: named("wrong of here"),
            doubted: named("old"),
        };
        let silent = Some(Shortfall::Part("there: silent".to_owned()));
        let empty = Some(Shortfall::Empty { kept: 3 });
        for (shortfall, again, outcome, words) in [
            (None, false, "ok", "1 are refused: wrong of here: no port"),
            (
                None,
                false,
                "ok",
                "1 are not listed and served on: old: no port",
            ),
            (empty, false, "partial", "while 3 are served"),
            (None, true, "failed", "not all of them could be stored"),
            (silent.clone(), false, "partial", "there: silent"),
            (silent, true, "partial", "wrong of here: no port"),
        ] {
            let told = Told {
                shortfall,
                again,
                ..told.clone()
            };
            let answered = answer(&told);
            let said = format!("{answered:?}");
            assert!(said.contains(words), "{said}");
            assert_eq!(answered.outcome(), outcome, "{said}");
        }
    }
}
