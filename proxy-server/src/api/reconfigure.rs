//! `reconfigure`: a service becomes what the parameters say.

use std::sync::Arc;

use axum::extract::State;
use proxy_core::{Change, Params, parse_reconfigure_with};

use super::{
    Api,
    answer::Answered,
    dry_run::{Mode, tried},
    request::{Received, asked},
    service_json::service_json,
    wait::Manner,
};
use crate::engine::{ChangeRequest, WaitFor};

pub(super) async fn reconfigure(State(api): State<Api>, received: Received) -> Answered {
    let answered = run(&api, &received).await.unwrap_or_else(|refused| refused);
    api.metrics
        .change(answered.operation("reconfigure"), answered.outcome());
    answered
}

async fn run(api: &Api, received: &Received) -> Result<Answered, Answered> {
    let parse = |params: &Params| parse_reconfigure_with(params, &api.rules);
    let (asked, Manner { wait, mode }) = asked(api, received, parse, |asked| asked.distribute)?;
    let service = asked.value.service;
    let change = Change::Put(Arc::clone(&service));
    let request = ChangeRequest::new(vec![change], wait);
    let named = service_json(&service);
    if mode == Mode::Tried {
        let answered = tried(api, request, &asked.warnings).await;
        return Ok(answered.with_all(named));
    }
    let answer = api.engine.change(request).await;
    let done = format!("the service {} is configured", service.name());
    Ok(Answered::change(answer, &done, &asked.warnings)
        .with_all(named)
        .with("Distribute", wait.who == WaitFor::Everyone)
        .with("Wait", wait.who.word()))
}
