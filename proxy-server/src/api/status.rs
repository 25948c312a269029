//! `status`: where this replica stands, and what became of a commit whose answer was lost.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
};
use proxy_core::{CommitId, Outcome, Params, StoreCondition};
use serde_json::{Map, Value, json};

use super::{
    Api,
    answer::{Answered, revision},
};
use crate::carrier::CarrierCondition;

pub(super) async fn status(State(api): State<Api>, uri: Uri) -> Answered {
    let params = match Params::from_query(uri.query().unwrap_or_default()) {
        Ok(params) => params,
        Err(error) => return error.into(),
    };
    let answered = describe(&api);
    match params.get("id").map(str::parse::<CommitId>) {
        None => answered,
        Some(Ok(id)) => answered.with("Outcome", outcome(api.store.outcome(id).await)),
        Some(Err(problem)) => {
            let message = format!("id: {problem}; it is the Id of an answer with status 504");
            Answered::refused(StatusCode::BAD_REQUEST, message)
        }
    }
}

fn describe(api: &Api) -> Answered {
    let snapshot = api.engine.snapshot();
    let view = &snapshot.view;
    let (store, why) = match &view.condition {
        StoreCondition::Starting => ("starting", None),
        StoreCondition::Live => ("live", None),
        StoreCondition::Stale { why } => ("stale", Some(why.clone())),
        StoreCondition::Wiped { why } => ("wiped", Some(why.clone())),
        _ => ("unknown", None),
    };
    let haproxy = api.carrier.condition();
    let haproxy_why = match &haproxy {
        CarrierCondition::Down(why) => Some(why.clone()),
        _ => None,
    };
    let degraded: Map<String, Value> = view
        .degraded()
        .iter()
        .map(|(name, why)| (name.to_string(), why.to_string().into()))
        .collect();
    let quarantined: Map<String, Value> = snapshot
        .quarantined
        .iter()
        .map(|(name, held)| {
            let held = json!({ "Why": held.why, "ServesOlder": held.serves_older });
            (name.to_string(), held)
        })
        .collect();
    let message = match (&snapshot.failure, store) {
        _ if matches!(haproxy, CarrierCondition::Down(_)) => "HAProxy is down; see Haproxy",
        (Some(_), _) => "what is stored is not live here; see Failure",
        (None, "live") if degraded.is_empty() && quarantined.is_empty() => "all is well",
        (None, "live") => "some services are not served as stored; see Degraded and Quarantined",
        (None, "starting") => "the table was not read from the store yet",
        (None, _) => "the store is not followed; the last known table is served",
    };
    Answered::ok(message)
        .with("Instance", api.instance.as_str())
        .with("Version", env!("CARGO_PKG_VERSION"))
        .with("Revision", revision(snapshot.revision()))
        .with("Services", snapshot.served.len())
        .with("Store", json!({ "Condition": store, "Why": why }))
        .with("Stale", store != "live")
        .with(
            "Haproxy",
            json!({ "Condition": haproxy.word(), "Why": haproxy_why }),
        )
        .with("ConfigDigest", api.carrier.digest())
        .with("Failure", snapshot.failure.as_deref())
        .with("Degraded", degraded)
        .with("Quarantined", quarantined)
        .with("Superseded", superseded(api))
}

/// The table that was served before the store turned out to hold another history.
fn superseded(api: &Api) -> Value {
    let snapshot = api.engine.snapshot();
    let Some(superseded) = &snapshot.view.superseded else {
        return Value::Null;
    };
    json!({
        "Revision": revision(Some(superseded.revision)),
        "Services": superseded.stored.table().len(),
        "Why": superseded.why,
        "File": *api.superseded_file.borrow(),
    })
}

fn outcome(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Committed(at) => json!({ "Stored": true, "Revision": revision(Some(at)) }),
        Outcome::NotThere => json!({ "Stored": false }),
        Outcome::Unknown(why) => json!({ "Stored": null, "Why": why }),
        _ => Value::Null,
    }
}
