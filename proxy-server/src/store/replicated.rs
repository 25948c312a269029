//! The store of replicas without Consul: each holds all registers, on its own disk, and tells the
//! others.
//!
//! A commit is on disk here before it is acknowledged, and stamped later than all that is known here.
//! What other replicas tell is merged, written down and served. The table follows from the registers;
//! a view's revision is the set's, so replicas that hold the same are at the same revision. A replica
//! alone, with nobody to tell, uses it as well: then there is one order, its own.

mod attendance;
mod disk;
mod exchange;
mod hear;
mod house;
mod wire;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use async_trait::async_trait;
use proxy_core::{
    Change, CommitError, CommitId, CommitRecord, Committed, Counting, HistoryError, InstanceId,
    Named, OfferError, Order, Outcome, RegisterError, RegisterSet, RereadError, Revision,
    RouteStore, ServiceName, StoreCondition, StoreView, StoredTable, ViewSeq, record_changes,
};
use tokio::sync::{Notify, watch};

use self::disk::{Opened, RegisterJournal};
use super::{JournalError, OpenError, StateLock};
use crate::clock::Clock;

pub(crate) use attendance::Attendance;
pub(crate) use exchange::{CALL_DEADLINE, Exchange, MAX_DIGEST_BYTES};
pub(crate) use hear::HearError;
pub(crate) use wire::{RegisterAnswer, RegisterCall, answer};

/// How many commits are remembered for the question what became of one.
const REMEMBERED: usize = 1_000;

/// Whether there may be other replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// None are configured.
    None,
    /// They are looked for.
    Possible,
}

/// The registers of one replica.
#[derive(Debug)]
pub(crate) struct ReplicatedStore {
    folder: PathBuf,
    instance: InstanceId,
    others: Others,
    // Taken on a blocking thread only: a write waits for the disk.
    writer: Arc<Mutex<Writer>>,
    held: watch::Sender<Held>,
    /// The commits of this run, for the question what became of one. Never held while the disk works.
    recent: Arc<Mutex<VecDeque<Revision>>>,
    attendance: Mutex<attendance::Record>,
    clock: Arc<Clock>,
    /// Whether another replica has said what its clock says.
    compared: AtomicBool,
    superseded_file: watch::Sender<Option<String>>,
    /// Somebody waits for registers that he was not told.
    wanted: Notify,
}

#[derive(Debug)]
struct Writer {
    journal: RegisterJournal,
    _lock: StateLock,
}

/// The registers and what they make, at one moment.
#[derive(Clone, Debug)]
struct Held {
    set: RegisterSet,
    view: Arc<StoreView>,
}

// === impl ReplicatedStore ===

impl ReplicatedStore {
    /// Opens the store of a folder, or creates it. With [`Others::Possible`] its table is not known
    /// until [`Exchange`] has asked the others.
    ///
    /// # Errors
    /// When another process uses it, or its files cannot be read.
    pub(crate) fn open(
        folder: &Path,
        instance: InstanceId,
        others: Others,
    ) -> Result<Self, OpenError> {
        Self::open_by(Clock::default(), folder, instance, others)
    }

    fn open_by(
        clock: Clock,
        folder: &Path,
        instance: InstanceId,
        others: Others,
    ) -> Result<Self, OpenError> {
        let lock = StateLock::take(folder)?;
        let now = clock.own();
        let opened = RegisterJournal::open(folder, &instance, now);
        let Opened {
            journal,
            set,
            marks,
        } = opened.map_err(|why| OpenError::Files { source: why.into() })?;
        let documents = set.iter().filter_map(|(_, register)| register.document());
        let stored = StoredTable::from_documents(documents.cloned());
        let condition = match others {
            Others::None => StoreCondition::Live,
            Others::Possible => StoreCondition::STARTING,
        };
        let revision = set.revision();
        clock.saw(revision.map_or(0, |revision| revision.number));
        let view = StoreView::new(ViewSeq(1), revision, stored, condition);
        let view = Arc::new(view);
        Ok(Self {
            folder: folder.to_owned(),
            instance,
            others,
            writer: Arc::new(Mutex::new(Writer {
                journal,
                _lock: lock,
            })),
            held: watch::Sender::new(Held { set, view }),
            recent: Arc::new(Mutex::new(revision.into_iter().collect())),
            attendance: Mutex::new(attendance::Record::new(marks, now)),
            clock: Arc::new(clock),
            compared: AtomicBool::new(false),
            superseded_file: watch::Sender::new(None),
            wanted: Notify::new(),
        })
    }

    /// All registers.
    pub(crate) fn registers(&self) -> RegisterSet {
        self.held.borrow().set.clone()
    }

    /// Names the file of a table that gave way, once there is one.
    pub(crate) fn superseded_file(&self) -> watch::Receiver<Option<String>> {
        self.superseded_file.subscribe()
    }

    /// The table is known as well as it can be: it may be served and changed.
    async fn go_live(&self) -> Result<(), HearError> {
        let live = self.write(|_, held| {
            if held.view.condition.is_starting() {
                let mut view = held.next_view(&held.set, held.view.stored.clone());
                view.condition = StoreCondition::Live;
                held.view = Arc::new(view);
            }
        });
        live.await.map_err(HearError::Lost)
    }

    /// Runs on a blocking thread as the only one that writes, and publishes what it made of what is
    /// held; a caller that hangs up while the disk works leaves nothing on disk that no view shows.
    fn write<T: Send + 'static>(
        &self,
        make: impl FnOnce(&mut Writer, &mut Held) -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        let (writer, held) = (Arc::clone(&self.writer), self.held.clone());
        tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = held.borrow().clone();
            let before = next.view.seq;
            let made = make(&mut writer, &mut next);
            if next.view.seq != before {
                held.send_replace(next);
            }
            made
        })
    }
}

#[async_trait]
impl RouteStore for ReplicatedStore {
    fn view(&self) -> Arc<StoreView> {
        Arc::clone(&self.held.borrow().view)
    }

    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView> {
        let mut held = self.held.subscribe();
        let next = held.wait_for(|held| held.view.seq > seen).await;
        let next = next.map(|held| Arc::clone(&held.view));
        match next {
            Ok(view) => view,
            // The sender lives as long as the store, so this does not happen.
            Err(_) => std::future::pending().await,
        }
    }

    async fn commit(&self, base: &StoreView, changes: &[Change]) -> Result<Committed, CommitError> {
        if changes.is_empty() {
            return Err(CommitError::nothing());
        }
        let (base, changes) = (base.revision, changes.to_vec());
        let (instance, recent) = (self.instance.clone(), Arc::clone(&self.recent));
        let clock = Arc::clone(&self.clock);
        let counting = match self.others {
            Others::None => Counting::ByOne,
            Others::Possible => Counting::ByClock,
        };
        let committed = self.write(move |writer, held| {
            let view = Arc::clone(&held.view);
            if view.revision != base {
                return Err(CommitError::LostRace { view });
            }
            let (now, stamped) = (clock.now(), clock.stamps());
            let services = record_changes(&view.stored, &changes)?;
            let refused = |why: RegisterError| CommitError::Refused { why: why.into() };
            let written = held
                .set
                .write(&instance, &changes, counting, stamped)
                .map_err(refused)?;
            let mut set = held.set.clone();
            for (name, register) in &written {
                set.merge(name, register).map_err(refused)?;
            }
            let next = held.with(&written, set);
            let Some(revision) = next.view.revision else {
                // A commit without a change; the engine makes none.
                let why = "nothing was to be written".into();
                return Err(CommitError::Refused { why });
            };
            let written = writer.journal.append(written, &next.set);
            written.map_err(|why| match why {
                JournalError::Doubtful { .. } => CommitError::Unknown {
                    id: revision.id,
                    why: why.into(),
                },
                why => CommitError::Unavailable { why: why.into() },
            })?;
            clock.wrote(revision.number);
            let record = CommitRecord::new(
                revision,
                base.map(|revision| revision.id),
                instance,
                now,
                services,
            );
            let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.push_back(revision);
            while recent.len() > REMEMBERED {
                recent.pop_front();
            }
            *held = next;
            let view = Arc::clone(&held.view);
            Ok(Committed::new(view, changes.len(), Arc::new(record)))
        });
        committed
            .await
            .map_err(|why| CommitError::Unavailable { why: why.into() })?
    }

    async fn offer(&self, _record: CommitRecord) -> Result<ViewSeq, OfferError> {
        Err(OfferError::new(
            "replicas without a shared store tell each other registers, not commits",
        ))
    }

    /// What is held here is all that there is to ask; what others wrote comes and is merged.
    async fn confirm(&self, base: &StoreView, _: &[ServiceName]) -> Result<(), CommitError> {
        self.view().confirm(base)
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

    fn order(&self) -> Order {
        match self.others {
            Others::None => Order::Total,
            Others::Possible => Order::LastWriterWins,
        }
    }

    /// Registers are what is, and not how it came to be.
    async fn history(
        &self,
        _before: Option<u64>,
        _limit: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, HistoryError> {
        Err(HistoryError::NotKept)
    }

    async fn reread(&self) -> Result<ViewSeq, RereadError> {
        // All there is to read is with the others.
        self.wanted.notify_one();
        Ok(self.view().seq)
    }

    async fn accept(&self) -> Result<ViewSeq, CommitError> {
        Ok(self.view().seq)
    }
}

// === impl Held ===

impl Held {
    /// What is held once these registers, which `set` has, were taken in.
    fn with(&self, taken: &[Named], set: RegisterSet) -> Self {
        let mut stored = self.view.stored.clone();
        for (name, register) in taken {
            match register.document() {
                Some(document) => stored.put(Arc::clone(document)),
                None => stored.remove(name),
            }
        }
        let view = Arc::new(self.next_view(&set, stored));
        Self { set, view }
    }

    /// The greatest counter.
    fn latest(&self) -> u64 {
        let revision = self.view.revision;
        revision.map_or(0, |revision| revision.number)
    }

    fn next_view(&self, set: &RegisterSet, stored: StoredTable) -> StoreView {
        let mut view = StoreView::new(
            self.view.seq.next(),
            set.revision(),
            stored,
            self.view.condition.clone(),
        );
        view.superseded = self.view.superseded.clone();
        view
    }
}

#[cfg(test)]
mod tests;
