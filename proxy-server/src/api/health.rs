//! `/healthz` and `/readyz`: for whoever restarts a replica, and for whoever sends it traffic.
//!
//! Both answer without a token, so they name neither services nor addresses: `status` does.

use std::time::SystemTime;

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use proxy_core::StoreCondition;

use super::{Api, answer::Answered};

/// Carries what is wrong with a replica that is ready all the same, once per thing.
const WARNING_HEADER: HeaderName = HeaderName::from_static("x-proxy-warning");

/// The process is alive and its engine turns.
pub(super) async fn healthz(State(api): State<Api>) -> Answered {
    match api.engine.hangs() {
        None => Answered::ok("the process is alive and its engine turns"),
        Some(why) => Answered::refused(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// A table is loaded, HAProxy runs it, and nobody asked this replica to end.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    match api.station.why_not_ready() {
        None => ready(&api),
        Some(why_not) => {
            Answered::refused(StatusCode::SERVICE_UNAVAILABLE, why_not).into_response()
        }
    }
}

fn ready(api: &Api) -> Response {
    let warnings = warnings(api);
    let message = match warnings.as_slice() {
        [] => "HAProxy runs the table".to_owned(),
        some => format!("HAProxy runs a table, but {}; see status", some.join("; ")),
    };
    let headers: Vec<_> = warnings
        .iter()
        .filter_map(|text| HeaderValue::from_str(text).ok())
        .collect();
    let mut response = Answered::ok(message)
        .with("Warnings", warnings)
        .into_response();
    for header in headers {
        response.headers_mut().append(WARNING_HEADER, header);
    }
    response
}

/// What is wrong and no reason to send the traffic elsewhere.
fn warnings(api: &Api) -> Vec<String> {
    let snapshot = api.engine.snapshot();
    let mut warnings = Vec::new();
    match snapshot.view.condition {
        StoreCondition::Live => {}
        StoreCondition::Wiped { .. } => warnings
            .push("the store is empty, and the table that was served before is kept".to_owned()),
        _ => warnings
            .push("the store is not followed, and the last known table is served".to_owned()),
    }
    if snapshot.failure.is_some() {
        warnings
            .push("what is stored is not live, and the last good configuration runs".to_owned());
    }
    for (count, what) in [
        (snapshot.quarantined.len(), "quarantined"),
        (snapshot.view.degraded().len(), "degraded"),
    ] {
        match count {
            0 => {}
            1 => warnings.push(format!("1 service is {what}")),
            n => warnings.push(format!("{n} services are {what}")),
        }
    }
    for (source, report) in api.sources.reports() {
        if !report.is_well() {
            warnings.push(format!(
                "not all services of the {source} are configured, or are known",
                source = source.word()
            ));
        }
    }
    if api
        .catalog
        .as_ref()
        .is_some_and(|catalog| !catalog.report().is_well())
    {
        let what = "not all instances of the catalog are known or can be used";
        warnings.push(what.to_owned());
    }
    match api.certificates.expiring(SystemTime::now()).len() {
        0 => {}
        1 => warnings.push("1 certificate ends within 14 days".to_owned()),
        n => warnings.push(format!("{n} certificates end within 14 days")),
    }
    match api.certificates.refused().len() {
        0 => {}
        1 => warnings.push("1 file holds no certificate that could be shown".to_owned()),
        n => warnings.push(format!("{n} files hold no certificate that could be shown")),
    }
    warnings
}
