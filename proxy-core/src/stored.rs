//! The documents of a store and the table that they make.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use imbl::{OrdMap, ordmap::DiffItem};

use crate::{
    document::{Document, DocumentError, NoDocument},
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
    /// What the store holds under its name is no document, and no change put that there; its last version is
    /// served, if there was one.
    NoDocument(NoDocument),
    /// The store does not show it, and no change removed it; its last version is served, if it could be read.
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

    /// Services that are not served as the store has them. Of one that was never more than
    /// [`Degradation::NoDocument`] here, nothing else is known.
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

    /// How many services the store has, as far as they are known by name here.
    #[must_use]
    pub fn known(&self) -> usize {
        let names = self.degraded.keys();
        let nameless = names.filter(|name| !self.documents.contains_key(*name));
        self.documents.len() + nameless.count()
    }

    /// The table after the whole store was read: what was read, what is no document, and what was held
    /// and neither read nor removed, which is named as missing.
    #[must_use]
    pub fn reread(
        &self,
        read: Vec<Arc<Document>>,
        unreadable: BTreeMap<ServiceName, NoDocument>,
        removed: &BTreeSet<ServiceName>,
    ) -> Self {
        let mut next = self.clone();
        // Of these only what was read tells whether they are there.
        let documents = &next.documents;
        next.degraded.retain(|name, _| documents.contains_key(name));
        let there: BTreeSet<ServiceName> = read.iter().map(|d| d.name().clone()).collect();
        for document in read {
            // Equal documents are not applied again, so a re-read costs what changed.
            let same = next.documents.get(document.name()) == Some(&document);
            let missed = matches!(
                next.degraded.get(document.name()),
                Some(Degradation::Missing | Degradation::NoDocument(_))
            );
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
        for (name, problem) in unreadable {
            next.degraded.insert(name, Degradation::NoDocument(problem));
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
            Self::Unreadable(problem) => write!(f, "{problem}"),
            Self::NoDocument(problem) => {
                write!(f, "what the store holds of it cannot be read: {problem}")
            }
            Self::Missing => f.write_str("the store does not show it and no change removed it"),
        }
    }
}

impl Degradation {
    /// Why, and what is served of the service, which is this, if anything.
    #[must_use]
    pub fn told(&self, served: Option<&Arc<Service>>) -> String {
        match served {
            Some(_) => format!("{self}; its last good version is served"),
            None => format!("{self}; and nothing of it is served here"),
        }
    }

    /// Whether what is served of the service, if anything, is another version than the store's log says.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        matches!(self, Self::Unreadable(_))
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
        let next = held.reread(vec![document("a", 1, 81)], BTreeMap::new(), &removed);
        let names: Vec<_> = next.table().iter().map(|s| s.name().to_string()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(next.degraded()["b"], Degradation::Missing);
        // It is shown again: all is well.
        let healed = next.reread(
            vec![document("a", 1, 81), document("b", 1, 80)],
            BTreeMap::new(),
            &BTreeSet::new(),
        );
        assert!(healed.degraded().is_empty());
    }

    #[test]
    fn what_is_no_document_takes_nothing_away_and_is_named_until_it_is_one() {
        let nonsense = |names: &[&str]| -> BTreeMap<ServiceName, NoDocument> {
            let name = |name: &&str| name.parse().unwrap();
            let problem = Document::parse(b"rubbish").unwrap_err();
            names.iter().map(|it| (name(it), problem.clone())).collect()
        };
        let (a, b) = (document("a", 1, 80), document("b", 1, 80));
        let gone = BTreeSet::new();
        let held = StoredTable::from_documents([a.clone(), b.clone()]);
        // One that holds it, and one that never had it.
        for (held, served) in [(held, true), (StoredTable::default(), false)] {
            let next = held.reread(vec![a.clone()], nonsense(&["b"]), &gone);
            assert_eq!(
                (next.known(), next.table().len()),
                (2, 1 + usize::from(served))
            );
            let why = &next.degraded()["b"];
            assert!(matches!(why, Degradation::NoDocument(_)), "{why}");
            let told = why.told(next.service(&"b".parse().unwrap()));
            assert!(told.contains("cannot be read"), "{told}");
            assert_eq!(
                told.ends_with("nothing of it is served here"),
                !served,
                "{told}"
            );
            assert_eq!(
                told.ends_with("its last good version is served"),
                served,
                "{told}"
            );
            // The same once more is the same; then it is mended, with the very document that is held.
            assert_eq!(next.reread(vec![a.clone()], nonsense(&["b"]), &gone), next);
            let healed = next.reread(vec![a.clone(), b.clone()], nonsense(&[]), &gone);
            assert!(healed.degraded().is_empty());
            assert_eq!(healed.table().len(), 2);
            let removed = BTreeSet::from(["b".parse().unwrap()]);
            let removed = next.reread(vec![a.clone()], nonsense(&[]), &removed);
            assert!(removed.degraded().is_empty());
            assert_eq!((removed.known(), removed.table().len()), (1, 1));
        }
    }
}
