//! Asking every peer where it stands.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use proxy_peers::{Broadcast, Call, Condition, Method, Outcome, Peers, Repeat, Row};

use super::Standing;

/// Where a peer tells where it stands.
pub(crate) const STANDING_PATH: &str = "/v1/docker-flow-proxy/peer/standing";

/// How long discovery may take before the peers that are known already are asked.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(1);
/// How long a peer may take to answer, over all tries.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);

/// Asks the peers.
#[async_trait]
pub(crate) trait Survey: Send + Sync + std::fmt::Debug {
    /// Asks everyone at once, each with a deadline. A row per peer that is known, this replica
    /// among them where discovery names it.
    async fn ask(&self) -> Vec<Surveyed>;
}

/// What one peer said.
#[derive(Clone, Debug)]
pub(crate) struct Surveyed {
    /// Its address, as it was found.
    pub(crate) address: String,
    /// How long it took.
    pub(crate) took: Duration,
    /// Where it stands, or why it did not say.
    pub(crate) standing: Result<Standing, String>,
}

/// Asks the peers that discovery finds, over HTTP.
#[derive(Debug)]
pub(crate) struct PeerSurvey {
    peers: Option<Arc<Peers>>,
    broadcast: Broadcast,
    /// How discovery is called: the DNS name or the list.
    source: String,
}

// === impl PeerSurvey ===

impl PeerSurvey {
    pub(crate) fn new(peers: Option<Arc<Peers>>, broadcast: &Broadcast, source: String) -> Self {
        Self {
            peers,
            broadcast: broadcast.within(ANSWER_DEADLINE),
            source,
        }
    }
}

#[async_trait]
impl Survey for PeerSurvey {
    async fn ask(&self) -> Vec<Surveyed> {
        let (Some(peers), Ok(call)) = (&self.peers, Call::new(Method::GET, STANDING_PATH)) else {
            return Vec::new();
        };
        let call = call.repeat(Repeat::Harmless);
        let found = peers.refresh(DISCOVERY_DEADLINE).await;
        let report = self.broadcast.call(found.peers(), &call).await;
        let mut rows: Vec<_> = report.rows().iter().map(surveyed).collect();
        let unknown = match found.condition() {
            Condition::Current => None,
            Condition::Stale { reason, .. } => Some(crate::chain::chain(reason)),
            _ => Some("discovery did not answer in time".to_owned()),
        };
        rows.extend(unknown.map(|reason| Surveyed {
            address: self.source.clone(),
            took: Duration::ZERO,
            standing: Err(format!("the replicas could not be discovered: {reason}")),
        }));
        rows
    }
}

fn surveyed(row: &Row) -> Surveyed {
    let standing = match row.outcome() {
        Outcome::Confirmed(reply) | Outcome::Myself(reply) => serde_json::from_slice(reply.body())
            .map_err(|_| "answered with something else; is it a proxy of this version?".to_owned()),
        _ => Err(row.reason().unwrap_or_else(|| "did not answer".to_owned())),
    };
    Surveyed {
        address: row.address().to_string(),
        took: row.took(),
        standing,
    }
}
