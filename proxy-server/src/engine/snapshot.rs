//! What the engine tells the world: immutable, cheap to read, replaced whole.

use std::{collections::BTreeMap, sync::Arc};

use proxy_core::{Revision, RouteTable, ServiceName, StoreCondition, StoreView, ViewSeq};

/// The state of this replica at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// What the store says, and how good that is.
    pub view: Arc<StoreView>,
    /// What HAProxy shall run: the table of the view, with quarantined services as they last were
    /// good.
    pub served: RouteTable,
    /// Services whose stored version cannot be served.
    pub quarantined: BTreeMap<ServiceName, Quarantined>,
    /// Why the table is not live, where it is not. It is tried again.
    pub failure: Option<Failure>,
    /// The last view that went live.
    pub applied: ViewSeq,
}

/// A service whose stored version cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quarantined {
    /// Why, in HAProxy's own words.
    pub why: String,
    /// Whether an older version of it is served meanwhile.
    pub serves_older: bool,
}

/// Why a table is not live.
pub(crate) type Failure = Arc<str>;

// === impl Snapshot ===

impl Snapshot {
    /// A view that is served as it is.
    pub(crate) fn of(view: Arc<StoreView>) -> Self {
        Self {
            served: view.stored.table().clone(),
            quarantined: BTreeMap::new(),
            failure: None,
            applied: view.seq,
            view,
        }
    }

    /// The point in history of the table that is live or being made live.
    #[must_use]
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.view.revision
    }

    /// Whether a table was loaded at all.
    #[must_use]
    pub(crate) fn is_loaded(&self) -> bool {
        self.view.condition != StoreCondition::Starting
    }
}
