//! Addresses that lead to one replica now and to another then: those of a load balancer, or of a service
//! where its tasks are meant.
//!
//! A call to such an address reaches one of many, this replica among them, so whoever is called there
//! stands for nobody else. One call cannot tell; a replica's name is drawn anew with each of its starts, so
//! one that answers where another has answered since it last did was not started anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use proxy_peers::PeerAddress;

/// How many of those that answered last at an address are remembered.
const MOST_REMEMBERED: usize = 8;
/// An address at which the same one has answered so often in a row leads to that one: an answer of one that
/// was ended then came late.
const IN_A_ROW: usize = 20;

/// Who answered at each address, in this run.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<PeerAddress, Answered>>);

/// Who answered at one address.
#[derive(Debug, Default)]
struct Answered {
    /// The latest comes last.
    instances: Vec<String>,
    /// Two of which one answered again after the other.
    in_turn: Option<[String; 2]>,
    /// How often the latest has answered since another did.
    in_a_row: usize,
}

// === impl Turns ===

impl Turns {
    /// Forgets what is not found any more.
    pub(crate) fn keep(&self, found: &BTreeSet<PeerAddress>) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|address, _| found.contains(address));
    }

    /// Notes who answered at an address.
    ///
    /// # Errors
    /// Where it leads to several replicas in turn: nobody knows who of them has heard a call.
    pub(crate) fn note(&self, instance: Option<&str>, address: &PeerAddress) -> Result<(), String> {
        let Some(instance) = instance else {
            return Ok(());
        };
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = turns.entry(address.clone()).or_default();
        at.note(instance);
        match &at.in_turn {
            None => Ok(()),
            Some([one, other]) => Err(format!(
                "{one} and {other} answer there in turn, so it is the address of none of them (of a load balancer? of a service, and not of its tasks?); have each replica found at its own (PEERS, PEERS_DNS_NAME)"
            )),
        }
    }
}

// === impl Answered ===

impl Answered {
    fn note(&mut self, instance: &str) {
        let place = self.instances.iter().position(|it| it == instance);
        if place.is_some_and(|place| place + 1 == self.instances.len()) {
            self.in_a_row += 1;
            if self.in_a_row >= IN_A_ROW {
                self.in_turn = None;
            }
            return;
        }
        self.in_a_row = 1;
        if let Some(place) = place {
            let last = self.instances.last().cloned().unwrap_or_default();
            self.in_turn.get_or_insert([instance.to_owned(), last]);
            self.instances.remove(place);
        } else if self.instances.len() >= MOST_REMEMBERED {
            self.instances.remove(0);
        }
        self.instances.push(instance.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> PeerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn a_replica_that_is_started_anew_is_not_taken_for_several() {
        let turns = Turns::default();
        for run in 0..3 * MOST_REMEMBERED {
            for _ in 0..2 {
                let instance = format!("a-{run}");
                assert_eq!(turns.note(Some(&instance), &address("a:1")), Ok(()));
                assert_eq!(turns.note(None, &address("a:1")), Ok(()));
            }
        }
    }

    #[test]
    fn an_address_that_leads_to_several_is_known_once_one_comes_again() {
        let turns = Turns::default();
        let note = |instance| turns.note(Some(instance), &address("vip:1"));
        for instance in ["a", "b", "c"] {
            assert_eq!(note(instance), Ok(()));
        }
        for instance in ["b", "b", "new"] {
            let why = note(instance).unwrap_err();
            assert!(why.starts_with("b and c answer there in turn"), "{why}");
        }
        assert_eq!(turns.note(Some("b"), &address("b:1")), Ok(()));
        turns.keep(&BTreeSet::from([address("vip:1")]));
        for _ in 2..IN_A_ROW {
            assert!(note("new").is_err());
        }
        assert_eq!(note("new"), Ok(()));
        assert!(note("b").is_err());
        turns.keep(&BTreeSet::new());
        assert_eq!(note("b"), Ok(()));
    }
}
