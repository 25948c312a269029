//! What can be asked of the engine, and what it answers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proxy_core::{
    Change, CommitId, Conflict, DeadRoute, Degradation, PlannedChange, Revision, RouteTable,
    Service, ServiceName, StoreCondition, StoreTrouble, StoreView, ViewSeq,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Snapshot, Wait, WaitFor, pulse::Pulse};

/// Changes that belong together: all of them are checked as one, and refused as one.
#[derive(Clone, Debug)]
pub(crate) struct ChangeRequest {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// What the answer waits for.
    pub wait: Wait,
    /// Whether what is not named goes.
    pub extent: Extent,
    /// Of a request for the whole table: services that it does not name and that stay as they are.
    pub spared: BTreeSet<ServiceName>,
    /// Where they are right only on top of certain services: those.
    pub only_over: Option<Vec<Over>>,
}

/// A service as somebody saw it who wants to change it; none where there was none.
pub(crate) type Over = (ServiceName, Option<Arc<Service>>);

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The services that it names.
    Named,
    /// Those, as they were once, which nobody named one by one.
    Restored,
    /// The whole table: services that it does not name are removed.
    Whole,
}

/// What became of a request that was not refused.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// What became of each service.
    pub changes: Vec<PlannedChange>,
    /// Routes that another service claims too.
    pub conflicts: Vec<Conflict>,
    /// Routes that can never match.
    pub dead: Vec<DeadRoute>,
    /// Where the table stands now.
    pub revision: Option<Revision>,
    /// How many commits it took: 0 where nothing changed, more than 1 where one could not hold it.
    pub commits: usize,
    /// Why it is stored and not live here, where it is not; it is tried again.
    pub failure: Option<Arc<str>>,
    /// How many rules every request walks now.
    pub rules: usize,
    /// What was waited for.
    pub wait: WaitFor,
    /// A row per replica; empty unless others were waited for.
    pub replicas: Vec<ReplicaRow>,
}

/// What one replica said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaRow {
    /// Its address, as it was found.
    pub address: String,
    /// Its identity, where it answered.
    pub instance: Option<String>,
    /// What it said.
    pub status: ReplicaStatus,
    /// How long it took.
    pub took: Duration,
    /// Why, where it is not applied.
    pub reason: Option<String>,
}

/// What a replica said of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaStatus {
    /// It serves the change.
    Applied,
    /// It has the change and could not make it live; it keeps trying.
    Failed,
    /// It was not heard yet when the answer was given. With a shared store it converges all the same.
    Pending,
    /// It did not confirm in time. With a shared store it converges all the same.
    Unconfirmed,
}

/// Why a request was refused, or is not known to have succeeded. `commits` is how many commits of the
/// request were made before: more than none only where one commit could not hold it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The plan cannot be made.
    #[error("{error}; {}", extent(*commits))]
    Plan {
        error: proxy_core::PlanError,
        commits: usize,
    },
    /// It would take the place of what cannot be read here.
    #[error(
        "the store holds a version that this release cannot read of {}, which would be lost; ask a replica of the release that wrote it, or replace or remove the service by name first; nothing was changed",
        joined(services)
    )]
    Unreadable { services: Vec<ServiceName> },
    /// HAProxy would not take it.
    #[error("HAProxy would not take the configuration with this change: {words}; {}", extent(*commits))]
    Rejected { words: String, commits: usize },
    /// It could not be judged.
    #[error("the change could not be checked: {why}; {}; try again", extent(*commits))]
    Unable { why: String, commits: usize },
    /// The store will not take it.
    #[error("{why}; {}", extent(*commits))]
    StoreRefused { why: String, commits: usize },
    /// The store does not let this replica store it, until somebody gives it the right.
    #[error("{why}; {}", extent(*commits))]
    StoreDenied { why: String, commits: usize },
    /// No store could be asked.
    #[error("{why}; {}; try again", extent(*commits))]
    Unavailable { why: String, commits: usize },
    /// It may or may not be stored; its outcome can be asked under its identity.
    #[error("{why}")]
    Unknown {
        id: CommitId,
        why: String,
        commits: usize,
    },
    /// Other replicas were faster again and again.
    #[error("other replicas changed the table faster than this one could, {tries} times; {}; try again", extent(*commits))]
    Contended { tries: usize, commits: usize },
    /// Somebody else changed the service after this was decided.
    #[error("the service was changed meanwhile; nothing was changed; look again")]
    Overtaken,
    /// The table is not known yet, and why, where that is known.
    #[error("the table was not read from the store yet; nothing was changed; try again: {}", not_read(trouble.as_ref()))]
    Starting { trouble: Option<StoreTrouble> },
    /// Too many requests wait.
    #[error("too many changes wait already; nothing was changed; try again")]
    Busy,
    /// The process ends.
    #[error("this replica shuts down; nothing was changed; ask another")]
    ShuttingDown,
    /// The engine ended before it answered.
    #[error(
        "this replica ended before the change was through; whether it is stored is not known; ask status on another replica"
    )]
    Lost,
}

fn extent(commits: usize) -> String {
    match commits {
        0 => "nothing was changed".to_owned(),
        n => format!("{n} commits of this change are stored, the rest is not"),
    }
}

/// Why there is no table yet.
pub(crate) fn not_read(trouble: Option<&StoreTrouble>) -> String {
    trouble.map_or_else(
        || "the store has not answered yet".to_owned(),
        ToString::to_string,
    )
}

/// What the engine understands.
#[derive(Debug)]
pub(super) enum Command {
    Change(ChangeRequest, Reply),
    Reload(oneshot::Sender<Result<(), String>>),
    Recreate(oneshot::Sender<Result<(), String>>),
    Refresh(oneshot::Sender<Result<(), String>>),
}

/// Where the answer to a change goes.
pub(super) type Reply = oneshot::Sender<Result<Answer, ChangeError>>;

/// Asks the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    pulse: Pulse,
}

// === impl ChangeError ===

impl ChangeError {
    /// Why nothing can be changed while the store is so, where the table is not known yet.
    pub(crate) fn not_loaded(condition: &StoreCondition) -> Option<Self> {
        match condition {
            StoreCondition::Starting { trouble } => Some(Self::Starting {
                trouble: trouble.clone(),
            }),
            _ => None,
        }
    }
}

// === impl ChangeRequest ===

impl ChangeRequest {
    /// Changes that belong together.
    #[must_use]
    pub(crate) fn new(changes: Vec<Change>, wait: Wait) -> Self {
        Self {
            changes,
            wait,
            extent: Extent::Named,
            spared: BTreeSet::new(),
            only_over: None,
        }
    }

    /// One change that is made only while the service is still what it was when this was decided, and is
    /// refused with [`ChangeError::Overtaken`] otherwise.
    #[must_use]
    pub(crate) fn over(change: Change, there: Option<Arc<Service>>, wait: Wait) -> Self {
        let over = (change.service_name().clone(), there);
        Self {
            only_over: Some(vec![over]),
            ..Self::new(vec![change], wait)
        }
    }

    /// Services as they were once.
    #[must_use]
    pub(crate) fn restored(changes: Vec<Change>, wait: Wait) -> Self {
        Self {
            extent: Extent::Restored,
            ..Self::new(changes, wait)
        }
    }

    /// A table that takes the place of the one there is.
    #[must_use]
    pub(crate) fn whole(changes: Vec<Change>, wait: Wait) -> Self {
        Self {
            extent: Extent::Whole,
            ..Self::new(changes, wait)
        }
    }

    /// Leaves these as they are although it does not name them.
    #[must_use]
    pub(crate) fn sparing(mut self, services: BTreeSet<ServiceName>) -> Self {
        self.spared = services;
        self
    }

    /// Whether a service that it was decided on is another now.
    pub(crate) fn is_overtaken(&self, table: &RouteTable) -> bool {
        let mut over = self.only_over.iter().flatten();
        over.any(|(name, there)| table.get(name) != there.as_ref())
    }

    /// Says what follows from the table as it would be now: whose each service is that an operator puts, and
    /// what a request for the whole table removes.
    ///
    /// # Errors
    /// Where it would, unasked, take the place of what another release has written and this one cannot read.
    pub(crate) fn complete(
        &mut self,
        view: &StoreView,
        table: &RouteTable,
    ) -> Result<(), ChangeError> {
        self.spares_unreadable(view)?;
        let is_whole = self.extent == Extent::Whole;
        // Where operators have put nothing yet, whose a service is stands in the file as the rest of it does.
        let has_own = is_whole && table.iter().any(|service| service.source().is_none());
        for change in &mut self.changes {
            if let Change::Put(service) = change {
                let there = table.get(service.name());
                let mut new = Arc::clone(service);
                if is_whole && (there.is_some() || has_own) {
                    new = new.said_by_an_operator();
                }
                *service = new.put_over(there);
            }
        }
        if !is_whole {
            return Ok(());
        }
        let wanted: BTreeSet<_> = self.changes.iter().filter_map(put_name).collect();
        let there = view.stored.documents().map(|document| document.name());
        let gone = there.filter(|name| !wanted.contains(name) && !self.spared.contains(*name));
        let gone = gone.cloned();
        let removals: Vec<Change> = gone.map(Change::Remove).collect();
        self.changes.retain(|change| put_name(change).is_some());
        // Removals first: what they free (an ACL name) may be used by what comes.
        self.changes.splice(0..0, removals);
        Ok(())
    }

    /// Only an operator who names a service replaces or removes a version of it that cannot be read: a request for
    /// the whole table, or for an earlier one, may not know of it, and a source wants what it wanted of this release.
    fn spares_unreadable(&self, view: &StoreView) -> Result<(), ChangeError> {
        let degraded = view.degraded().iter();
        let unreadable = degraded
            .filter(|(_, why)| matches!(why, Degradation::Unreadable(_)))
            .map(|(name, _)| name);
        let is_named = |name: &ServiceName| {
            let mut changes = self.changes.iter();
            changes.any(|change| change.service_name() == name)
        };
        let touched: Vec<ServiceName> = match (self.extent, &self.only_over) {
            (Extent::Whole, _) => {
                let touched = unreadable.filter(|name| !self.spared.contains(*name));
                touched.cloned().collect()
            }
            (Extent::Named, None) => return Ok(()),
            (Extent::Named | Extent::Restored, _) => {
                unreadable.filter(|name| is_named(name)).cloned().collect()
            }
        };
        match touched.is_empty() {
            true => Ok(()),
            false => Err(ChangeError::Unreadable { services: touched }),
        }
    }
}

fn joined(names: &[ServiceName]) -> String {
    let names: Vec<&str> = names.iter().map(ServiceName::as_str).collect();
    names.join(", ")
}

fn put_name(change: &Change) -> Option<&ServiceName> {
    match change {
        Change::Put(service) => Some(service.name()),
        _ => None,
    }
}

// === impl ReplicaStatus ===

impl ReplicaStatus {
    /// One word for answers.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Pending => "pending",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

// === impl Command ===

impl Command {
    pub(super) fn refuse(self, why: &ChangeError) {
        // A caller that hung up needs no answer.
        match self {
            Self::Change(_, reply) => drop(reply.send(Err(why.clone()))),
            Self::Reload(reply) | Self::Recreate(reply) | Self::Refresh(reply) => {
                drop(reply.send(Err(why.to_string())));
            }
        }
    }
}

// === impl EngineHandle ===

impl EngineHandle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        pulse: Pulse,
    ) -> Self {
        Self {
            commands,
            snapshots,
            pulse,
        }
    }

    /// Asks for a change and waits for its end. Dropping the future cancels only the waiting.
    ///
    /// # Errors
    /// Says for each case what state the change is in.
    pub(crate) async fn change(&self, request: ChangeRequest) -> Result<Answer, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Change(request, reply);
        self.commands.try_send(command).map_err(refusal)?;
        answer.await.unwrap_or(Err(ChangeError::Lost))
    }

    /// Renders and loads the configuration again, whether it changed or not.
    ///
    /// # Errors
    /// Why it is not live.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        self.ask(Command::Reload).await
    }

    /// Renders the configuration, writes it whole and loads it, whatever is live and stands on disk.
    ///
    /// # Errors
    /// Why it is not live.
    pub(crate) async fn recreate(&self) -> Result<(), String> {
        self.ask(Command::Recreate).await
    }

    /// Renders again because something outside the table changed, and makes live what came of it.
    ///
    /// # Errors
    /// Why it is not live.
    pub(crate) async fn refresh(&self) -> Result<(), String> {
        self.ask(Command::Refresh).await
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Command,
    ) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.try_send(command(reply));
        sent.map_err(|error| refusal(error).to_string())?;
        let gone = Err(ChangeError::ShuttingDown.to_string());
        answer.await.unwrap_or(gone)
    }

    /// Why the engine does not turn, where it does not.
    pub(crate) fn hangs(&self) -> Option<String> {
        if self.commands.is_closed() {
            return Some("the engine has ended".to_owned());
        }
        let took = self.pulse.hangs()?;
        Some(format!(
            "the engine is at one turn for {} s",
            took.as_secs()
        ))
    }

    /// The state of this replica now.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Every state of this replica from now on; those between two looks are skipped.
    #[must_use]
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Waits until a view is live here, or is known to have failed to go live. Cancel safe; the
    /// caller sets the deadline.
    ///
    /// # Errors
    /// Why it is not live, or that the engine ended.
    pub(crate) async fn served(&self, view: ViewSeq) -> Result<Arc<Snapshot>, Arc<str>> {
        let mut snapshots = self.snapshots();
        let reached = snapshots
            .wait_for(|s| s.applied >= view || (s.view.seq >= view && s.failure.is_some()));
        let snapshot = reached
            .await
            .map_err(|_| Arc::from("this replica shuts down"))?;
        match &snapshot.failure {
            Some(why) if snapshot.applied < view => Err(Arc::clone(why)),
            _ => Ok(Arc::clone(&snapshot)),
        }
    }
}

fn refusal<T>(error: mpsc::error::TrySendError<T>) -> ChangeError {
    match error {
        mpsc::error::TrySendError::Full(_) => ChangeError::Busy,
        mpsc::error::TrySendError::Closed(_) => ChangeError::ShuttingDown,
    }
}
