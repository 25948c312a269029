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
///
/// HAProxy goes on with the old address for a client whose request is under way while its server moves.
/// So no slot goes from one address to the next: it is free in between, the longer the better.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Option<SocketAddr>>", into = "Vec<Option<SocketAddr>>")]
pub struct Slots {
    addresses: Vec<Option<SocketAddr>>,
    /// Those without an address: first the one that is free for the longest time.
    free: Vec<usize>,
}

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
    /// the slots that were free before, first the one that was free for the longest time. What is vacated
    /// now is free for the next time. Where too few were free, or there are four times too many slots, their
    /// number is another, so that HAProxy is reloaded; there is always one free slot at least then.
    #[must_use]
    pub fn filled_with(&self, addresses: &BTreeSet<SocketAddr>) -> Self {
        let enough = (addresses.len() + 1).next_power_of_two().max(MIN_SLOTS);
        let known: BTreeSet<_> = self.addresses.iter().flatten().copied().collect();
        let mut new = addresses.difference(&known).copied();
        let count = self.addresses.len();
        let too_few = self.free.len() < new.clone().count() || count < MIN_SLOTS;
        let stays = |slot: &Option<SocketAddr>| slot.filter(|address| addresses.contains(address));
        if too_few || count >= 4 * enough {
            let mut slots: Vec<_> = self.addresses.iter().map(stays).collect();
            let next = if enough == count { 2 * count } else { enough };
            if next < count {
                slots.retain(Option::is_some);
            }
            slots.resize(next, None);
            for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
                *slot = new.next();
            }
            return slots.into();
        }
        let mut slots = self.clone();
        let mut vacated = Vec::new();
        for (nth, slot) in slots.addresses.iter_mut().enumerate() {
            if slot.is_some() {
                *slot = stays(slot);
                vacated.extend(slot.is_none().then_some(nth));
            }
        }
        slots.free.retain(|nth| {
            let slot = slots.addresses.get_mut(*nth);
            let taken = slot
                .zip(new.next())
                .map(|(slot, address)| *slot = Some(address));
            taken.is_none()
        });
        slots.free.append(&mut vacated);
        slots
    }

    /// The address of each slot, where it has one.
    #[must_use]
    pub fn as_slice(&self) -> &[Option<SocketAddr>] {
        &self.addresses
    }
}

impl From<Vec<Option<SocketAddr>>> for Slots {
    /// All that are free are so for the same time.
    fn from(addresses: Vec<Option<SocketAddr>>) -> Self {
        let slots = addresses.iter().enumerate();
        let free = slots.filter_map(|(nth, slot)| slot.is_none().then_some(nth));
        Self {
            free: free.collect(),
            addresses,
        }
    }
}

impl From<Slots> for Vec<Option<SocketAddr>> {
    fn from(slots: Slots) -> Self {
        slots.addresses
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
    fn an_instance_keeps_its_slot_and_one_that_goes_leaves_its_own_free() {
        assert_eq!(
            steps(&[&[], &[1, 2], &[2, 3], &[1, 2, 3, 4], &[4], &[4, 5]]),
            [
                [0, 0, 0, 0],
                [1, 2, 0, 0],
                // The first is free for the next time, and the fourth is so for longer.
                [0, 2, 3, 0],
                [4, 2, 3, 1],
                [4, 0, 0, 0],
                [4, 5, 0, 0]
            ]
        );
    }

    #[test]
    fn a_slot_never_goes_from_one_address_to_the_next() {
        let mut slots = Slots::default();
        // A xorshift: every kind of step, and the same ones at each run.
        let mut random = 0x9e37_79b9_u32;
        for step in 0..5_000 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let bits = random >> (random % 13);
            let now: Vec<u16> = (1..=32).filter(|n| bits >> (n - 1) & 1 == 1).collect();
            let before = slots;
            slots = before.filled_with(&addresses(&now));
            let mut there: Vec<_> = ports(&slots).into_iter().filter(|p| *p != 0).collect();
            there.sort_unstable();
            assert_eq!(there, now, "{step}");
            assert_eq!(slots, slots.filled_with(&addresses(&now)), "{step}");
            let free = slots.as_slice().iter().filter(|slot| slot.is_none());
            assert_eq!(slots.free.len(), free.count());
            let (count, enough) = (slots.as_slice().len(), (now.len() + 1).next_power_of_two());
            assert!(count < 4 * enough.max(MIN_SLOTS), "{step}");
            if count == before.as_slice().len() {
                for (from, to) in before.as_slice().iter().zip(slots.as_slice()) {
                    assert!(from == to || from.is_none() || to.is_none(), "{step}");
                }
            }
        }
    }

    #[test]
    fn those_that_are_all_replaced_again_and_again_are_one_reload() {
        let sets: [&[u16]; 2] = [&[1, 2, 3], &[4, 5, 6]];
        let sizes: Vec<_> = steps(&sets.repeat(5)).iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 8, 8, 8, 8, 8, 8, 8, 8, 8]);
        let last = steps(&sets.repeat(2)).pop().unwrap();
        // The seventh and the eighth were free all the time, the first longer than those of the step before.
        assert_eq!(last, [6, 0, 0, 0, 0, 0, 4, 5]);
    }

    #[test]
    fn what_was_written_down_has_the_same_slots() {
        let slots = Slots::default().filled_with(&addresses(&[1, 2]));
        let text = serde_json::to_string(&slots).unwrap();
        assert_eq!(text, r#"["10.0.0.1:1","10.0.0.1:2",null,null]"#);
        assert_eq!(serde_json::from_str::<Slots>(&text).unwrap(), slots);
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
