//! Looking after the registers: how far they can be relied on, and what is too old to be kept.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use proxy_core::{ServiceName, Stamp};
use tokio_util::sync::CancellationToken;

use super::{Attendance, HearError, Held, JournalError, ReplicatedStore, attendance};
use crate::chain::chain;

/// How often a table that no other replica shares is looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

// === impl ReplicatedStore ===

impl ReplicatedStore {
    /// How far these registers can be relied on.
    pub(super) fn attendance(&self) -> Attendance {
        self.record().attendance(self.clock.now())
    }

    /// What other replicas' clocks say: from here on marks are read by the time that they are written by.
    /// Gives, once, the services that were changed here before, by a clock that is found to be ahead: these
    /// changes win over later ones that others have made until now.
    pub(super) fn compare(&self, clocks: &[u64]) -> Vec<ServiceName> {
        self.clock.compare(clocks);
        let Some(now) = self.clock.compared() else {
            return Vec::new();
        };
        self.record().compared(now);
        let is_first = !self.compared.swap(true, Relaxed);
        if !is_first || !self.clock.is_ahead() {
            return Vec::new();
        }
        let set = self.registers();
        let early = |stamp: &Stamp| stamp.replica == self.instance && stamp.counter > now;
        let early = set.iter().filter(|(_, it)| early(&it.stamp));
        early.map(|(name, _)| name.clone()).collect()
    }

    /// This replica holds what one of that attendance holds.
    pub(super) fn heard(&self, from: Attendance) {
        self.record().heard(from, self.clock.now());
    }

    /// Everybody there is has answered, and nobody of them is current.
    pub(super) fn unled(&self) {
        self.record().unled(self.clock.now());
    }

    /// Somebody is current, or may be and did not answer.
    pub(super) fn led(&self) {
        self.record().led();
    }

    /// Notes on disk, now and again, that this replica is alive.
    pub(super) async fn note_alive(&self) {
        let marks = self.record().alive(self.clock.now());
        let Some(marks) = marks else { return };
        let folder = self.folder.clone();
        // Only a bug ends the thread early, and the next mark comes.
        let _ = tokio::task::spawn_blocking(move || marks.save(&folder)).await;
    }

    fn record(&self) -> std::sync::MutexGuard<'_, attendance::Record> {
        self.attendance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after a table that no other replica shares, until the token is cancelled.
    pub(crate) async fn keep_house(self: Arc<Self>, stop: CancellationToken) {
        loop {
            self.unled();
            self.note_alive().await;
            if let Err(error) = self.expire().await {
                let why = chain(&error);
                tracing::warn!(
                    why,
                    "old removals could not be forgotten; it is tried again"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(HOUSEKEEPING) => {}
            }
        }
    }

    /// Forgets removals that are too old to be remembered.
    pub(super) async fn expire(&self) -> Result<(), HearError> {
        let clock = Arc::clone(&self.clock);
        let expired = self.write(move |writer, held| {
            let mut set = held.set.clone();
            if set.expire(clock.now()) > 0 {
                writer.journal.rewrite(&set)?;
                let view = held.next_view(&set, held.view.stored.clone());
                *held = Held {
                    view: Arc::new(view),
                    set,
                };
            }
            Ok::<_, JournalError>(())
        });
        expired
            .await
            .map_err(HearError::Lost)?
            .map_err(HearError::Disk)
    }
}
