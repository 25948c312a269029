//! Following a list of services that is kept elsewhere: what it names is brought in, what it lacks is removed,
//! the latter only once nobody can doubt it.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use proxy_core::ServiceName;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Asking,
    intake::{Intake, Wanted},
};

/// How long reading a list may take.
const LIST_DEADLINE: Duration = Duration::from_secs(20);
/// For ever, where nothing is waited for.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A list of services that is kept elsewhere.
#[async_trait]
pub(super) trait List: Send + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    async fn read(&mut self) -> Result<Listing, String>;

    /// Whether a service that the list lacks is gone for sure.
    async fn is_gone(&mut self, service: &ServiceName) -> bool;

    /// Waits until the list may have changed. Cancel safe.
    async fn changed(&mut self);
}

/// A list as it was read.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) services: Vec<Wanted>,
    /// Whether what it lacks may be taken for gone.
    pub(super) extent: Extent,
}

/// How much of a list was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// Some of it is known to be missing.
    Part,
}

/// How often a list is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// After a success; none: only when it changed or somebody asks.
    pub(super) again: Option<Duration>,
    /// After a failure.
    pub(super) retry: Duration,
    /// After a list that lacks something: it is believed once a second one lacks it too.
    pub(super) confirm: Duration,
}

/// Follows one list.
pub(super) struct Follower<L> {
    list: L,
    intake: Intake,
    pace: Pace,
    /// Told of the first list that was brought in.
    read: watch::Sender<bool>,
    /// What the last list lacked.
    missing: BTreeSet<ServiceName>,
    /// Whether the last reading failed: said once, not every few seconds.
    failed: bool,
}

// === impl Follower ===

impl<L: List> Follower<L> {
    pub(super) fn new(list: L, intake: Intake, pace: Pace, read: watch::Sender<bool>) -> Self {
        Self {
            list,
            intake,
            pace,
            read,
            missing: BTreeSet::new(),
            failed: false,
        }
    }

    /// Follows the list until it is stopped.
    pub(super) async fn run(mut self, mut asking: mpsc::Receiver<Asking>, stop: CancellationToken) {
        let loaded = self.intake.loaded();
        tokio::select! {
            loaded = loaded => if !loaded { return stop.cancelled().await },
            () = stop.cancelled() => return,
        }
        let mut who: Vec<Asking> = Vec::new();
        loop {
            let (next, said) = tokio::select! {
                once = self.once() => once,
                () = stop.cancelled() => return,
            };
            for asking in who.drain(..) {
                // Who hung up needs no answer.
                let _ = asking.send(said.clone());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(next) => {}
                () = self.list.changed() => {}
                Some(asked) = asking.recv() => who.push(asked),
            }
            while let Ok(asked) = asking.try_recv() {
                who.push(asked);
            }
        }
    }

    /// Reads the list once and brings it in. When to read it next, and what is said to who asked.
    async fn once(&mut self) -> (Duration, Result<usize, String>) {
        let read = timeout(LIST_DEADLINE, self.list.read()).await;
        let read =
            read.unwrap_or_else(|_| Err(format!("no answer within {} s", LIST_DEADLINE.as_secs())));
        let listing = match read {
            Ok(listing) => listing,
            Err(why) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(
                        from = self.intake.from(),
                        why,
                        "services from elsewhere cannot be read; those that are known are served on, and it is tried again"
                    );
                }
                // Two lists in a row, and this is none.
                self.missing.clear();
                return (self.pace.retry, Err(why));
            }
        };
        if std::mem::replace(&mut self.failed, false) {
            tracing::info!(
                from = self.intake.from(),
                "services from elsewhere can be read again"
            );
        }
        let (count, extent) = (listing.services.len(), listing.extent);
        let brought = self.intake.bring(listing.services).await;
        let mut again = brought.again;
        if extent == Extent::Whole && !brought.unnamed {
            again |= self.remove_what_is_gone(&brought.named).await;
        } else {
            self.missing.clear();
        }
        if !again {
            self.read
                .send_if_modified(|read| !std::mem::replace(read, true));
        }
        let next = match self.pace.again.unwrap_or(NEVER) {
            _ if again => self.pace.retry,
            next if self.missing.is_empty() => next,
            next => next.min(self.pace.confirm),
        };
        (next, Ok(count))
    }

    /// Removes what this list and the one before it lack, where its place says that it is gone. Whether
    /// something is to be tried again.
    async fn remove_what_is_gone(&mut self, named: &BTreeSet<ServiceName>) -> bool {
        let Some(source) = self.intake.source() else {
            return false;
        };
        let table = self.intake.table();
        let ours = table
            .iter()
            .filter(|service| service.source() == Some(source));
        let missing: BTreeSet<ServiceName> = ours
            .map(|service| service.name().clone())
            .filter(|name| !named.contains(name))
            .collect();
        let before = std::mem::replace(&mut self.missing, missing);
        let twice: Vec<_> = self.missing.intersection(&before).cloned().collect();
        let mut again = false;
        for name in twice {
            if !self.list.is_gone(&name).await {
                tracing::warn!(from = self.intake.from(), service = %name, "a list lacks a service that is not known to be gone; it is served on");
                continue;
            }
            if self.intake.take_away(&name).await {
                self.missing.remove(&name);
            } else {
                again = true;
            }
        }
        again
    }
}
