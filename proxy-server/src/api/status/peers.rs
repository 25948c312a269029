//! The rows of `status?peers=true`: every replica, who lags by how much, and who drifted.

use serde_json::{Map, Value, json};

use super::super::{
    Api,
    answer::{Answered, revision},
    text::{cell, table},
};
use crate::standing::{Place, Surveyed, compare};

/// Columns of the text: the row's field, and its heading.
const COLUMNS: [(&str, &str); 9] = [
    ("Address", "REPLICA"),
    ("Instance", "INSTANCE"),
    ("Place", "PLACE"),
    ("Behind", "BEHIND"),
    ("Number", "REVISION"),
    ("TableDigest", "TABLE"),
    ("Store", "STORE"),
    ("Haproxy", "HAPROXY"),
    ("Reason", "REASON"),
];

/// Asks every peer, and adds a row for each and what they make together.
pub(super) async fn add(api: &Api, answered: Answered) -> Answered {
    let mut asked = api.survey.ask().await;
    let own = api.station.now();
    let is_me = |row: &Surveyed| matches!(&row.standing, Ok(it) if it.instance == own.instance);
    // What this replica says of itself a moment later is as true, and newer.
    match asked.iter_mut().find(|row| is_me(row)) {
        Some(row) => row.standing = Ok(own),
        None => asked.push(Surveyed {
            address: "this replica".to_owned(),
            took: std::time::Duration::ZERO,
            standing: Ok(own),
        }),
    }
    let standings: Vec<_> = asked.iter().map(|row| row.standing.as_ref().ok()).collect();
    let compared = compare(&standings);
    let rows: Vec<Value> = asked
        .iter()
        .zip(&compared.places)
        .map(|(row, place)| described(row, *place))
        .collect();
    answered.with("Peers", rows).with("Drift", compared.drift)
}

fn described(row: &Surveyed, place: Place) -> Value {
    let behind = match place {
        Place::Behind(commits) => Some(commits),
        _ => None,
    };
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("Address", row.address.clone().into());
    put("Place", place.word().into());
    put("Behind", behind.into());
    put(
        "Milliseconds",
        u64::try_from(row.took.as_millis())
            .unwrap_or(u64::MAX)
            .into(),
    );
    match &row.standing {
        Ok(it) => {
            put("Instance", it.instance.as_str().into());
            put("Version", it.version.clone().into());
            put("Revision", revision(it.revision));
            put("TableDigest", it.table_digest.clone().into());
            put("ConfigDigest", it.config_digest.clone().into());
            put("Services", it.services.into());
            put("Store", it.store.clone().into());
            put("Haproxy", it.haproxy.clone().into());
            put("Quarantined", json!(it.quarantined));
            put("Degraded", json!(it.degraded));
            put("Reason", it.failure.clone().into());
        }
        Err(why) => {
            put("Reason", why.clone().into());
        }
    }
    Value::Object(fields)
}

/// The rows as text; empty where nobody asked for them.
pub(super) fn text(fields: &Map<String, Value>) -> String {
    let Some(Value::Array(peers)) = fields.get("Peers") else {
        return String::new();
    };
    let rows: Vec<Vec<String>> = peers
        .iter()
        .map(|row| {
            let value = |name: &str| match name {
                "Number" => row.pointer("/Revision/Number"),
                name => row.get(name),
            };
            COLUMNS
                .map(|(name, _)| value(name).map(cell).unwrap_or_default())
                .to_vec()
        })
        .collect();
    format!("\n{}", table(&COLUMNS.map(|(_, heading)| heading), &rows))
}
