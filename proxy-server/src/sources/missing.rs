//! When a service that a list does not name any more is gone.
//!
//! A route too many answers 503; one too few drops requests. So a removal waits until nobody can doubt it:
//! for several lists in a row, over some time, and for much longer where a list suddenly lacks most of what
//! its source keeps, as that of a listener does which has just started.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proxy_core::ServiceName;
use tokio::time::Instant;

use super::claim::Look;

/// A list that lacks more than half of what its source keeps is doubted...
const MOST_AT_ONCE: (usize, usize) = (1, 2);
/// ... but not for so few.
const FEW: usize = 2;

/// What it takes to believe a list that lacks something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How many lists in a row must lack a service.
    pub(super) looks: u32,
    /// For how long at least.
    pub(super) least: Duration,
    /// For how long where they lack most of what the source keeps.
    pub(super) doubted: Duration,
}

/// What lists lack.
#[derive(Debug, Default)]
pub(super) struct Missing {
    absences: BTreeMap<ServiceName, Absence>,
    /// Whether the next list may decide what this one could not.
    undecided: bool,
}

#[derive(Clone, Copy, Debug)]
struct Absence {
    looks: u32,
    since: Instant,
}

/// What is to be done about what a list lacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Nobody doubts that these are gone.
    pub(super) gone: Vec<ServiceName>,
    /// The list lacks so much that these are kept for now.
    pub(super) doubted: Vec<ServiceName>,
}

// === impl Missing ===

impl Missing {
    /// Forgets what lists lacked: the next is the first in a row.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether something is missing of which too few lists were read yet.
    pub(super) fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// It is removed.
    pub(super) fn forget(&mut self, service: &ServiceName) {
        self.absences.remove(service);
    }

    /// Takes note of what a list lacks of what its source keeps, and says what follows. Where an operator
    /// asked for the list, nobody doubts how much it lacks.
    pub(super) fn judge(
        &mut self,
        kept: &BTreeSet<ServiceName>,
        named: &BTreeSet<ServiceName>,
        patience: Patience,
        (look, now): (Look, Instant),
    ) -> Judged {
        let before = std::mem::take(self).absences;
        for name in kept.difference(named) {
            let first = Absence {
                looks: 0,
                since: now,
            };
            let mut absence = before.get(name).copied().unwrap_or(first);
            absence.looks = absence.looks.saturating_add(1);
            self.absences.insert(name.clone(), absence);
        }
        let (times, of) = MOST_AT_ONCE;
        let count = self.absences.len();
        let is_much = count > FEW && count * of > kept.len() * times;
        let doubts = is_much && look == Look::OfItself;
        let mut judged = Judged::default();
        for (name, absence) in &self.absences {
            let lasted = now.saturating_duration_since(absence.since);
            if absence.looks < patience.looks || lasted < patience.least {
                self.undecided = true;
                continue;
            }
            match doubts && lasted < patience.doubted {
                true => judged.doubted.push(name.clone()),
                false => judged.gone.push(name.clone()),
            }
        }
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience {
        looks: 3,
        least: Duration::from_secs(10),
        doubted: Duration::from_secs(600),
    };

    fn names(names: &[&str]) -> BTreeSet<ServiceName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// What is gone and what is doubted after each list, some seconds after the start.
    fn lists(kept: &[&str], lists: &[(u32, &[&str])]) -> Vec<(Vec<String>, Vec<String>)> {
        looked(kept, lists, Look::OfItself)
    }

    fn looked(
        kept: &[&str],
        lists: &[(u32, &[&str])],
        last: Look,
    ) -> Vec<(Vec<String>, Vec<String>)> {
        let (start, mut missing) = (Instant::now(), Missing::default());
        let mut after = Vec::new();
        for (nth, (at, named)) in lists.iter().enumerate() {
            let look = match nth + 1 == lists.len() {
                true => last,
                false => Look::OfItself,
            };
            let when = (look, start + SECOND * *at);
            let judged = missing.judge(&names(kept), &names(named), PATIENCE, when);
            let words = |names: &[ServiceName]| names.iter().map(|n| n.to_string()).collect();
            after.push((words(&judged.gone), words(&judged.doubted)));
        }
        after
    }

    fn gone(kept: &[&str], all: &[(u32, &[&str])]) -> Vec<Vec<String>> {
        let after = lists(kept, all);
        assert!(
            after.iter().all(|(_, doubted)| doubted.is_empty()),
            "{after:?}"
        );
        after.into_iter().map(|(gone, _)| gone).collect()
    }

    #[test]
    fn a_service_is_gone_after_some_lists_and_some_time() {
        let none: Vec<String> = Vec::new();
        let b = vec!["b".to_owned()];
        let short: &[&str] = &["a"];
        let after = gone(&["a", "b"], &[(0, short), (9, short), (10, short)]);
        assert_eq!(after, [none.clone(), none.clone(), b.clone()]);
        // Not too early, however often it is looked.
        let after = gone(
            &["a", "b"],
            &[(0, short), (1, short), (9, short), (10, short)],
        );
        assert_eq!(after, [none.clone(), none.clone(), none.clone(), b]);
        // Nor with too few lists, however long it takes.
        let after = gone(&["a", "b"], &[(0, short), (99, short)]);
        assert_eq!(after, [none.clone(), none.clone()]);
        // One that names it parts those before from those after.
        let both: &[&str] = &["a", "b"];
        let after = gone(
            &["a", "b"],
            &[(0, short), (9, short), (10, both), (20, short), (40, short)],
        );
        assert!(after.iter().all(Vec::is_empty), "{after:?}");
    }

    #[test]
    fn only_what_the_next_list_may_decide_is_undecided() {
        let (start, mut missing) = (Instant::now(), Missing::default());
        let mut undecided = |named: &[&str], seconds: u32| {
            let when = (Look::OfItself, start + SECOND * seconds);
            missing.judge(&names(&["a", "b"]), &names(named), PATIENCE, when);
            missing.is_undecided()
        };
        let after = [0, 5, 10, 15].map(|seconds| undecided(&["a"], seconds));
        assert_eq!(after, [true, true, false, false]);
        assert!(!undecided(&["a", "b"], 20));
    }

    #[test]
    fn a_list_that_suddenly_lacks_most_is_doubted_for_long() {
        let kept = &["a", "b", "c", "d", "e"];
        let (most, few): (&[&str], &[&str]) = (&["a", "b"], &["a", "b", "c"]);
        let lacks = |named: &[(u32, &[&str])]| lists(kept, named).pop().unwrap();
        let words = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let three = words(&["c", "d", "e"]);
        assert_eq!(
            lacks(&[(0, most), (5, most), (10, most)]),
            (words(&[]), three.clone())
        );
        let early = [(0, most), (5, most), (599, most)];
        assert_eq!(lacks(&early), (words(&[]), three.clone()));
        let late = [(0, most), (5, most), (600, most)];
        assert_eq!(lacks(&late), (three, words(&[])));
        // Nor where an operator asked for it, but not sooner than anything else.
        let asked = looked(kept, &[(0, most), (5, most), (10, most)], Look::Asked);
        assert_eq!(asked.last().unwrap().0, words(&["c", "d", "e"]));
        let asked = looked(kept, &[(0, most), (10, most)], Look::Asked);
        assert_eq!(asked.last().unwrap(), &(words(&[]), words(&[])));
        // Two of five are no more than happens, and neither are two of two.
        let two = words(&["d", "e"]);
        assert_eq!(lacks(&[(0, few), (5, few), (10, few)]), (two, words(&[])));
        let all = lists(&["a", "b"], &[(0, &[]), (5, &[]), (10, &[])]);
        assert_eq!(all.last().unwrap().0, ["a", "b"]);
        // Three of six are half, and not more.
        let half: &[&str] = &["a", "b", "c"];
        let after = lists(
            &["a", "b", "c", "d", "e", "f"],
            &[(0, half), (5, half), (10, half)],
        );
        assert_eq!(after.last().unwrap().0, ["d", "e", "f"]);
    }
}
