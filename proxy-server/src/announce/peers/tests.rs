//! What is believed of answers that come from somebody else than whom the call was for.

use std::{collections::BTreeMap, time::SystemTime};

use proxy_core::{CommitId, Epoch, Revision};
use proxy_peers::{
    BroadcastSettings, FollowSettings, PeerAddress, SIGNATURE_HEADER, Signer, StaticDiscover,
    StatusCode, Transport, TransportError,
};

use super::*;
use crate::announce::OwnEnding;

fn signer() -> Signer {
    Signer::new(&"sesame".to_owned().into())
}

/// A network in which the calls for an address reach the replica that is written beside it, each of which
/// holds the secret and serves what it hears.
#[derive(Debug)]
struct Ways(BTreeMap<&'static str, &'static str>);

#[async_trait]
impl Transport for Ways {
    async fn send(&self, peer: &PeerAddress, call: &Call) -> Result<PeerReply, TransportError> {
        let instance = self.0[peer.to_string().as_str()];
        let header = call.header_value(&HeaderName::from_static("authorization"));
        let now = SystemTime::now();
        let signed = signer().verify(call.method(), call.path(), header, now);
        let answer = PeerAnswer {
            instance: instance.parse().unwrap(),
            revision: None,
            reason: None,
        };
        let answer = serde_json::to_vec(&answer).unwrap();
        let from = HeaderValue::from_static(instance);
        let reply = PeerReply::new(StatusCode::OK, answer).with_header(INSTANCE_HEADER, from);
        let signature = signer().sign_answer(&signed.unwrap(), &reply, Some(&INSTANCE_HEADER));
        Ok(reply.with_header(SIGNATURE_HEADER, signature))
    }
}

/// What the replica `me` hears of everyone: address, instance and status, and the reasons.
async fn told(
    ways: &[(&'static str, &'static str)],
) -> (Vec<(String, String, ReplicaStatus)>, String) {
    let instance: InstanceId = "me".parse().unwrap();
    let ways = BTreeMap::from_iter(ways.iter().copied());
    let peers = ways.keys().map(|peer| peer.parse().unwrap());
    let peers = Peers::follow(
        Arc::new(StaticDiscover::new(peers)),
        FollowSettings::default(),
    );
    let settings = BroadcastSettings::default().signer(signer());
    let settings = settings.identity(identity(&instance).unwrap());
    let broadcast = Broadcast::over(Arc::new(Ways(ways)), settings);
    let settings = AnnouncerSettings {
        instance,
        own_address: "here:8080".to_owned(),
        source: "PEERS".to_owned(),
        registers: None,
        wait_timeout: Duration::from_secs(5),
    };
    let metrics = Arc::new(Metrics::new());
    let announcer = PeerAnnouncer::new(Some(Arc::new(peers)), broadcast, settings, metrics);
    let reach = Revision::new(Epoch::from_bytes([1; 16]), 1, CommitId::from_bytes([1; 16]));
    let names = BTreeSet::from(["a".parse().unwrap()]);
    let news = Announcement::new(Some(reach), Vec::new(), names);
    let (own, told) = (OwnEnding::new(), watch::Sender::new(Told::default()));
    own.tell(Ok(()));
    announcer.announce(news, own.end(), &told).await;
    let rows = told.borrow().rows.clone();
    let reasons: Vec<_> = rows.iter().filter_map(|row| row.reason.clone()).collect();
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|row| (row.address, row.instance.unwrap_or_default(), row.status))
        .collect();
    // Which of two came first is chance.
    rows.sort_by_key(|(_, instance, status)| (instance.clone(), *status != ReplicaStatus::Applied));
    (rows, reasons.join("; "))
}

fn statuses(rows: &[(String, String, ReplicaStatus)]) -> Vec<(&str, ReplicaStatus)> {
    let rows = rows.iter();
    rows.map(|(_, instance, status)| (instance.as_str(), *status))
        .collect()
}

#[tokio::test]
async fn a_replica_that_answers_at_two_addresses_counts_once() {
    use ReplicaStatus::{Applied, Unconfirmed};
    let (rows, reasons) = told(&[("a:8080", "me"), ("b:8080", "b"), ("c:8080", "c")]).await;
    let all = [("b", Applied), ("c", Applied), ("me", Applied)];
    assert_eq!((&statuses(&rows)[..], reasons.as_str()), (&all[..], ""));

    // The call for B is led to C, which holds the secret too and signs its answer.
    let (rows, reasons) = told(&[("a:8080", "me"), ("b:8080", "c"), ("c:8080", "c")]).await;
    let once = [("c", Applied), ("c", Unconfirmed), ("me", Applied)];
    assert_eq!(statuses(&rows), once);
    let first = &rows[0].0;
    let words = format!("the same replica answered at {first}; ");
    assert!(reasons.starts_with(&words), "{reasons}");

    // Or back to who calls.
    let (rows, reasons) = told(&[("a:8080", "me"), ("b:8080", "me"), ("c:8080", "c")]).await;
    let once = [("c", Applied), ("me", Applied), ("me", Unconfirmed)];
    assert_eq!(statuses(&rows), once);
    let words = format!("the same replica answered at {}; ", rows[1].0);
    assert!(reasons.starts_with(&words), "{reasons}");
}
