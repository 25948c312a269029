//! What the fake answers to a request, as Consul 1.8.7 does.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    http::{HttpAnswer, HttpRequest},
    kv::{FakeEntry, FakeKv, Right, Show, TxnOp},
};

/// Consul's own limits.
const MAX_OPS: usize = 64;
const MAX_TXN_BYTES: usize = 512 * 1024;

/// What a blocking query waits when it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct WireOp {
    #[serde(rename = "KV")]
    kv: TxnOp,
}

/// Answers a request; a blocking query takes its time.
pub(crate) async fn answer(kv: &FakeKv, request: &HttpRequest) -> HttpAnswer {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let query: BTreeMap<&str, &str> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    if path == "/v1/txn" && request.method == "PUT" {
        return txn(kv, request);
    }
    let Some(key) = path.strip_prefix("/v1/kv/").map(decode) else {
        return HttpAnswer::new(404, "");
    };
    match request.method.as_str() {
        "GET" if query.contains_key("recurse") => {
            let (list, index) = kv.read_list(&request.token, &key);
            entries(list, index)
        }
        "GET" if kv.right(&request.token, &key) < Right::Read => {
            HttpAnswer::new(403, "Permission denied")
        }
        "GET" => get(kv, &key, &query).await,
        "PUT" if kv.right(&request.token, &key) < Right::Write => {
            HttpAnswer::new(403, "Permission denied")
        }
        "PUT" => {
            let index = query.get("cas").and_then(|text| text.parse().ok());
            let written = kv.cas(&key, index, request.body.clone());
            HttpAnswer::new(200, written.to_string())
        }
        "DELETE" => {
            kv.delete(&key);
            HttpAnswer::new(200, "true")
        }
        _ => HttpAnswer::new(405, "method not allowed"),
    }
}

async fn get(kv: &FakeKv, key: &str, query: &BTreeMap<&str, &str>) -> HttpAnswer {
    let seen: u64 = query.get("index").and_then(|t| t.parse().ok()).unwrap_or(0);
    let wait = query.get("wait").and_then(|text| {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let number: u64 = number.parse().ok()?;
        Some(match unit {
            "ms" => Duration::from_millis(number),
            _ => Duration::from_secs(number),
        })
    });
    let deadline = Instant::now() + wait.unwrap_or(DEFAULT_WAIT);
    let restores = kv.restores();
    let mut moves = kv.moves();
    loop {
        let (entry, index) = kv.read(key);
        let changed = seen == 0 || index > seen || kv.restores() != restores;
        if changed || timeout_at(deadline, moves.changed()).await.is_err() {
            let list = entry.map(|entry| (key.to_owned(), entry));
            return entries(list.into_iter().collect(), index);
        }
    }
}

fn entries(list: Vec<(String, FakeEntry)>, index: u64) -> HttpAnswer {
    let mut answer = if list.is_empty() {
        HttpAnswer::new(404, "")
    } else {
        let list: Vec<_> = list
            .iter()
            .map(|(key, entry)| show(key, entry, Show::Value))
            .collect();
        HttpAnswer::new(200, Value::from(list).to_string())
    };
    answer.index = Some(index);
    answer
}

fn show(key: &str, entry: &FakeEntry, show: Show) -> Value {
    let value = (show == Show::Value).then(|| BASE64.encode(&entry.value));
    json!({
        "LockIndex": 0, "Key": key, "Flags": 0, "Value": value,
        "CreateIndex": entry.create_index, "ModifyIndex": entry.modify_index,
    })
}

fn txn(kv: &FakeKv, request: &HttpRequest) -> HttpAnswer {
    let bytes = request.body.len();
    if bytes > MAX_TXN_BYTES {
        let text =
            format!("Request body({bytes} bytes) too large, max size: {MAX_TXN_BYTES} bytes.");
        return HttpAnswer::new(413, text);
    }
    let Ok(ops) = serde_json::from_slice::<Vec<WireOp>>(&request.body) else {
        return HttpAnswer::new(400, "Failed to parse body");
    };
    if ops.len() > MAX_OPS {
        let text = format!(
            "Transaction contains too many operations ({} > {MAX_OPS})",
            ops.len()
        );
        return HttpAnswer::new(413, text);
    }
    let mut decoded = Vec::new();
    for WireOp { kv: op } in ops {
        let Ok(value) = BASE64.decode(op.value.as_deref().unwrap_or_default()) else {
            return HttpAnswer::new(400, "Failed to decode value");
        };
        decoded.push((op, value));
    }
    match kv.txn(&request.token, decoded) {
        Ok(results) => {
            let results: Vec<_> = results
                .iter()
                .map(|(key, entry, how)| json!({ "KV": show(key, entry, *how) }))
                .collect();
            let body = json!({ "Results": results, "Errors": null });
            HttpAnswer::new(200, body.to_string())
        }
        Err(problems) => {
            let errors: Vec<_> = problems
                .iter()
                .map(|(op, what)| json!({ "OpIndex": op, "What": what }))
                .collect();
            let body = json!({ "Results": null, "Errors": errors });
            HttpAnswer::new(409, body.to_string())
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (byte, byte == b'%') {
            (_, true) => {
                let (high, low) = (hex(rest.next()), hex(rest.next()));
                let code = high.zip(low).map_or(0, |(high, low)| high * 16 + low);
                bytes.push(u8::try_from(code).unwrap_or(b'?'));
            }
            (other, false) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
