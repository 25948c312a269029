//! What can be asked of the engine, and what it answers.

use std::{sync::Arc, time::Duration};

use proxy_core::{
    Change, CommitId, Conflict, DeadRoute, Distribute, PlannedChange, Revision, ViewSeq,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::Snapshot;

/// Changes that belong together: all of them are checked as one, and refused as one.
#[derive(Clone, Debug)]
pub(crate) struct ChangeRequest {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Whether the answer waits for every replica.
    pub distribute: Distribute,
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
    /// A row per replica; empty unless all were waited for.
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
    /// It did not confirm in time. With a shared store it converges all the same.
    Unconfirmed,
}

/// Why a request was refused, or is not known to have succeeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The plan cannot be made.
    #[error("{0}; nothing was changed")]
    Plan(#[from] proxy_core::PlanError),
    /// HAProxy would not take it.
    #[error(
        "HAProxy would not take the configuration with this change: {words}; nothing was changed"
    )]
    Rejected {
        /// HAProxy's words.
        words: String,
    },
    /// It could not be judged.
    #[error("the change could not be checked: {why}; nothing was changed; try again")]
    Unable {
        /// Why.
        why: String,
    },
    /// The store will not take it.
    #[error("{why}")]
    StoreRefused {
        /// Why.
        why: String,
        /// How many commits of this request were made before.
        commits: usize,
    },
    /// No store could be asked.
    #[error("{why}")]
    Unavailable {
        /// Each address and what failed there.
        why: String,
        /// How many commits of this request were made before.
        commits: usize,
    },
    /// It may or may not be stored.
    #[error("{why}")]
    Unknown {
        /// The identity under which its outcome can be asked.
        id: CommitId,
        /// Each address and what failed there.
        why: String,
    },
    /// Other replicas were faster again and again.
    #[error(
        "other replicas changed the table faster than this one could, {tries} times; nothing was changed; try again"
    )]
    Contended {
        /// How often it was tried.
        tries: usize,
    },
    /// The table is not known yet.
    #[error("the table was not read from the store yet; nothing was changed; try again: {why}")]
    Starting {
        /// What keeps it.
        why: String,
    },
    /// Too many requests wait.
    #[error("too many changes wait already; nothing was changed; try again")]
    Busy,
    /// The process ends.
    #[error("this replica shuts down; nothing was changed; ask another")]
    ShuttingDown,
}

/// What the engine understands.
#[derive(Debug)]
pub(super) enum Command {
    Change(ChangeRequest, Reply),
    Reload(oneshot::Sender<Result<(), String>>),
}

/// Where the answer to a change goes.
pub(super) type Reply = oneshot::Sender<Result<Answer, ChangeError>>;

/// Asks the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

// === impl ChangeRequest ===

impl ChangeRequest {
    /// Changes that belong together.
    #[must_use]
    pub(crate) fn new(changes: Vec<Change>, distribute: Distribute) -> Self {
        Self {
            changes,
            distribute,
        }
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
            Self::Reload(reply) => drop(reply.send(Err(why.to_string()))),
        }
    }
}

// === impl EngineHandle ===

impl EngineHandle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Self {
        Self {
            commands,
            snapshots,
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
        answer.await.unwrap_or(Err(ChangeError::ShuttingDown))
    }

    /// Renders and loads the configuration again, whether it changed or not.
    ///
    /// # Errors
    /// Why it is not live.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.try_send(Command::Reload(reply));
        sent.map_err(|error| refusal(error).to_string())?;
        let gone = Err(ChangeError::ShuttingDown.to_string());
        answer.await.unwrap_or(gone)
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
