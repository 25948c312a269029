//! How the servers of the store answered last, by address.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How each server of the store answered last. Knows addresses and outcomes, no texts.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    /// The addresses in the order in which they are tried.
    addresses: Vec<String>,
    last: Mutex<BTreeMap<String, (&'static str, Instant)>>,
}

/// How one server answered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) address: String,
    /// The outcome and how long ago that was; none where it was not asked yet.
    pub(crate) last: Option<(&'static str, Duration)>,
}

// === impl Contacts ===

impl Contacts {
    /// Nobody was asked yet.
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        Self {
            addresses,
            last: Mutex::default(),
        }
    }

    /// Notes an outcome, a word of a closed set.
    pub(crate) fn note(&self, address: &str, outcome: &'static str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (outcome, Instant::now());
        match last.get_mut(address) {
            Some(slot) => *slot = now,
            None => {
                last.insert(address.to_owned(), now);
            }
        }
    }

    /// Every server, in the order in which they are tried.
    pub(crate) fn list(&self) -> Vec<Contact> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let contact = |address: &String| Contact {
            address: address.clone(),
            last: last
                .get(address)
                .map(|(outcome, at)| (*outcome, at.elapsed())),
        };
        self.addresses.iter().map(contact).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_a_line_and_the_last_outcome_counts() {
        let contacts = Contacts::new(vec!["b".into(), "a".into()]);
        contacts.note("a", "connect");
        contacts.note("a", "ok");
        let list = contacts.list();
        assert_eq!(list[0].address, "b");
        assert_eq!(list[0].last, None);
        assert_eq!(list[1].last.unwrap().0, "ok");
    }
}
