//! The embedded store: the table of one replica in two files, for those who run no Consul.
//!
//! A commit is on disk before it is acknowledged. One process at a time may use the folder.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use nix::fcntl::{Flock, FlockArg};
use proxy_core::{
    Change, CommitError, CommitId, CommitRecord, Committed, Epoch, HistoryError, InstanceId,
    OfferError, Outcome, RereadError, Revision, RouteStore, StoreCondition, StoreView, ViewSeq,
    record_changes,
};
use tokio::sync::watch;

use super::{Journal, JournalError};

/// How many commits are remembered for the question what became of one.
const REMEMBERED: usize = 1_000;

/// A store in two files of a folder.
#[derive(Debug)]
pub(crate) struct EmbeddedStore {
    epoch: Epoch,
    instance: InstanceId,
    // Taken on a blocking thread only: a commit waits for the disk.
    writer: Arc<Mutex<Writer>>,
    /// The commits of this run, for the question what became of one. Never held while the disk works.
    recent: Arc<Mutex<VecDeque<Revision>>>,
    views: watch::Sender<Arc<StoreView>>,
}

#[derive(Debug)]
struct Writer {
    journal: Journal,
    _lock: StateLock,
}

/// The right to use a `STATE_PATH`, which one process at a time has.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: Flock<std::fs::File>,
}

/// Why the embedded store cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process uses the folder.
    #[error("{folder}: another proxy-server uses this STATE_PATH; give each its own")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The files cannot be used.
    #[error("the embedded store cannot be opened")]
    Files {
        /// Which file, and why.
        #[source]
        source: proxy_core::BoxError,
    },
}

// === impl StateLock ===

impl StateLock {
    pub(crate) fn take(folder: &Path) -> Result<Self, OpenError> {
        let files = |source: std::io::Error| OpenError::Files {
            source: source.into(),
        };
        std::fs::create_dir_all(folder).map_err(files)?;
        let file = std::fs::File::create(folder.join("lock")).map_err(files)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err(_) => Err(OpenError::InUse {
                folder: folder.to_owned(),
            }),
        }
    }
}

// === impl EmbeddedStore ===

impl EmbeddedStore {
    /// Opens the store of a folder, or creates it. `epoch` is used if it is new.
    ///
    /// # Errors
    /// When another process uses it, or its files cannot be read.
    pub(crate) fn open(
        folder: &Path,
        epoch: Epoch,
        instance: InstanceId,
    ) -> Result<Self, OpenError> {
        let files = |source: proxy_core::BoxError| OpenError::Files { source };
        let lock = StateLock::take(folder)?;
        let (journal, revision, stored) =
            Journal::open(folder, "table").map_err(|e| files(e.into()))?;
        let view = StoreView::new(ViewSeq(1), revision, stored, StoreCondition::Live);
        Ok(Self {
            epoch: revision.map_or(epoch, |revision| revision.epoch),
            instance,
            writer: Arc::new(Mutex::new(Writer {
                journal,
                _lock: lock,
            })),
            recent: Arc::new(Mutex::new(revision.into_iter().collect())),
            views: watch::Sender::new(Arc::new(view)),
        })
    }
}

#[async_trait]
impl RouteStore for EmbeddedStore {
    fn view(&self) -> Arc<StoreView> {
        Arc::clone(&self.views.borrow())
    }

    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView> {
        let mut views = self.views.subscribe();
        let next = views.wait_for(|view| view.seq > seen).await;
        let next = next.map(|view| Arc::clone(&view));
        match next {
            Ok(view) => view,
            // The sender lives as long as the store, so this does not happen.
            Err(_) => std::future::pending().await,
        }
    }

    async fn commit(&self, base: &StoreView, changes: &[Change]) -> Result<Committed, CommitError> {
        let view = self.view();
        if view.revision != base.revision {
            return Err(CommitError::LostRace { view });
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|why| CommitError::Unavailable { why: why.into() })?;
        let number = base.revision.map_or(0, |revision| revision.number) + 1;
        let revision = Revision::new(self.epoch, number, CommitId::from_bytes(random));
        let services = record_changes(&view.stored, changes)?;
        let record = Arc::new(CommitRecord::new(
            revision,
            base.revision.map(|revision| revision.id),
            self.instance.clone(),
            now_ms(),
            services,
        ));
        let mut stored = view.stored.clone();
        stored.apply(&record);
        let next = StoreView::new(
            view.seq.next(),
            Some(revision),
            stored,
            StoreCondition::Live,
        );
        let next = Arc::new(next);

        let (writer, views) = (Arc::clone(&self.writer), self.views.clone());
        let recent = Arc::clone(&self.recent);
        let (written, served) = (Arc::clone(&record), Arc::clone(&next));
        // The view is published on the same thread: a caller that hangs up while the disk works
        // must not leave a commit on disk that no view shows.
        let stored = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let latest = Arc::clone(&views.borrow());
            if latest.revision.map(|revision| revision.id) != written.previous {
                return Err(CommitError::LostRace { view: latest });
            }
            writer
                .write(&written, &served)
                .map_err(|why| CommitError::Unavailable { why: why.into() })?;
            views.send_replace(served);
            let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.push_back(written.revision);
            while recent.len() > REMEMBERED {
                recent.pop_front();
            }
            Ok(())
        });
        stored
            .await
            .map_err(|why| CommitError::Unavailable { why: why.into() })??;
        Ok(Committed::new(next, changes.len(), record))
    }

    async fn confirm(&self, base: &StoreView) -> Result<(), CommitError> {
        let view = self.view();
        match view.revision == base.revision {
            true => Ok(()),
            false => Err(CommitError::LostRace { view }),
        }
    }

    async fn offer(&self, _record: CommitRecord) -> Result<ViewSeq, OfferError> {
        Err(OfferError::new(
            "this replica keeps a store of its own; set CONSUL_ADDRESS on every replica to share one",
        ))
    }

    async fn outcome(&self, id: CommitId) -> Outcome {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        match recent.iter().find(|revision| revision.id == id) {
            Some(revision) => Outcome::Committed(*revision),
            None => Outcome::Unknown(format!(
                "it is none of the last {REMEMBERED} commits of this run of the server"
            )),
        }
    }

    async fn history(
        &self,
        _before: Option<u64>,
        _limit: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, HistoryError> {
        Err(HistoryError::NotKept)
    }

    async fn reread(&self) -> Result<ViewSeq, RereadError> {
        Ok(self.view().seq)
    }

    async fn accept(&self) -> Result<ViewSeq, CommitError> {
        Ok(self.view().seq)
    }
}

// === impl Writer ===

impl Writer {
    fn write(&mut self, record: &CommitRecord, next: &StoreView) -> Result<(), JournalError> {
        self.journal.append(record)?;
        if self.journal.wants_rewrite(next.stored.table().len()) {
            // The commit is on disk; a fold that fails is tried again after the next.
            if let Err(error) = self.journal.rewrite(next.revision, &next.stored) {
                let why = crate::chain::chain(&error);
                tracing::warn!(why, "the log of the embedded store could not be folded");
            }
        }
        Ok(())
    }
}

/// Milliseconds since 1970, for people.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str) -> Change {
        let query = format!("serviceName={name}&servicePath=/{name}&port=80");
        let params = proxy_core::Params::from_query(query).unwrap();
        Change::Put(
            proxy_core::parse_reconfigure(&params)
                .unwrap()
                .value
                .service,
        )
    }

    fn open(folder: &Path) -> Result<EmbeddedStore, OpenError> {
        EmbeddedStore::open(folder, Epoch::from_bytes([1; 16]), "me".parse().unwrap())
    }

    #[tokio::test]
    async fn an_acknowledged_commit_survives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).unwrap();
        for i in 0..1_100 {
            let changes = [put(&format!("s{}", i % 3))];
            let base = store.view();
            store.commit(&base, &changes).await.unwrap();
        }
        let before = store.view();
        drop(store);
        let after = open(folder.path()).unwrap().view();
        assert_eq!(after.revision, before.revision);
        assert_eq!(after.stored.table(), before.stored.table());
    }

    #[tokio::test]
    async fn two_commits_on_one_base_do_not_both_win() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).unwrap();
        let base = store.view();
        let (ours, theirs) = ([put("a")], [put("b")]);
        let (a, b) = tokio::join!(store.commit(&base, &ours), store.commit(&base, &theirs));
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
        assert_eq!(store.view().stored.table().len(), 1);
    }

    #[tokio::test]
    async fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let _held = open(folder.path()).unwrap();
        assert!(matches!(open(folder.path()), Err(OpenError::InUse { .. })));
    }
}
