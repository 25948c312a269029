//! Keeping the last good table on disk, for a start while the store cannot be reached, and the
//! table that gave way when the store turned out to hold another history.

use std::path::{Path, PathBuf};

use proxy_core::{BoxError, CommitRecord, InstanceId, Revision, StoreCondition, StoredTable};
use tokio::sync::watch;

use crate::{
    api::Export,
    chain::chain,
    engine::Snapshot,
    keep::Keep,
    store::{JournalError, StateLock, TableJournal, replace_file},
};

/// The name of the journal in `STATE_PATH`.
const LAST_GOOD: &str = "last-good";

/// Writes down what goes live.
#[derive(Debug)]
pub(crate) struct Keeper {
    folder: PathBuf,
    instance: InstanceId,
    journal: TableJournal,
    held: Option<Revision>,
    stored: StoredTable,
    superseded: watch::Sender<Option<String>>,
    superseded_at: Option<Revision>,
    _lock: StateLock,
}

// === impl Keeper ===

impl Keeper {
    /// Opens the journal and reads what an earlier run left. One that is broken is put aside under
    /// another name: the store has the truth.
    pub(crate) fn open(folder: PathBuf, instance: InstanceId) -> Result<Self, BoxError> {
        let lock = StateLock::take(&folder)?;
        let opened = match TableJournal::open(&folder, LAST_GOOD) {
            Err(error @ (JournalError::Corrupt { .. } | JournalError::Newer { .. })) => {
                let why = chain(&error);
                tracing::error!(
                    why,
                    "the last good table is put aside as last-good.*.broken"
                );
                for end in ["base", "log"] {
                    let from = folder.join(format!("{LAST_GOOD}.{end}"));
                    let to = folder.join(format!("{LAST_GOOD}.{end}.broken"));
                    // Only one of the two may exist.
                    let _ = std::fs::rename(from, to);
                }
                TableJournal::open(&folder, LAST_GOOD)
            }
            other => other,
        };
        let (journal, held, stored) = opened?;
        let (superseded, _) = watch::channel(None);
        Ok(Self {
            folder,
            instance,
            journal,
            held,
            stored,
            superseded,
            superseded_at: None,
            _lock: lock,
        })
    }

    /// What an earlier run left.
    pub(crate) fn held(&self) -> Option<(Revision, StoredTable)> {
        self.held.map(|revision| (revision, self.stored.clone()))
    }

    /// Names the file of a table that gave way, once there is one.
    pub(crate) fn superseded(&self) -> watch::Receiver<Option<String>> {
        self.superseded.subscribe()
    }

    fn keep_superseded(&mut self, superseded: &proxy_core::Superseded) {
        if let Some(file) = save_superseded(&self.folder, superseded) {
            self.superseded.send_replace(Some(file));
            self.superseded_at = Some(superseded.revision);
        }
    }
}

impl Keep for Keeper {
    fn keep(&mut self, snapshot: &Snapshot) {
        let view = &snapshot.view;
        if let Some(superseded) = &view.superseded
            && self.superseded_at != Some(superseded.revision)
        {
            self.keep_superseded(superseded);
        }
        let live = view.condition == StoreCondition::Live && snapshot.failure.is_none();
        if !live || view.revision == self.held {
            return;
        }
        let written = match (view.revision, self.held) {
            (Some(next), Some(held)) if next.reaches(&held) => {
                let services = view.stored.changes_since(&self.stored);
                let record =
                    CommitRecord::new(next, Some(held.id), self.instance.clone(), 0, services);
                self.journal.append(&record)
            }
            // Another history, or the first table of all.
            _ => self.journal.rewrite(view.revision, &view.stored),
        };
        if let Err(error) = written {
            let why = chain(&error);
            tracing::warn!(why, "the last good table could not be written down");
            return;
        }
        (self.held, self.stored) = (view.revision, view.stored.clone());
        if self.journal.wants_rewrite(self.stored.table().len())
            && let Err(error) = self.journal.rewrite(self.held, &self.stored)
        {
            let why = chain(&error);
            tracing::warn!(
                why,
                "the journal of the last good table could not be folded"
            );
        }
    }
}

/// Saves a table that gives way to another, and says where; none where it could not be saved.
pub(crate) fn save_superseded(
    folder: &Path,
    superseded: &proxy_core::Superseded,
) -> Option<String> {
    let revision = superseded.revision;
    let file = format!("superseded-{}-{}.json", revision.number, revision.id);
    let path = folder.join(file);
    let export = Export::new(Some(revision), &superseded.stored);
    let text = serde_json::to_vec(&export).ok()?;
    match replace_file(&path, &text) {
        Ok(()) => {
            let file = path.display().to_string();
            tracing::warn!(
                file,
                why = superseded.why,
                "another history wins; the table that was served is in the file, and import takes it"
            );
            Some(file)
        }
        Err(error) => {
            let why = chain(&error);
            tracing::error!(why, "the table that was served could not be saved");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxy_core::{
        Change, CommitId, Epoch, Params, StoreView, ViewSeq, parse_reconfigure, record_changes,
    };

    use super::*;

    fn snapshot(epoch: u8, number: u64, names: &[&str]) -> Snapshot {
        let mut stored = StoredTable::default();
        let id = CommitId::from_bytes([u8::try_from(number).unwrap(); 16]);
        let revision = Revision::new(Epoch::from_bytes([epoch; 16]), number, id);
        for name in names {
            let query = format!("serviceName={name}&servicePath=/{name}&port=80");
            let service = parse_reconfigure(&Params::from_query(query).unwrap())
                .unwrap()
                .value
                .service;
            let services = record_changes(&stored, &[Change::Put(service)]).unwrap();
            stored.apply(&CommitRecord::new(
                revision,
                None,
                "me".parse().unwrap(),
                0,
                services,
            ));
        }
        let view = StoreView::new(
            ViewSeq(number),
            Some(revision),
            stored,
            StoreCondition::Live,
        );
        Snapshot::of(Arc::new(view))
    }

    fn reopened(folder: &std::path::Path) -> (u64, Vec<String>) {
        let keeper = Keeper::open(folder.to_owned(), "me".parse().unwrap()).unwrap();
        let (revision, stored) = keeper.held().unwrap();
        (
            revision.number,
            stored
                .table()
                .iter()
                .map(|s| s.name().to_string())
                .collect(),
        )
    }

    #[test]
    fn what_was_live_last_is_held_by_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(folder.path().to_owned(), "me".parse().unwrap()).unwrap();
        keeper.keep(&snapshot(1, 5, &["a"]));
        keeper.keep(&snapshot(1, 7, &["b", "c"]));
        drop(keeper);
        assert_eq!(
            reopened(folder.path()),
            (7, vec!["b".to_owned(), "c".to_owned()])
        );
        // A store that went back, or began anew, is followed back.
        let mut keeper = Keeper::open(folder.path().to_owned(), "me".parse().unwrap()).unwrap();
        keeper.keep(&snapshot(1, 6, &["a"]));
        drop(keeper);
        assert_eq!(reopened(folder.path()), (6, vec!["a".to_owned()]));
        let mut keeper = Keeper::open(folder.path().to_owned(), "me".parse().unwrap()).unwrap();
        keeper.keep(&snapshot(2, 1, &["d"]));
        drop(keeper);
        assert_eq!(reopened(folder.path()), (1, vec!["d".to_owned()]));
    }

    #[test]
    fn a_broken_journal_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("last-good.base"), "{").unwrap();
        let keeper = Keeper::open(folder.path().to_owned(), "me".parse().unwrap()).unwrap();
        assert!(keeper.held().is_none());
        assert!(folder.path().join("last-good.base.broken").exists());
    }
}
