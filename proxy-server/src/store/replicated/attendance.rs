//! How far this replica's registers can be relied on, when they and another's differ.
//!
//! Removals are remembered for a week. Whoever was away for longer may hold services that were
//! removed and forgotten meanwhile, and must not bring them back: it takes the table of those who
//! were not away in place of its own.

use proxy_core::AWAY_AFTER;
use serde::{Deserialize, Serialize};

use super::disk::Marks;

/// A replica that began with nothing counts as new for so long: time to hear from those who were
/// there before.
const NEW_FOR_MS: u64 = 60 * 60 * 1_000;

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
    new_until_ms: u64,
    returned: bool,
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
        };
        match marks {
            None => Self {
                marks: now,
                saved: None,
                new_until_ms: now_ms.saturating_add(NEW_FOR_MS),
                returned: false,
            },
            Some(marks) => Self {
                returned: is_long(marks.alive_unix_ms, now_ms),
                marks,
                saved: Some(marks),
                new_until_ms: 0,
            },
        }
    }

    pub(super) fn attendance(&self, now_ms: u64) -> Attendance {
        if now_ms < self.new_until_ms {
            Attendance::New
        } else if self.returned {
            Attendance::Returned
        } else if is_long(self.marks.heard_unix_ms, now_ms) {
            Attendance::Alone
        } else {
            Attendance::Current
        }
    }

    /// This replica holds what one of that attendance holds.
    pub(super) fn heard(&mut self, from: Attendance, now_ms: u64) {
        self.marks.heard_unix_ms = now_ms;
        if from != Attendance::New {
            self.returned = false;
            self.new_until_ms = 0;
        }
    }

    /// There is nobody else.
    pub(super) fn only_one(&mut self, now_ms: u64) {
        self.marks.heard_unix_ms = now_ms;
    }

    /// Notes that this replica runs. Gives what is to be written down, when it is time to.
    pub(super) fn alive(&mut self, now_ms: u64) -> Option<Marks> {
        self.marks.alive_unix_ms = now_ms;
        let due = |saved: Marks| {
            now_ms.abs_diff(saved.alive_unix_ms) >= SAVE_AFTER_MS
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
    fn who_runs_and_hears_nobody_gives_way_as_well_unless_there_is_nobody() {
        let start = 100 * DAY;
        let mut alone = Record::new(marks(100), start);
        let now = start + 8 * DAY;
        assert_eq!(alone.attendance(now), Attendance::Alone);
        assert!(Attendance::Returned.gives_way_to(Attendance::Alone));
        assert!(Attendance::Alone.gives_way_to(Attendance::Current));
        alone.only_one(now);
        assert_eq!(alone.attendance(now), Attendance::Current);
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
        new.heard(Attendance::Alone, 2);
        assert_eq!(new.attendance(2), Attendance::Current);
        assert_eq!(
            Record::new(None, 0).attendance(NEW_FOR_MS),
            Attendance::Current
        );
    }

    #[test]
    fn marks_are_written_at_once_and_then_now_and_again() {
        let mut record = Record::new(None, 0);
        assert!(record.alive(0).is_some());
        assert!(record.alive(SAVE_AFTER_MS - 1).is_none());
        assert!(record.alive(SAVE_AFTER_MS).is_some());
    }
}
