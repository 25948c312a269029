//! `/metrics`: the figures of the control plane and of HAProxy for Prometheus; `metrics` below the API: HAProxy's
//! own as CSV.

use axum::{
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use proxy_core::Params;

use super::{Api, answer::Answered, peer::named};

/// The content type of the OpenMetrics text format, version 1.0.0.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What ends that format.
const END: &str = "# EOF\n";
pub(super) const CSV: &str = "text/csv; charset=utf-8";

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    api.metrics.haproxy(&api.carrier.condition());
    // While HAProxy reloads it does not tell; then the last answer stands.
    if let Some(old) = api.carrier.old_workers().await {
        api.metrics.old_workers(old);
    }
    let mut text = api.metrics.text();
    text.truncate(text.trim_end_matches(END).len());
    text.push_str(&api.statistics.metrics().await);
    text.push_str(END);
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

pub(super) async fn csv(State(api): State<Api>, uri: Uri) -> Response {
    let params = match Params::from_query(uri.query().unwrap_or_default()) {
        Ok(params) => params,
        Err(error) => return Answered::from(error).into_response(),
    };
    let text = match params.get("distribute") {
        None | Some("false") => api.statistics.here().await.map(|text| text.to_string()),
        Some("true") => api.statistics.everywhere().await,
        Some(_) => {
            let message = "distribute: it is neither true nor false; allowed: true or false";
            return Answered::refused(StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, CSV)], text).into_response(),
        Err(why) => {
            let message = format!("the figures of HAProxy cannot be read: {why}");
            Answered::refused(StatusCode::BAD_GATEWAY, message).into_response()
        }
    }
}

/// The same for the replica that gathers all.
pub(super) async fn to_peer(State(api): State<Api>) -> Response {
    match api.statistics.here().await {
        Ok(text) => named(&api, ([(header::CONTENT_TYPE, CSV)], text.to_string())),
        Err(why) => named(
            &api,
            Answered::refused(StatusCode::SERVICE_UNAVAILABLE, why),
        ),
    }
}
