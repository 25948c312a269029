//! When to try again what failed to go live, and what HAProxy would not take.

use std::{collections::BTreeMap, time::Duration};

use proxy_core::ServiceName;
use tokio::time::Instant;

use super::{Held, Refused};

/// How long the engine waits before it tries again what failed, at first.
const FIRST: Duration = Duration::from_secs(1);
/// And at most, where the disk, the process or the time was missing: replicas agree within ten
/// seconds of the end of such a fault, and a try costs one check.
const FAULT_MOST: Duration = Duration::from_secs(5);
/// And at most, where HAProxy would not take something.
const MOST: Duration = Duration::from_secs(60);
/// And at least and at most, where HAProxy would not load a service: a reload that fails on a port in
/// use refuses connections for two seconds, and who stores a better version does not wait for this.
const LOAD_FIRST: Duration = Duration::from_secs(60);
pub(super) const LOAD_MOST: Duration = Duration::from_secs(600);

/// This part of the reloads that HAProxy bears may come of what it would not load before that is not tried again by
/// itself while one worker serves: after `mworker-max-reloads` of those that fail and of those of what runs HAProxy ends
/// a worker with the connections that it still has. One service is two for each time; a try among several is more, so
/// half is left for the last, which ends where nothing is left.
const TRIED: usize = 2;

/// This part of its wait is over before a service is tried because others changed: where that happens all the time,
/// tries are rarer with each refusal all the same.
const EARLY: u32 = 8;

/// When to try again.
#[derive(Debug)]
pub(super) struct Retry {
    /// What failed as a whole.
    at: Option<Instant>,
    wait: Duration,
    /// How long each service that is quarantined waits.
    waits: BTreeMap<ServiceName, Duration>,
    /// How many reloads came of what HAProxy would not load since the last with something that it took.
    loads: usize,
    /// How many HAProxy bears.
    bears: usize,
}

// === impl Retry ===

impl Retry {
    pub(super) fn idle() -> Self {
        Self {
            at: None,
            wait: FIRST,
            waits: BTreeMap::new(),
            loads: 0,
            bears: 0,
        }
    }

    /// Nothing failed as a whole.
    pub(super) fn well(&mut self) {
        (self.at, self.wait) = (None, FIRST);
    }

    /// Something did. `refused` says when HAProxy refused it, where it did.
    pub(super) fn failed(&mut self, refused: Option<Refused>) {
        if self.at.is_none() {
            let most = match refused {
                None => FAULT_MOST,
                // Nothing else goes live meanwhile, so this goes on, more seldom.
                Some(Refused::AtLoad) if self.is_tired() => LOAD_MOST,
                Some(_) => MOST,
            };
            let wait = self.wait.min(most);
            self.at = Some(Instant::now() + wait);
            self.wait = (wait * 2).min(most);
        }
    }

    /// A service is quarantined, or is again. Gives when it is tried next, and when where it may pass sooner.
    pub(super) fn hold(&mut self, name: &ServiceName, refused: Refused) -> (Instant, Instant) {
        let (first, most) = match refused {
            Refused::AtCheck => (FIRST, MOST),
            Refused::AtLoad => (LOAD_FIRST, LOAD_MOST),
            Refused::Unasked => (LOAD_MOST, LOAD_MOST),
        };
        let before = self.waits.get(name);
        let wait = before.map_or(first, |before| (*before * 2).clamp(first, most));
        self.waits.insert(name.clone(), wait);
        let now = Instant::now();
        let early = match refused {
            Refused::AtCheck => first.max(wait / EARLY),
            // Each try is a reload that fails, and nothing says that what changed stood in its way.
            Refused::AtLoad | Refused::Unasked => wait,
        };
        (now + wait, now + early)
    }

    /// Forgets the services that are not quarantined any more.
    pub(super) fn keep(&mut self, quarantine: &BTreeMap<ServiceName, Held>) {
        self.waits.retain(|name, _| quarantine.contains_key(name));
    }

    /// When the next try is due.
    pub(super) fn next(&self, quarantine: &BTreeMap<ServiceName, Held>) -> Option<Instant> {
        self.first_due(quarantine).into_iter().chain(self.at).min()
    }

    /// What failed is tried now. Gives when what is tried of the quarantine was due: what waits longest comes first,
    /// so that nothing is kept waiting by others whose time comes again and again.
    pub(super) fn begin(&mut self, quarantine: &BTreeMap<ServiceName, Held>) -> Instant {
        self.at = None;
        let now = Instant::now();
        let first = self.first_due(quarantine);
        first.map_or(now, |first| now.min(first + FIRST))
    }

    /// Whether a service is tried again by itself.
    pub(super) fn tries(&self, held: &Held) -> bool {
        held.refused != Refused::AtLoad || !self.is_tired()
    }

    /// So many reloads came of what HAProxy would not load, which bears so many.
    pub(super) fn loads(&mut self, more: usize, bears: usize) {
        let was_tired = self.is_tired();
        self.loads += more;
        self.bears = bears;
        if !was_tired && self.is_tired() {
            tracing::warn!(
                reloads = self.loads,
                "what HAProxy would not load is not tried again before something else is loaded, as by `reload`"
            );
        }
    }

    /// How many are left until it ends a worker that still has connections.
    pub(super) fn loads_left(&self) -> usize {
        self.bears.saturating_sub(self.loads)
    }

    /// Whether there were as many as may be of what is tried by itself.
    pub(super) fn is_tired(&self) -> bool {
        self.loads > 0 && self.loads >= self.bears / TRIED
    }

    /// HAProxy was reloaded with something that it took.
    pub(super) fn has_new_worker(&mut self) {
        self.loads = 0;
    }

    /// It was reloaded with what it ran: that is no reason to try again what it would not load.
    pub(super) fn was_renewed(&mut self) {
        self.loads = self.bears / TRIED;
    }

    fn first_due(&self, quarantine: &BTreeMap<ServiceName, Held>) -> Option<Instant> {
        let tried = quarantine.values().filter(|held| self.tries(held));
        tried.map(|held| held.due).min()
    }
}
