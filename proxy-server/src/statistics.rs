//! HAProxy's own figures: its CSV as it is, and under the names that dashboards for HAProxy's exporter have.

mod exposition;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use proxy_peers::{Broadcast, Call, Method, Outcome, Peers, Repeat};
use tokio::{sync::Mutex, time::Instant};

use crate::{api::Carried, chain::chain};

/// Where a peer gives its HAProxy's figures.
pub(crate) const STATISTICS_PATH: &str = "/v1/docker-flow-proxy/peer/statistics";
/// The most bytes of one HAProxy's figures: 20,000 servers have 10 MiB.
pub(crate) const MAX_STATISTICS_BYTES: usize = 32 * 1024 * 1024;
/// Whoever asks again within this is told the same: several scrapers cost HAProxy one answer.
const FRESH: Duration = Duration::from_secs(1);
/// How long discovery may take before the peers that are known already are asked.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(1);

/// Asks HAProxy, and the peers for theirs.
#[derive(Debug)]
pub(crate) struct Statistics {
    carrier: Arc<dyn Carried>,
    last: Mutex<Option<(Instant, Arc<str>)>>,
    scrapes: AtomicU64,
    others: Option<(Arc<Peers>, Broadcast)>,
}

// === impl Statistics ===

impl Statistics {
    pub(crate) fn new(carrier: Arc<dyn Carried>, others: Option<(Arc<Peers>, Broadcast)>) -> Self {
        Self {
            carrier,
            last: Mutex::new(None),
            scrapes: AtomicU64::new(0),
            others,
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
    /// Which replica did not say it, and why.
    pub(crate) async fn everywhere(&self) -> Result<String, String> {
        let mut all = self.here().await?.to_string();
        let Some((peers, broadcast)) = &self.others else {
            return Ok(all);
        };
        let call = Call::new(Method::GET, STATISTICS_PATH).map_err(|error| chain(&error))?;
        let found = peers.refresh(DISCOVERY_DEADLINE).await;
        let call = call.repeat(Repeat::Harmless);
        let report = broadcast.call(found.peers(), &call).await;
        for row in report.rows() {
            match row.outcome() {
                Outcome::Confirmed(reply) => {
                    all.push_str(&String::from_utf8_lossy(reply.body()));
                }
                Outcome::Myself(_) => {}
                _ => {
                    let why = row
                        .reason()
                        .unwrap_or_else(|| "it did not answer".to_owned());
                    return Err(format!("{}: {why}", row.address()));
                }
            }
        }
        Ok(all)
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
