//! `config`: what HAProxy runs as text, or the services as JSON.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use proxy_core::Params;
use proxy_haproxy::redacted;
use serde_json::{Map, Value, json};

use super::{Api, answer::Answered, blame, service_json::service_json};

/// Carries what tells the live configuration from others.
const DIGEST_HEADER: &str = "x-config-digest";

pub(super) async fn config(State(api): State<Api>, uri: Uri) -> Response {
    let params = match Params::from_query(uri.query().unwrap_or_default()) {
        Ok(params) => params,
        Err(error) => return Answered::from(error).into_response(),
    };
    let mut response = match params.get("type") {
        Some("json") if api.engine.snapshot().is_loaded() => services(&api).into_response(),
        Some("json") => Answered::not_loaded(&api.engine.snapshot()).into_response(),
        None | Some("text") => text(&api),
        Some(other) => {
            let message = format!("type: {other:?} is not known; allowed: text, json");
            Answered::refused(StatusCode::BAD_REQUEST, message).into_response()
        }
    };
    // Beside the body: in the JSON every name is a service's.
    let digest = api
        .carrier
        .digest()
        .and_then(|digest| HeaderValue::from_str(&digest).ok());
    if let Some(digest) = digest {
        response.headers_mut().insert(DIGEST_HEADER, digest);
    }
    response
}

fn text(api: &Api) -> Response {
    match api.carrier.config_text() {
        Some(text) => {
            let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (plain, redacted(&text).into_owned()).into_response()
        }
        None => Answered::not_loaded(&api.engine.snapshot()).into_response(),
    }
}

/// Name to service, with what is wrong where something is.
fn services(api: &Api) -> Json<Value> {
    let snapshot = api.engine.snapshot();
    let mut services = Map::new();
    for service in snapshot.served.iter() {
        let fields = service_json(service);
        services.insert(service.name().to_string(), Value::Object(fields));
    }
    for (name, held) in &snapshot.quarantined {
        let stored = snapshot.view.stored.table().get(name);
        let parameter = stored.and_then(|service| blame::parameter(service, &held.why));
        let entry = services
            .entry(name.to_string())
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(fields) = entry {
            fields.insert("Quarantined".into(), held.why.clone().into());
            fields.insert("QuarantinedParameter".into(), json!(parameter));
        }
    }
    for (name, why) in snapshot.view.degraded() {
        let entry = services
            .entry(name.to_string())
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(fields) = entry {
            let told = why.told(snapshot.served.get(name));
            fields.insert("Degraded".into(), told.into());
        }
    }
    Json(Value::Object(services))
}
