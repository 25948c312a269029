//! Asking the other replicas, every few seconds: do we hold the same, and if not, what is missing?
//!
//! The announcement of a change is the fast path; this is what makes replicas equal however many
//! announcements were lost. Digests are compared first; where they differ, stamps; then the registers
//! go both ways. A starting replica asks before it serves.

mod differ;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use proxy_core::RouteStore;
use proxy_peers::{Broadcast, Condition, Outcome, PeerAddress, Peers};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::differ::{answer_of, call};
use super::{Attendance, ReplicatedStore};
use crate::{
    announce::{Heard, Seen, Turns},
    chain::chain,
    store::{RegisterAnswer, RegisterCall},
};

/// The least pause between two rounds, and how much longer it may be: replicas that started together
/// must not ask together for ever.
const LEAST_PAUSE: Duration = Duration::from_secs(2);
const JITTER_MS: u64 = 2_000;
/// The pause before a round that somebody waits for; many who wait share one.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// How many addresses are asked in a round, and how many that differ are made equal in one. News reach
/// all of many in a few rounds.
const MOST_ASKED: usize = 8;
/// How many are asked while it matters whether everybody has answered: where there are more, replicas of
/// which none knows the table do not come to rely on theirs.
const MOST_OF_ALL: usize = 256;
/// The longest answer to the question where a replica stands.
pub(crate) const MAX_DIGEST_BYTES: usize = 64 * 1024;
/// How long one call may take: a page of a few megabytes in a slow network.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// How long a round may take. What is left is for the next.
const ROUND_DEADLINE: Duration = Duration::from_secs(60);
/// How long a starting replica waits for one that knows the table, before it serves its own. Longer
/// than a restart of all replicas at once takes, shorter than anybody waits for a proxy.
const START_WAIT: Duration = Duration::from_secs(5);
/// How many services are named in one line of the log.
const MOST_NAMES: usize = 20;
/// The pause between two rounds of a start.
const START_PAUSE: Duration = Duration::from_millis(200);
/// How long discovery may take at the start of a round of a start.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(1);

/// Makes this replica's registers those of the others, and theirs its own.
#[derive(Debug)]
pub(crate) struct Exchange {
    store: Arc<ReplicatedStore>,
    pub(super) peers: Arc<Peers>,
    /// Asks all at once where they stand.
    polling: Broadcast,
    /// Asks one for what it holds.
    copying: Broadcast,
    turns: Turns,
    /// Whether it was said that an address stands for nobody.
    warned: AtomicBool,
}

/// What came of a round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// Whether this replica holds now what one holds that knows the table.
    pub(super) known: bool,
    /// Whether everybody there is was asked, and answered.
    pub(super) everybody: bool,
}

// === impl Exchange ===

impl Exchange {
    /// `polling` asks many at once, which answer with [`MAX_DIGEST_BYTES`] at most, and `copying` one
    /// that has much to say. They bound each call; this bounds how many there are.
    pub(crate) fn new(
        store: Arc<ReplicatedStore>,
        peers: Arc<Peers>,
        [polling, copying]: [Broadcast; 2],
    ) -> Self {
        Self {
            store,
            peers,
            polling,
            copying,
            turns: Turns::default(),
            warned: AtomicBool::new(false),
        }
    }

    /// Runs until the token is cancelled. What is on its way to the disk then gets there.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.start() => {}
        }
        loop {
            let pause = async {
                tokio::select! {
                    () = sleep(LEAST_PAUSE + jitter()) => {}
                    () = self.store.wanted.notified() => sleep(SHORT_PAUSE).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = pause => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = timeout(ROUND_DEADLINE, self.round()) => {}
            }
        }
    }

    /// Asks until somebody who knows the table has told it, there is nobody to ask, or the time for
    /// that is over; then the table is served.
    pub(super) async fn start(&self) {
        let end = Instant::now() + START_WAIT;
        loop {
            let round = async {
                self.peers.refresh(DISCOVERY_DEADLINE).await;
                self.round().await
            };
            let left = end.saturating_duration_since(Instant::now());
            let round = timeout(left, round).await.unwrap_or_default();
            if round.known || round.everybody {
                break;
            }
            if Instant::now() + START_PAUSE >= end {
                let services = self.store.view().stored.table().len();
                tracing::warn!(
                    services,
                    waited = ?START_WAIT,
                    "no other replica told its table in time: this one serves what it holds, and takes in what the others hold when they answer"
                );
                break;
            }
            sleep(START_PAUSE).await;
        }
        while let Err(error) = self.store.go_live().await {
            let why = chain(&error);
            tracing::error!(
                why,
                "the table could not be made known; this is tried again"
            );
            sleep(START_PAUSE).await;
        }
    }

    /// Compares with some others and becomes equal with those that differ.
    pub(super) async fn round(&self) -> Round {
        let found = self.peers.current();
        let asked = match self.needs_everybody() {
            true => some_of(found.peers(), MOST_OF_ALL),
            false => some_of(found.peers(), MOST_ASKED),
        };
        let mut everybody =
            asked.len() == found.peers().len() && matches!(found.condition(), Condition::Current);
        let digest = match call(&RegisterCall::Digest) {
            Ok(call) => call,
            Err(error) => {
                let why = chain(&error);
                tracing::error!(why, "the other replicas cannot be asked; this is a bug");
                return Round::default();
            }
        };
        let report = self.polling.call(&asked, &digest).await;
        let mut others = 0;
        let mut answers = Vec::new();
        self.turns.keep(found.peers());
        let mut heard = Heard::default();
        let mut doubled = None;
        for row in report.rows() {
            let (instance, address) = (row.instance(), row.address());
            let is_led = self.turns.note(instance, address);
            let is_myself = matches!(row.outcome(), Outcome::Myself(_));
            match (is_led, heard.once(instance, address)) {
                (Ok(()), Ok(Seen::ByOtherFamily)) => continue,
                (Ok(()), Ok(Seen::First)) if is_myself => continue,
                (Ok(()), Ok(Seen::First)) => others += 1,
                (Err(why), Ok(Seen::First)) => {
                    // Who else is behind this address was not asked; who answered may be met nowhere else.
                    others += 1;
                    everybody = false;
                    doubled = Some((address, why));
                    if is_myself {
                        continue;
                    }
                }
                (Err(why), _) | (Ok(()), Err(why)) => {
                    others += 1;
                    doubled = Some((address, why));
                    continue;
                }
            }
            match answer_of(row) {
                Ok(mut answer) => {
                    if answer.revision.is_none() {
                        // One that holds nothing, not even removals, has nothing to go by.
                        answer.attendance = Attendance::New;
                    }
                    answers.push((row.address(), answer));
                }
                Err(error) => {
                    let (peer, why) = (row.address(), chain(&error));
                    tracing::debug!(%peer, why, "a replica was not compared with");
                }
            }
        }
        self.say_doubled(doubled);
        let mut round = Round {
            known: false,
            everybody: everybody && answers.len() == others,
        };
        let clocks = answers.iter();
        let clocks: Vec<u64> = clocks.filter_map(|(_, it)| it.clock_unix_ms).collect();
        let early = self.store.compare(&clocks);
        if !early.is_empty() {
            let count = early.len();
            let services: Vec<_> = early
                .iter()
                .take(MOST_NAMES)
                .map(|it| it.as_str())
                .collect();
            let services = services.join(", ");
            tracing::warn!(
                count,
                services,
                "these services were changed here before this replica could compare its clock, which is ahead: what others made of them later, until now, gives way; look at them, and change anew what is wrong"
            );
        }
        let latest = self.store.view().revision;
        self.store
            .clock
            .saw(latest.map_or(0, |latest| latest.number));
        for stamps in answers.iter().filter_map(|(_, it)| it.stamps_unix_ms) {
            self.store.clock.was_told(stamps);
        }
        let current = |(_, answer): &(_, RegisterAnswer)| answer.attendance == Attendance::Current;
        let led = answers.iter().any(current);
        match round.everybody && !led {
            true => self.store.unled(),
            false => self.store.led(),
        }
        self.give_way(&answers).await;
        // Who knows most comes first: after that, what others hold is judged by it. Of the others, who
        // cannot be made equal does not come first each time.
        let lots = RandomState::new();
        answers.sort_by_cached_key(|(peer, answer)| {
            (Reverse(answer.attendance), lots.hash_one(peer.to_string()))
        });
        let mut differed = 0;
        for (peer, answer) in answers {
            let stale = matches!(answer.attendance, Attendance::Returned | Attendance::Alone);
            if led && stale {
                continue;
            }
            if answer.revision != self.store.view().revision {
                differed += 1;
                if differed > MOST_ASKED {
                    // Those that are left are for the next round.
                    round.everybody = false;
                    break;
                }
            }
            match self.become_equal(peer, &answer).await {
                Ok(equal) => round.known |= equal && answer.attendance != Attendance::New,
                Err(error) => {
                    round.everybody = false;
                    let why = chain(&error);
                    tracing::info!(%peer, why, "this replica and another could not be made equal; it is tried again");
                }
            }
        }
        self.housekeeping().await;
        round
    }

    /// Whether it matters that everybody has answered: at the start, which then need not wait, and as
    /// long as this replica cannot rely on what it holds.
    fn needs_everybody(&self) -> bool {
        self.store.view().condition.is_starting() || self.store.attendance() != Attendance::Current
    }

    /// Says, once while it lasts, that not everybody counts as asked, though all answer.
    fn say_doubled(&self, doubled: Option<(&PeerAddress, String)>) {
        let was_said = self.warned.swap(doubled.is_some(), Relaxed);
        if let Some((peer, why)) = doubled
            && !was_said
        {
            tracing::warn!(%peer, why, "a replica counts as not asked: until that is mended each start waits {START_WAIT:?}, and replicas of which none knows the table do not come to rely on theirs");
        }
    }

    async fn housekeeping(&self) {
        self.store.note_alive().await;
        if !self.store.view().condition.is_starting()
            && let Err(error) = self.store.expire().await
        {
            let why = chain(&error);
            tracing::warn!(
                why,
                "old removals could not be forgotten; it is tried again"
            );
        }
    }
}

/// All of a few, or so many of more, other ones each time.
fn some_of(peers: &BTreeSet<PeerAddress>, most: usize) -> BTreeSet<PeerAddress> {
    if peers.len() <= most {
        return peers.clone();
    }
    let lots = RandomState::new();
    let mut drawn: Vec<_> = peers.iter().collect();
    drawn.sort_by_key(|peer| lots.hash_one(peer.to_string()));
    drawn.into_iter().take(most).cloned().collect()
}

fn jitter() -> Duration {
    let lot = RandomState::new().hash_one(0_u8);
    Duration::from_millis(lot.checked_rem(JITTER_MS).unwrap_or_default())
}
