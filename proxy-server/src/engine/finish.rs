//! The end of a turn: the peers are told and the callers answered.

use std::sync::Arc;

use futures_util::future::join_all;
use proxy_core::{Change, CommitRecord};
use tokio::sync::watch;

use super::{Engine, Told, WaitFor, pending::Pending};
use crate::{announce::Announcement, carrier::Carrier};

// === impl Engine ===

impl<C: Carrier> Engine<C> {
    /// Answers those who wait for nothing but the store.
    pub(super) fn answer_early(&self, stored: &mut Vec<Pending>) {
        let early = stored.extract_if(.., |p| p.request.wait.who == WaitFor::Nobody);
        for pending in early {
            pending.succeed(self.view.revision, Vec::new());
        }
    }

    /// Tells the peers and answers the callers; those who wait for the peers are answered by a task
    /// of their own, so that the next turn can begin.
    pub(super) fn finish(&mut self, stored: Vec<Pending>, records: Vec<Arc<CommitRecord>>) {
        let announcement = self.announcement(&stored, records);
        let revision = self.view.revision;
        let failure = self.failure.clone();
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
        if announcement.is_empty() && waiting.is_empty() {
            return;
        }
        let announce = Arc::clone(&self.announce);
        self.tasks.spawn(async move {
            let told = watch::Sender::new(Told::default());
            let waits = waiting.into_iter().map(|pending| {
                let told = told.subscribe();
                async move {
                    let rows = pending.request.wait.rows(told).await;
                    pending.succeed(revision, rows);
                }
            });
            let waits = join_all(waits.collect::<Vec<_>>());
            tokio::join!(
                announce.announce(announcement, failure.as_deref(), &told),
                waits
            );
        });
    }

    /// Why a stored request is not served here: a service of it is quarantined.
    fn held_back(&self, pending: &Pending) -> Option<Arc<str>> {
        let mut names = pending.request.changes.iter().map(Change::service_name);
        let held = names.find_map(|name| self.quarantine.get(name))?;
        Some(format!("it is quarantined: {}", held.why).into())
    }

    fn announcement(&self, stored: &[Pending], records: Vec<Arc<CommitRecord>>) -> Announcement {
        let waited_for = stored.iter().filter(|p| p.request.wait.is_for_others());
        let wait = waited_for.clone().map(|p| p.request.wait.most).max();
        let names = waited_for
            .flat_map(|p| &p.request.changes)
            .map(|change| change.service_name().clone());
        Announcement::new(self.view.revision, records, names.collect()).waited_for(wait)
    }
}
