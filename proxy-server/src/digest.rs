//! The table digest: equal on replicas that hold the same documents.
//!
//! It is the sum of one hash per document, so that a commit costs the documents that it changes. With
//! 10,000 services the first digest took 0.43 s and the one after a change 0.13 ms, in an unoptimised
//! build on a busy machine. It tells accidents apart and defends against nobody: who writes to the
//! store writes the table.

use std::sync::{Mutex, PoisonError};

use proxy_core::{Document, StoredTable};
use sha2::{Digest, Sha256};

/// Digests of tables, of which the last is remembered.
#[derive(Debug, Default)]
pub(crate) struct TableDigest {
    last: Mutex<(StoredTable, u128)>,
}

// === impl TableDigest ===

impl TableDigest {
    /// The digest of these documents, as 32 hexadecimal digits.
    pub(crate) fn of(&self, stored: &StoredTable) -> String {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = last.1;
        for change in stored.changes_since(&last.0).values() {
            let (before, after) = (&change.before, &change.after);
            sum = sum.wrapping_sub(before.as_deref().map_or(0, hash));
            sum = sum.wrapping_add(after.as_deref().map_or(0, hash));
        }
        *last = (stored.clone(), sum);
        format!("{sum:032x}")
    }
}

/// The first half of a SHA-256 over the name, its length first, and the text.
fn hash(document: &Document) -> u128 {
    let name = document.name().as_str();
    let mut sha = Sha256::new();
    sha.update((name.len() as u64).to_be_bytes());
    sha.update(name);
    sha.update(document.raw());
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(sha.finalize()) {
        *to = from;
    }
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn document(name: &str, port: u16) -> Arc<Document> {
        let text = format!(
            r#"{{"version":1,"name":"{name}","destinations":[{{"port":{port},"paths":[{{"kind":"path_beg","text":"/"}}]}}]}}"#
        );
        Arc::new(Document::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn the_way_to_a_table_does_not_matter() {
        let (one, other) = (TableDigest::default(), TableDigest::default());
        let mut stored = StoredTable::from_documents([document("a", 1), document("b", 1)]);
        let first = one.of(&stored);
        stored.put(document("a", 2));
        stored.remove(&"b".parse().unwrap());
        stored.put(document("c", 1));
        let changed = one.of(&stored);
        assert_ne!(changed, first);
        let whole = StoredTable::from_documents([document("c", 1), document("a", 2)]);
        assert_eq!(other.of(&whole), changed);
        stored.put(document("a", 1));
        stored.put(document("b", 1));
        stored.remove(&"c".parse().unwrap());
        assert_eq!(one.of(&stored), first);
        assert_eq!(one.of(&StoredTable::default()), "0".repeat(32));
    }

    /// What is measured here stands in this module's head.
    #[test]
    #[ignore = "a measurement"]
    fn ten_thousand_documents_are_digested() {
        let documents = (0..10_000).map(|n| document(&format!("service-{n}"), 80));
        let mut stored = StoredTable::from_documents(documents);
        let digest = TableDigest::default();
        let took = |stored: &StoredTable| {
            let start = std::time::Instant::now();
            digest.of(stored);
            start.elapsed()
        };
        let whole = took(&stored);
        stored.put(document("service-7", 81));
        eprintln!("whole: {whole:?}, one change: {:?}", took(&stored));
    }

    #[test]
    fn documents_that_change_places_are_told_apart() {
        let digest = TableDigest::default();
        let one = StoredTable::from_documents([document("a", 1), document("b", 2)]);
        let other = StoredTable::from_documents([document("a", 2), document("b", 1)]);
        assert_ne!(digest.of(&one), digest.of(&other));
    }
}
