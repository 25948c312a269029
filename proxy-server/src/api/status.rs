//! `status`: where this replica stands, what became of a commit whose answer was lost, and with
//! `peers=true` where every other replica stands.

mod peers;
mod sources;

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use proxy_core::{CommitId, Outcome, Params, StoreCondition};
use serde_json::{Map, Value, json};

use super::{
    Api,
    answer::{Answered, revision},
    blame, certs,
    text::{Form, cell, plain},
};
use crate::{
    carrier::{CarrierCondition, CatalogReport},
    standing::store_word,
};

pub(super) async fn status(State(api): State<Api>, uri: Uri) -> Response {
    match answer(&api, uri.query().unwrap_or_default()).await {
        Ok((answered, Form::Json)) => answered.into_response(),
        Ok((answered, Form::Text)) => {
            let fields = answered.fields();
            plain(StatusCode::OK, lines(fields) + &peers::text(fields))
        }
        Err(refused) => refused.into_response(),
    }
}

async fn answer(api: &Api, query: &str) -> Result<(Answered, Form), Answered> {
    let params = Params::from_query(query)?;
    let form = Form::of(&params)?;
    let with_peers = match params.get("peers") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let message = format!("peers: {other:?} is neither true nor false");
            return Err(Answered::refused(StatusCode::BAD_REQUEST, message));
        }
    };
    let mut answered = describe(api);
    match params.get("id").map(str::parse::<CommitId>) {
        None => {}
        Some(Ok(id)) => answered = answered.with("Outcome", outcome(api.store.outcome(id).await)),
        Some(Err(problem)) => {
            let message = format!("id: {problem}; it is the Id of an answer with status 504");
            return Err(Answered::refused(StatusCode::BAD_REQUEST, message));
        }
    }
    if with_peers {
        answered = peers::add(api, answered).await;
    }
    Ok((answered, form))
}

fn describe(api: &Api) -> Answered {
    let snapshot = api.engine.snapshot();
    let view = &snapshot.view;
    let store = store_word(&view.condition);
    let why = match &view.condition {
        StoreCondition::Stale { why } | StoreCondition::Wiped { why } => Some(why.clone()),
        StoreCondition::Starting { trouble } => trouble.as_ref().map(ToString::to_string),
        _ => None,
    };
    let haproxy = api.carrier.condition();
    let haproxy_why = match &haproxy {
        CarrierCondition::Down(why) => Some(why.clone()),
        _ => None,
    };
    let degraded: Map<String, Value> = view
        .degraded()
        .iter()
        .map(|(name, why)| {
            let told = why.told(snapshot.served.get(name));
            (name.to_string(), told.into())
        })
        .collect();
    let quarantined: Map<String, Value> = snapshot
        .quarantined
        .iter()
        .map(|(name, held)| {
            let stored = view.stored.table().get(name);
            let parameter = stored.and_then(|service| blame::parameter(service, &held.why));
            let held = json!({
                "Why": held.told(),
                "Parameter": parameter,
                "ServesOlder": held.serves_older,
            });
            (name.to_string(), held)
        })
        .collect();
    let elsewhere = sources::well(api);
    let catalog = sources::catalog_report(api);
    let catalog_is_well = catalog.as_ref().is_none_or(CatalogReport::is_well);
    let message = match (&snapshot.failure, store) {
        _ if matches!(haproxy, CarrierCondition::Down(_)) => "HAProxy is down; see Haproxy",
        (Some(_), _) => "what is stored is not live here; see Failure",
        (None, "live") if !degraded.is_empty() || !quarantined.is_empty() => {
            "some services are not served as stored; see Degraded and Quarantined"
        }
        (None, "live") if !elsewhere => {
            "not all services from elsewhere are configured; see Sources"
        }
        (None, "live") if !catalog_is_well => {
            "not all instances of the catalog are known or can be used; see Catalog"
        }
        (None, "live") => "all is well",
        (None, "starting") if why.is_some() => {
            "the table could not be read from the store yet; see Store"
        }
        (None, "starting") => "the table was not read from the store yet",
        (None, _) => "the store is not followed; the last known table is served",
    };
    Answered::ok(message)
        .with("Instance", api.instance.as_str())
        .with("Version", env!("CARGO_PKG_VERSION"))
        .with("Revision", revision(snapshot.revision()))
        .with("Services", snapshot.served.len())
        // For callers who join lists.
        .with("Separator", api.sources.rules.parameters.separator())
        .with("TableDigest", api.station.now().table_digest)
        .with(
            "Store",
            json!({ "Condition": store, "Why": why, "Servers": servers(api) }),
        )
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
        .with("Sources", sources::described(api))
        .with("Catalog", sources::catalog(catalog.as_ref()))
        .with(
            "Certificates",
            json!({
                "Shown": api.certificates.shown().len(),
                "ExpireSoon": certs::expiring(&api.certificates),
                "Refused": certs::refused(&api.certificates),
                "LeftOut": certs::left_out(&api.certificates),
            }),
        )
}

/// How each server of the store answered last.
fn servers(api: &Api) -> Vec<Value> {
    let server = |contact: crate::contacts::Contact| {
        json!({
            "Address": contact.address,
            "Last": contact.last.map(|(outcome, _)| outcome),
            "SecondsAgo": contact.last.map(|(_, ago)| ago.as_secs()),
        })
    };
    api.contacts.list().into_iter().map(server).collect()
}

/// A line per field that has a value, and one per member of an object.
fn lines(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Object(members) => {
                for (member, value) in members.iter().filter(|(_, value)| !value.is_null()) {
                    text.push_str(&format!("{name}.{member}: {}\n", cell(value)));
                }
            }
            _ if name == "Peers" => {}
            value => text.push_str(&format!("{name}: {}\n", cell(value))),
        }
    }
    text
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
