//! What time it is for what is stamped, registers and certificates: by this replica's clock where that can be, and
//! never earlier than what others stamp by.
//!
//! Of two changes of which neither writer had heard the other, the later wins as far as clocks agree. A
//! clock that is years ahead would make one replica's changes win against all later ones. So replicas tell
//! each other their clocks when they compare what they hold: one that is ahead of the others goes by theirs. What
//! it stamped before counts all the same, or replicas would never be equal; from then on everybody stamps as
//! far ahead as that, and later changes win again.
//!
//! So what a replica changed before it could compare its clock, which was ahead, wins over what others changed
//! later until they met. It is not stamped anew: nobody knows whether another has heard it already under the
//! stamp that it has (then that one would win all the same), and with one other to compare with nobody knows whose
//! clock is right, so that an acknowledged change could lose to an older one. It is named in the log.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::time::{ClockId, clock_gettime};
use proxy_core::{AWAY_AFTER, MAX_COUNTER};

/// Clocks that differ by less agree: as far apart as replicas that sign their calls may be.
const AGREE_MS: u64 = 60 * 1_000;

/// No clock says this, however wrong it is: the year 37,000 or so. A replica with a bug must not use up the
/// counters for all.
const NO_CLOCK: u64 = MAX_COUNTER / 8;

/// Changes of so long are told apart by when the first was written: tombstones live some hours longer than
/// [`AWAY_AFTER`].
const TOGETHER_MS: u64 = 60 * 60 * 1_000;

/// What stamps and the age of removals go by.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    state: Mutex<State>,
    /// How wrong this machine's clock is, and how much time has passed beside the real.
    #[cfg(test)]
    test: Mutex<[u64; 2]>,
}

#[derive(Debug, Default)]
struct State {
    others: Option<Others>,
    /// What others stamp by, where that is ahead of the time, and when that was seen.
    stamped: Option<Said>,
    /// The first counter of this run's changes in each hour with one, as far back as removals are remembered.
    wrote: VecDeque<Said>,
    /// Whether this machine's clock was found wrong, and that was said.
    warned: bool,
}

/// What the clocks of the others and this one said.
#[derive(Clone, Copy, Debug)]
struct Others {
    /// What half of them or more have reached.
    agreed: Said,
    latest: Said,
}

/// A time that was said. It goes on from there by a clock that nobody sets.
#[derive(Clone, Copy, Debug)]
struct Said {
    said_ms: u64,
    at_ms: u64,
}

// === impl Clock ===

impl Clock {
    /// Milliseconds since 1970 by this machine's clock, right or wrong.
    pub(crate) fn own(&self) -> u64 {
        #[cfg(test)]
        let extra: u64 = self.test.lock().unwrap().iter().sum();
        #[cfg(not(test))]
        let extra = 0;
        now_ms().saturating_add(extra)
    }

    /// Milliseconds since 1970 by this machine's clock, or by the others' where it is ahead of them.
    pub(crate) fn now(&self) -> u64 {
        self.by_all(&self.state())
    }

    /// What a change is stamped by at least.
    pub(crate) fn stamps(&self) -> u64 {
        let state = self.state();
        self.by_all(&state).max(self.by_stamps(&state))
    }

    /// The latest that any replica can think it is.
    pub(crate) fn latest(&self) -> u64 {
        let state = self.state();
        let others = state.others.map_or(0, |it| self.passed(it.latest));
        self.own().max(others).max(self.by_stamps(&state))
    }

    /// What the time is as far as clocks were compared in this run; none before.
    pub(crate) fn compared(&self) -> Option<u64> {
        let state = self.state();
        state.others.map(|_| self.by_all(&state))
    }

    /// What the other replicas' clocks say at this moment.
    pub(crate) fn compare(&self, others: &[u64]) {
        if others.is_empty() {
            // Those that were heard before ran on.
            return;
        }
        let own = self.own();
        let clocks = others.iter().copied().filter(|it| *it < NO_CLOCK);
        let mut all: Vec<u64> = clocks.chain([own]).collect();
        all.sort_unstable();
        let (Some(&latest_ms), Some(&agreed_ms)) = (all.last(), all.get((all.len() - 1) / 2))
        else {
            return;
        };
        let mut state = self.state();
        state.others = Some(Others {
            agreed: self.said(agreed_ms),
            latest: self.said(latest_ms),
        });
        let wrong = what_is_wrong(own, agreed_ms, &all);
        if let Some(what) = wrong
            && !state.warned
        {
            let ahead = Duration::from_millis(own.saturating_sub(agreed_ms));
            tracing::warn!(?ahead, "{what}");
        }
        state.warned = wrong.is_some();
    }

    /// Whether this machine's clock was found ahead of those of the others.
    pub(crate) fn is_ahead(&self) -> bool {
        self.state().warned
    }

    /// What another replica is told that this one stamps by. None before clocks were compared: then it may
    /// be far ahead for nothing.
    pub(crate) fn told(&self) -> Option<u64> {
        let is_compared = self.state().others.is_some();
        is_compared.then(|| self.stamps())
    }

    /// Another replica stamps by this.
    pub(crate) fn was_told(&self, stamps: u64) {
        if stamps < NO_CLOCK {
            self.saw(stamps);
        }
    }

    /// A change that is held has this counter.
    pub(crate) fn saw(&self, counter: u64) {
        let mut state = self.state();
        let (now, stamped) = (self.by_all(&state), self.by_stamps(&state));
        if counter <= now.saturating_add(AGREE_MS).max(stamped) {
            return;
        }
        if counter > stamped.saturating_add(AGREE_MS) {
            let ahead = Duration::from_millis(counter.saturating_sub(now));
            tracing::warn!(
                ?ahead,
                "changes are stamped ahead of this machine's clock, so a clock is or was wrong, here or on another replica: from now on all are stamped as far ahead, and later ones win; compare the clocks"
            );
        }
        state.stamped = Some(self.said(counter));
    }

    /// This run wrote a change with this counter.
    pub(crate) fn wrote(&self, counter: u64) {
        let wrote = self.said(counter);
        let mut state = self.state();
        let last = state.wrote.back().map_or(0, |last| last.at_ms);
        if state.wrote.is_empty() || wrote.at_ms.saturating_sub(last) >= TOGETHER_MS {
            state.wrote.retain(|it| self.is_remembered(*it));
            state.wrote.push_back(wrote);
        }
    }

    /// The first counter that this run wrote since removals are remembered, if any. What was stamped before is told by
    /// no clock: what changes are stamped by may have been set far ahead since.
    pub(crate) fn first_wrote(&self) -> Option<u64> {
        let state = self.state();
        let first = state.wrote.iter().find(|it| self.is_remembered(**it));
        first.map(|it| it.said_ms)
    }

    fn is_remembered(&self, wrote: Said) -> bool {
        let week = u64::try_from(AWAY_AFTER.as_millis()).unwrap_or(u64::MAX);
        self.running().saturating_sub(wrote.at_ms) <= week.saturating_add(TOGETHER_MS)
    }

    /// This machine's clock is set.
    #[cfg(test)]
    pub(crate) fn set_ahead(&self, wrong: Duration) {
        self.test.lock().unwrap()[0] = u64::try_from(wrong.as_millis()).unwrap();
    }

    /// Time passes, as every clock says.
    #[cfg(test)]
    pub(crate) fn pass(&self, time: Duration) {
        self.test.lock().unwrap()[1] += u64::try_from(time.as_millis()).unwrap();
    }

    /// This machine's clock, as right or wrong as it is, in the next run.
    #[cfg(test)]
    pub(crate) fn of_next_run(&self) -> Self {
        Self {
            test: Mutex::new(*self.test.lock().unwrap()),
            ..Self::default()
        }
    }

    /// How long this machine has been up, asleep or not; no time passes where that is not known.
    fn running(&self) -> u64 {
        let up = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        let up = u64::try_from(up.as_millis()).unwrap_or(u64::MAX);
        #[cfg(test)]
        let up = up + self.test.lock().unwrap()[1];
        up
    }

    fn said(&self, said_ms: u64) -> Said {
        let at_ms = self.running();
        Said { said_ms, at_ms }
    }

    /// What it says by now.
    fn passed(&self, said: Said) -> u64 {
        let since = self.running().saturating_sub(said.at_ms);
        said.said_ms.saturating_add(since)
    }

    fn by_stamps(&self, state: &State) -> u64 {
        state.stamped.map_or(0, |it| self.passed(it))
    }

    fn by_all(&self, state: &State) -> u64 {
        let own = self.own();
        match state.others.map(|it| self.passed(it.agreed)) {
            Some(agreed) if own > agreed.saturating_add(AGREE_MS) => agreed,
            _ => own,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be said where this machine's clock is later than the one that is gone by.
fn what_is_wrong(own: u64, agreed_ms: u64, all: &[u64]) -> Option<&'static str> {
    let bound = agreed_ms.saturating_add(AGREE_MS);
    let ahead = all.iter().filter(|clock| **clock > bound).count();
    match own > bound {
        false => None,
        // The lower is gone by, since no change is stamped ahead for it; it need not be right.
        true if ahead * 2 >= all.len() => Some(
            "the clocks of the replicas differ by so much, and as many are on each side: changes are stamped by the earlier, and none is lost; compare them",
        ),
        true => Some(
            "this machine's clock is ahead of those of most replicas: changes are stamped by theirs, and none is lost; set it",
        ),
    }
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1_000;

    /// Whether a clock says about that much more than this machine's.
    fn is_ahead_by(says: u64, ahead: u64) -> bool {
        let right = Clock::default().own() + ahead;
        right.abs_diff(says) < AGREE_MS
    }

    #[test]
    fn a_clock_that_is_ahead_of_most_goes_by_theirs() {
        let clock = Clock::default();
        let right = clock.own();
        clock.set_ahead(Duration::from_millis(HOUR));
        // Nobody has said anything else.
        clock.compare(&[]);
        assert!(is_ahead_by(clock.now(), HOUR));
        clock.compare(&[right]);
        assert!(is_ahead_by(clock.now(), 0));
        assert!(is_ahead_by(clock.own(), HOUR) && is_ahead_by(clock.stamps(), 0));
        // Nor once they cannot be asked any more.
        clock.compare(&[]);
        assert!(is_ahead_by(clock.now(), 0));
        // One that is wrong, or most that say so too, change nothing.
        clock.compare(&[right, right + 9 * HOUR]);
        assert!(is_ahead_by(clock.now(), HOUR));
        clock.compare(&[right, right, 0]);
        assert!(is_ahead_by(clock.now(), 0));
        clock.set_ahead(Duration::ZERO);
        clock.compare(&[0, 0, right + HOUR]);
        assert!(clock.now() < HOUR);
        clock.compare(&[right + HOUR]);
        assert!(is_ahead_by(clock.now(), 0) && is_ahead_by(clock.latest(), HOUR));
    }

    #[test]
    fn a_clock_is_not_said_to_be_wrong_where_as_many_say_what_it_says() {
        let said = |own, agreed, all: &[u64]| what_is_wrong(own, agreed, all).unwrap_or_default();
        for (all, tells) in [
            (&[0, HOUR][..], "compare them"),
            (&[0, 0, HOUR, HOUR], "compare them"),
            (&[0, 0, HOUR], "set it"),
            (&[0, 0, 0, HOUR, HOUR], "set it"),
        ] {
            assert!(said(HOUR, 0, all).ends_with(tells), "{all:?}");
            assert_eq!(said(0, 0, all), "");
        }
        assert_eq!(said(AGREE_MS, 0, &[0, AGREE_MS]), "");
    }

    #[test]
    fn clocks_that_differ_a_little_agree() {
        let clock = Clock::default();
        let right = clock.own();
        clock.set_ahead(Duration::from_millis(AGREE_MS / 2));
        clock.compare(&[right]);
        assert!(clock.now() >= right + AGREE_MS / 2);
        clock.saw(clock.now() + AGREE_MS / 2);
        assert!(clock.state().stamped.is_none());
    }

    #[test]
    fn what_no_clock_says_is_not_believed() {
        let clock = Clock::default();
        clock.was_told(u64::MAX);
        clock.compare(&[u64::MAX]);
        assert!(is_ahead_by(clock.stamps(), 0) && is_ahead_by(clock.latest(), 0));
        assert!(is_ahead_by(clock.told().unwrap(), 0));
        // And nothing is told by one that has not compared.
        assert_eq!(Clock::default().told(), None);
    }

    #[test]
    fn stamps_run_on_as_far_ahead_as_any_that_was_seen() {
        let clock = Clock::default();
        for (seen, ahead) in [
            (9 * HOUR, 9 * HOUR),
            (HOUR, 9 * HOUR),
            (10 * HOUR, 10 * HOUR),
        ] {
            clock.saw(clock.own() + seen);
            assert!(is_ahead_by(clock.stamps(), ahead), "{seen}");
            assert!(is_ahead_by(clock.now(), 0));
        }
        assert!(is_ahead_by(clock.latest(), 10 * HOUR));
        // They are what others stamp by, and not further ahead where this clock is set.
        clock.pass(Duration::from_millis(HOUR));
        assert!(is_ahead_by(clock.stamps(), 11 * HOUR));
        clock.set_ahead(Duration::from_millis(HOUR));
        assert!(is_ahead_by(clock.stamps(), 11 * HOUR));
    }
}
