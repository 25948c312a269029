//! The table at a point in history, and how a commit moves it on.

use proxy_core::{CommitRecord, Degradation, StoredTable};

use super::keys::{At, Head};

/// The table and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) at: At,
    /// The index of the head at this point, where it was seen. A peer's offer does not tell it.
    pub(crate) index: Option<u64>,
    /// How many services the store says there are.
    pub(crate) services: Option<u64>,
    pub(crate) stored: StoredTable,
}

// === impl Chain ===

impl Chain {
    /// Whether this head, of another life of the store and without any commit, is that of a store
    /// that was wiped and then met by a replica that had nothing to fill it with. A table that is
    /// held here gives way to another table, but not to nothing.
    pub(crate) fn was_wiped(&self, head: &Head) -> bool {
        head.epoch != self.at.epoch
            && head.revision == 0
            && head.services == Some(0)
            && self.stored.documents().next().is_some()
    }

    /// Whether the store did not show a service that no change removed, or something else in its place.
    pub(crate) fn misses(&self) -> bool {
        let mut degraded = self.stored.degraded().values();
        degraded.any(|why| matches!(why, Degradation::Missing | Degradation::NoDocument(_)))
    }

    pub(crate) fn apply(&mut self, record: &CommitRecord) {
        let count = |before| services_after(before, record, &self.stored);
        self.services = self.services.map(count);
        self.stored.apply(record);
        self.at = record.revision.into();
        self.index = None;
    }
}

/// How many services there are after a commit on top of this table.
pub(crate) fn services_after(before: u64, record: &CommitRecord, table: &StoredTable) -> u64 {
    record
        .services
        .iter()
        .fold(before, |count, (name, change)| {
            // What is there and is no document is counted, and has no version before.
            let nameless = table.degraded().contains_key(name);
            match (change.before.is_some() || nameless, &change.after) {
                (false, Some(_)) => count + 1,
                (true, None) => count.saturating_sub(1),
                _ => count,
            }
        })
}

/// How many commits lie between two points of one epoch; none where the other is not later.
pub(crate) fn advance(mine: At, other: At) -> Option<u64> {
    if other.epoch != mine.epoch {
        return None;
    }
    other.number.checked_sub(mine.number).filter(|gap| *gap > 0)
}
