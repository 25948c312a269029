//! HAProxy's own figures: its CSV as it is, and under the names that dashboards for HAProxy's exporter have.

mod exposition;
mod servers;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use proxy_peers::{Broadcast, Call, Method, Outcome, Peers, Repeat, Row};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    announce::{Heard, Seen, reason},
    api::Carried,
    chain::chain,
};

/// Where a peer gives its HAProxy's figures.
pub(crate) const STATISTICS_PATH: &str = "/v1/docker-flow-proxy/peer/statistics";
/// The most bytes of one HAProxy's figures: 20,000 servers have 10 MiB.
pub(crate) const MAX_STATISTICS_BYTES: usize = 32 * 1024 * 1024;
/// The most bytes of the figures of all replicas together, and of one more.
const MAX_GATHERED_BYTES: usize = 128 * 1024 * 1024;
/// How long all replicas may take together.
const GATHER_DEADLINE: Duration = Duration::from_secs(20);
/// Whoever asks again within this is told the same: several scrapers cost HAProxy one answer.
const FRESH: Duration = Duration::from_secs(1);
/// How long an answer waits for figures that it could do without.
const GLANCE_DEADLINE: Duration = Duration::from_secs(1);
/// How long discovery may take before the peers that are known already are asked.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(1);

/// Asks HAProxy, and the peers for theirs.
#[derive(Debug)]
pub(crate) struct Statistics {
    carrier: Arc<dyn Carried>,
    last: Mutex<Option<(Instant, Arc<str>)>>,
    scrapes: AtomicU64,
    others: Option<(Arc<Peers>, Broadcast)>,
    bounds: Bounds,
}

/// How many bytes the figures of all replicas may have.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Those of one.
    each: usize,
    /// Those of all, and of one more.
    all: usize,
}

// === impl Statistics ===

impl Statistics {
    pub(crate) fn new(carrier: Arc<dyn Carried>, others: Option<(Arc<Peers>, Broadcast)>) -> Self {
        Self {
            carrier,
            last: Mutex::new(None),
            scrapes: AtomicU64::new(0),
            others,
            bounds: Bounds {
                each: MAX_STATISTICS_BYTES,
                all: MAX_GATHERED_BYTES,
            },
        }
    }

    /// What `show stat` says here.
    ///
    /// # Errors
    /// Why HAProxy does not say it.
    pub(crate) async fn here(&self) -> Result<Arc<str>, String> {
        // Held while HAProxy is asked, so that it is asked once; it answers within its own deadline.
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(text));
        }
        let text: Arc<str> = self.carrier.statistics().await?.into();
        *last = Some((Instant::now(), Arc::clone(&text)));
        Ok(text)
    }

    /// What `show stat` says on every replica, one after the other.
    ///
    /// # Errors
    /// Which replica did not say it, and why; or that all of it is too much for one answer.
    pub(crate) async fn everywhere(&self) -> Result<String, String> {
        let gathered = tokio::time::timeout(GATHER_DEADLINE, self.gather()).await;
        gathered.unwrap_or_else(|_| {
            let seconds = GATHER_DEADLINE.as_secs();
            Err(format!(
                "not every replica said them within {seconds} s; ask each of them"
            ))
        })
    }

    async fn gather(&self) -> Result<String, String> {
        let mut all = self.here().await?.to_string();
        let Some((peers, broadcast)) = &self.others else {
            return Ok(all);
        };
        let call = Call::new(Method::GET, STATISTICS_PATH).map_err(|error| chain(&error))?;
        let found = peers.refresh(DISCOVERY_DEADLINE).await;
        let call = call.repeat(Repeat::Harmless);
        let mut peers = found.peers().iter().cloned();
        let mut heard = Heard::default();
        loop {
            // As many at once as there is room for the longest answers of.
            let room = self.bounds.all.saturating_sub(all.len()) / self.bounds.each.max(1);
            let some: BTreeSet<_> = peers.by_ref().take(room.max(1)).collect();
            if some.is_empty() {
                return Ok(all);
            }
            let report = broadcast.call(&some, &call).await;
            for row in report.rows() {
                add(row, &mut heard, &mut all)?;
            }
            if all.len() > self.bounds.all {
                let most = self.bounds.all;
                return Err(format!(
                    "those of all replicas are more than {most} bytes; ask each of them"
                ));
            }
        }
    }

    /// Why no server of a backend takes requests; none where one does, and where that is not known soon.
    pub(crate) async fn why_none_is_up(&self, backend: &str) -> Option<&'static str> {
        let csv = tokio::time::timeout(GLANCE_DEADLINE, self.here()).await;
        servers::why_none_is_up(&csv.ok()?.ok()?, backend)
    }

    /// The figures of this HAProxy as metrics, without an end mark.
    pub(crate) async fn metrics(&self) -> String {
        let scrapes = self
            .scrapes
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            + 1;
        let csv = self.here().await.ok();
        exposition::text(csv.as_deref(), scrapes)
    }
}

/// Adds what a replica said, once.
fn add(row: &Row, heard: &mut Heard, all: &mut String) -> Result<(), String> {
    let address = row.address();
    let seen = heard.once(row.instance(), address);
    match (
        row.outcome(),
        seen.map_err(|why| format!("{address}: {why}"))?,
    ) {
        (_, Seen::ByOtherFamily) | (Outcome::Myself(_), _) => Ok(()),
        (Outcome::Confirmed(reply), Seen::First) => {
            all.push_str(&String::from_utf8_lossy(reply.body()));
            Ok(())
        }
        _ => Err(format!("{address}: {}", reason(row))),
    }
}

#[cfg(test)]
mod tests;
