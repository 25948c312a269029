//! What one set has that another lacks, by the stamps of the other.

use std::{collections::BTreeMap, sync::Arc};

use super::{Named, RegisterSet, Stamp};
use crate::name::ServiceName;

/// What one set has later than another, and the other later than it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delta {
    /// What the other lacks, as far as it fits.
    pub given: Vec<Named>,
    /// The services of which the other knows something later.
    pub wanted: Vec<ServiceName>,
    /// Whether there is more to give than what fits.
    pub more: bool,
}

// === impl RegisterSet ===

impl RegisterSet {
    /// The stamp of every register: what another replica needs to say what is missing.
    #[must_use]
    pub fn stamps(&self) -> BTreeMap<ServiceName, Stamp> {
        let stamps = self.iter();
        stamps
            .map(|(name, register)| (name.clone(), register.stamp.clone()))
            .collect()
    }

    /// What this set and another with these stamps have to tell each other. `given` holds about
    /// `max_bytes` of documents, and one register at least where there is one.
    #[must_use]
    pub fn delta(&self, theirs: &BTreeMap<ServiceName, Stamp>, max_bytes: usize) -> Delta {
        let mut delta = Delta::default();
        let mut bytes = 0_usize;
        for (name, register) in self.iter() {
            let lacks = theirs.get(name).is_none_or(|stamp| *stamp < register.stamp);
            if !lacks {
                continue;
            }
            if bytes >= max_bytes {
                delta.more = true;
                break;
            }
            let document = register.document();
            bytes += name.as_str().len() + document.map_or(0, |document| document.raw().len());
            delta.given.push((name.clone(), Arc::clone(register)));
        }
        let later = theirs.iter().filter(|(name, stamp)| {
            let mine = self.get(name);
            mine.is_none_or(|register| register.stamp < **stamp)
        });
        delta.wanted = later.map(|(name, _)| name.clone()).collect();
        delta
    }

    /// The registers of these services, as far as they are known, about `max_bytes` of them.
    #[must_use]
    pub fn pick<'a>(
        &self,
        names: impl IntoIterator<Item = &'a ServiceName>,
        max_bytes: usize,
    ) -> Vec<Named> {
        let mut bytes = 0_usize;
        let known = names.into_iter().filter_map(|name| {
            let register = self.get(name)?;
            Some((name.clone(), Arc::clone(register)))
        });
        known
            .take_while(|(name, register)| {
                let fits = bytes < max_bytes;
                let document = register.document();
                bytes += name.as_str().len() + document.map_or(0, |document| document.raw().len());
                fits
            })
            .collect()
    }

    /// Whether this set knows all that was written under these stamps, or something later.
    #[must_use]
    pub fn covers(&self, stamps: &BTreeMap<ServiceName, Stamp>) -> bool {
        stamps.iter().all(|(name, stamp)| {
            let mine = self.get(name);
            mine.is_some_and(|register| register.stamp >= *stamp)
        })
    }
}
