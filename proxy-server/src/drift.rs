//! The check for drift: replicas that stand at one commit and hold different tables, or hold another
//! table than the store.
//!
//! It should never be. A document that somebody changed behind the log's back is how it comes about
//! all the same; it is healed by reading the store anew, and counted.

use std::{sync::Arc, time::Duration};

use proxy_core::{RouteStore, ServiceName, StoreView};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    chain::chain,
    metrics::Metrics,
    standing::{Station, Survey},
};

/// Every so many checks the store is read whole as well, which costs it the table.
const STORE_EVERY: u32 = 10;
/// How many services are named in one line of the log.
const MOST_NAMES: usize = 20;

/// Against whom a table is held: the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    Peers,
    Store,
}

/// Looks for drift and heals it.
#[derive(Debug)]
pub(crate) struct DriftCheck {
    pub(crate) station: Arc<Station>,
    pub(crate) survey: Arc<dyn Survey>,
    pub(crate) store: Arc<dyn RouteStore>,
    pub(crate) metrics: Arc<Metrics>,
}

// === impl Against ===

impl Against {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Store => "store",
        }
    }
}

// === impl DriftCheck ===

impl DriftCheck {
    /// Checks at this interval, more or less, until it is stopped.
    pub(crate) async fn run(self, interval: Duration, stop: CancellationToken) {
        let mut rounds = 0_u32;
        loop {
            let pause = jittered(interval);
            let work = async {
                sleep(pause).await;
                rounds = rounds.wrapping_add(1);
                self.look(rounds.is_multiple_of(STORE_EVERY)).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = work => {}
            }
        }
    }

    /// One check; with `whole`, the store is read whatever the peers say.
    async fn look(&self, whole: bool) {
        let drifted = self.drifted().await;
        if !drifted.is_empty() {
            self.metrics.drift(Against::Peers);
            let replicas = drifted.join(", ");
            tracing::error!(
                replicas,
                "replicas at the same commit hold another table; the store is read anew"
            );
        }
        if whole || !drifted.is_empty() {
            self.reread().await;
        }
    }

    /// The replicas that stand where this one does and hold another table.
    async fn drifted(&self) -> Vec<String> {
        let asked = self.survey.ask().await;
        let mine = self.station.now();
        let other = |row: &crate::standing::Surveyed| {
            let theirs = row.standing.as_ref().ok()?;
            let drifted = mine.revision.is_some()
                && theirs.revision == mine.revision
                && theirs.table_digest != mine.table_digest
                && theirs.instance != mine.instance;
            drifted.then(|| format!("{} ({})", row.address, theirs.instance))
        };
        asked.iter().filter_map(other).collect()
    }

    /// Reads the store anew, and says what it held otherwise than this replica.
    async fn reread(&self) {
        let before = self.store.view();
        if let Err(why) = self.store.reread().await {
            return tracing::warn!(
                why = chain(&why),
                "the store could not be read for the check for drift"
            );
        }
        let after = self.store.view();
        let services = differing(&before, &after);
        if !services.is_empty() {
            self.metrics.drift(Against::Store);
            let count = services.len();
            let names: Vec<_> = services
                .iter()
                .take(MOST_NAMES)
                .map(|n| n.as_str())
                .collect();
            let services = names.join(", ");
            tracing::error!(
                count,
                services,
                "the store held other documents at the same commit than this replica; they are taken"
            );
        }
    }
}

/// Services whose documents differ at one and the same commit.
fn differing(before: &StoreView, after: &StoreView) -> Vec<ServiceName> {
    if before.revision.is_none() || before.revision != after.revision {
        // The table moved on meanwhile; what differs differs by right.
        return Vec::new();
    }
    let changes = after.stored.changes_since(&before.stored);
    changes.into_keys().collect()
}

/// Between half of the interval and one and a half, so that replicas that started together do not
/// ask together.
fn jittered(interval: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness the interval is as good as any.
    let _ = getrandom::fill(&mut byte);
    interval.mul_f64(0.5 + f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests;
