//! `remove`: a service is gone. One that is not there is gone already.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, Uri},
};
use proxy_core::{Change, ChangeKind, parse_remove};

use super::{Api, answer::Answered, request::params};
use crate::engine::ChangeRequest;

pub(super) async fn remove(
    State(api): State<Api>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let answered = run(&api, &uri, &headers, &body).await;
    api.metrics.change("remove", answered.outcome());
    answered
}

async fn run(api: &Api, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Answered {
    let params = match params(uri, headers, body) {
        Ok(params) => params,
        Err(error) => return error.into(),
    };
    let asked = match parse_remove(&params) {
        Ok(asked) => asked,
        Err(refused) => return refused.into(),
    };
    let name = asked.value.service;
    let change = Change::Remove(name.clone());
    let request = ChangeRequest::new(vec![change], asked.value.distribute);
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
    Answered::change(answer, &done, &asked.warnings)
        .with("ServiceName", name.as_str())
        .with(
            "Distribute",
            asked.value.distribute == proxy_core::Distribute::Yes,
        )
}
