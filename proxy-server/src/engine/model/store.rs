//! A store that replicas share, and each replica's own, late and faulty sight of it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use proxy_core::{
    Change, CommitError, CommitId, CommitRecord, Committed, Epoch, HistoryError, InstanceId,
    OfferError, Outcome, RereadError, Revision, RouteStore, ServiceName, StoreCondition, StoreView,
    StoredTable, ViewSeq, record_changes,
};
use tokio::sync::watch;

use super::CommitFault;

/// What really happened: every commit, and the table after it.
#[derive(Debug)]
pub(super) struct World {
    /// Counts what callers see: calls that begin and answers that come.
    moments: u64,
    log: Vec<Arc<CommitRecord>>,
    tables: Vec<StoredTable>,
}

/// A moment that a caller sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Which.
    pub(super) nth: u64,
    /// How many commits there are.
    pub(super) commits: usize,
}

/// The store as one replica sees it.
#[derive(Debug)]
pub(super) struct Sight {
    world: Arc<Mutex<World>>,
    instance: InstanceId,
    state: Mutex<State>,
    views: watch::Sender<Arc<StoreView>>,
}

#[derive(Debug, Default)]
struct State {
    /// How many commits it has seen.
    at: usize,
    cut: bool,
    faults: VecDeque<CommitFault>,
}

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        Self {
            moments: 0,
            log: Vec::new(),
            tables: vec![StoredTable::default()],
        }
    }

    pub(super) fn log(&self) -> &[Arc<CommitRecord>] {
        &self.log
    }

    /// How many commits there are.
    pub(super) fn now(&self) -> usize {
        self.log.len()
    }

    /// A moment that a caller sees, and how many commits there are at it.
    pub(super) fn moment(&mut self) -> Moment {
        self.moments += 1;
        Moment {
            nth: self.moments,
            commits: self.log.len(),
        }
    }

    /// The table after so many commits.
    pub(super) fn table_at(&self, commits: usize) -> &StoredTable {
        &self.tables[commits]
    }

    pub(super) fn table(&self) -> &StoredTable {
        &self.tables[self.log.len()]
    }

    fn append(&mut self, origin: &InstanceId, changes: &[Change]) -> Result<(), CommitError> {
        let number = self.log.len() as u64 + 1;
        let id = CommitId::from_bytes(u128::from(number).to_be_bytes());
        let revision = Revision::new(Epoch::from_bytes([1; 16]), number, id);
        let previous = self.log.last().map(|record| record.revision.id);
        let services = record_changes(self.table(), changes)?;
        let record = CommitRecord::new(revision, previous, origin.clone(), 0, services);
        let mut table = self.table().clone();
        table.apply(&record);
        self.log.push(Arc::new(record));
        self.tables.push(table);
        Ok(())
    }
}

// === impl Sight ===

impl Sight {
    pub(super) fn of(world: &Arc<Mutex<World>>, name: &str) -> Self {
        let view = StoreView::new(
            ViewSeq(1),
            None,
            StoredTable::default(),
            StoreCondition::Live,
        );
        Self {
            world: Arc::clone(world),
            instance: name.parse().unwrap(),
            state: Mutex::default(),
            views: watch::Sender::new(Arc::new(view)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn fault(&self, fault: CommitFault) {
        self.state().faults.push_back(fault);
    }

    pub(super) fn cut(&self) {
        self.state().cut = true;
        self.show();
    }

    pub(super) fn mend(&self) {
        self.state().cut = false;
        self.show();
    }

    /// Everything works again, and the newest is seen.
    pub(super) fn heal(&self) {
        self.state().faults.clear();
        self.state().cut = false;
        self.follow(usize::MAX);
    }

    /// Sees so many more commits, where there are as many.
    pub(super) fn follow(&self, commits: usize) {
        let known = self.world.lock().unwrap().log.len();
        {
            let mut state = self.state();
            if !state.cut {
                state.at = state.at.saturating_add(commits).min(known);
            }
        }
        self.show();
    }

    fn show(&self) {
        let (at, cut) = {
            let state = self.state();
            (state.at, state.cut)
        };
        let world = self.world.lock().unwrap();
        let revision = at.checked_sub(1).map(|last| world.log[last].revision);
        let stored = world.tables[at].clone();
        drop(world);
        let condition = match cut {
            true => StoreCondition::Stale {
                why: "cut off".to_owned(),
            },
            false => StoreCondition::Live,
        };
        self.views.send_if_modified(|view| {
            if view.revision == revision && view.condition == condition {
                return false;
            }
            *view = Arc::new(StoreView::new(view.seq.next(), revision, stored, condition));
            true
        });
    }

    fn unheard(id: u64) -> CommitError {
        CommitError::Unknown {
            id: CommitId::from_bytes(u128::from(id).to_be_bytes()),
            why: "the answer was lost".into(),
        }
    }
}

#[async_trait]
impl RouteStore for Sight {
    fn view(&self) -> Arc<StoreView> {
        Arc::clone(&self.views.borrow())
    }

    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView> {
        let mut views = self.views.subscribe();
        let view = views.wait_for(|view| view.seq > seen).await.unwrap();
        Arc::clone(&view)
    }

    async fn commit(&self, base: &StoreView, changes: &[Change]) -> Result<Committed, CommitError> {
        let fault = self.state().faults.pop_front();
        if let Some(CommitFault::Slow) = fault {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        if self.state().cut || matches!(fault, Some(CommitFault::Unavailable)) {
            return Err(CommitError::Unavailable {
                why: "cut off".into(),
            });
        }
        let taken = match fault {
            Some(CommitFault::Short) => 1,
            _ => changes.len(),
        };
        let lost = {
            let mut world = self.world.lock().unwrap();
            let number = world.log.len() as u64 + 1;
            let head = world.log.last().map(|record| record.revision);
            match fault {
                Some(CommitFault::NotDoneUnheard) => return Err(Self::unheard(number)),
                _ if head != base.revision => true,
                Some(CommitFault::DoneUnheard) => {
                    world.append(&self.instance, changes)?;
                    return Err(Self::unheard(number));
                }
                _ => {
                    world.append(&self.instance, &changes[..taken])?;
                    false
                }
            }
        };
        self.follow(usize::MAX);
        if lost {
            return Err(CommitError::LostRace { view: self.view() });
        }
        let view = self.view();
        let made = view.revision.unwrap().number as usize;
        let record = Arc::clone(&self.world.lock().unwrap().log[made - 1]);
        Ok(Committed::new(view, taken, record))
    }

    async fn confirm(&self, base: &StoreView, _: &[ServiceName]) -> Result<(), CommitError> {
        if self.state().cut {
            return Err(CommitError::Unavailable {
                why: "cut off".into(),
            });
        }
        self.follow(usize::MAX);
        self.view().confirm(base)
    }

    async fn offer(&self, record: CommitRecord) -> Result<ViewSeq, OfferError> {
        if self.state().cut {
            return Err(OfferError::new("cut off"));
        }
        let number = record.revision.number as usize;
        let at = self.state().at;
        self.follow(number.saturating_sub(at));
        Ok(self.view().seq)
    }

    async fn outcome(&self, _: CommitId) -> Outcome {
        Outcome::Unknown("nobody asks here".to_owned())
    }

    async fn history(
        &self,
        _: Option<u64>,
        _: usize,
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
