//! Asking every peer where it stands.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use proxy_peers::{Broadcast, Call, Condition, Method, Outcome, Peers, Repeat, Row};

use super::Standing;
use crate::announce::{Heard, Seen, reason};

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
    /// among them where discovery names it; one row where a peer has an address of each family.
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
        let mut heard = Heard::default();
        let rows = report.rows().iter();
        let mut rows: Vec<_> = rows.filter_map(|row| surveyed(row, &mut heard)).collect();
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

/// What a row says; none where it was said at another address of the same peer.
fn surveyed(row: &Row, heard: &mut Heard) -> Option<Surveyed> {
    let standing = match row.outcome() {
        Outcome::Confirmed(reply) | Outcome::Myself(reply) => {
            serde_json::from_slice::<Standing>(reply.body()).map_err(|_| {
                "answered with something else; is it a proxy of this version?".to_owned()
            })
        }
        _ => Err(reason(row)),
    };
    let standing = match standing {
        Ok(standing) => match heard.once(Some(standing.instance.as_str()), row.address()) {
            Ok(Seen::First) => Ok(standing),
            Ok(Seen::ByOtherFamily) => return None,
            Err(why) => Err(why),
        },
        Err(why) => Err(why),
    };
    Some(Surveyed {
        address: row.address().to_string(),
        took: row.took(),
        standing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ways;

    fn stands(instance: &str, _: &Call) -> Vec<u8> {
        let standing = Standing {
            instance: instance.parse().unwrap(),
            version: String::new(),
            revision: None,
            table_digest: String::new(),
            config_digest: None,
            services: 0,
            store: String::new(),
            haproxy: String::new(),
            failure: None,
            quarantined: Vec::new(),
            degraded: Vec::new(),
        };
        serde_json::to_vec(&standing).unwrap()
    }

    #[tokio::test]
    async fn a_replica_that_answers_at_two_addresses_stands_once() {
        let ways = [("a:1", "me"), ("b:1", "c"), ("c:1", "c"), ("d:1", "me")];
        let (peers, broadcast) = Ways::lead(&ways, stands);
        let survey = PeerSurvey::new(Some(peers), &broadcast, String::new());
        let rows = survey.ask().await;
        let said: Vec<_> = rows
            .iter()
            .map(|row| match &row.standing {
                Ok(standing) => standing.instance.to_string(),
                Err(why) => why.clone(),
            })
            .collect();
        assert_eq!((&said[0][..], &said[1][..]), ("me", "c"));
        for (row, first) in [(2, "b:1"), (3, "a:1")] {
            let words = format!("the same replica answered at {first}; ");
            assert!(said[row].starts_with(&words), "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_replica_with_an_address_of_each_family_stands_once() {
        let ways = [
            ("10.0.0.1:1", "me"),
            ("10.0.0.2:1", "c"),
            ("[fd00::1]:1", "me"),
            ("[fd00::2]:1", "c"),
        ];
        let (peers, broadcast) = Ways::lead(&ways, stands);
        let survey = PeerSurvey::new(Some(peers), &broadcast, String::new());
        let rows = survey.ask().await;
        let said = rows.iter().map(|row| row.standing.as_ref().unwrap());
        let said: Vec<_> = said.map(|it| it.instance.as_str()).collect();
        assert_eq!(said, ["me", "c"]);
    }
}
