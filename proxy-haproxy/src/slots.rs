//! The servers of services whose instances come and go: as many lines as may be needed soon, so that the
//! next instance needs no reload.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use proxy_core::CatalogKey;
use serde::{Deserialize, Serialize};

/// The least servers of a backend: room for a deployment that starts new instances before it ends the
/// old ones.
pub const MIN_SLOTS: usize = 4;

/// The addresses of one service's instances, each in a slot of its own that it keeps. A slot is one
/// `server` line; one without an address is a server that takes no requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slots(Vec<Option<SocketAddr>>);

/// The slots of every service that has some. They are kept over restarts, so that a start without the
/// catalog serves what was served before, and so that what is on disk is what runs. A copy costs nothing
/// until one of the two changes, and neither does the comparison with a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotBook {
    entries: Arc<BTreeMap<CatalogKey, Slots>>,
}

// === impl Slots ===

impl Slots {
    /// The slots for these addresses: those that are there already stay where they are, and new ones take
    /// free slots. There is always one free slot at least where the number has to be another; it is
    /// another only where there are too few, or four times too many.
    #[must_use]
    pub fn filled_with(&self, addresses: &BTreeSet<SocketAddr>) -> Self {
        let enough = (addresses.len() + 1).next_power_of_two().max(MIN_SLOTS);
        let mut slots: Vec<_> = self
            .0
            .iter()
            .map(|slot| slot.filter(|address| addresses.contains(address)))
            .collect();
        if slots.len() < addresses.len() || slots.len() < MIN_SLOTS {
            slots.resize(enough, None);
        } else if slots.len() >= 4 * enough {
            slots.retain(Option::is_some);
            slots.resize(enough, None);
        }
        let known: BTreeSet<_> = slots.iter().flatten().copied().collect();
        let mut new = addresses.difference(&known).copied();
        for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
            *slot = new.next();
        }
        Self(slots)
    }

    /// The address of each slot, where it has one.
    #[must_use]
    pub fn as_slice(&self) -> &[Option<SocketAddr>] {
        &self.0
    }
}

// === impl SlotBook ===

impl SlotBook {
    /// The slots of a service; none where it has none yet.
    #[must_use]
    pub fn get(&self, key: &CatalogKey) -> Option<&Slots> {
        self.entries.get(key)
    }

    /// Puts slots in place of what was there.
    pub fn insert(&mut self, key: CatalogKey, slots: Slots) {
        if self.entries.get(&key) != Some(&slots) {
            Arc::make_mut(&mut self.entries).insert(key, slots);
        }
    }

    /// Forgets every service but these.
    pub fn retain(&mut self, keep: &BTreeSet<CatalogKey>) {
        if !self.entries.keys().all(|key| keep.contains(key)) {
            Arc::make_mut(&mut self.entries).retain(|key, _| keep.contains(key));
        }
    }

    /// Every service with its slots, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&CatalogKey, &Slots)> {
        self.entries.iter()
    }
}

impl FromIterator<(CatalogKey, Slots)> for SlotBook {
    fn from_iter<I: IntoIterator<Item = (CatalogKey, Slots)>>(entries: I) -> Self {
        Self {
            entries: Arc::new(entries.into_iter().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> BTreeSet<SocketAddr> {
        ports
            .iter()
            .map(|port| ([10, 0, 0, 1], *port).into())
            .collect()
    }

    fn ports(slots: &Slots) -> Vec<u16> {
        let port = |slot: &Option<SocketAddr>| slot.map_or(0, |address| address.port());
        slots.as_slice().iter().map(port).collect()
    }

    fn steps(steps: &[&[u16]]) -> Vec<Vec<u16>> {
        let mut slots = Slots::default();
        let next = |step: &&[u16]| {
            slots = slots.filled_with(&addresses(step));
            ports(&slots)
        };
        steps.iter().map(next).collect()
    }

    #[test]
    fn an_instance_keeps_its_slot() {
        assert_eq!(
            steps(&[&[], &[1, 2], &[2, 3], &[1, 2, 3, 4], &[4]]),
            [
                [0, 0, 0, 0],
                [1, 2, 0, 0],
                [3, 2, 0, 0],
                [3, 2, 1, 4],
                [0, 0, 0, 4]
            ]
        );
    }

    #[test]
    fn there_are_more_slots_where_they_are_too_few_and_less_where_they_are_far_too_many() {
        let many: Vec<u16> = (1..=16).collect();
        let sizes: Vec<_> = steps(&[
            &many[..4],
            &many[..5],
            &many[..8],
            &many,
            &many[..9],
            &many[14..],
        ])
        .iter()
        .map(Vec::len)
        .collect();
        // Four get eight, so that one is free; sixteen do not fit into eight; two need no more than four.
        assert_eq!(sizes, [8, 8, 8, 32, 32, 4]);
        let last = steps(&[&many, &[16, 9]]).pop().unwrap();
        assert_eq!(last, [9, 16, 0, 0], "those that stay keep their order");
    }
}
