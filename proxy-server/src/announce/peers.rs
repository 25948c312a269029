//! Announcements over HTTP to the replicas that discovery finds.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream::FuturesUnordered};
use proxy_core::InstanceId;
use proxy_peers::{
    Broadcast, Call, Condition, HeaderName, HeaderValue, Method, Outcome, Peers, Repeat, Row,
};
use tokio::sync::{Semaphore, watch};

use super::{
    Announce, Announcement, INSTANCE_HEADER, MOST_WAIT, OwnEnd, PEER_PATH, PeerAnswer,
    heard::{Heard, Seen, reason},
    turns::Turns,
};
use crate::{
    engine::{ReplicaRow, ReplicaStatus, Told},
    metrics::Metrics,
    store::ReplicatedStore,
};

/// How long discovery may take before the peers that are known already are called.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(1);

/// Announcements on their way that nobody waits for.
const HINTS_AT_ONCE: usize = 2;

/// The most bytes of commits or documents that are told; past it the peers are only told where to get
/// to, and read the rest from the store or ask for it.
const MAX_TOLD_BYTES: usize = 1024 * 1024;

/// Announces to the peers that are found.
#[derive(Debug)]
pub(crate) struct PeerAnnouncer {
    /// None where no peers are configured.
    peers: Option<Arc<Peers>>,
    broadcast: Broadcast,
    settings: AnnouncerSettings,
    metrics: Arc<Metrics>,
    hints: Semaphore,
    turns: Turns,
}

/// Which of the replicas that were found this one is.
#[derive(Clone, Debug)]
struct Myself {
    address: String,
    took: Duration,
}

/// Who announces, and how.
#[derive(Clone, Debug)]
pub(crate) struct AnnouncerSettings {
    pub(crate) instance: InstanceId,
    /// How this replica is called in its own row when discovery does not name it.
    pub(crate) own_address: String,
    /// How discovery is called in answers: the DNS name or the list.
    pub(crate) source: String,
    /// The registers to tell, where the replicas share no store.
    pub(crate) registers: Option<Arc<ReplicatedStore>>,
    /// How long answers are waited for where nobody says.
    pub(crate) wait_timeout: Duration,
}

// === impl PeerAnnouncer ===

impl PeerAnnouncer {
    pub(crate) fn new(
        peers: Option<Arc<Peers>>,
        broadcast: Broadcast,
        settings: AnnouncerSettings,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            peers,
            broadcast,
            settings,
            metrics,
            hints: Semaphore::new(HINTS_AT_ONCE),
            turns: Turns::default(),
        }
    }

    fn own_row(&self, address: String, took: Duration, failure: Option<&str>) -> ReplicaRow {
        ReplicaRow {
            address,
            instance: Some(self.settings.instance.to_string()),
            status: match failure {
                None => ReplicaStatus::Applied,
                Some(_) => ReplicaStatus::Failed,
            },
            took,
            reason: failure.map(str::to_owned),
        }
    }

    fn row(&self, row: &Row) -> ReplicaRow {
        self.metrics.peer_call(row.outcome().word());
        let answer = row
            .outcome()
            .reply()
            .and_then(|reply| serde_json::from_slice::<PeerAnswer>(reply.body()).ok());
        let (status, reason) = match (row.outcome(), &answer) {
            (Outcome::Confirmed(_), Some(_)) => (ReplicaStatus::Applied, None),
            (Outcome::Confirmed(_), None) => (
                ReplicaStatus::Unconfirmed,
                Some("answered with something that is no confirmation; is it a proxy of this version?".to_owned()),
            ),
            (Outcome::Refused(_), Some(answer)) => (ReplicaStatus::Failed, answer.reason.clone()),
            _ => (ReplicaStatus::Unconfirmed, Some(reason(row))),
        };
        ReplicaRow {
            address: row.address().to_string(),
            instance: answer.map(|answer| answer.instance.to_string()),
            status,
            took: row.took(),
            reason,
        }
    }
}

#[async_trait]
impl Announce for PeerAnnouncer {
    async fn announce(&self, announcement: Announcement, own: OwnEnd, told: &watch::Sender<Told>) {
        // Its own end first where the others are slow: who waits for most of them may wait no more.
        let myself = watch::Sender::new(None);
        let ours = async {
            let end = own.known().await;
            let failure = end.as_ref().err().map(AsRef::as_ref);
            // An error means that nobody was told: this replica is the only one.
            let mut named = myself.subscribe();
            let _told = named.wait_for(Option::is_some).await;
            let named: Option<Myself> = myself.borrow().clone().flatten();
            told.send_modify(|told| match named {
                Some(Myself { address, took }) => {
                    told.own = Some(address.clone());
                    told.put(self.own_row(address, took, failure));
                }
                None => {
                    let address = self.settings.own_address.clone();
                    told.own = Some(address.clone());
                    told.rows
                        .push(self.own_row(address, Duration::ZERO, failure));
                }
            });
        };
        let others = async {
            self.tell(announcement, &myself, told).await;
            // Discovery did not name this replica, or nobody was told.
            myself.send_if_modified(|myself| {
                let unknown = myself.is_none();
                if unknown {
                    *myself = Some(None);
                }
                unknown
            });
        };
        tokio::join!(ours, others);
        told.send_modify(|told| told.done = true);
    }
}

impl PeerAnnouncer {
    /// Tells the peers, and notes what each says as soon as it does.
    async fn tell(
        &self,
        announcement: Announcement,
        myself: &watch::Sender<Option<Option<Myself>>>,
        told: &watch::Sender<Told>,
    ) {
        let Some(peers) = &self.peers else { return };
        let hint = announcement.is_hint();
        // Hints spare the peers a moment; while one is on its way to a slow peer, the store's watch
        // is as fast as the next would be, and so is the next comparison of registers.
        let slot = self.hints.try_acquire();
        if hint && slot.is_err() {
            return;
        }
        let announcement = match &self.settings.registers {
            Some(store) => announcement.with_registers(&store.registers(), MAX_TOLD_BYTES),
            None => announcement,
        };
        let usual = self.settings.wait_timeout;
        let broadcast = self.broadcast.within(announcement.wait(usual, MOST_WAIT));
        let call = match call(announcement) {
            Ok(call) => call,
            Err(why) => return tracing::error!(why, "an announcement could not be made"),
        };
        let found = peers.refresh(DISCOVERY_DEADLINE).await;
        self.metrics.peers(found.peers().len());
        let unknown = match found.condition() {
            Condition::Current => None,
            Condition::Stale { reason, .. } => Some(crate::chain::chain(reason)),
            _ => Some("discovery did not answer in time".to_owned()),
        };
        let mut rows: Vec<_> = found
            .peers()
            .iter()
            .map(|p| pending(p.to_string()))
            .collect();
        rows.extend(unknown.map(|reason| ReplicaRow {
            // Nobody knows who is missing, and that must not look like everyone.
            status: ReplicaStatus::Unconfirmed,
            reason: Some(format!("the replicas could not be discovered: {reason}")),
            ..pending(self.settings.source.clone())
        }));
        told.send_modify(|told| told.rows = rows);
        let calls = found.peers().iter().map(|peer| {
            let (broadcast, call, one) = (&broadcast, &call, BTreeSet::from([peer.clone()]));
            async move { broadcast.call(&one, call).await }
        });
        let mut calls: FuturesUnordered<_> = calls.collect();
        self.turns.keep(found.peers());
        let mut heard = Heard::default();
        while let Some(report) = calls.next().await {
            let Some(row) = report.rows().first() else {
                continue;
            };
            let (address, took) = (row.address().to_string(), row.took());
            let is_myself = matches!(row.outcome(), Outcome::Myself(_));
            let mut said = match is_myself {
                true => self.own_row(address.clone(), took, None),
                false => self.row(row),
            };
            let instance = said.instance.as_deref();
            let is_led = self.turns.note(instance, row.address());
            match is_led.and_then(|()| heard.once(instance, row.address())) {
                Ok(Seen::First) if is_myself => {
                    myself.send_replace(Some(Some(Myself { address, took })));
                    continue;
                }
                Ok(Seen::First) => {}
                Ok(Seen::ByOtherFamily) => {
                    told.send_modify(|told| told.fold(said));
                    continue;
                }
                Err(reason) => {
                    said.status = ReplicaStatus::Unconfirmed;
                    said.reason = Some(reason);
                }
            }
            if said.status != ReplicaStatus::Applied {
                let (peer, reason) = (&said.address, &said.reason);
                tracing::warn!(peer, reason, "a replica did not confirm");
            }
            told.send_modify(|told| told.put(said));
        }
    }
}

/// The row of a replica that was not heard yet.
fn pending(address: String) -> ReplicaRow {
    ReplicaRow {
        address,
        instance: None,
        status: ReplicaStatus::Pending,
        took: Duration::ZERO,
        reason: Some("it has not answered yet".to_owned()),
    }
}

fn call(mut announcement: Announcement) -> Result<Call, String> {
    let encode = |it: &Announcement| serde_json::to_vec(it).map_err(|why| why.to_string());
    let mut body = encode(&announcement)?;
    if body.len() > MAX_TOLD_BYTES && !announcement.records.is_empty() {
        announcement.records.clear();
        body = encode(&announcement)?;
    }
    let json = HeaderValue::from_static("application/json");
    Ok(Call::new(Method::POST, PEER_PATH)
        .map_err(|why| why.to_string())?
        .header(HeaderName::from_static("content-type"), json)
        .body(body)
        // A replica that hears it twice finds the second time that it is there already.
        .repeat(Repeat::Harmless))
}

/// The header by which replicas tell themselves from their peers.
pub(crate) fn identity(instance: &InstanceId) -> Option<proxy_peers::Identity> {
    let own = HeaderValue::from_str(instance.as_str()).ok()?;
    Some(proxy_peers::Identity::new(INSTANCE_HEADER, own))
}

#[cfg(test)]
mod tests;
