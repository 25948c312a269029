//! `remove`: a service is gone. One that is not there is gone already.

use axum::extract::State;
use proxy_core::{Change, ChangeKind, Parsed, Remove, parse_remove};

use super::{
    Api,
    answer::{Answered, Meanwhile},
    dry_run::{Mode, tried},
    request::{Received, asked},
    wait::Manner,
};
use crate::engine::{ChangeRequest, WaitFor};

pub(super) async fn remove(State(api): State<Api>, received: Received) -> Answered {
    let answered = run(&api, &received).await.unwrap_or_else(|refused| refused);
    api.metrics
        .change(answered.operation("remove"), answered.outcome());
    answered
}

async fn run(api: &Api, received: &Received) -> Result<Answered, Answered> {
    let (params, given) = asked(received)?;
    let parsed = parse_remove(&params)?;
    let manner = given.read(api, parsed.value.distribute)?;
    Ok(removed(api, parsed, manner).await)
}

/// Removes a service, and says so.
pub(super) async fn removed(
    api: &Api,
    asked: Parsed<Remove>,
    Manner { wait, mode }: Manner,
) -> Answered {
    let name = asked.value.service;
    let change = Change::Remove(name.clone());
    let request = ChangeRequest::new(vec![change], wait);
    if mode == Mode::Tried {
        let answered = tried(api, request, &asked.warnings).await;
        return answered.with("ServiceName", name.as_str());
    }
    let answer = api.engine.change(request).await;
    let was_there = answer.as_ref().is_ok_and(|answer| {
        answer
            .changes
            .iter()
            .any(|change| change.kind == ChangeKind::Removed)
    });
    let done = match was_there {
        true => format!("the service {name} is removed"),
        false => format!("there is no service {name}; nothing was changed"),
    };
    Answered::change(answer, &done, &asked.warnings, Meanwhile::of(api))
        .with("ServiceName", name.as_str())
        .with("Distribute", wait.who == WaitFor::Everyone)
        .with("Wait", wait.who.word())
}
