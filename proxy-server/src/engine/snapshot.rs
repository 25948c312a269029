//! What the engine tells the world: immutable, cheap to read, replaced whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proxy_core::{Revision, RouteTable, ServiceName, StoreView, ViewSeq};

/// What is said where nothing tries a service again by itself.
const NOT_TRIED: &str =
    "; it is tried again once HAProxy was reloaded with something else, or by `reload`";

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
    /// Services whose stored version is served once it was judged, if HAProxy takes it.
    pub unjudged: BTreeSet<ServiceName>,
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
    /// Whether it is tried again by itself.
    pub is_tried: bool,
}

/// Why a table is not live.
pub(crate) type Failure = Arc<str>;

/// What is said to who waits for a service that is held back for this reason, or was not judged yet.
pub(super) fn held_back(why: Option<&str>) -> String {
    match why {
        Some(why) => format!("it is quarantined: {why}"),
        None => "it is judged after others that are refused here, and served then".to_owned(),
    }
}

// === impl Quarantined ===

impl Quarantined {
    /// Why, and what is done about it where that is nothing.
    pub(crate) fn told(&self) -> String {
        let mut told = self.why.clone();
        if !self.is_tried {
            told.push_str(NOT_TRIED);
        }
        told
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// A view that is served as it is.
    pub(crate) fn of(view: Arc<StoreView>) -> Self {
        Self {
            served: view.stored.table().clone(),
            quarantined: BTreeMap::new(),
            unjudged: BTreeSet::new(),
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

    /// Why the stored version of a service is not served here, where it is not.
    #[must_use]
    pub(crate) fn held_back(&self, service: &ServiceName) -> Option<String> {
        match self.quarantined.get(service) {
            Some(held) => Some(held_back(Some(&held.why))),
            None if self.unjudged.contains(service) => Some(held_back(None)),
            None => self.degraded(service),
        }
    }

    /// Why something else of a service is served than the store's log says, or nothing, where that is so
    /// because the store's version cannot be read here.
    fn degraded(&self, service: &ServiceName) -> Option<String> {
        let why = self.view.degraded().get(service)?;
        let served = self.served.get(service);
        (why.is_behind() || served.is_none()).then(|| why.told(served))
    }

    /// Whether a table was loaded at all.
    #[must_use]
    pub(crate) fn is_loaded(&self) -> bool {
        !self.view.condition.is_starting()
    }
}
