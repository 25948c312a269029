//! Telling the other replicas: the fast path of a change.
//!
//! With a shared store an announcement is a hint that spares the peers a wait for their watch; they
//! converge without it. Replicas that keep a store each have nothing but the announcement: it
//! repeats the change, and each makes it its own.

mod peers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use proxy_core::{CommitRecord, Document, InstanceId, Revision, ServiceName};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(crate) use peers::{AnnouncerSettings, PeerAnnouncer, identity};

use crate::engine::Told;

/// What replicas say to each other is below this path.
pub(crate) const PEER_PATHS: &str = "/v1/docker-flow-proxy/peer/";
/// The path of announcements, below the address of a replica.
pub(crate) const PEER_PATH: &str = "/v1/docker-flow-proxy/peer/announce";
/// The longest that a caller may wait for other replicas.
pub(crate) const MOST_WAIT: Duration = Duration::from_secs(300);
/// The header in which replicas name themselves to each other.
pub(crate) const INSTANCE_HEADER: &str = "x-proxy-instance";

/// Tells the other replicas.
#[async_trait]
pub(crate) trait Announce: Send + Sync + 'static {
    /// Tells everyone and waits until each has answered or its time is over. `told` holds one row
    /// per replica, this one included, from when the replicas are known; `failure` is why the
    /// change is not live here, where it is not.
    async fn announce(
        &self,
        announcement: Announcement,
        failure: Option<&str>,
        told: &watch::Sender<Told>,
    );
}

/// Whether the replicas share one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// They do: announcements are hints.
    Shared,
    /// Each has its own: announcements repeat the change.
    Own,
}

/// What is told. Also the body of the call, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// The point in history to reach.
    pub(crate) reach: Option<Revision>,
    /// The commits that lead there.
    pub(crate) records: Vec<Arc<CommitRecord>>,
    /// The changes that a caller waits for, by service: the document, or none for a removal.
    pub(crate) repeated: BTreeMap<ServiceName, Option<Arc<Document>>>,
    /// The services that a caller waits for, where the store has their documents.
    #[serde(default)]
    pub(crate) names: BTreeSet<ServiceName>,
    /// How long the most patient caller waits, in milliseconds; none: as long as usual.
    #[serde(default)]
    pub(crate) wait_ms: Option<u64>,
}

/// What a replica answers to an announcement.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PeerAnswer {
    /// Who answers.
    pub(crate) instance: InstanceId,
    /// Where its table stands.
    pub(crate) revision: Option<Revision>,
    /// Why it does not serve what was announced; none where it does.
    pub(crate) reason: Option<String>,
}

// === impl Announcement ===

impl Announcement {
    pub(crate) fn new(
        reach: Option<Revision>,
        records: Vec<Arc<CommitRecord>>,
        repeated: BTreeMap<ServiceName, Option<Arc<Document>>>,
    ) -> Self {
        Self {
            reach,
            records,
            repeated,
            names: BTreeSet::new(),
            wait_ms: None,
        }
    }

    /// With how long the most patient caller waits.
    pub(crate) fn waited_for(mut self, most: Option<Duration>) -> Self {
        self.wait_ms = most.map(|most| u64::try_from(most.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// How long the most patient caller waits, at most `bound`; where it does not say, `usual`.
    pub(crate) fn wait(&self, usual: Duration, bound: Duration) -> Duration {
        self.wait_ms
            .map_or(usual, Duration::from_millis)
            .min(bound.max(usual))
    }

    /// Only what replicas need: those that share a store the commits, those that do not the
    /// documents.
    pub(crate) fn for_replicas_that(self, sharing: Sharing) -> Self {
        match sharing {
            Sharing::Shared => Self {
                names: self.repeated.into_keys().collect(),
                repeated: BTreeMap::new(),
                ..self
            },
            Sharing::Own => Self {
                records: Vec::new(),
                reach: None,
                ..self
            },
        }
    }

    /// Whether nobody waits for the answers.
    pub(crate) fn is_hint(&self) -> bool {
        self.repeated.is_empty() && self.names.is_empty()
    }

    /// Whether there is nothing to tell and nobody who waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.repeated.is_empty()
    }
}
