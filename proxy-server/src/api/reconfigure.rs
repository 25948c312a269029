//! `reconfigure`: a service becomes what the parameters say.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, Uri},
};
use proxy_core::{Change, parse_reconfigure};

use super::{Api, answer::Answered, request::params, service_json::service_json};
use crate::engine::ChangeRequest;

pub(super) async fn reconfigure(
    State(api): State<Api>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let answered = run(&api, &uri, &headers, &body).await;
    api.metrics.change("reconfigure", answered.outcome());
    answered
}

async fn run(api: &Api, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Answered {
    let params = match params(uri, headers, body) {
        Ok(params) => params,
        Err(error) => return error.into(),
    };
    let asked = match parse_reconfigure(&params) {
        Ok(asked) => asked,
        Err(refused) => return refused.into(),
    };
    let service = asked.value.service;
    let change = Change::Put(Arc::clone(&service));
    let request = ChangeRequest::new(vec![change], asked.value.distribute);
    let answer = api.engine.change(request).await;
    let done = format!("the service {} is configured", service.name());
    Answered::change(answer, &done, &asked.warnings)
        .with_all(service_json(&service))
        .with(
            "Distribute",
            asked.value.distribute == proxy_core::Distribute::Yes,
        )
}
