//! `/metrics`: the control plane's figures for Prometheus.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::Api;

/// The content type of the OpenMetrics text format, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    api.metrics.haproxy(&api.carrier.condition());
    // While HAProxy reloads it does not tell; then the last answer stands.
    if let Some(old) = api.carrier.old_workers().await {
        api.metrics.old_workers(old);
    }
    ([(header::CONTENT_TYPE, OPEN_METRICS)], api.metrics.text()).into_response()
}
