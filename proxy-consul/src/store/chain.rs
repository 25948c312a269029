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

    /// Whether the store did not show a service that no change removed.
    pub(crate) fn misses(&self) -> bool {
        let degraded = self.stored.degraded();
        degraded.values().any(|why| *why == Degradation::Missing)
    }

    pub(crate) fn apply(&mut self, record: &CommitRecord) {
        self.stored.apply(record);
        self.at = record.revision.into();
        self.index = None;
        self.services = self.services.map(|before| services_after(before, record));
    }
}

/// How many services there are after a commit.
pub(crate) fn services_after(before: u64, record: &CommitRecord) -> u64 {
    record.services.values().fold(before, |count, change| {
        match (&change.before, &change.after) {
            (None, Some(_)) => count + 1,
            (Some(_), None) => count.saturating_sub(1),
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
