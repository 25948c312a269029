//! A request on its way through turns: what of it is stored, and what it will be answered.

use std::{collections::BTreeSet, sync::Arc};

use proxy_core::{
    Change, Conflict, DeadRoute, PlannedChange, Revision, RouteTable, ServiceName, StoreView,
};
use tokio::{sync::watch, time::Instant};

use super::{Answer, ChangeError, ChangeRequest, ReplicaRow, Told, command::Reply};

/// A request on its way.
pub(super) struct Pending {
    pub(super) request: ChangeRequest,
    reply: Reply,
    /// Since when it is on its way.
    since: Instant,
    /// Those of its changes that are not stored.
    rest: Vec<Change>,
    pub(super) commits: usize,
    /// Whether the view shows it as stored already.
    pub(super) unchanged: bool,
    pub(super) planned: Vec<PlannedChange>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) dead: Vec<DeadRoute>,
    /// What the replicas say of it, once they were told.
    pub(super) told: Option<watch::Receiver<Told>>,
    /// Why it is not live here although it is stored.
    pub(super) failure: Option<Arc<str>>,
    pub(super) rules: usize,
}

// === impl Pending ===

impl Pending {
    pub(super) fn new(request: ChangeRequest, reply: Reply) -> Self {
        Self {
            rest: request.changes.clone(),
            request,
            reply,
            since: Instant::now(),
            commits: 0,
            unchanged: false,
            planned: Vec::new(),
            conflicts: Vec::new(),
            dead: Vec::new(),
            told: None,
            failure: None,
            rules: 0,
        }
    }

    /// Says what follows from the table as it would be now, while nothing of it is stored.
    ///
    /// # Errors
    /// As [`ChangeRequest::complete`].
    pub(super) fn complete(
        &mut self,
        view: &StoreView,
        table: &RouteTable,
    ) -> Result<(), ChangeError> {
        if self.commits == 0 {
            self.request.complete(view, table)?;
            self.rest.clone_from(&self.request.changes);
        }
        Ok(())
    }

    /// Whether a service that it was decided on is another now.
    pub(super) fn is_overtaken(&self, table: &RouteTable) -> bool {
        self.commits == 0 && self.request.is_overtaken(table)
    }

    /// Whether its caller has waited long enough to be judged.
    pub(super) fn is_late(&self) -> bool {
        self.since.elapsed() >= self.request.wait.most
    }

    /// The engine ends before it is come to.
    pub(super) fn end(self) {
        let refusal = match self.commits {
            0 => ChangeError::ShuttingDown,
            commits => ChangeError::Unable {
                why: "this replica shuts down".to_owned(),
                commits,
            },
        };
        self.answer(Err(refusal));
    }

    /// The changes that are not stored yet.
    pub(super) fn rest(&self) -> &[Change] {
        &self.rest
    }

    pub(super) fn answer(self, answer: Result<Answer, ChangeError>) {
        // A caller that hung up needs no answer; its change stands.
        let _ = self.reply.send(answer);
    }

    pub(super) fn succeed(mut self, revision: Option<Revision>, replicas: Vec<ReplicaRow>) {
        let answer = Answer {
            changes: std::mem::take(&mut self.planned),
            conflicts: std::mem::take(&mut self.conflicts),
            dead: std::mem::take(&mut self.dead),
            revision,
            commits: self.commits,
            failure: self.failure.take(),
            rules: self.rules,
            wait: self.request.wait.who,
            replicas,
        };
        self.answer(Ok(answer));
    }
}

/// The changes of some requests, less those that a later one replaces: a version that is replaced
/// before it is stored was judged by nobody, and never is anywhere.
pub(super) fn last_of_each(open: &[Pending]) -> Vec<Change> {
    let all: Vec<&Change> = open.iter().flat_map(Pending::rest).collect();
    let mut seen = BTreeSet::new();
    let mut last: Vec<Change> = all
        .into_iter()
        .rev()
        .filter(|change| seen.insert(change.service_name()))
        .cloned()
        .collect();
    last.reverse();
    last
}

/// Notes that these changes are stored, and moves the requests that are stored whole.
pub(super) fn count_down(open: &mut Vec<Pending>, stored: &mut Vec<Pending>, taken: &[Change]) {
    let names: BTreeSet<&ServiceName> = taken.iter().map(Change::service_name).collect();
    for mut pending in std::mem::take(open) {
        let before = pending.rest.len();
        pending
            .rest
            .retain(|change| !names.contains(change.service_name()));
        pending.commits += usize::from(pending.rest.len() < before);
        if pending.rest.is_empty() {
            stored.push(pending);
        } else {
            open.push(pending);
        }
    }
}
