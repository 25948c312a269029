//! A request on its way through turns: what of it is stored, and what it will be answered.

use std::{collections::BTreeSet, sync::Arc};

use proxy_core::{Change, Conflict, DeadRoute, PlannedChange, Revision, ServiceName, StoreView};

use super::{
    Answer, ChangeError, ChangeRequest, ReplicaRow,
    command::{Extent, Reply},
};

/// A request on its way.
pub(super) struct Pending {
    pub(super) request: ChangeRequest,
    reply: Reply,
    /// How many of its changes are stored.
    pub(super) done: usize,
    pub(super) commits: usize,
    pub(super) planned: Vec<PlannedChange>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) dead: Vec<DeadRoute>,
    /// Why it is not live here although it is stored.
    pub(super) failure: Option<Arc<str>>,
    pub(super) rules: usize,
}

// === impl Pending ===

impl Pending {
    pub(super) fn new(request: ChangeRequest, reply: Reply) -> Self {
        Self {
            request,
            reply,
            done: 0,
            commits: 0,
            planned: Vec::new(),
            conflicts: Vec::new(),
            dead: Vec::new(),
            failure: None,
            rules: 0,
        }
    }

    /// Adds what a request for the whole table leaves out: the removals, as they are now.
    pub(super) fn complete(&mut self, view: &StoreView) {
        if self.request.extent == Extent::Whole && self.done == 0 {
            let wanted: BTreeSet<_> = self.request.changes.iter().filter_map(put_name).collect();
            let there = view.stored.documents().map(|document| document.name());
            let gone = there.filter(|name| !wanted.contains(name)).cloned();
            let removals: Vec<Change> = gone.map(Change::Remove).collect();
            self.request
                .changes
                .retain(|change| put_name(change).is_some());
            // Removals first: what they free (an ACL name) may be used by what comes.
            self.request.changes.splice(0..0, removals);
        }
    }

    /// The changes that are not stored yet.
    pub(super) fn rest(&self) -> &[Change] {
        self.request.changes.get(self.done..).unwrap_or_default()
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

fn put_name(change: &Change) -> Option<&ServiceName> {
    match change {
        Change::Put(service) => Some(service.name()),
        _ => None,
    }
}

/// Notes that the first `taken` changes of the open requests are stored, and moves those that are
/// stored whole.
pub(super) fn count_down(open: &mut Vec<Pending>, stored: &mut Vec<Pending>, mut taken: usize) {
    for mut pending in std::mem::take(open) {
        let part = pending.rest().len().min(taken);
        taken -= part;
        pending.done += part;
        pending.commits += usize::from(part > 0);
        if pending.rest().is_empty() {
            stored.push(pending);
        } else {
            open.push(pending);
        }
    }
}
