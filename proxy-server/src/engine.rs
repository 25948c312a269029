//! The engine: the single writer of the table.
//!
//! Whatever wants to change something sends a command and awaits its answer; whoever wants to know
//! something reads the latest [`Snapshot`]. Everything that arrives while one turn runs waits and
//! goes together in the next, so a burst costs one check, few commits and one reload.
//!
//! A caller that hangs up cancels nothing: the engine owns every turn from plan to answer.

mod anew;
mod command;
mod degraded;
mod finish;
mod isolate;
mod live;
mod pending;
mod pulse;
mod quarantine;
mod retry;
mod snapshot;
mod turn;
mod wait;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use proxy_core::{Change, RouteStore, RouteTable, ServiceName, StoreView};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use command::{
    Answer, ChangeError, ChangeRequest, EngineHandle, ReplicaRow, ReplicaStatus, not_read,
};
pub(crate) use snapshot::{Quarantined, Snapshot};
pub(crate) use wait::{Told, Wait, WaitFor};

use crate::{
    announce::Announce,
    carrier::{Carrier, CarrierCondition, Reason, Reload},
    chain::chain,
    culprits::Bound,
    metrics::Metrics,
};
use anew::Anew;
use command::Command;
use isolate::Searched;
use pending::Pending;
use pulse::Pulse;
use quarantine::{Held, Refused};
use retry::Retry;
use snapshot::Failure;

/// How many commands may wait for the engine. One more is refused at once: a caller that is told
/// "busy" can try again, one that hangs cannot.
pub(crate) const MAX_WAITING: usize = 4_096;
/// How many changes go into one turn. More would make the first wait for the last.
const MAX_BATCH: usize = 1_024;
/// The single writer of the table.
pub(crate) struct Engine<C: Carrier> {
    store: Arc<dyn RouteStore>,
    carrier: Arc<C>,
    announce: Arc<dyn Announce>,
    metrics: Arc<Metrics>,
    commands: mpsc::Receiver<Command>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    tasks: TaskTracker,
    stop: CancellationToken,

    /// What the store says the table is.
    view: Arc<StoreView>,
    /// What the table is, less what was found bad: what HAProxy shall run.
    served: RouteTable,
    /// The last table that was live.
    live: RouteTable,
    /// Whether it was made live in this run.
    proven: bool,
    quarantine: BTreeMap<ServiceName, Held>,
    /// What of it is being tried again.
    tried: BTreeMap<ServiceName, Held>,
    /// How far a search through all that is stored has come, while it goes on.
    anew: Option<Anew>,
    /// When the searches of this turn end, where nothing was served before it.
    first: Option<Bound>,
    /// What was asked and not come to yet: the next batch begins with it.
    waiting: Vec<Pending>,
    failure: Option<Failure>,
    /// Whether HAProxy does not even load what it runs: then trying again costs traffic.
    unloadable: bool,
    retry: Retry,
    /// Why the turn that runs may make a configuration live.
    reason: Reason,
    pulse: Pulse,
}

/// What the engine does next.
enum Work {
    Waiting,
    Command(Command),
    Store,
    Names,
    Retry,
}

/// What an engine is made of.
pub(crate) struct Parts<C: Carrier> {
    /// What was served when an earlier run ended: where the search for what HAProxy does not take
    /// begins, and what is served of a service whose stored version it does not take.
    pub(crate) served: RouteTable,
    pub(crate) store: Arc<dyn RouteStore>,
    pub(crate) carrier: Arc<C>,
    pub(crate) announce: Arc<dyn Announce>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

// === impl Engine ===

impl<C: Carrier> Engine<C> {
    /// An engine and the handle to it. It does nothing until [`Engine::run`].
    pub(crate) fn new(parts: Parts<C>) -> (Self, EngineHandle) {
        let (sender, commands) = mpsc::channel(MAX_WAITING);
        let view = Arc::new(StoreView::starting());
        let first = Snapshot::of(Arc::clone(&view));
        let (snapshots, receiver) = watch::channel(Arc::new(first));
        let engine = Self {
            store: parts.store,
            carrier: parts.carrier,
            announce: parts.announce,
            metrics: parts.metrics,
            commands,
            snapshots,
            tasks: TaskTracker::new(),
            stop: parts.stop,
            view,
            live: parts.served.clone(),
            proven: false,
            served: parts.served,
            quarantine: BTreeMap::new(),
            tried: BTreeMap::new(),
            anew: None,
            first: None,
            waiting: Vec::new(),
            failure: None,
            unloadable: false,
            retry: Retry::idle(),
            reason: Reason::Store,
            pulse: Pulse::default(),
        };
        let handle = EngineHandle::new(sender, receiver, engine.pulse.clone());
        (engine, handle)
    }

    /// Runs until the token is cancelled; then ends the turn it is in, refuses what waits, and
    /// returns once every answer is given.
    pub(crate) async fn run(mut self) {
        loop {
            let stop = self.stop.clone();
            let (store, carrier) = (Arc::clone(&self.store), Arc::clone(&self.carrier));
            let (seen, retry_at) = (self.view.seq, self.retry.next(&self.quarantine));
            // Each branch only waits; the work is done outside, where nothing is dropped half-way.
            let work = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = std::future::ready(()), if !self.waiting.is_empty() => Work::Waiting,
                command = self.commands.recv() => match command {
                    Some(command) => Work::Command(command),
                    None => break,
                },
                _ = store.changed(seen) => Work::Store,
                () = carrier.moved() => Work::Names,
                () = until(retry_at) => Work::Retry,
            };
            self.pulse.begin();
            let was_due = retry_at.is_some_and(|at| at <= Instant::now());
            match work {
                Work::Waiting => self.take(None).await,
                Work::Command(command) => self.take(Some(command)).await,
                Work::Store => self.turn_because(Reason::Store, Vec::new()).await,
                Work::Names => self.render_moved(Reason::Names).await,
                Work::Retry => {}
            }
            // After other work too: where there is always some, nothing would ever be tried again.
            if was_due && self.is_due() {
                self.try_again().await;
            }
            self.pulse.end();
        }
        for pending in std::mem::take(&mut self.waiting) {
            pending.end();
        }
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            command.refuse(&ChangeError::ShuttingDown);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn turn_because(&mut self, reason: Reason, changes: Vec<Pending>) {
        self.reason = reason;
        self.turn(changes).await;
    }

    /// Takes what the last batch did not come to, a command and all that wait behind it.
    async fn take(&mut self, mut first: Option<Command>) {
        let mut changes = std::mem::take(&mut self.waiting);
        let (mut reloads, mut recreations, mut refreshes) = (Vec::new(), Vec::new(), Vec::new());
        while changes.len() + reloads.len() + recreations.len() + refreshes.len() < MAX_BATCH {
            let Some(command) = first.take().or_else(|| self.commands.try_recv().ok()) else {
                break;
            };
            match command {
                Command::Change(request, reply) => changes.push(Pending::new(request, reply)),
                Command::Reload(reply) => reloads.push(reply),
                Command::Recreate(reply) => recreations.push(reply),
                Command::Refresh(reply) => refreshes.push(reply),
            }
        }
        if !changes.is_empty() {
            self.turn_because(Reason::Change, changes).await;
        }
        for (replies, reason, force) in [
            (reloads, Reason::Asked, Reload::Always),
            (recreations, Reason::Asked, Reload::Anew),
            (refreshes, Reason::Certificates, Reload::IfDifferent),
        ] {
            if replies.is_empty() {
                continue;
            }
            let outcome = self.reload(reason, force).await;
            for reply in replies {
                // A caller that hung up needs no answer.
                let _ = reply.send(outcome.clone());
            }
        }
    }

    /// Loads what is stored again. What is not served yet goes first: before that the table may be
    /// the empty one of the start.
    async fn reload(&mut self, reason: Reason, force: Reload) -> Result<(), String> {
        self.reason = reason;
        if !self.incoming().is_empty() {
            self.turn(Vec::new()).await;
        }
        match &self.failure {
            Some(why) if !self.incoming().is_empty() => Err(why.to_string()),
            _ => {
                let renewed = self.renew().await;
                self.render_again(force).await.and(renewed)
            }
        }
    }

    /// Takes up what certificates are to be shown. Before the start the start does.
    async fn renew(&self) -> Result<(), String> {
        if self.carrier.condition() == CarrierCondition::NotStarted {
            return Ok(());
        }
        let renewed = self.carrier.renew(&self.served).await;
        renewed.map_err(|error| format!("other certificates are not shown yet: {}", chain(&error)))
    }

    /// What the store says, less what is served: the changes that are still to be made.
    fn incoming(&self) -> Vec<Change> {
        let mut changes = self.view.stored.table().changes_since(&self.served);
        changes.retain(|change| {
            let held = self.quarantine.get(change.service_name());
            held.is_none_or(|held| held.change != *change)
        });
        changes
    }

    /// Renders again because something outside the table moved. What the store has and is not
    /// served yet goes first: without it the table could be the empty one of the start. A failure
    /// is in the snapshot.
    async fn render_moved(&mut self, reason: Reason) {
        self.reason = reason;
        if self.incoming().is_empty() {
            let _ = self.render_again(Reload::IfDifferent).await;
        } else {
            self.turn(Vec::new()).await;
        }
    }

    /// When a search that begins now ends, and no later than the engine.
    fn bound(&self, searched: Searched) -> Bound {
        let bound = match (&self.first, searched) {
            (Some(first), _) => first.clone(),
            (None, Searched::Stored) => Bound::slice(),
            (None, Searched::Asked) => Bound::asked(),
        };
        bound.or_until(self.stop.clone())
    }

    fn publish(&self) {
        let snapshot = Snapshot {
            view: Arc::clone(&self.view),
            served: self.served.in_order(self.carrier.route_order()),
            quarantined: self.quarantined(),
            unjudged: self.unjudged(),
            failure: self.failure.clone(),
            applied: match self.failure.is_none() && self.is_judged() && self.incoming().is_empty()
            {
                true => self.view.seq,
                false => self.snapshots.borrow().applied,
            },
        };
        self.metrics.table(&snapshot);
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    fn is_due(&self) -> bool {
        let next = self.retry.next(&self.quarantine);
        next.is_some_and(|at| at <= Instant::now())
    }

    fn settle_retry(&mut self) {
        self.retry.keep(&self.quarantine);
        match &self.failure {
            None => self.retry.well(),
            Some(_) => {
                let refused = self.unloadable.then_some(Refused::AtLoad);
                self.retry.failed(refused);
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
