//! The key-value store behind the fake: indexes, compare-and-set, transactions and rights, as
//! Consul has them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;
use tokio::sync::watch;

/// One key of the fake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FakeEntry {
    /// The value.
    pub value: Vec<u8>,
    /// The index at which it was made.
    pub create_index: u64,
    /// The index at which it was last written.
    pub modify_index: u64,
}

/// What a token may do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Right {
    /// Nothing; reads look as if the key were not there.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// The store that all servers of one fake share.
#[derive(Debug)]
pub struct FakeKv {
    state: Mutex<State>,
    /// Counts writes and restores; watches wait on it.
    moved: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: BTreeMap<String, FakeEntry>,
    index: u64,
    restores: u64,
    rules: BTreeMap<String, Vec<(String, Right)>>,
}

/// One operation of a transaction, as it arrives.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TxnOp {
    pub(crate) verb: String,
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: Option<String>,
    #[serde(default)]
    pub(crate) index: u64,
}

/// How a transaction ended: entries to show with or without value, or the problems.
pub(crate) type TxnEnd = Result<Vec<(String, FakeEntry, Show)>, Vec<(usize, String)>>;

/// Whether a result carries the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Value,
    NoValue,
}

// === impl FakeKv ===

impl FakeKv {
    pub(crate) fn new() -> Self {
        let state = State {
            index: 10,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            moved: watch::Sender::new(0),
        }
    }

    /// One key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<FakeEntry> {
        self.lock().keys.get(key).cloned()
    }

    /// All keys below a prefix.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Vec<(String, FakeEntry)> {
        self.lock().below(prefix)
    }

    /// Writes a key.
    pub fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        let mut state = self.lock();
        state.index += 1;
        state.write(key, value.into());
        self.wake(state);
    }

    /// Deletes all keys that begin with `prefix`.
    pub fn delete(&self, prefix: &str) {
        let mut state = self.lock();
        state.index += 1;
        state.keys.retain(|key, _| !key.starts_with(prefix));
        self.wake(state);
    }

    /// The keys as they are, to be restored later.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, FakeEntry> {
        self.lock().keys.clone()
    }

    /// Puts back what a snapshot held. The index goes back to the snapshot's, and watches wake, as
    /// after `consul snapshot restore`.
    pub fn restore(&self, keys: BTreeMap<String, FakeEntry>) {
        let mut state = self.lock();
        state.index = keys.values().map(|e| e.modify_index).max().unwrap_or(1);
        state.keys = keys;
        state.restores += 1;
        self.wake(state);
    }

    /// Begins the index anew, as a new cluster does.
    pub fn reset_index(&self, index: u64) {
        let mut state = self.lock();
        state.index = index;
        for entry in state.keys.values_mut() {
            entry.modify_index = index;
            entry.create_index = index;
        }
        state.restores += 1;
        self.wake(state);
    }

    /// Gives rights to a token; the empty token is that of requests without one. Once a token has
    /// rules, keys without one are denied to it; the longest prefix counts.
    pub fn allow(&self, token: &str, prefix: &str, right: Right) {
        let mut state = self.lock();
        let rules = state.rules.entry(token.to_owned()).or_default();
        rules.retain(|(known, _)| known != prefix);
        rules.push((prefix.to_owned(), right));
        rules.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    /// Takes all rules away: every token may do everything.
    pub fn allow_all(&self) {
        self.lock().rules.clear();
    }

    pub(crate) fn right(&self, token: &str, key: &str) -> Right {
        self.lock().right(token, key)
    }

    /// What a read of one key gives, and the index that it answers with.
    pub(crate) fn read(&self, key: &str) -> (Option<FakeEntry>, u64) {
        let state = self.lock();
        let entry = state.keys.get(key).cloned();
        let index = entry.as_ref().map_or(state.index, |e| e.modify_index);
        (entry, index.max(1))
    }

    pub(crate) fn read_list(&self, token: &str, prefix: &str) -> (Vec<(String, FakeEntry)>, u64) {
        let state = self.lock();
        let mut list = state.below(prefix);
        list.retain(|(key, _)| state.right(token, key) >= Right::Read);
        (list, state.index)
    }

    pub(crate) fn restores(&self) -> u64 {
        self.lock().restores
    }

    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    pub(crate) fn cas(&self, key: &str, index: Option<u64>, value: Vec<u8>) -> bool {
        let mut state = self.lock();
        if index.is_some_and(|index| !state.has_index(key, index)) {
            return false;
        }
        state.index += 1;
        state.write(key, value);
        self.wake(state);
        true
    }

    /// Runs a transaction: all of it, or nothing with every problem named.
    pub(crate) fn txn(&self, token: &str, ops: Vec<(TxnOp, Vec<u8>)>) -> TxnEnd {
        let mut state = self.lock();
        let denied: Vec<_> = ops
            .iter()
            .enumerate()
            .filter(|(_, (op, _))| {
                !op.verb.starts_with("get") && state.right(token, &op.key) < Right::Write
            })
            .map(|(nth, _)| (nth, "Permission denied".to_owned()))
            .collect();
        if !denied.is_empty() {
            return Err(denied);
        }
        let writes = ops.iter().any(|(op, _)| !op.verb.starts_with("get"));
        let mut next = state.clone();
        next.index += 1;
        let mut problems = Vec::new();
        let mut results = Vec::new();
        for (nth, (op, value)) in ops.into_iter().enumerate() {
            match next.run(token, &op, value) {
                Ok(entries) => results.extend(entries),
                Err(problem) => problems.push((nth, problem)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if writes {
            *state = next;
            self.wake(state);
        }
        Ok(results)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.moved.send_modify(|moves| *moves += 1);
    }
}

// === impl State ===

impl State {
    fn below(&self, prefix: &str) -> Vec<(String, FakeEntry)> {
        let range = self.keys.range(prefix.to_owned()..);
        range
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    }

    fn right(&self, token: &str, key: &str) -> Right {
        let Some(rules) = self.rules.get(token) else {
            return Right::Write;
        };
        let rule = rules.iter().find(|(prefix, _)| key.starts_with(prefix));
        rule.map_or(Right::None, |(_, right)| *right)
    }

    fn has_index(&self, key: &str, index: u64) -> bool {
        self.keys.get(key).map_or(0, |entry| entry.modify_index) == index
    }

    fn write(&mut self, key: &str, value: Vec<u8>) -> FakeEntry {
        let index = self.index;
        let create_index = self.keys.get(key).map_or(index, |e| e.create_index);
        let entry = FakeEntry {
            value,
            create_index,
            modify_index: index,
        };
        self.keys.insert(key.to_owned(), entry.clone());
        entry
    }

    fn run(
        &mut self,
        token: &str,
        op: &TxnOp,
        value: Vec<u8>,
    ) -> Result<Vec<(String, FakeEntry, Show)>, String> {
        let key = op.key.as_str();
        match op.verb.as_str() {
            "get" => {
                let entry = self.keys.get(key).cloned();
                let entry = entry.ok_or_else(|| format!("key \"{key}\" doesn't exist"))?;
                let seen = self.right(token, key) >= Right::Read;
                Ok(seen
                    .then(|| (key.to_owned(), entry, Show::Value))
                    .into_iter()
                    .collect())
            }
            "get-tree" => {
                let mut list = self.below(key);
                list.retain(|(key, _)| self.right(token, key) >= Right::Read);
                Ok(list.into_iter().map(|(k, e)| (k, e, Show::Value)).collect())
            }
            "cas" if !self.has_index(key, op.index) => {
                Err(format!("failed to set key \"{key}\", index is stale"))
            }
            "set" | "cas" => {
                let entry = self.write(key, value);
                Ok(vec![(key.to_owned(), entry, Show::NoValue)])
            }
            "delete" => {
                self.keys.remove(key);
                Ok(Vec::new())
            }
            "delete-tree" => {
                self.keys.retain(|known, _| !known.starts_with(key));
                Ok(Vec::new())
            }
            other => Err(format!("unknown KV verb \"{other}\"")),
        }
    }
}
