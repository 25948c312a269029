//! How far this replica's registers can be relied on, when they and another's differ.
//!
//! Removals are remembered for a week. Whoever was away for longer may hold services that were
//! removed and forgotten meanwhile, and must not bring them back: it takes the table of those who
//! were not away in place of its own.

use proxy_core::AWAY_AFTER;
use serde::{Deserialize, Serialize};

use super::disk::Marks;

/// Replicas of which none was there all the time, though all of them answer, wait so long before they
/// rely on what they hold: time to hear from those who were.
const UNLED_FOR_MS: u64 = 60 * 60 * 1_000;

/// Marks are written down this often. What is lost of them counts as being away; tombstones live
/// some hours longer than [`AWAY_AFTER`] for that.
const SAVE_AFTER_MS: u64 = 60 * 60 * 1_000;

/// How far a replica's registers can be relied on; the greater the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Attendance {
    /// It began with nothing, not long ago.
    New,
    /// It did not run for longer than removals are remembered.
    Returned,
    /// It ran, and heard no other for longer than removals are remembered.
    Alone,
    /// It is one of those who know.
    Current,
}

/// What the attendance follows from.
#[derive(Debug)]
pub(super) struct Record {
    marks: Marks,
    saved: Option<Marks>,
    returned: bool,
    /// When the last run ended, where this one is taken for returned by nothing but that and this
    /// machine's clock.
    ended_unix_ms: Option<u64>,
    /// Since when everybody answers and nobody is current.
    unled_since_ms: Option<u64>,
}

// === impl Attendance ===

impl Attendance {
    /// Whether a replica of this attendance takes the table of one of that attendance in place of its
    /// own. Otherwise they merge.
    pub(super) fn gives_way_to(self, other: Self) -> bool {
        matches!(self, Self::Returned | Self::Alone) && other > self
    }
}

// === impl Record ===

impl Record {
    /// At the start, from what the last run left.
    pub(super) fn new(marks: Option<Marks>, now_ms: u64) -> Self {
        let now = Marks {
            alive_unix_ms: now_ms,
            heard_unix_ms: now_ms,
            new: true,
        };
        match marks {
            None => Self {
                marks: now,
                saved: None,
                returned: false,
                ended_unix_ms: None,
                unled_since_ms: None,
            },
            Some(marks) => {
                let returned = is_long(marks.alive_unix_ms, now_ms);
                Self {
                    returned,
                    ended_unix_ms: returned.then_some(marks.alive_unix_ms),
                    marks,
                    saved: Some(marks),
                    unled_since_ms: None,
                }
            }
        }
    }

    /// Clocks were compared: this is the time by which marks are written. At the start there was only
    /// this machine's clock to go by, which may be ahead of what the last run wrote its mark by.
    pub(super) fn compared(&mut self, now_ms: u64) {
        // A mark of a time that is still to come was written by a wrong clock that nobody corrected.
        if let Some(ended) = self.ended_unix_ms
            && ended <= now_ms
            && !is_long(ended, now_ms)
        {
            (self.returned, self.ended_unix_ms) = (false, None);
        }
    }

    pub(super) fn attendance(&self, now_ms: u64) -> Attendance {
        if self.marks.new {
            Attendance::New
        } else if self.returned {
            Attendance::Returned
        } else if is_long(self.marks.heard_unix_ms, now_ms) {
            Attendance::Alone
        } else {
            Attendance::Current
        }
    }

    /// This replica holds what one of that attendance holds, and what that one did not hear of is
    /// lost on neither: only one that is current makes another current, and one that was new is as
    /// far behind as the first that it heard.
    pub(super) fn heard(&mut self, from: Attendance, now_ms: u64) {
        let new = self.marks.new;
        match from {
            Attendance::Current => self.is_current(now_ms),
            Attendance::Alone if new || self.returned => {
                (self.returned, self.marks.new) = (false, false);
                self.ended_unix_ms = None;
                self.marks.heard_unix_ms = 0;
            }
            Attendance::Returned if new => {
                (self.returned, self.marks.new) = (true, false);
                self.ended_unix_ms = None;
            }
            _ => {}
        }
    }

    /// Everybody there is has answered, and nobody of them is current.
    pub(super) fn unled(&mut self, now_ms: u64) {
        let since = *self.unled_since_ms.get_or_insert(now_ms);
        let long = now_ms.saturating_sub(since) >= UNLED_FOR_MS;
        if long || self.attendance(now_ms) == Attendance::Current {
            self.is_current(now_ms);
        }
    }

    /// Somebody is current, or may be and did not answer.
    pub(super) fn led(&mut self) {
        self.unled_since_ms = None;
    }

    fn is_current(&mut self, now_ms: u64) {
        self.marks.heard_unix_ms = now_ms;
        (self.returned, self.marks.new) = (false, false);
        self.ended_unix_ms = None;
    }

    /// Notes that this replica runs. Gives what is to be written down, when it is time to.
    pub(super) fn alive(&mut self, now_ms: u64) -> Option<Marks> {
        self.marks.alive_unix_ms = now_ms;
        let due = |saved: Marks| {
            self.marks.new != saved.new
                || now_ms.abs_diff(saved.alive_unix_ms) >= SAVE_AFTER_MS
                || self.marks.heard_unix_ms.abs_diff(saved.heard_unix_ms) >= SAVE_AFTER_MS
        };
        if self.saved.is_none_or(due) && !self.returned {
            self.saved = Some(self.marks);
            return Some(self.marks);
        }
        None
    }
}

fn is_long(since_ms: u64, now_ms: u64) -> bool {
    let bound = u64::try_from(AWAY_AFTER.as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_sub(since_ms) > bound
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1_000;

    fn marks(day: u64) -> Option<Marks> {
        Some(Marks {
            alive_unix_ms: day * DAY,
            heard_unix_ms: day * DAY,
            new: false,
        })
    }

    #[test]
    fn who_was_away_for_a_week_gives_way_to_who_was_not() {
        let now = 100 * DAY;
        let current = Record::new(marks(94), now);
        assert_eq!(current.attendance(now), Attendance::Current);
        let mut returned = Record::new(marks(92), now);
        assert_eq!(returned.attendance(now), Attendance::Returned);
        // Nothing is written down that makes the next start forget it.
        assert_eq!(returned.alive(now), None);
        assert!(
            returned
                .attendance(now)
                .gives_way_to(current.attendance(now))
        );
        assert!(
            !current
                .attendance(now)
                .gives_way_to(returned.attendance(now))
        );
        returned.heard(Attendance::Current, now);
        assert_eq!(returned.attendance(now), Attendance::Current);
        assert_eq!(returned.alive(now).map(|it| it.alive_unix_ms), Some(now));
    }

    #[test]
    fn who_was_away_only_by_its_own_clock_was_not() {
        let now = 100 * DAY;
        let attendance_after = |alive: u64, by_all: u64| {
            let mut back = Record::new(marks(alive), now);
            assert_eq!(back.attendance(now), Attendance::Returned);
            back.compared(by_all * DAY);
            // Once is enough, whatever the clocks say later.
            back.compared(now);
            back.attendance(by_all * DAY)
        };
        assert_eq!(attendance_after(90, 91), Attendance::Current);
        assert_eq!(attendance_after(80, 91), Attendance::Returned);
        // A mark of the time to come says nothing about the others' time.
        assert_eq!(attendance_after(92, 91), Attendance::Returned);
        // And what it was told has nothing to do with clocks.
        let mut new = Record::new(marks(90).map(|it| Marks { new: true, ..it }), now);
        new.heard(Attendance::Returned, now);
        new.compared(91 * DAY);
        assert_eq!(new.attendance(91 * DAY), Attendance::Returned);
    }

    #[test]
    fn who_runs_and_hears_nobody_gives_way_as_well_unless_there_is_nobody() {
        let start = 100 * DAY;
        let mut alone = Record::new(marks(100), start);
        let now = start + 8 * DAY;
        assert_eq!(alone.attendance(now), Attendance::Alone);
        assert!(Attendance::Returned.gives_way_to(Attendance::Alone));
        assert!(Attendance::Alone.gives_way_to(Attendance::Current));
        // That nobody is there for a moment says nothing.
        alone.unled(now);
        alone.led();
        let later = now + UNLED_FOR_MS;
        alone.unled(later);
        assert_eq!(alone.attendance(later), Attendance::Alone);
        alone.unled(later + UNLED_FOR_MS);
        assert_eq!(alone.attendance(later + UNLED_FOR_MS), Attendance::Current);
    }

    #[test]
    fn who_is_new_is_merged_with_and_takes_no_table_away() {
        let mut new = Record::new(None, 0);
        assert_eq!(new.attendance(0), Attendance::New);
        for other in [Attendance::Returned, Attendance::Alone, Attendance::Current] {
            assert!(!Attendance::New.gives_way_to(other));
            assert!(!other.gives_way_to(Attendance::New));
        }
        new.heard(Attendance::New, 1);
        assert_eq!(new.attendance(1), Attendance::New);
        new.heard(Attendance::Current, 2);
        assert_eq!(new.attendance(2), Attendance::Current);
        // Time alone makes nobody know, nor does a restart.
        let mut cut_off = Record::new(None, 0);
        assert_eq!(cut_off.attendance(8 * DAY), Attendance::New);
        let again = Record::new(cut_off.alive(DAY), DAY);
        assert_eq!(again.attendance(DAY), Attendance::New);
    }

    #[test]
    fn nobody_becomes_current_by_hearing_who_is_not() {
        let now = 100 * DAY;
        for from in [Attendance::New, Attendance::Returned, Attendance::Alone] {
            let mut returned = Record::new(marks(90), now);
            returned.heard(from, now);
            assert!(returned.attendance(now) < Attendance::Current, "{from:?}");
            let mut alone = Record::new(marks(99), now);
            let later = now + 8 * DAY;
            alone.heard(from, later);
            assert_eq!(alone.attendance(later), Attendance::Alone, "{from:?}");
            // Who is new holds what is as old as theirs.
            let mut new = Record::new(None, now);
            new.heard(from, now);
            assert_eq!(new.attendance(now), from);
        }
    }

    #[test]
    fn marks_are_written_at_once_and_then_now_and_again() {
        let mut record = Record::new(None, 0);
        assert!(record.alive(0).is_some());
        assert!(record.alive(SAVE_AFTER_MS - 1).is_none());
        assert!(record.alive(SAVE_AFTER_MS).is_some());
    }
}
