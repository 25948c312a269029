//! One simulated replica: a real engine on a simulated store, HAProxy and network.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use proxy_core::{CommitRecord, RouteStore, RouteTable};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Engine, EngineHandle, Parts, Told},
    Twice,
    carrier::Haproxy,
    store::{Sight, World},
};
use crate::{
    announce::{Announce, Announcement, OwnEnd},
    metrics::Metrics,
};

/// What was told to a replica and has not arrived.
type Mailbox = Arc<Mutex<Vec<Arc<CommitRecord>>>>;

pub(super) struct Replica {
    pub(super) store: Arc<Sight>,
    pub(super) haproxy: Arc<Haproxy>,
    pub(super) handle: EngineHandle,
    mailbox: Mailbox,
    peers: Arc<Peers>,
    engine: JoinHandle<()>,
}

/// Puts what is announced into the mailboxes of all others.
struct Peers {
    own: usize,
    mailboxes: Vec<Mailbox>,
}

#[async_trait]
impl Announce for Peers {
    async fn announce(&self, news: Announcement, _: OwnEnd, told: &watch::Sender<Told>) {
        for (nth, mailbox) in self.mailboxes.iter().enumerate() {
            if nth != self.own {
                let mut mailbox = mailbox.lock().unwrap();
                mailbox.extend(news.records.iter().cloned());
            }
        }
        told.send_modify(|told| told.done = true);
    }
}

// === impl Replica ===

impl Replica {
    /// So many replicas that share a world.
    pub(super) fn all(world: &Arc<Mutex<World>>, count: usize) -> Vec<Self> {
        let mailboxes: Vec<Mailbox> = (0..count).map(|_| Mailbox::default()).collect();
        (0..count)
            .map(|own| {
                let store = Arc::new(Sight::of(world, &format!("r{own}")));
                let haproxy = Arc::new(Haproxy::new(world, own));
                let mailboxes = mailboxes.clone();
                let mailbox = Arc::clone(&mailboxes[own]);
                let peers = Arc::new(Peers { own, mailboxes });
                let (engine, handle) = start(&store, &haproxy, &peers, RouteTable::new());
                Self {
                    store,
                    haproxy,
                    handle,
                    mailbox,
                    peers,
                    engine,
                }
            })
            .collect()
    }

    /// The engine dies where it stands; HAProxy lives on, and another engine takes over.
    pub(super) fn crash(&mut self) {
        self.engine.abort();
        let snapshot = self.handle.snapshot();
        // Only what went live is kept on disk.
        let served = match &snapshot.failure {
            None => snapshot.served.clone(),
            Some(_) => self.haproxy.live(),
        };
        self.haproxy.crashed(&served);
        (self.engine, self.handle) = start(&self.store, &self.haproxy, &self.peers, served);
    }

    /// A hint arrives, in whatever order.
    pub(super) async fn hint(&self, nth: usize, twice: Twice) {
        let record = {
            let mut mailbox = self.mailbox.lock().unwrap();
            match (mailbox.len(), twice) {
                (0, _) => return,
                (n, Twice::Yes) => Arc::clone(&mailbox[nth % n]),
                (n, Twice::No) => mailbox.remove(nth % n),
            }
        };
        // A hint that cannot be settled is no loss.
        let _ = self.store.offer((*record).clone()).await;
    }

    pub(super) fn heal(&self) {
        self.haproxy.checks_fail(0);
        self.haproxy.loads_fail(0);
        self.store.heal();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

fn start(
    store: &Arc<Sight>,
    haproxy: &Arc<Haproxy>,
    peers: &Arc<Peers>,
    served: RouteTable,
) -> (JoinHandle<()>, EngineHandle) {
    let (engine, handle) = Engine::new(Parts {
        served,
        store: Arc::clone(store) as Arc<dyn RouteStore>,
        carrier: Arc::clone(haproxy),
        announce: Arc::clone(peers) as Arc<dyn Announce>,
        metrics: Arc::new(Metrics::new()),
        stop: CancellationToken::new(),
    });
    (tokio::spawn(engine.run()), handle)
}
