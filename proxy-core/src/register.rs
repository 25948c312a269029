//! Last-writer-wins registers: the table of replicas that share no store.
//!
//! There is no order of all changes without a place that makes one. So each service is a register
//! of its own: its document, or the fact that it was removed, under a [`Stamp`]. Replicas tell each
//! other their registers in any order, late and doubled, and of two for one service the later stamp
//! stays. [`RegisterSet::merge`] is commutative, associative and idempotent, so replicas that heard
//! the same hold the same. What that cannot give: of two changes of one service at the same moment,
//! both acknowledged, one is lost.

mod exchange;

use std::{fmt, sync::Arc, time::Duration};

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use exchange::Delta;

use crate::{
    document::{Document, NoDocument},
    name::{InstanceId, ServiceName},
    revision::{CommitId, Epoch, Revision},
    table::Change,
};

/// A replica that heard nobody for this long may hold services that were removed meanwhile.
pub const AWAY_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a removal is remembered: until everyone who has not heard of it counts as away, and
/// some hours more, for clocks that differ.
pub const TOMBSTONE_LIFE: Duration = Duration::from_secs(AWAY_AFTER.as_secs() + 6 * 60 * 60);

/// Services and removals that are held at most. What replicas compare when they differ, a stamp
/// per register, stays below 32 MiB, half of what one body may hold.
pub const MAX_REGISTERS: usize = 131_072;

/// The last counter; every JSON reader keeps it exact.
pub const MAX_COUNTER: u64 = 1 << 53;

/// How far a counter that is told may lie beyond the clock and all that was seen: a year. A replica
/// with a bug must not use up the counters for all.
const FAR: u64 = 366 * 24 * 60 * 60 * 1_000;

/// The epoch of every set: it has one life, which all replicas share without asking each other.
const EPOCH: [u8; 16] = *b"last-writer-wins";

/// When a register was written, among all writes: greater than all that its writer had seen, and no
/// less than its writer's clock, so that a change wins over an earlier one elsewhere of which its
/// writer had not heard, as far as their clocks agree. Writers that are at the same counter are told
/// apart by their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stamp {
    /// One more than the greatest that the writer had seen, or the milliseconds since 1970 by its
    /// clock, whichever is more.
    pub counter: u64,
    /// The writer.
    pub replica: InstanceId,
}

/// What is known of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Register {
    /// When it was written.
    pub stamp: Stamp,
    /// What was written.
    pub written: Written,
}

/// What a register says of its service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Written {
    /// It is this.
    Document(Arc<Document>),
    /// It was removed. Such a register is a tombstone: it keeps an older document from coming back.
    Removed {
        /// When, in milliseconds since 1970 by the clock of the writer; orders nothing.
        at_unix_ms: u64,
    },
}

/// How the counter of a stamp is made. Either way it is greater than all that its writer had seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counting {
    /// One more than that, for a writer that knows of no other.
    ByOne,
    /// And no less than the milliseconds since 1970 by the writer's clock.
    ByClock,
}

/// A register with the service that it is for.
pub type Named = (ServiceName, Arc<Register>);

/// What became of a register that was merged into a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merged {
    /// It is the latest that is known, and was not known before.
    Taken,
    /// It was known, or a later one is.
    Known,
}

/// Why a register cannot be held. The set is what it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The document is that of another service.
    #[error("the register of {name} holds the document of {other}")]
    OtherService {
        /// The service it is for.
        name: ServiceName,
        /// The service it holds.
        other: ServiceName,
    },
    /// There are too many.
    #[error("there are {MAX_REGISTERS} services and removals already, and no room for {name}")]
    Full {
        /// The service it is for.
        name: ServiceName,
    },
    /// Its counter is further ahead than any that was seen, and than any clock.
    #[error(
        "the register of {name} has the counter {counter}, which is years ahead; is a clock wrong there?"
    )]
    Far {
        /// The service it is for.
        name: ServiceName,
        /// The counter.
        counter: u64,
    },
    /// No counter is left.
    #[error(
        "the counter of stamps is at its end ({MAX_COUNTER}); a replica with a bug drove it there"
    )]
    Counter,
    /// The service makes no document.
    #[error("the service cannot be written down")]
    Document(#[from] NoDocument),
}

/// The registers of all services. Cheap to copy.
#[derive(Clone, Default)]
pub struct RegisterSet {
    registers: OrdMap<ServiceName, Arc<Register>>,
    /// The sum of all registers' hashes: a change costs its own size, whatever else there is.
    digest: u128,
    /// The greatest stamp. Its register is never forgotten, so it is a fact of the set.
    latest: Option<Stamp>,
    /// The greatest counter that this set or one that it took the place of ever had.
    seen: u64,
}

// === impl Register ===

impl Register {
    /// A service as it was written.
    #[must_use]
    pub fn new(stamp: Stamp, written: Written) -> Self {
        Self { stamp, written }
    }

    /// The document, where the service was not removed.
    #[must_use]
    pub fn document(&self) -> Option<&Arc<Document>> {
        match &self.written {
            Written::Document(document) => Some(document),
            Written::Removed { .. } => None,
        }
    }

    /// Whether this register takes the place of the other. Registers of one stamp, which no two
    /// writes have, are ordered as well, so that every set agrees on which of them stays.
    #[must_use]
    pub fn beats(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    fn rank(&self) -> (&Stamp, Option<&str>, u64) {
        match &self.written {
            Written::Document(document) => (&self.stamp, Some(document.raw()), 0),
            Written::Removed { at_unix_ms } => (&self.stamp, None, *at_unix_ms),
        }
    }

    /// Whether it says "removed", and said so too long ago to be remembered.
    fn is_over(&self, now_unix_ms: u64) -> bool {
        match self.written {
            Written::Document(_) => false,
            Written::Removed { at_unix_ms } => {
                let life = u64::try_from(TOMBSTONE_LIFE.as_millis()).unwrap_or(u64::MAX);
                // A writer whose clock is behind has at least seen the counters of others.
                let at = at_unix_ms.max(self.stamp.counter);
                now_unix_ms > at.saturating_add(life)
            }
        }
    }

    /// The first half of a SHA-256 over the whole register, each part with its length.
    fn hash(&self, name: &ServiceName) -> u128 {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        };
        part(name.as_str().as_bytes());
        part(&self.stamp.counter.to_be_bytes());
        part(self.stamp.replica.as_str().as_bytes());
        match &self.written {
            Written::Document(document) => {
                part(b"document");
                part(document.raw().as_bytes());
            }
            Written::Removed { at_unix_ms } => {
                part(b"removed");
                part(&at_unix_ms.to_be_bytes());
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (half, _) = digest.split_at(16);
        half.iter()
            .fold(0, |sum, byte| sum << 8 | u128::from(*byte))
    }
}

// === impl Stamp ===

impl Stamp {
    /// The stamp of a write.
    #[must_use]
    pub fn new(counter: u64, replica: InstanceId) -> Self {
        Self { counter, replica }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.counter, self.replica)
    }
}

// === impl RegisterSet ===

impl RegisterSet {
    /// How many registers there are, removals among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.registers.len()
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty()
    }

    /// The register of a service.
    #[must_use]
    pub fn get(&self, name: &ServiceName) -> Option<&Arc<Register>> {
        self.registers.get(name)
    }

    /// All registers, by service.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceName, &Arc<Register>)> {
        self.registers.iter()
    }

    /// The set as a point in history: its number is the greatest counter, and its identity the
    /// digest of every register. Two sets have the same revision exactly if they are equal. Unlike
    /// a store's with one order, a greater number does not mean that the other's changes are held.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        let latest = self.latest.as_ref()?;
        let id = CommitId::from_bytes(self.digest.to_be_bytes());
        Some(Revision::new(Epoch::from_bytes(EPOCH), latest.counter, id))
    }

    /// Takes a register in if it is later than what is known of its service.
    ///
    /// # Errors
    /// When no set may hold it, or this one is full.
    pub fn merge(
        &mut self,
        name: &ServiceName,
        register: &Arc<Register>,
    ) -> Result<Merged, RegisterError> {
        if let Some(document) = register.document()
            && document.name() != name
        {
            return Err(RegisterError::OtherService {
                name: name.clone(),
                other: document.name().clone(),
            });
        }
        if register.stamp.counter > MAX_COUNTER {
            return Err(RegisterError::Counter);
        }
        match self.registers.get(name) {
            Some(known) if !register.beats(known) => return Ok(Merged::Known),
            Some(known) => self.digest = self.digest.wrapping_sub(known.hash(name)),
            None if self.len() >= MAX_REGISTERS => {
                return Err(RegisterError::Full { name: name.clone() });
            }
            None => {}
        }
        self.digest = self.digest.wrapping_add(register.hash(name));
        self.seen = self.seen.max(register.stamp.counter);
        if self
            .latest
            .as_ref()
            .is_none_or(|latest| *latest < register.stamp)
        {
            self.latest = Some(register.stamp.clone());
        }
        self.registers.insert(name.clone(), Arc::clone(register));
        Ok(Merged::Taken)
    }

    /// As [`RegisterSet::merge`], for what another replica tells: a removal that this set need not
    /// know any more, because it is too old and removes nothing here, stays out. Otherwise two
    /// replicas whose clocks differ would hand it to each other for ever. `latest_unix_ms` is the latest
    /// that any clock is known to say: what is stamped by one that is wrong is taken in all the same, or
    /// replicas would never be equal.
    ///
    /// # Errors
    /// As [`RegisterSet::merge`].
    pub fn hear(
        &mut self,
        name: &ServiceName,
        register: &Arc<Register>,
        now_unix_ms: u64,
        latest_unix_ms: u64,
    ) -> Result<Merged, RegisterError> {
        let counter = register.stamp.counter;
        if counter > self.seen.max(latest_unix_ms).saturating_add(FAR) {
            let name = name.clone();
            return Err(RegisterError::Far { name, counter });
        }
        let is_latest = self
            .latest
            .as_ref()
            .is_none_or(|latest| *latest < register.stamp);
        if register.is_over(now_unix_ms) && !is_latest && self.get(name).is_none() {
            return Ok(Merged::Known);
        }
        self.merge(name, register)
    }

    /// The registers of these changes, written now by `replica`: later than everything in the set,
    /// and than what was written elsewhere before now by a clock that agrees.
    /// All have one stamp. The set is not changed; merge them into it.
    ///
    /// # Errors
    /// When a service makes no document, or no counter is left.
    pub fn write(
        &self,
        replica: &InstanceId,
        changes: &[Change],
        counting: Counting,
        now_unix_ms: u64,
    ) -> Result<Vec<Named>, RegisterError> {
        let next = self.seen.saturating_add(1);
        let counter = match counting {
            Counting::ByOne => next,
            Counting::ByClock => next.max(now_unix_ms),
        };
        if counter > MAX_COUNTER {
            return Err(RegisterError::Counter);
        }
        let stamp = Stamp::new(counter, replica.clone());
        let mut written: OrdMap<ServiceName, Arc<Register>> = OrdMap::new();
        for change in changes {
            let name = change.service_name().clone();
            let what = match change {
                Change::Put(service) => {
                    Written::Document(Arc::new(Document::from_service(Arc::clone(service))?))
                }
                Change::Remove(_) => Written::Removed {
                    at_unix_ms: now_unix_ms,
                },
            };
            // Of two changes of one service the later counts.
            written.insert(name, Arc::new(Register::new(stamp.clone(), what)));
        }
        Ok(written.into_iter().collect())
    }

    /// Forgets removals that are older than [`TOMBSTONE_LIFE`], but for the latest register. Says how
    /// many.
    pub fn expire(&mut self, now_unix_ms: u64) -> usize {
        let latest = self.latest.clone();
        let over = |register: &Register| {
            register.is_over(now_unix_ms) && latest.as_ref() != Some(&register.stamp)
        };
        let gone: Vec<Named> = self
            .registers
            .iter()
            .filter(|(_, register)| over(register))
            .map(|(name, register)| (name.clone(), Arc::clone(register)))
            .collect();
        for (name, register) in &gone {
            self.registers.remove(name);
            self.digest = self.digest.wrapping_sub(register.hash(name));
        }
        gone.len()
    }

    /// Takes another set's registers in place of these. What is written next is later than both.
    pub fn replace(&mut self, other: Self) {
        let seen = self.seen.max(other.seen);
        *self = Self { seen, ..other };
    }
}

impl PartialEq for RegisterSet {
    fn eq(&self, other: &Self) -> bool {
        self.registers == other.registers
    }
}

impl Eq for RegisterSet {}

impl fmt::Debug for RegisterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
