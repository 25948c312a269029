//! What a caller waits for: nothing, this replica, most replicas, all of them.

use std::time::Duration;

use tokio::sync::watch;

use super::command::{ReplicaRow, ReplicaStatus};

/// What is left for the last row after the calls to the peers have ended at the same deadline.
const LAST_ROW: Duration = Duration::from_millis(250);

/// How long who asks for nothing but this replica waits to be judged behind others that are refused: sources, which
/// ask for many at once and have nobody waiting.
const HERE: Duration = Duration::from_secs(60);

/// What a caller waits for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// What it waits for.
    pub who: WaitFor,
    /// How long it waits to be judged behind others that are refused, and then for the other replicas.
    pub most: Duration,
}

/// Who must serve a change before its caller is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// Nobody: it is stored.
    Nobody,
    /// This replica.
    #[default]
    Here,
    /// More than half of the replicas that are known.
    Quorum,
    /// Every replica that is known.
    Everyone,
}

/// What the replicas have said so far to an announcement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// A row per replica that is known; those that were not heard yet are pending.
    pub rows: Vec<ReplicaRow>,
    /// The address of this replica's row, once that is known.
    pub own: Option<String>,
    /// Whether no more is coming.
    pub done: bool,
}

// === impl Wait ===

impl Wait {
    /// Waits for this replica alone.
    #[must_use]
    pub(crate) fn here() -> Self {
        Self {
            who: WaitFor::Here,
            most: HERE,
        }
    }

    /// Whether other replicas are waited for.
    #[must_use]
    pub(crate) fn is_for_others(self) -> bool {
        matches!(self.who, WaitFor::Quorum | WaitFor::Everyone)
    }

    /// Waits until enough replicas said that they serve it, nobody is left who could, or the time
    /// is over; and gives what they said. `failure` is why the change is not served here, where it is
    /// not: another change of the same turn may be served all the same.
    pub(super) async fn rows(
        self,
        mut told: watch::Receiver<Told>,
        failure: Option<&str>,
    ) -> Vec<ReplicaRow> {
        let enough = async {
            let met = |told: &Told| told.done || self.who.is_met(&told.rows);
            told.wait_for(met).await.is_ok()
        };
        // Too late, or nobody tells any more: what was told counts.
        let _in_time = tokio::time::timeout(self.most + LAST_ROW, enough).await;
        let mut told = told.borrow().clone();
        let own = told.own.take();
        if let (Some(why), Some(own)) = (failure, own)
            // It comes last where discovery did not name it.
            && let Some(row) = told.rows.iter_mut().rfind(|row| row.address == own)
        {
            row.status = ReplicaStatus::Failed;
            row.reason = Some(why.to_owned());
        }
        told.rows
    }
}

// === impl Told ===

impl Told {
    /// Notes what was said at an address.
    pub(crate) fn put(&mut self, row: ReplicaRow) {
        if let Some(old) = self.rows.iter_mut().find(|it| it.address == row.address) {
            *old = row;
        }
    }

    /// Notes what a replica said that has a row already, at another address: it has that one row, and
    /// serves a change that it says it serves at either. What this replica serves its own row says.
    pub(crate) fn fold(&mut self, row: ReplicaRow) {
        self.rows.retain(|it| it.address != row.address);
        let own = self.own.as_deref();
        let is_same =
            |it: &&mut ReplicaRow| it.instance == row.instance && own != Some(it.address.as_str());
        if row.status == ReplicaStatus::Applied
            && let Some(first) = self.rows.iter_mut().find(is_same)
            && first.status != ReplicaStatus::Applied
        {
            (first.status, first.reason) = (row.status, None);
        }
    }
}

// === impl WaitFor ===

impl WaitFor {
    /// The word in calls and answers.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Nobody => "none",
            Self::Here => "local",
            Self::Quorum => "quorum",
            Self::Everyone => "all",
        }
    }

    /// Whether these rows are enough.
    #[must_use]
    pub(crate) fn is_met(self, rows: &[ReplicaRow]) -> bool {
        let serving = rows
            .iter()
            .filter(|row| row.status == ReplicaStatus::Applied)
            .count();
        match self {
            Self::Nobody | Self::Here => true,
            Self::Quorum => serving * 2 > rows.len(),
            Self::Everyone => serving == rows.len() && serving > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(serving: usize, others: usize) -> Vec<ReplicaRow> {
        let applied = std::iter::repeat_n(ReplicaStatus::Applied, serving);
        let pending = std::iter::repeat_n(ReplicaStatus::Pending, others);
        let all = applied.chain(pending).enumerate();
        all.map(|(place, status)| row(&place.to_string(), status))
            .collect()
    }

    fn row(address: &str, status: ReplicaStatus) -> ReplicaRow {
        ReplicaRow {
            address: address.to_owned(),
            instance: None,
            status,
            took: Duration::ZERO,
            reason: None,
        }
    }

    #[test]
    fn a_replica_with_two_addresses_has_one_row_and_serves_what_it_serves_at_either() {
        use ReplicaStatus::{Applied, Failed, Pending};
        let said = |address, instance: &str, status| ReplicaRow {
            instance: Some(instance.to_owned()),
            ..row(address, status)
        };
        let mut told = Told {
            rows: rows(0, 4),
            ..Told::default()
        };
        told.put(said("1", "b", Failed));
        told.fold(said("3", "b", Failed));
        assert_eq!(told.rows[1].status, Failed);
        told.rows.push(row("3", Pending));
        told.fold(said("3", "b", Applied));
        // This replica's own row says what it serves, before it is known and after.
        told.fold(said("2", "me", Applied));
        told.put(said("0", "me", Failed));
        told.own = Some("0".to_owned());
        told.fold(said("2", "me", Applied));
        let rows = told.rows.iter();
        let rows: Vec<_> = rows.map(|it| (it.address.as_str(), it.status)).collect();
        assert_eq!(rows, [("0", Failed), ("1", Applied)]);
    }

    #[test]
    fn more_than_half_is_a_quorum() {
        for (serving, others, quorum, everyone) in [
            (0, 0, false, false),
            (1, 0, true, true),
            (1, 1, false, false),
            (2, 1, true, false),
            (2, 2, false, false),
            (3, 2, true, false),
            (3, 0, true, true),
        ] {
            let rows = rows(serving, others);
            assert_eq!(
                (
                    WaitFor::Quorum.is_met(&rows),
                    WaitFor::Everyone.is_met(&rows)
                ),
                (quorum, everyone),
                "{serving} of {}",
                serving + others
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quorum_does_not_wait_for_the_last_and_a_deadline_ends_all() {
        let told = watch::Sender::new(Told {
            rows: rows(2, 1),
            own: Some("0".to_owned()),
            done: false,
        });
        let most = Duration::from_secs(5);
        let before = tokio::time::Instant::now();
        let quorum = Wait {
            who: WaitFor::Quorum,
            most,
        };
        assert_eq!(quorum.rows(told.subscribe(), None).await.len(), 3);
        assert_eq!(before.elapsed(), Duration::ZERO);
        let everyone = Wait {
            who: WaitFor::Everyone,
            most,
        };
        let rows = everyone.rows(told.subscribe(), Some("quarantined")).await;
        assert_eq!(before.elapsed(), most + LAST_ROW);
        assert_eq!(rows[2].status, ReplicaStatus::Pending);
        // What is quarantined here is served by nobody here, whatever else of its turn is.
        assert_eq!(rows[0].status, ReplicaStatus::Failed);
        assert_eq!(rows[1].status, ReplicaStatus::Applied);
    }
}
