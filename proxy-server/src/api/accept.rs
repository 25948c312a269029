//! `accept`: an operator means it that services are gone which the store lost without a removal.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
};
use proxy_core::{Change, CommitError, Degradation, Params, ServiceName, StoreCondition};

use super::{
    Api,
    answer::{Answered, Meanwhile},
    dry_run::{Mode, tried},
    wait::{Manner, manner_of},
};
use crate::{chain::chain, engine::ChangeRequest};

/// What is accepted.
enum Meant {
    All,
    Named(Vec<ServiceName>),
}

pub(super) async fn accept(State(api): State<Api>, uri: Uri) -> Answered {
    let run = run(&api, uri.query().unwrap_or_default()).await;
    let answered = run.unwrap_or_else(|refused| refused.with("Stored", false));
    api.metrics
        .change(answered.operation("accept"), answered.outcome());
    answered
}

async fn run(api: &Api, query: &str) -> Result<Answered, Answered> {
    let mut params = Params::from_query(query)?;
    let manner = manner_of(api, &mut params)?;
    let view = api.store.view();
    let missing = view.degraded().iter();
    let missing: Vec<_> = missing
        .filter(|(_, why)| **why == Degradation::Missing)
        .map(|(name, _)| name.clone())
        .collect();
    let wiped = matches!(view.condition, StoreCondition::Wiped { .. });
    let held: Vec<_> = if wiped {
        view.stored
            .documents()
            .map(|it| it.name().clone())
            .collect()
    } else {
        missing
    };
    match meant(&params)? {
        None => Err(undecided(&held, wiped)),
        Some(Meant::Named(_)) if wiped => {
            let message = "the whole store is empty: accept with all=true, or import a table; nothing was changed";
            Err(Answered::refused(StatusCode::CONFLICT, message))
        }
        Some(Meant::Named(names)) => {
            let other = names.iter().find(|name| !held.contains(name));
            if let Some(other) = other {
                let message = format!(
                    "the service {other} is not one that the store lost: remove it; nothing was changed"
                );
                return Err(
                    Answered::refused(StatusCode::CONFLICT, message).with("Lost", listed(&held))
                );
            }
            Ok(drop_named(api, names, manner).await)
        }
        Some(Meant::All) if wiped => drop_all(api, held, manner).await,
        Some(Meant::All) => Ok(drop_named(api, held, manner).await),
    }
}

fn meant(params: &Params) -> Result<Option<Meant>, Answered> {
    match (params.get("serviceName"), params.get("all")) {
        (None, Some("true")) => Ok(Some(Meant::All)),
        (None, None | Some("false")) => Ok(None),
        (Some(names), None | Some("false")) => {
            let names = names.split(',').map(|name| name.trim().parse());
            let names = names.collect::<Result<Vec<_>, _>>().map_err(|problem| {
                let message = format!("serviceName: {problem}; nothing was changed");
                Answered::refused(StatusCode::BAD_REQUEST, message)
            })?;
            Ok(Some(Meant::Named(names)))
        }
        (Some(_), Some("true")) => {
            let message = "either serviceName or all=true, not both; nothing was changed";
            Err(Answered::refused(StatusCode::BAD_REQUEST, message))
        }
        (_, Some(other)) => {
            let message = format!("all: {other:?} is neither true nor false; nothing was changed");
            Err(Answered::refused(StatusCode::BAD_REQUEST, message))
        }
    }
}

/// Why an empty store is not accepted, or is not known to be. The latter is no refusal.
fn not_accepted(error: &CommitError) -> Result<Answered, Answered> {
    let status = match error {
        CommitError::Refused { .. } | CommitError::Denied { .. } => StatusCode::FORBIDDEN,
        CommitError::LostRace { .. } => {
            let message = "the store is not empty any more: it was restored or filled again meanwhile; nothing was changed";
            return Err(Answered::refused(StatusCode::CONFLICT, message));
        }
        CommitError::Unknown { id, .. } => {
            let message = format!(
                "{}; until then the services are served on, here; status?id={id} tells whether it was accepted that the store is empty",
                chain(error)
            );
            return Ok(Answered::unknown(*id, message));
        }
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Err(Answered::refused(status, chain(error)))
}

/// Nobody drops services by accident: this says which would go.
fn undecided(held: &[ServiceName], wiped: bool) -> Answered {
    let message = match (held, wiped) {
        ([], _) => "the store lost no service; there is nothing to accept".to_owned(),
        (held, true) => format!(
            "the store is empty; all=true drops all {} services that are held here; nothing was changed",
            held.len()
        ),
        (held, false) => format!(
            "the store lost {}; serviceName=<names> or all=true drops them; nothing was changed",
            listed(held).join(", ")
        ),
    };
    Answered::refused(StatusCode::BAD_REQUEST, message).with("Lost", listed(held))
}

fn listed(names: &[ServiceName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

async fn drop_named(api: &Api, names: Vec<ServiceName>, manner: Manner) -> Answered {
    let dropped = listed(&names);
    let changes = names.into_iter().map(Change::Remove).collect();
    let request = ChangeRequest::new(changes, manner.wait);
    if manner.mode == Mode::Tried {
        return tried(api, request, &[]).await;
    }
    let answer = api.engine.change(request).await;
    let done = match dropped.as_slice() {
        [] => "the store lost no service; nothing was changed".to_owned(),
        some => format!("dropped: {}", some.join(", ")),
    };
    Answered::change(answer, &done, &[], Meanwhile::of(api)).with("Dropped", dropped)
}

async fn drop_all(api: &Api, held: Vec<ServiceName>, manner: Manner) -> Result<Answered, Answered> {
    if manner.mode == Mode::Tried {
        return Ok(drop_named(api, held, manner).await);
    }
    if let Err(error) = api.store.accept().await {
        return not_accepted(&error);
    }
    // It is stored, as what the store shows; like any other it is confirmed by who is waited for.
    let nothing_more = ChangeRequest::new(Vec::new(), manner.wait);
    let answer = api.engine.change(nothing_more).await;
    // Where the head alone was lost the documents are there, and are served.
    let left = api.store.view();
    let is_gone = |name: &ServiceName| left.stored.document(name).is_none();
    let dropped: Vec<_> = held.into_iter().filter(is_gone).collect();
    let done = format!(
        "it is accepted that the store is empty: {} services are dropped",
        dropped.len()
    );
    let answered = match answer {
        Ok(answer) => Answered::change(Ok(answer), &done, &[], Meanwhile::of(api)),
        // The words of a refusal are about a change that was not stored.
        Err(why) => {
            tracing::warn!(%why, "an empty store is accepted, and not confirmed");
            let message = format!("{done}; whether that is live is not known: see status");
            Answered::refused(StatusCode::BAD_GATEWAY, message).with("Stored", true)
        }
    };
    Ok(answered.with("Dropped", listed(&dropped)))
}

#[cfg(test)]
mod tests {
    use proxy_core::CommitId;

    use super::*;

    #[test]
    fn an_end_that_is_not_known_is_no_refusal() {
        let id = CommitId::from_bytes([7; 16]);
        let why = "no server".into();
        let answered = not_accepted(&CommitError::Unknown { id, why }).unwrap();
        assert_eq!(answered.outcome(), "unknown");
        let fields = answered.fields();
        assert!(fields["Stored"].is_null(), "{fields:?}");
        assert_eq!(fields["Id"], id.to_string());
        let message = fields["Message"].as_str().unwrap();
        assert!(message.contains(&format!("status?id={id}")), "{message}");
        assert!(!message.contains("nothing was changed"), "{message}");
        let refused = not_accepted(&CommitError::Unavailable { why: "down".into() }).unwrap_err();
        let message = refused.fields()["Message"].as_str().unwrap();
        assert!(message.contains("nothing was changed"), "{message}");
    }
}
