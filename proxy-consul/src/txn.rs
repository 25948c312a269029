//! Transactions: several operations that happen together or not at all.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{key::KeyProblem, kv::KvEntry, request::Response};

/// The most operations of one transaction; Consul answers more with 413.
pub const MAX_TXN_OPS: usize = 64;

/// The largest body of one transaction in bytes, base64 included; Consul answers more with 413.
pub const MAX_TXN_BYTES: usize = 512 * 1024;

/// Operations, written down as they are added, so that their size is known.
#[derive(Clone, Debug)]
pub struct Txn {
    body: String,
    ops: usize,
    writes: usize,
}

/// Why an operation was not added to a transaction, which is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TxnError {
    /// It does not fit any more.
    #[error(
        "the transaction is full: Consul takes at most {MAX_TXN_OPS} operations and {MAX_TXN_BYTES} bytes"
    )]
    Full,
    /// It is about a key that [`Client::get`](crate::Client::get) could not ask for.
    #[error("{key:?} cannot stand in a transaction: {problem}")]
    Key {
        /// The key or the prefix.
        key: String,
        /// What is wrong with it.
        problem: KeyProblem,
    },
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TxnOutcome {
    /// All of it happened. For each `get`, `set` and `cas` one entry, for a `get_tree` one per key,
    /// in order; entries that the token may not read are left out without a word.
    Applied(Vec<KvEntry>),
    /// None of it happened.
    Refused(Vec<TxnProblem>),
}

/// Why a transaction was refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct TxnProblem {
    /// Which operation, counted from 0.
    #[serde(rename = "OpIndex")]
    pub op: usize,
    /// Consul's words.
    #[serde(rename = "What")]
    pub what: String,
}

#[derive(Serialize)]
struct WireOp<'a> {
    #[serde(rename = "KV")]
    kv: WireKv<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireKv<'a> {
    verb: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireAnswer {
    #[serde(default)]
    results: Option<Vec<WireResult>>,
    #[serde(default)]
    errors: Option<Vec<TxnProblem>>,
}

#[derive(Deserialize)]
struct WireResult {
    #[serde(rename = "KV")]
    kv: Option<KvEntry>,
}

// === impl Txn ===

impl Txn {
    /// A transaction without operations.
    #[must_use]
    pub fn new() -> Self {
        Self {
            body: "[".to_owned(),
            ops: 0,
            writes: 0,
        }
    }

    /// Reads a key; the transaction is refused when it is not there.
    ///
    /// # Errors
    /// When it does not fit, or it is no key.
    pub fn get(&mut self, key: &str) -> Result<(), TxnError> {
        self.push("get", key, None, None, 0)
    }

    /// Reads all keys that begin with `prefix`; none is no error.
    ///
    /// # Errors
    /// When it does not fit, or it is no key.
    pub fn get_tree(&mut self, prefix: &str) -> Result<(), TxnError> {
        self.push("get-tree", prefix, None, None, 0)
    }

    /// Writes a key.
    ///
    /// # Errors
    /// When it does not fit, or it is no key.
    pub fn set(&mut self, key: &str, value: &[u8]) -> Result<(), TxnError> {
        self.push("set", key, Some(value), None, 1)
    }

    /// Writes a key if its index is this one; 0 means that it must not be there. Otherwise the
    /// transaction is refused.
    ///
    /// # Errors
    /// When it does not fit, or it is no key.
    pub fn cas(&mut self, key: &str, index: u64, value: &[u8]) -> Result<(), TxnError> {
        self.push("cas", key, Some(value), Some(index), 1)
    }

    /// Deletes a key; one that is not there is no error.
    ///
    /// # Errors
    /// When it does not fit, or it is no key.
    pub fn delete(&mut self, key: &str) -> Result<(), TxnError> {
        self.push("delete", key, None, None, 1)
    }

    /// Deletes all keys that begin with `prefix`. Without a slash at its end, `go-demo` takes
    /// `go-demo-2` with it.
    ///
    /// # Errors
    /// When it does not fit, or it is no key.
    pub fn delete_tree(&mut self, prefix: &str) -> Result<(), TxnError> {
        self.push("delete-tree", prefix, None, None, 1)
    }

    /// How many operations it holds.
    #[must_use]
    pub fn ops(&self) -> usize {
        self.ops
    }

    /// Whether it only reads.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writes == 0
    }

    /// The body of the request in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len() + 1
    }

    /// The body of the request.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let mut body = String::with_capacity(self.bytes());
        body.push_str(&self.body);
        body.push(']');
        body.into()
    }

    fn push(
        &mut self,
        verb: &'static str,
        key: &str,
        value: Option<&[u8]>,
        index: Option<u64>,
        writes: usize,
    ) -> Result<(), TxnError> {
        let problem = match verb {
            "get-tree" | "delete-tree" => KeyProblem::of_prefix(key),
            _ => KeyProblem::of_key(key),
        };
        if let Some(problem) = problem {
            let key = key.to_owned();
            return Err(TxnError::Key { key, problem });
        }
        if self.ops == MAX_TXN_OPS {
            return Err(TxnError::Full);
        }
        let kv = WireKv {
            verb,
            key,
            value: value.map(|bytes| BASE64.encode(bytes)),
            index,
        };
        let op = serde_json::to_string(&WireOp { kv }).map_err(|_| TxnError::Full)?;
        let comma = usize::from(self.ops > 0);
        if self.bytes() + comma + op.len() > MAX_TXN_BYTES {
            return Err(TxnError::Full);
        }
        if comma > 0 {
            self.body.push(',');
        }
        self.body.push_str(&op);
        self.ops += 1;
        self.writes += writes;
        Ok(())
    }
}

impl Default for Txn {
    fn default() -> Self {
        Self::new()
    }
}

// === impl TxnProblem ===

impl TxnProblem {
    /// The token has not the right.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.what.contains("Permission denied")
    }

    /// A compare-and-set met another index.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.what.contains("index is stale")
    }

    /// A `get` met no key.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.what.contains("doesn't exist")
    }
}

/// Parses the answer to a transaction.
pub(crate) fn parse_outcome(response: &Response) -> Result<TxnOutcome, String> {
    if !matches!(response.status, 200 | 409) {
        return Err(format!("status {} {}", response.status, response.excerpt()));
    }
    let answer: WireAnswer =
        serde_json::from_slice(&response.body).map_err(|problem| problem.to_string())?;
    let problems = answer.errors.unwrap_or_default();
    match (response.status, answer.results) {
        (200, Some(results)) if problems.is_empty() => Ok(TxnOutcome::Applied(
            results.into_iter().filter_map(|result| result.kv).collect(),
        )),
        (409, _) if !problems.is_empty() => Ok(TxnOutcome::Refused(problems)),
        _ => Err(format!(
            "a transaction with status {} and {} errors",
            response.status,
            problems.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Response {
        Response::new(status, None, Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn a_transaction_is_written_as_consul_reads_it() {
        let mut txn = Txn::new();
        assert_eq!(txn.body(), "[]");
        txn.cas("a/head", 7, b"{}").unwrap();
        assert!(!txn.is_read_only());
        txn.delete("a/log/1").unwrap();
        assert_eq!(
            txn.body(),
            r#"[{"KV":{"Verb":"cas","Key":"a/head","Value":"e30=","Index":7}},{"KV":{"Verb":"delete","Key":"a/log/1"}}]"#
        );
        assert_eq!(txn.body().len(), txn.bytes());
    }

    #[test]
    fn the_limits_hold_and_leave_the_transaction_as_it_was() {
        let mut txn = Txn::new();
        for nth in 0..MAX_TXN_OPS {
            txn.get(&format!("a/log/{nth}")).unwrap();
        }
        let before = txn.body();
        assert_eq!(txn.get("one/more"), Err(TxnError::Full));
        assert_eq!(txn.body(), before);

        let mut txn = Txn::new();
        txn.set("a", &[b'x'; 300 * 1024]).unwrap();
        assert_eq!(txn.set("b", &[b'x'; 100 * 1024]), Err(TxnError::Full));
        while txn.set("c", &[b'x'; 2000]).is_ok() {}
        assert!(txn.bytes() <= MAX_TXN_BYTES && txn.bytes() > MAX_TXN_BYTES - 3000);
        assert!(txn.ops() < MAX_TXN_OPS);
    }

    #[test]
    fn what_no_path_could_carry_is_in_no_transaction() {
        let mut txn = Txn::new();
        let problem = KeyProblem::Dots;
        let refused = Err(TxnError::Key {
            key: "a/../b".to_owned(),
            problem,
        });
        assert_eq!(txn.get("a/../b"), refused);
        assert_eq!(txn.get_tree("a/../b"), refused);
        assert_eq!(txn.set("a/../b", b"1"), refused);
        assert_eq!(txn.cas("a/../b", 0, b"1"), refused);
        assert_eq!(txn.delete("a/../b"), refused);
        assert_eq!(txn.delete_tree("a/../b"), refused);
        assert!(txn.get("").is_err());
        assert_eq!((txn.ops(), &txn.body()[..]), (0, &b"[]"[..]));
        txn.get_tree("").unwrap();
        txn.set("folder/", b"").unwrap();
    }

    #[test]
    fn outcomes_are_parsed() {
        // Each as Consul 1.8.7 sends it.
        let applied = r#"{"Results":[{"KV":{"LockIndex":0,"Key":"a/head","Flags":0,"Value":null,"CreateIndex":10,"ModifyIndex":18}}],"Errors":null}"#;
        assert!(matches!(
            parse_outcome(&answer(200, applied)).unwrap(),
            TxnOutcome::Applied(entries) if entries[0].modify_index == 18
        ));
        let problem = |body| match parse_outcome(&answer(409, body)).unwrap() {
            TxnOutcome::Refused(problems) => problems[0].clone(),
            other => panic!("{other:?}"),
        };
        let stale = r#"{"Results":null,"Errors":[{"OpIndex":0,"What":"failed to set key \"a/head\", index is stale"}]}"#;
        assert!(problem(stale).is_stale());
        let denied = r#"{"Results":null,"Errors":[{"OpIndex":1,"What":"Permission denied"}]}"#;
        assert!(problem(denied).is_denied() && problem(denied).op == 1);
        let missing = r#"{"Results":null,"Errors":[{"OpIndex":0,"What":"key \"b/head\" doesn't exist"}],"Index":0,"LastContact":0,"KnownLeader":true,"ConsistencyLevel":""}"#;
        assert!(problem(missing).is_missing());
    }

    #[test]
    fn half_an_answer_is_no_answer() {
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, r#"{"Results":null,"Errors":null}"#),
            (200, r#"{"Results":[{"KV":"#),
            (409, "{}"),
            (409, "Conflict"),
            (404, "{}"),
        ] {
            assert!(
                parse_outcome(&answer(status, body)).is_err(),
                "{status} {body}"
            );
        }
    }
}
