//! Keys and values: requests as values, and answers parsed.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use crate::request::Response;

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct KvEntry {
    /// The whole key.
    #[serde(rename = "Key")]
    pub key: String,
    /// The value; empty in the results of a transaction that wrote it.
    #[serde(rename = "Value", default, deserialize_with = "base64_or_null")]
    pub value: Bytes,
    /// The index at which the key was made.
    #[serde(rename = "CreateIndex")]
    pub create_index: u64,
    /// The index at which the value was last written: what a compare-and-set compares.
    #[serde(rename = "ModifyIndex")]
    pub modify_index: u64,
}

/// How a compare-and-set ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CasOutcome {
    /// The value was written.
    Written,
    /// The key has another index; nothing was written.
    Stale,
}

fn base64_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(from)?;
    match text {
        None => Ok(Bytes::new()),
        Some(text) => BASE64
            .decode(text.as_bytes())
            .map(Bytes::from)
            .map_err(serde::de::Error::custom),
    }
}

/// Parses the answer to a read of keys. A key that is not there is an empty list.
pub(crate) fn parse_entries(response: &Response) -> Result<Vec<KvEntry>, String> {
    match response.status {
        // Another program's 404 would look like an empty store; Consul's carries an index.
        404 if response.index.is_some() => Ok(Vec::new()),
        200 => serde_json::from_slice(&response.body).map_err(|problem| problem.to_string()),
        other => Err(format!("status {other} {}", response.excerpt())),
    }
}

/// Parses the answer to a compare-and-set.
pub(crate) fn parse_cas(response: &Response) -> Result<CasOutcome, String> {
    match (response.status, response.body.trim_ascii()) {
        (200, b"true") => Ok(CasOutcome::Written),
        (200, b"false") => Ok(CasOutcome::Stale),
        (status, _) => Err(format!("status {status} {}", response.excerpt())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, index: Option<u64>, body: &'static str) -> Response {
        Response::new(status, index, Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn entries_are_parsed() {
        // As Consul 1.8.7 sends it.
        let body = r#"[{"LockIndex":0,"Key":"a/head","Flags":0,"Value":"di1hL2hlYWQ=","CreateIndex":10,"ModifyIndex":12},{"LockIndex":0,"Key":"a/x","Flags":0,"Value":null,"CreateIndex":10,"ModifyIndex":11}]"#;
        let entries = parse_entries(&answer(200, Some(12), body)).unwrap();
        assert_eq!(entries[0].value, "v-a/head");
        assert_eq!((entries[0].create_index, entries[0].modify_index), (10, 12));
        assert_eq!(entries[1].value, "");
    }

    #[test]
    fn only_a_404_of_consul_means_that_a_key_is_absent() {
        assert_eq!(parse_entries(&answer(404, Some(7), "")), Ok(Vec::new()));
        assert!(parse_entries(&answer(404, None, "<h1>nginx</h1>")).is_err());
        assert!(parse_entries(&answer(200, Some(1), "<h1>hello</h1>")).is_err());
        assert!(
            parse_entries(&answer(
                200,
                Some(1),
                r#"[{"Key":"a","Value":"!","CreateIndex":1,"ModifyIndex":1}]"#
            ))
            .is_err()
        );
        assert!(parse_entries(&answer(204, Some(1), "")).is_err());
    }

    #[test]
    fn the_answer_to_a_cas_is_true_or_false_and_nothing_else() {
        assert_eq!(
            parse_cas(&answer(200, None, "true\n")),
            Ok(CasOutcome::Written)
        );
        assert_eq!(
            parse_cas(&answer(200, None, "false")),
            Ok(CasOutcome::Stale)
        );
        assert!(parse_cas(&answer(200, None, "")).is_err());
    }
}
