//! The documents of a store and the table that they make.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use imbl::{OrdMap, ordmap::DiffItem};

use crate::{
    document::{Document, DocumentError},
    name::ServiceName,
    revision::{CommitRecord, RecordedChange},
    service::Service,
    table::{Change, RouteTable},
};

/// The documents of a store and the table that they make. Cheap to copy.
///
/// A document that cannot be read leaves its service as it was, and a document that a read lacks is
/// kept: a service leaves only through a change that removes it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoredTable {
    documents: OrdMap<ServiceName, Arc<Document>>,
    table: RouteTable,
    degraded: BTreeMap<ServiceName, Degradation>,
}

/// Why a service is not served as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Degradation {
    /// Its document cannot be read; its last good version is served, if there was one.
    Unreadable(DocumentError),
    /// The store does not show it, and no change removed it; its last version is served.
    Missing,
}

// === impl StoredTable ===

impl StoredTable {
    /// The table of some documents.
    #[must_use]
    pub fn from_documents(documents: impl IntoIterator<Item = Arc<Document>>) -> Self {
        let mut stored = Self::default();
        for document in documents {
            stored.put(document);
        }
        stored
    }

    /// The services that are served.
    #[must_use]
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// The documents by service, in order.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.documents.values()
    }

    /// The document of a service.
    #[must_use]
    pub fn document(&self, name: &ServiceName) -> Option<&Arc<Document>> {
        self.documents.get(name)
    }

    /// Services that are not served as the store has them.
    #[must_use]
    pub fn degraded(&self) -> &BTreeMap<ServiceName, Degradation> {
        &self.degraded
    }

    /// Takes a document. One that cannot be read leaves the service as it was, named as degraded.
    pub fn put(&mut self, document: Arc<Document>) {
        let name = document.name().clone();
        match document.service() {
            Ok(service) => {
                self.degraded.remove(&name);
                self.table.apply(&Change::Put(Arc::clone(service)));
            }
            Err(problem) => {
                let problem = Degradation::Unreadable(problem.clone());
                self.degraded.insert(name.clone(), problem);
            }
        }
        self.documents.insert(name, document);
    }

    /// Removes a service.
    pub fn remove(&mut self, name: &ServiceName) {
        self.documents.remove(name);
        self.degraded.remove(name);
        self.table.apply(&Change::Remove(name.clone()));
    }

    /// Makes the changes of a commit.
    pub fn apply(&mut self, record: &CommitRecord) {
        for (name, change) in &record.services {
            match &change.after {
                Some(document) => self.put(Arc::clone(document)),
                None => self.remove(name),
            }
        }
    }

    /// Takes the changes of a commit back: the table before it, if this is the table after it.
    pub fn revert(&mut self, record: &CommitRecord) {
        for (name, change) in &record.services {
            match &change.before {
                Some(document) => self.put(Arc::clone(document)),
                None => self.remove(name),
            }
        }
    }

    /// The table after the whole store was read: what was read, and what was held and neither read
    /// nor removed, which is named as missing.
    #[must_use]
    pub fn reread(&self, read: Vec<Arc<Document>>, removed: &BTreeSet<ServiceName>) -> Self {
        let mut next = self.clone();
        let there: BTreeSet<ServiceName> = read.iter().map(|d| d.name().clone()).collect();
        for document in read {
            // Equal documents are not applied again, so a re-read costs what changed.
            let same = next.documents.get(document.name()) == Some(&document);
            let missed = next.degraded.get(document.name()) == Some(&Degradation::Missing);
            if !same || missed {
                next.put(document);
            }
        }
        let lost: Vec<_> = next
            .documents
            .keys()
            .filter(|n| !there.contains(*n))
            .cloned()
            .collect();
        for name in lost {
            if removed.contains(&name) {
                next.remove(&name);
            } else {
                next.degraded.insert(name, Degradation::Missing);
            }
        }
        next
    }

    /// What changed between an older table and this one. Costs what changed where the two share
    /// their past.
    #[must_use]
    pub fn changes_since(&self, older: &Self) -> BTreeMap<ServiceName, RecordedChange> {
        let changed = older
            .documents
            .diff(&self.documents)
            .map(|item| match item {
                DiffItem::Add(name, new) => (name, None, Some(new)),
                DiffItem::Update { old, new } => (new.0, Some(old.1), Some(new.1)),
                DiffItem::Remove(name, old) => (name, Some(old), None),
            });
        changed
            .map(|(name, before, after)| {
                let change = RecordedChange::new(before.cloned(), after.cloned());
                (name.clone(), change)
            })
            .collect()
    }

    /// The last version of a service that could be read.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.table.get(name)
    }
}

impl fmt::Debug for StoredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredTable")
            .field("documents", &self.documents)
            .field("degraded", &self.degraded)
            .finish_non_exhaustive()
    }
}

// === impl Degradation ===

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(problem) => write!(f, "{problem}; its last good version is served"),
            Self::Missing => f.write_str(
                "the store does not show it and no change removed it; its last version is served",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, version: u32, port: u16) -> Arc<Document> {
        let text = format!(
            r#"{{"version":{version},"name":"{name}","destinations":[{{"port":{port},"paths":[{{"kind":"path_beg","text":"/"}}]}}]}}"#
        );
        Arc::new(Document::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_document_of_a_newer_release_leaves_the_service_as_it_was() {
        let mut stored = StoredTable::from_documents([document("a", 1, 80)]);
        let name = "a".parse().unwrap();
        let newer = document("a", 9, 81);
        stored.put(Arc::clone(&newer));
        assert_eq!(
            stored.service(&name).unwrap().destinations()[0]
                .port()
                .unwrap()
                .get(),
            80
        );
        assert!(stored.degraded().contains_key(&name));
        assert_eq!(stored.document(&name), Some(&newer));
        stored.put(document("a", 1, 82));
        assert!(stored.degraded().is_empty());
    }

    #[test]
    fn the_difference_of_two_tables_is_what_changed() {
        let older = StoredTable::from_documents([document("a", 1, 80), document("b", 1, 80)]);
        let mut newer = older.clone();
        newer.put(document("a", 1, 81));
        newer.remove(&"b".parse().unwrap());
        newer.put(document("c", 1, 80));
        let changes = newer.changes_since(&older);
        let shapes: Vec<_> = changes
            .iter()
            .map(|(name, c)| (name.as_str(), c.before.is_some(), c.after.is_some()))
            .collect();
        let expected = [("a", true, true), ("b", true, false), ("c", false, true)];
        assert_eq!(shapes, expected);
    }

    #[test]
    fn a_commit_that_is_reverted_leaves_the_table_before_it() {
        let before = StoredTable::from_documents([document("a", 1, 80), document("b", 1, 80)]);
        let mut after = before.clone();
        after.put(document("a", 1, 81));
        after.remove(&"b".parse().unwrap());
        after.put(document("c", 1, 80));
        let id = crate::CommitId::from_bytes([1; 16]);
        let revision = crate::Revision::new(crate::Epoch::from_bytes([1; 16]), 1, id);
        let origin = "me".parse().unwrap();
        let changes = after.changes_since(&before);
        let record = CommitRecord::new(revision, None, origin, 0, changes);
        after.revert(&record);
        assert_eq!(after, before);
        after.apply(&record);
        assert!(after.service(&"c".parse().unwrap()).is_some());
    }

    #[test]
    fn a_read_that_comes_back_short_removes_nothing() {
        let held = StoredTable::from_documents([
            document("a", 1, 80),
            document("b", 1, 80),
            document("c", 1, 80),
        ]);
        let removed = BTreeSet::from(["c".parse().unwrap()]);
        let next = held.reread(vec![document("a", 1, 81)], &removed);
        let names: Vec<_> = next.table().iter().map(|s| s.name().to_string()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(next.degraded()["b"], Degradation::Missing);
        // It is shown again: all is well.
        let healed = next.reread(
            vec![document("a", 1, 81), document("b", 1, 80)],
            &BTreeSet::new(),
        );
        assert!(healed.degraded().is_empty());
    }
}
