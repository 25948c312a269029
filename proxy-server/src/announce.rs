//! Telling the other replicas: the fast path of a change.
//!
//! Replicas converge without it: those that share a store by its watch, those that do not by comparing
//! their registers. An announcement spares them the wait, and its answers tell who serves a change. To
//! the former it tells the commits, as hints; to the latter the registers themselves.

mod heard;
mod peers;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use proxy_core::{CommitRecord, InstanceId, Named, RegisterSet, Revision, ServiceName, Stamp};
use proxy_peers::HeaderName;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(crate) use heard::{Heard, Seen, reason};
pub(crate) use peers::{AnnouncerSettings, PeerAnnouncer, identity};
pub(crate) use turns::Turns;

use crate::engine::Told;

/// What replicas say to each other is below this path.
pub(crate) const PEER_PATHS: &str = "/v1/docker-flow-proxy/peer/";
/// The path of announcements, below the address of a replica.
pub(crate) const PEER_PATH: &str = "/v1/docker-flow-proxy/peer/announce";
/// The path on which replicas without a shared store compare their registers.
pub(crate) const REGISTERS_PATH: &str = "/v1/docker-flow-proxy/peer/registers";
/// The longest that a caller may wait for other replicas.
pub(crate) const MOST_WAIT: Duration = Duration::from_secs(300);
/// The header in which replicas name themselves to each other.
pub(crate) const INSTANCE_HEADER: HeaderName = HeaderName::from_static("x-proxy-instance");

/// Tells the other replicas.
#[async_trait]
pub(crate) trait Announce: Send + Sync + 'static {
    /// Tells everyone and waits until each has answered or its time is over. `told` holds one row
    /// per replica, this one included, from when the replicas are known; `own` says what became of
    /// the change here, which may come after the answers of the others.
    async fn announce(&self, announcement: Announcement, own: OwnEnd, told: &watch::Sender<Told>);
}

/// What became of a change on the replica that announces it.
#[derive(Clone, Debug)]
pub(crate) struct OwnEnd(watch::Receiver<Option<Result<(), Arc<str>>>>);

/// The other end of [`OwnEnd`]. Dropped without a word, it says that the replica ended.
#[derive(Debug)]
pub(crate) struct OwnEnding(watch::Sender<Option<Result<(), Arc<str>>>>);

/// What is told. Also the body of the call, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Announcement {
    /// The point in history to reach.
    pub(crate) reach: Option<Revision>,
    /// The commits that lead there.
    pub(crate) records: Vec<Arc<CommitRecord>>,
    /// The services that a caller waits for.
    #[serde(default)]
    pub(crate) names: BTreeSet<ServiceName>,
    /// Without a shared store: what was written of each service, in place of `reach` and `records`.
    #[serde(default)]
    pub(crate) registers: Vec<Named>,
    /// The stamps of those, also where there is no room for the registers themselves.
    #[serde(default)]
    pub(crate) stamps: BTreeMap<ServiceName, Stamp>,
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

// === impl OwnEnd ===

impl OwnEnd {
    /// Waits for it. The error is why the change is not live.
    pub(crate) async fn known(mut self) -> Result<(), Arc<str>> {
        let known = self.0.wait_for(Option::is_some).await;
        match known.as_deref() {
            Ok(Some(end)) => end.clone(),
            _ => Err("this replica ended before the change was live".into()),
        }
    }
}

// === impl OwnEnding ===

impl OwnEnding {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn end(&self) -> OwnEnd {
        OwnEnd(self.0.subscribe())
    }

    /// Says it.
    pub(crate) fn tell(&self, end: Result<(), Arc<str>>) {
        self.0.send_replace(Some(end));
    }
}

// === impl Announcement ===

impl Announcement {
    pub(crate) fn new(
        reach: Option<Revision>,
        records: Vec<Arc<CommitRecord>>,
        names: BTreeSet<ServiceName>,
    ) -> Self {
        Self {
            reach,
            records,
            names,
            registers: Vec::new(),
            stamps: BTreeMap::new(),
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

    /// For replicas that share no store: what these registers say of the services that it is about.
    pub(crate) fn with_registers(self, registers: &RegisterSet, max_bytes: usize) -> Self {
        let written = self
            .records
            .iter()
            .flat_map(|record| record.services.keys());
        let about: BTreeSet<_> = written.chain(&self.names).cloned().collect();
        let stamp = |name: &ServiceName| Some((name.clone(), registers.get(name)?.stamp.clone()));
        Self {
            reach: None,
            records: Vec::new(),
            stamps: about.iter().filter_map(stamp).collect(),
            registers: registers.pick(&about, max_bytes),
            ..self
        }
    }

    /// Whether it comes from a replica whose store other replicas share.
    pub(crate) fn is_of_a_store(&self) -> bool {
        self.reach.is_some() || !self.records.is_empty()
    }

    /// Whether it comes from a replica that keeps its table with others, without a store.
    pub(crate) fn is_among_replicas(&self) -> bool {
        !self.registers.is_empty() || !self.stamps.is_empty()
    }

    /// Whether nobody waits for the answers.
    pub(crate) fn is_hint(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether there is nothing to tell and nobody who waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.names.is_empty()
    }
}
