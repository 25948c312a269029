//! The peers as they change: one task asks again when an answer expires, and
//! everyone reads the latest.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::address::PeerAddress;
use crate::discover::{Answer, Discover, DiscoverError};

/// No source is asked more often, whatever time to live it names: zero would be a
/// busy loop.
pub const DEFAULT_LEAST_PAUSE: Duration = Duration::from_secs(1);

/// No answer is believed for longer: Docker's own DNS names 600 seconds for tasks
/// that come and go at any moment.
pub const DEFAULT_GREATEST_PAUSE: Duration = Duration::from_secs(5);

/// Callers of [`Peers::refresh`] that wait at once; one more gets what is known.
const MAX_WAITING: usize = 256;

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowSettings {
    least_pause: Duration,
    greatest_pause: Duration,
}

impl Default for FollowSettings {
    fn default() -> Self {
        Self {
            least_pause: DEFAULT_LEAST_PAUSE,
            greatest_pause: DEFAULT_GREATEST_PAUSE,
        }
    }
}

impl FollowSettings {
    /// The floor under an answer's time to live.
    #[must_use]
    pub fn least_pause(mut self, pause: Duration) -> Self {
        self.least_pause = pause;
        self
    }

    /// The ceiling over an answer's time to live, and over the pause after failures.
    #[must_use]
    pub fn greatest_pause(mut self, pause: Duration) -> Self {
        self.greatest_pause = pause;
        self
    }

    fn pause(self, valid_for: Duration) -> Duration {
        valid_for.max(self.least_pause).min(self.greatest_pause)
    }

    fn backoff(self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.least_pause)
            .with_max_delay(self.greatest_pause)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// The peers at one moment, and how far they can be relied on.
#[derive(Debug, Clone)]
pub struct PeerSet {
    peers: BTreeSet<PeerAddress>,
    condition: Condition,
}

/// How far a [`PeerSet`] can be relied on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing has been asked yet: there may be peers.
    Unasked,
    /// The source said so, and its answer has not expired.
    Current,
    /// The source does not answer: these are the peers that were known last.
    Stale {
        /// When the first answer failed to come.
        since: Instant,
        /// Why the last one did.
        reason: DiscoverError,
    },
}

impl PeerSet {
    /// Every peer, this instance among them.
    pub fn peers(&self) -> &BTreeSet<PeerAddress> {
        &self.peers
    }

    /// How far they can be relied on.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}

/// Follows a [`Discover`]. It owns a task that ends when this is dropped, or is
/// joined by [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Peers {
    set: watch::Receiver<Arc<PeerSet>>,
    ask: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Peers {
    /// Starts to follow, inside the running Tokio runtime; returns at once.
    pub fn follow(source: Arc<dyn Discover>, settings: FollowSettings) -> Self {
        let (publish, set) = watch::channel(Arc::new(PeerSet {
            peers: BTreeSet::new(),
            condition: Condition::Unasked,
        }));
        let (ask, asked) = mpsc::channel(MAX_WAITING);
        let follower = Follower {
            source,
            settings,
            publish,
        };
        Self {
            set,
            ask,
            task: tokio::spawn(follower.run(asked)),
        }
    }

    /// The latest that is known; never blocks.
    pub fn current(&self) -> Arc<PeerSet> {
        Arc::clone(&self.set.borrow())
    }

    /// A receiver that hears of every change of the peers or their condition.
    pub fn watch(&self) -> watch::Receiver<Arc<PeerSet>> {
        self.set.clone()
    }

    /// Asks the source now and returns what is known then: the answer, or, when
    /// it fails or takes longer than `deadline`, what was known before. Calls at
    /// the same moment share one question. Cancel safe.
    pub async fn refresh(&self, deadline: Duration) -> Arc<PeerSet> {
        let (done, answered) = oneshot::channel();
        if self.ask.try_send(done).is_ok() {
            // Late, or the follower ended: either way what is known is returned.
            let _known = timeout(deadline, answered).await;
        }
        self.current()
    }

    /// Ends the following and waits for the task's end.
    pub async fn shutdown(mut self) {
        self.task.abort();
        let _ended = (&mut self.task).await;
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task behind [`Peers`].
struct Follower {
    source: Arc<dyn Discover>,
    settings: FollowSettings,
    publish: watch::Sender<Arc<PeerSet>>,
}

impl Follower {
    async fn run(self, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut backoff = self.settings.backoff();
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            // A source of somebody else's: its panic must not end the task while the peers count as current.
            let asking = AssertUnwindSafe(async { self.source.discover().await });
            let said = asking.catch_unwind().await;
            let pause = match said.unwrap_or(Err(DiscoverError::Panicked)) {
                Ok(answer) => {
                    backoff = self.settings.backoff();
                    let pause = answer.valid_for().map(|ttl| self.settings.pause(ttl));
                    self.publish(answer);
                    pause
                }
                Err(reason) => {
                    self.keep(reason);
                    backoff.next().or(Some(self.settings.greatest_pause))
                }
            };
            for done in waiting.drain(..) {
                // Whoever asked may have stopped waiting.
                let _gone = done.send(());
            }
            let next = tokio::select! {
                () = rest(pause) => None,
                next = asked.recv() => match next {
                    Some(next) => Some(next),
                    None => return,
                },
            };
            // Only those who asked before the question is sent share its answer.
            waiting.extend(next);
            while let Ok(next) = asked.try_recv() {
                waiting.push(next);
            }
        }
    }

    fn publish(&self, answer: Answer) {
        self.publish.send_if_modified(|set| {
            let same = matches!(set.condition, Condition::Current) && set.peers == *answer.peers();
            if same {
                return false;
            }
            if let Condition::Stale { since, .. } = &set.condition {
                let silent_ms = since.elapsed().as_millis();
                info!(
                    peers = answer.peers().len(),
                    silent_ms, "the peers are known again"
                );
            }
            *set = Arc::new(PeerSet {
                peers: answer.peers().clone(),
                condition: Condition::Current,
            });
            true
        });
    }

    fn keep(&self, reason: DiscoverError) {
        self.publish.send_if_modified(|set| {
            let since = match &set.condition {
                Condition::Stale { since, reason: old } => {
                    if old.to_string() == reason.to_string() {
                        return false;
                    }
                    *since
                }
                _ => {
                    warn!(
                        error = &reason as &dyn std::error::Error,
                        known = set.peers.len(),
                        "the peers cannot be asked for; those known last are kept"
                    );
                    Instant::now()
                }
            };
            *set = Arc::new(PeerSet {
                peers: set.peers.clone(),
                condition: Condition::Stale { since, reason },
            });
            true
        });
    }
}

/// Rests this long, or for ever where the answer never changes.
async fn rest(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
