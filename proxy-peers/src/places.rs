//! Places on the wire: a bound on calls at once, of which one peer never has more than its share.
//!
//! Without the share, a peer that accepts and never answers would hold every place as soon as
//! enough calls to it wait, and keep all the others from theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::address::PeerAddress;

/// One peer has at most this part of all places: enough for what is told to it at once in a
/// burst, and eight peers must hang before the others wait.
const SHARE: usize = 8;

/// Peers that are remembered though nobody calls them. Past it they are forgotten: in a swarm every
/// restart is a new address.
const MAX_IDLE: usize = 1_024;

/// Places on the wire.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    each: usize,
    // Locked for a look-up only.
    peers: Mutex<BTreeMap<PeerAddress, Arc<Semaphore>>>,
}

/// A place, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _own: Option<OwnedSemaphorePermit>,
    _any: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(crate) fn new(all: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            each: all.div_ceil(SHARE),
            peers: Mutex::default(),
        }
    }

    /// Waits for a place. Cancel safe. The semaphores are never closed, so both are there.
    pub(crate) async fn take(&self, peer: &PeerAddress) -> Place {
        let own = self.of(peer).acquire_owned().await.ok();
        let any = Arc::clone(&self.all).acquire_owned().await.ok();
        Place {
            _own: own,
            _any: any,
        }
    }

    fn of(&self, peer: &PeerAddress) -> Arc<Semaphore> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_IDLE && !peers.contains_key(peer) {
            // Whoever holds a place or waits for one holds the semaphore as well.
            peers.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let own = peers
            .entry(peer.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        Arc::clone(own)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn peer(text: &str) -> PeerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_that_hangs_leaves_places_for_the_others() {
        let places = Places::new(16);
        let (hung, other) = (peer("a:1"), peer("b:1"));
        let held: Vec<_> = (0..20)
            .filter_map(|_| places.take(&hung).now_or_never())
            .collect();
        assert_eq!(held.len(), 2);
        let others: Vec<_> = (0..20)
            .filter_map(|_| places.take(&other).now_or_never())
            .collect();
        assert_eq!(others.len(), 2);
        drop(held);
        assert!(places.take(&hung).now_or_never().is_some());
    }

    #[test]
    fn who_is_gone_is_forgotten_and_who_hangs_is_not() {
        let places = Places::new(8);
        let held = places.take(&peer("hung:1")).now_or_never();
        for n in 0..2 * MAX_IDLE {
            let _place = places.take(&peer(&format!("h{n}:1"))).now_or_never();
        }
        assert!(places.peers.lock().unwrap().len() <= MAX_IDLE);
        assert!(places.take(&peer("hung:1")).now_or_never().is_none());
        drop(held);
    }

    #[test]
    fn all_together_never_have_more_than_there_are() {
        let places = Places::new(3);
        let held: Vec<_> = (0..9)
            .filter_map(|n| places.take(&peer(&format!("h{n}:1"))).now_or_never())
            .collect();
        assert_eq!(held.len(), 3);
    }
}
