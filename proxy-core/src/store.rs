//! The seam to whatever remembers the table.
//!
//! Order is the store's business: it decides which commit comes after which, and hands out views of
//! what the table now is. Whoever applies views needs no arithmetic on revisions.

use std::{collections::BTreeMap, error::Error, fmt, sync::Arc};

use async_trait::async_trait;

use crate::{
    name::ServiceName,
    revision::{CommitId, CommitRecord, Revision},
    stored::{Degradation, StoredTable},
    table::Change,
};

/// Remembers the table, orders its changes, and says what the table now is.
#[async_trait]
pub trait RouteStore: Send + Sync + fmt::Debug {
    /// The latest view. Never waits.
    fn view(&self) -> Arc<StoreView>;

    /// The next view that is newer than `seen`, as soon as there is one. Views in between may be
    /// skipped. Cancel safe.
    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView>;

    /// Makes changes on top of `base` in one commit, or refuses.
    ///
    /// A store with limits takes as many of the changes as fit, in order, and says how many; the
    /// caller asks again for the rest. It takes one at least: no changes at all are refused
    /// ([`CommitError::nothing`]), as no revision stands for them. Not cancel safe: a dropped call may have committed.
    ///
    /// # Errors
    /// [`CommitError`] says for each case what state the store is in.
    async fn commit(&self, base: &StoreView, changes: &[Change]) -> Result<Committed, CommitError>;

    /// Takes a peer's word for a commit as a hint, and settles with the store what it is worth.
    /// Returns the view to wait for: once a view of that number or a later one is served, the
    /// commit is served.
    ///
    /// # Errors
    /// When it cannot be settled now. The store goes on by itself; nothing is lost.
    async fn offer(&self, record: CommitRecord) -> Result<ViewSeq, OfferError>;

    /// Makes sure that `base` is what the store holds now, for a caller that asks for what is there
    /// already: an older view may show what another replica has changed since. Of these services the store's
    /// documents are looked at too, where somebody may have changed them behind its log's back.
    ///
    /// # Errors
    /// [`CommitError::LostRace`] with the newer view, or that no store could be asked.
    async fn confirm(&self, base: &StoreView, services: &[ServiceName]) -> Result<(), CommitError>;

    /// What became of a commit whose answer was lost.
    async fn outcome(&self, id: CommitId) -> Outcome;

    /// What decides between changes that are made at the same time.
    fn order(&self) -> Order {
        Order::Total
    }

    /// The commits of this life of the store, newest first: those before the one numbered `before`,
    /// or from the newest on. At most `limit` of them, and fewer only where what is kept ends.
    ///
    /// # Errors
    /// When the history cannot be read. Nothing was changed.
    async fn history(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, HistoryError>;

    /// Reads everything that the store holds once more, whatever is known of it. Once a view of the
    /// number that is returned is served, so is what was read.
    ///
    /// # Errors
    /// When the store cannot be read. The table is what it was.
    async fn reread(&self) -> Result<ViewSeq, RereadError>;

    /// Takes it for the truth that the store is empty where a table is held against that
    /// ([`StoreCondition::Wiped`]); otherwise does nothing. The table that gives way is named as
    /// [`Superseded`], and the other replicas follow.
    ///
    /// # Errors
    /// As for a commit; [`CommitError::LostRace`] where the store is not empty any more.
    async fn accept(&self) -> Result<ViewSeq, CommitError>;
}

/// What decides between changes that are made at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// One order for all replicas: a change is acknowledged once it has its place there.
    Total,
    /// None: of two changes of one service the one with the later stamp stays, also where both were
    /// acknowledged.
    LastWriterWins,
}

/// Why there is no history to see. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// This store keeps none.
    #[error("this store keeps no history")]
    NotKept,
    /// It cannot be read now.
    #[error("the history cannot be read now; try again")]
    Unavailable {
        /// Each address and what failed there.
        #[source]
        why: BoxError,
    },
}

/// Why the store was not read again. The table is what it was, and the store still followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("the store could not be read again; the table is what it was")]
pub struct RereadError {
    /// Each address and what failed there.
    #[source]
    pub why: BoxError,
}

/// The number of a view: grows with every view that one store hands out in one process, and means
/// nothing elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewSeq(pub u64);

/// What the table is, as far as the store knows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreView {
    /// The number of this view.
    pub seq: ViewSeq,
    /// The point in history; none while the store is empty or was never read.
    pub revision: Option<Revision>,
    /// The documents and the table they make.
    pub stored: StoredTable,
    /// How good this view is.
    pub condition: StoreCondition,
    /// The table that was served before the store turned out to hold another history.
    pub superseded: Option<Arc<Superseded>>,
}

/// How good a view is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreCondition {
    /// Nothing was read yet and nothing is held: the table is not known.
    Starting {
        /// Why not, once a first try has failed.
        trouble: Option<StoreTrouble>,
    },
    /// The store is followed.
    Live,
    /// The store cannot be followed now; the table is the last that was known.
    Stale {
        /// Why, with each address.
        why: String,
    },
    /// The store is empty while a table is held here, and does not take it back.
    Wiped {
        /// Why it was not filled again.
        why: String,
    },
}

/// Why a store cannot be read. It is tried again in either case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreTrouble {
    /// Nobody answers usefully; with each address.
    #[error("{0}")]
    Unavailable(String),
    /// It answers, and does not let this replica read.
    #[error("{0}")]
    Denied(String),
}

/// A table that was served until the store turned out to hold another history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Superseded {
    /// Where that table stood.
    pub revision: Revision,
    /// The table.
    pub stored: StoredTable,
    /// What was found in the store.
    pub why: String,
}

/// A commit that was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// The table with it.
    pub view: Arc<StoreView>,
    /// How many of the changes, from the first on, it holds; at least 1.
    pub taken: usize,
    /// The commit as the log holds it, for the peers.
    pub record: Arc<CommitRecord>,
}

/// Why a commit was not made, or is not known to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Another replica was first. Nothing was changed; plan again on the newer view.
    #[error("another replica committed first; plan the change again on the newer table")]
    LostRace {
        /// What the table is now.
        view: Arc<StoreView>,
    },
    /// The store will not take it, now or again. Nothing was changed.
    #[error("the store refused the change; nothing was changed")]
    Refused {
        /// Why.
        #[source]
        why: BoxError,
    },
    /// The store does not let this replica do it. Nothing was changed; it may, once somebody gives it the right.
    #[error("the store denied the change; nothing was changed")]
    Denied {
        /// Why.
        #[source]
        why: BoxError,
    },
    /// No store could be asked. Nothing was changed; try again once one answers.
    #[error("no store could be asked; nothing was changed; try again")]
    Unavailable {
        /// Each address and what failed there.
        #[source]
        why: BoxError,
    },
    /// The change may or may not be in the store. [`RouteStore::outcome`] tells later.
    #[error("whether the change {id} was stored is not known; its outcome can be asked later")]
    Unknown {
        /// The identity of the commit.
        id: CommitId,
        /// Each address and what failed there.
        #[source]
        why: BoxError,
    },
}

/// Why a peer's word could not be settled. The table is unchanged and the store still followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error(
    "the commit that a peer announced could not be settled with the store; it is followed all the same"
)]
pub struct OfferError {
    /// Why.
    #[source]
    pub why: BoxError,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is in the history.
    Committed(Revision),
    /// It is not in the history, and can no longer come into it.
    NotThere,
    /// It cannot be told now, and why.
    Unknown(String),
}

/// Any error of a store.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

// === impl StoreView ===

impl StoreView {
    /// The first view of a store: nothing is known.
    #[must_use]
    pub fn starting() -> Self {
        Self::new(
            ViewSeq(0),
            None,
            StoredTable::default(),
            StoreCondition::STARTING,
        )
    }

    /// A view.
    #[must_use]
    pub fn new(
        seq: ViewSeq,
        revision: Option<Revision>,
        stored: StoredTable,
        condition: StoreCondition,
    ) -> Self {
        Self {
            seq,
            revision,
            stored,
            condition,
            superseded: None,
        }
    }

    /// That this view, the newest, stands where `base` does.
    ///
    /// # Errors
    /// [`CommitError::LostRace`] with this view, where it does not.
    pub fn confirm(self: Arc<Self>, base: &Self) -> Result<(), CommitError> {
        match self.revision == base.revision {
            true => Ok(()),
            false => Err(CommitError::LostRace { view: self }),
        }
    }

    /// Services that are served in an older version than the store's, or that the store lost.
    #[must_use]
    pub fn degraded(&self) -> &BTreeMap<ServiceName, Degradation> {
        self.stored.degraded()
    }
}

// === impl StoreCondition ===

impl StoreCondition {
    /// Nothing was tried yet.
    pub const STARTING: Self = Self::Starting { trouble: None };

    /// Whether the table is not known.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        matches!(self, Self::Starting { .. })
    }
}

// === impl Superseded ===

impl Superseded {
    /// A table that gave way.
    #[must_use]
    pub fn new(revision: Revision, stored: StoredTable, why: String) -> Self {
        Self {
            revision,
            stored,
            why,
        }
    }
}

// === impl Committed ===

impl Committed {
    /// A commit that holds the first `taken` changes.
    #[must_use]
    pub fn new(view: Arc<StoreView>, taken: usize, record: Arc<CommitRecord>) -> Self {
        Self {
            view,
            taken,
            record,
        }
    }
}

// === impl CommitError ===

impl CommitError {
    /// The refusal of a commit without any change.
    #[must_use]
    pub fn nothing() -> Self {
        Self::Refused {
            why: "there is nothing to commit".into(),
        }
    }
}

// === impl OfferError ===

impl OfferError {
    /// An offer that could not be settled.
    #[must_use]
    pub fn new(why: impl Into<BoxError>) -> Self {
        Self { why: why.into() }
    }
}

// === impl RereadError ===

impl RereadError {
    /// A read that failed.
    #[must_use]
    pub fn new(why: impl Into<BoxError>) -> Self {
        Self { why: why.into() }
    }
}

// === impl ViewSeq ===

impl ViewSeq {
    /// The number after this one; the last has itself.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
