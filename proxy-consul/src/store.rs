//! The table of routes, kept in Consul: [`ConsulStore`].
//!
//! # What is kept
//! Below the instance's folder, `head` holds the point in history, `log/<revision>` one commit each,
//! `services/<name>` one document each. A commit is one transaction: the head compared and set, the
//! log entry, the documents, and the deletion of the log entry that is 1,000 commits old.
//!
//! # How it is followed
//! One task reads everything once, then waits for the head alone to change and applies the log
//! entries in turn. A peer's [`offer`](RouteStore::offer) of the next commit is taken at once;
//! whatever else news say is settled by a consistent read.
//!
//! # Locks
//! Three, always taken in this order: the turn (one commit or filling at a time), the reading (one
//! catching up at a time), the state. The first two are asynchronous and held while Consul is
//! asked; the state's is never held across an await.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use proxy_core::{
    Change, CommitError, CommitId, CommitRecord, Committed, HistoryError, InstanceId, OfferError,
    Outcome, RereadError, Revision, RouteStore, ServiceName, StoreView, StoredTable, ViewSeq,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    client::Client,
    settings::{ConsulSettings, SettingsError},
    transport::{HttpTransport, Transport},
};

mod chain;
mod commit;
mod confirm;
mod fill;
mod follow;
mod history;
mod keys;
mod offer;
mod outcome;
mod read;
mod state;
mod step;

use keys::Keys;
use state::State;

/// The table of routes in Consul. The task that follows it ends with it.
#[derive(Debug)]
pub struct ConsulStore {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A table from before, served until the store was read: the last good snapshot of a replica.
#[derive(Clone, Debug)]
pub struct HeldTable {
    revision: Revision,
    stored: StoredTable,
}

/// What a replica that holds a table does when it finds the store empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnEmptyStore {
    /// Fills it again with what it holds.
    #[default]
    Refill,
    /// Serves on what it holds, and changes nothing.
    Hold,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    keys: Keys,
    instance: InstanceId,
    on_empty: OnEmptyStore,
    state: Mutex<State>,
    views: watch::Sender<Arc<StoreView>>,
    turn: tokio::sync::Mutex<()>,
    reading: tokio::sync::Mutex<()>,
}

// === impl HeldTable ===

impl HeldTable {
    /// A table and where it stood.
    #[must_use]
    pub fn new(revision: Revision, stored: StoredTable) -> Self {
        Self { revision, stored }
    }
}

// === impl ConsulStore ===

impl ConsulStore {
    /// Begins to follow the store and returns at once: the first view is `Starting`, or the held
    /// table as `Stale`.
    ///
    /// Must be called on a tokio runtime with time and network enabled.
    ///
    /// # Errors
    /// When the settings hold a token or a certificate that cannot be used. That Consul cannot be
    /// reached is no error: it is followed as soon as it can be.
    pub fn start(
        settings: &ConsulSettings,
        instance: InstanceId,
        held: Option<HeldTable>,
        on_empty: OnEmptyStore,
    ) -> Result<Self, SettingsError> {
        let transport = Arc::new(HttpTransport::new(settings)?);
        Self::start_with(settings, transport, instance, held, on_empty)
    }

    /// As [`ConsulStore::start`], over another transport.
    ///
    /// # Errors
    /// When the settings hold no address.
    pub fn start_with(
        settings: &ConsulSettings,
        transport: Arc<dyn Transport>,
        instance: InstanceId,
        held: Option<HeldTable>,
        on_empty: OnEmptyStore,
    ) -> Result<Self, SettingsError> {
        let state = State::new(held.map(|held| (held.revision, held.stored)));
        let shared = Arc::new(Shared {
            client: Client::with_transport(settings, transport)?,
            keys: Keys::new(settings.instance_name()),
            instance,
            on_empty,
            views: watch::Sender::new(state.view()),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(follow::follow(Arc::clone(&shared), stopped));
        Ok(Self {
            shared,
            stop,
            task: Mutex::new(Some(task)),
        })
    }

    /// The client, for those who want to look at Consul themselves.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Stops following. Views stay as they are; commits and offers still work, one by one.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        if let Some(task) = self.take_task() {
            // The task stops at its next await.
            let _ended = task.await;
        }
    }

    /// The follower, for whoever ends it first.
    fn take_task(&self) -> Option<JoinHandle<()>> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.take()
    }
}

impl Drop for ConsulStore {
    fn drop(&mut self) {
        if let Some(task) = self.take_task() {
            task.abort();
        }
    }
}

#[async_trait]
impl RouteStore for ConsulStore {
    fn view(&self) -> Arc<StoreView> {
        self.shared.view()
    }

    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView> {
        let mut views = self.shared.views.subscribe();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            if view.seq > seen {
                return view;
            }
            if views.changed().await.is_err() {
                // The sender lives as long as the store, so this is not reached.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn commit(&self, base: &StoreView, changes: &[Change]) -> Result<Committed, CommitError> {
        self.shared.commit(base, changes).await
    }

    async fn confirm(&self, base: &StoreView, services: &[ServiceName]) -> Result<(), CommitError> {
        self.shared.confirm(base, services).await
    }

    async fn offer(&self, record: CommitRecord) -> Result<ViewSeq, OfferError> {
        self.shared.offer(record).await
    }

    async fn outcome(&self, id: CommitId) -> Outcome {
        self.shared.outcome_of(id).await
    }

    async fn history(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, HistoryError> {
        self.shared.history(before, limit).await
    }

    async fn reread(&self) -> Result<ViewSeq, RereadError> {
        self.shared.reread().await
    }

    async fn accept(&self) -> Result<ViewSeq, CommitError> {
        self.shared.accept().await
    }
}

// === impl Shared ===

impl Shared {
    fn view(&self) -> Arc<StoreView> {
        self.with(|state| state.view())
    }

    /// Looks at the state or moves it, and hands out the view if it is a new one. Views are handed
    /// out under the lock, so nobody sees an older one after a newer one.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut state);
        let view = state.view();
        self.views.send_if_modified(|known| {
            let newer = known.seq < view.seq;
            if newer {
                *known = view;
            }
            newer
        });
        result
    }
}

fn random() -> Result<[u8; 16], getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
