//! The end of a turn: the peers are told and the callers answered.

use std::sync::Arc;

use futures_util::future::join_all;
use proxy_core::{Change, CommitRecord};
use tokio::sync::watch;

use super::{Engine, Told, WaitFor, pending::Pending, snapshot::held_back};
use crate::{
    announce::{Announcement, OwnEnding},
    carrier::Carrier,
};

// === impl Engine ===

impl<C: Carrier> Engine<C> {
    /// Answers those who wait for nothing but the store.
    pub(super) fn answer_early(&self, stored: &mut Vec<Pending>) {
        let early = stored.extract_if(.., |p| p.request.wait.who == WaitFor::Nobody);
        for pending in early {
            pending.succeed(self.view.revision, Vec::new());
        }
    }

    /// Tells the peers what was stored since they were told last, and lets the callers that wait for
    /// them hear the answers. The peers go live while this replica does.
    pub(super) fn tell_peers(
        &self,
        stored: &mut [Pending],
        records: Vec<Arc<CommitRecord>>,
        own: &OwnEnding,
    ) {
        let untold = |pending: &Pending| pending.told.is_none();
        let announcement = self.announcement(stored.iter().filter(|p| untold(p)), records);
        let waits = |pending: &Pending| pending.request.wait.is_for_others();
        let waited_for = stored.iter().any(|p| untold(p) && waits(p));
        if announcement.is_empty() && !waited_for {
            return;
        }
        let told = watch::Sender::new(Told::default());
        for pending in stored.iter_mut().filter(|p| p.told.is_none()) {
            pending.told = Some(told.subscribe());
        }
        let (announce, own) = (Arc::clone(&self.announce), own.end());
        self.tasks
            .spawn(async move { announce.announce(announcement, own, &told).await });
    }

    /// Answers the callers; those who wait for the peers are answered by a task of their own, so
    /// that the next turn can begin.
    pub(super) fn finish(&mut self, stored: Vec<Pending>, own: &OwnEnding) {
        own.tell(self.failure.clone().map_or(Ok(()), Err));
        let revision = self.view.revision;
        let stored = stored.into_iter().map(|mut pending| {
            pending.rules = self.carrier.rules();
            pending.failure = self.failure.clone().or_else(|| self.held_back(&pending));
            pending
        });
        let (waiting, at_once): (Vec<_>, Vec<_>) =
            stored.partition(|p| p.request.wait.is_for_others());
        for pending in at_once {
            pending.succeed(revision, Vec::new());
        }
        if waiting.is_empty() {
            return;
        }
        let waits = waiting.into_iter().map(|mut pending| async move {
            let rows = match pending.told.take() {
                Some(told) => {
                    let failure = pending.failure.clone();
                    pending.request.wait.rows(told, failure.as_deref()).await
                }
                None => Vec::new(),
            };
            pending.succeed(revision, rows);
        });
        let waits = join_all(waits.collect::<Vec<_>>());
        self.tasks.spawn(async move { drop(waits.await) });
    }

    /// Why a stored request is not served here: a service of it is quarantined, or waits to be judged.
    fn held_back(&self, pending: &Pending) -> Option<Arc<str>> {
        let mut names = pending.request.changes.iter().map(Change::service_name);
        let held = names.find_map(|name| self.quarantine.get(name))?;
        Some(held_back(held.why.as_deref()).into())
    }

    fn announcement<'a>(
        &self,
        stored: impl Iterator<Item = &'a Pending> + Clone,
        records: Vec<Arc<CommitRecord>>,
    ) -> Announcement {
        let waited_for = stored.filter(|p| p.request.wait.is_for_others());
        let wait = waited_for.clone().map(|p| p.request.wait.most).max();
        let names = waited_for
            .flat_map(|p| &p.request.changes)
            .map(|change| change.service_name().clone());
        Announcement::new(self.view.revision, records, names.collect()).waited_for(wait)
    }
}
