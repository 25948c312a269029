//! What is believed of answers that come from somebody else than whom the call was for.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use proxy_core::{CommitId, Epoch, Revision};

use super::*;
use crate::{announce::OwnEnding, testing::Ways};

/// Each serves what it hears.
fn confirm(instance: &str, _: &Call) -> Vec<u8> {
    let answer = PeerAnswer {
        instance: instance.parse().unwrap(),
        revision: None,
        reason: None,
    };
    serde_json::to_vec(&answer).unwrap()
}

/// What the replica `me` hears of everyone: address, instance and status, and the reasons.
async fn told(
    ways: &[(&'static str, &'static str)],
) -> (Vec<(String, String, ReplicaStatus)>, String) {
    tell(&announcer(ways, confirm)).await
}

fn announcer(
    ways: &[(&'static str, &'static str)],
    answer: fn(&str, &Call) -> Vec<u8>,
) -> PeerAnnouncer {
    let instance: InstanceId = "me".parse().unwrap();
    let (peers, broadcast) = Ways::lead(ways, answer);
    let settings = AnnouncerSettings {
        instance,
        own_address: "here:8080".to_owned(),
        source: "PEERS".to_owned(),
        registers: None,
        wait_timeout: Duration::from_secs(5),
    };
    let metrics = Arc::new(Metrics::new());
    PeerAnnouncer::new(Some(peers), broadcast, settings, metrics)
}

async fn tell(announcer: &PeerAnnouncer) -> (Vec<(String, String, ReplicaStatus)>, String) {
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

#[tokio::test]
async fn a_replica_with_an_address_of_each_family_is_one_that_confirmed() {
    use ReplicaStatus::{Applied, Unconfirmed};
    let mut ways = [
        ("10.0.0.1:8080", "me"),
        ("10.0.0.2:8080", "b"),
        ("10.0.0.3:8080", "c"),
        ("[fd00::1]:8080", "me"),
        ("[fd00::2]:8080", "b"),
        ("[fd00::3]:8080", "c"),
    ];
    let (rows, reasons) = told(&ways).await;
    let all = [("b", Applied), ("c", Applied), ("me", Applied)];
    assert_eq!((&statuses(&rows)[..], reasons.as_str()), (&all[..], ""));
    // One that was led elsewhere is not confirmed, though its replica answered at the other address.
    for (at, to) in [(1, "c"), (4, "me")] {
        let own = std::mem::replace(&mut ways[at].1, to);
        let (rows, reasons) = told(&ways).await;
        let refused = rows.iter().filter(|(.., status)| *status == Unconfirmed);
        assert_eq!(refused.count(), 1, "{rows:?}");
        assert!(reasons.starts_with("the same replica answered at "));
        ways[at].1 = own;
    }
}

#[tokio::test]
async fn an_address_that_leads_to_one_now_and_to_another_then_confirms_nothing() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let in_turn = |_: &str, call: &Call| confirm(["b", "c"][CALLS.fetch_add(1, SeqCst) % 2], call);
    let announcer = announcer(&[("proxy:8080", "b")], in_turn);
    for unconfirmed in [false, false, true, true] {
        let (rows, reasons) = tell(&announcer).await;
        let is_unconfirmed = rows.iter().any(|row| row.2 == ReplicaStatus::Unconfirmed);
        assert_eq!(is_unconfirmed, unconfirmed, "{rows:?}");
        assert_eq!(reasons.contains("answer there in turn"), unconfirmed);
    }
}
