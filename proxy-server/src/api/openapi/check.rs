//! Answers held to the document, for the tests of the API: every one that they get.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{ALIAS, BASE, text};
use crate::settings::GetWrites;

/// The document as anybody reads it.
pub(in crate::api) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&text(GetWrites::Allowed)).unwrap());

/// Panics where an answer is not as the document says.
pub(in crate::api) fn answer(
    method: &str,
    path: &str,
    status: u16,
    kind: Option<&str>,
    body: &Value,
) {
    let path = path.replacen(ALIAS, BASE, 1);
    let Some(item) = DOCUMENT["paths"].get(&path) else {
        // What replicas tell each other is nobody else's business.
        assert!(
            status == 404 || path.contains("/peer/"),
            "{path} is not in the document and answers {status}"
        );
        return;
    };
    let call = format!("{method} {path}");
    // Whatever is no call there.
    if status == 405 {
        return;
    }
    let Some(operation) = item.get(method.to_lowercase()) else {
        assert!(status == 401, "{call} is not in the document: {status}");
        return;
    };
    let Some(answer) = operation["responses"].get(status.to_string()) else {
        panic!("{call} may not answer {status}, says the document: {body}");
    };
    let kind = kind.and_then(|kind| kind.split(';').next());
    let contents = answer["content"].as_object().cloned().unwrap_or_default();
    let is_kind = |known: &str| known.split(';').next() == kind;
    let content = contents.iter().find(|(known, _)| is_kind(known));
    match (kind, content) {
        (None, None) if contents.is_empty() => {}
        (Some("application/json"), Some((_, content))) => {
            let found = problems(&content["schema"], body);
            assert!(found.is_empty(), "{call}: {status}: {found:?} in {body}");
        }
        (Some(_), Some(_)) => {}
        _ => panic!("{call}: {status}: {kind:?} is none of {contents:?}"),
    }
}

/// What of a value is not as a schema says; a member that is not in it is not either.
fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(schema, value, "", &mut found);
    found
}

fn look(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = resolved(schema);
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let fits = |choice: &&Value| problems(choice, value).is_empty();
        if choices.iter().filter(fits).count() != 1 {
            found.push(format!("{at}: fits not one of {choices:?}"));
        }
        return;
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is none of {words:?}"));
    }
    if !is_of_kind(schema.get("type"), value) {
        found.push(format!("{at}: {value} is no {}", schema["type"]));
        return;
    }
    match value {
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                look(&schema["items"], value, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => members(schema, fields, at, found),
        _ => {}
    }
}

fn members(schema: &Value, fields: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
    let mut parts = Vec::new();
    flatten(schema, &mut parts);
    let required = parts
        .iter()
        .filter_map(|part| part["required"].as_array())
        .flatten();
    for name in required.filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    // One of which nothing is said may hold anything.
    let says =
        |part: &&&Value| !part["properties"].is_null() || !part["additionalProperties"].is_null();
    if parts.iter().filter(says).count() == 0 {
        return;
    }
    for (name, value) in fields {
        let own = parts.iter().find_map(|part| part["properties"].get(name));
        let own = own.or_else(|| {
            parts
                .iter()
                .find_map(|part| part.get("additionalProperties"))
        });
        match own {
            Some(schema) => look(schema, value, &format!("{at}/{name}"), found),
            None => found.push(format!("{at}/{name}: is not in the document")),
        }
    }
}

/// The schemas that hold at once.
fn flatten<'a>(schema: &'a Value, parts: &mut Vec<&'a Value>) {
    let schema = resolved(schema);
    match schema.get("allOf").and_then(Value::as_array) {
        Some(all) => all.iter().for_each(|part| flatten(part, parts)),
        None => parts.push(schema),
    }
}

fn resolved(schema: &Value) -> &Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(place) => DOCUMENT.pointer(place.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn is_of_kind(kind: Option<&Value>, value: &Value) -> bool {
    match kind {
        None => true,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| is_of_kind(Some(kind), value)),
        Some(kind) => match kind.as_str().unwrap_or_default() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("the document has the type {other}"),
        },
    }
}

#[test]
fn an_answer_that_is_not_as_the_document_says_is_found() {
    use serde_json::json;
    let schema = json!({ "$ref": "#/components/schemas/Reconfigured" });
    let good =
        json!({ "Status": "OK", "Message": "", "ServiceName": "a", "Revision": null, "Peers": [] });
    assert_eq!(problems(&schema, &good), [""; 0]);
    for (name, bad) in [
        ("Status", json!("FINE")),
        ("Message", json!(1)),
        ("Colour", json!("red")),
        ("ServiceName", Value::Null),
        ("Revision", json!({ "Number": 1 })),
        (
            "Peers",
            json!([{ "Address": "a", "Status": "applied", "Age": 1 }]),
        ),
    ] {
        let mut value = good.clone();
        value[name] = bad;
        assert_eq!(problems(&schema, &value).len(), 1, "{name}");
    }
    assert_eq!(problems(&schema, &json!({ "Status": "OK" })).len(), 1);
}
