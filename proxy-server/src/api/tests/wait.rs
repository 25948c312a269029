//! What `wait` and `timeout` make of an answer.

use async_trait::async_trait;
use tokio::sync::watch;

use super::*;
use crate::{
    announce::OwnEnd,
    engine::{ReplicaRow, ReplicaStatus, Told},
};

/// Replicas of which so many serve everything at once and the others never answer.
struct Crowd {
    serving: usize,
    silent: usize,
}

#[async_trait]
impl Announce for Crowd {
    async fn announce(&self, news: Announcement, _: OwnEnd, told: &watch::Sender<Told>) {
        if news.is_hint() {
            return;
        }
        let row = |status| ReplicaRow {
            address: "peer".into(),
            instance: None,
            status,
            took: Duration::ZERO,
            reason: None,
        };
        let serving = std::iter::repeat_n(row(ReplicaStatus::Applied), self.serving);
        let silent = std::iter::repeat_n(row(ReplicaStatus::Pending), self.silent);
        told.send_modify(|told| told.rows = serving.chain(silent).collect());
        std::future::pending().await
    }
}

async fn among(serving: usize, silent: usize) -> Bench {
    let crowd = Arc::new(Crowd { serving, silent });
    Bench::among(Keys::default(), crowd).await
}

const CALL: &str = "reconfigure?serviceName=a&servicePath=/a&port=80";

#[tokio::test(start_paused = true)]
async fn each_way_to_wait_has_its_answer() {
    for (serving, silent, wait, expected) in [
        (1, 2, "none", 202),
        (1, 2, "local", 200),
        (2, 1, "quorum", 200),
        (1, 1, "quorum", 502),
        (1, 2, "quorum", 502),
        (2, 1, "all", 502),
        (3, 0, "all", 200),
    ] {
        let bench = among(serving, silent).await;
        let (status, json) = bench.get(&format!("{CALL}&wait={wait}&timeout=1")).await;
        assert_eq!(status, expected, "{serving} {silent} {wait}: {json}");
        assert_eq!(json["Stored"], true, "{json}");
        assert_eq!(json["Wait"], wait, "{json}");
        assert_eq!(json["Distribute"], wait == "all", "{json}");
        let rows = json["Peers"].as_array().unwrap();
        let others = matches!(wait, "quorum" | "all");
        assert_eq!(
            rows.len(),
            if others { serving + silent } else { 0 },
            "{json}"
        );
        let pending = rows.iter().filter(|row| row["Status"] == "pending");
        assert_eq!(pending.count(), if others { silent } else { 0 }, "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_as_long_as_it_was_told_and_no_longer() {
    let bench = among(1, 2).await;
    for (timeout, seconds) in [("&timeout=1", 1), ("&timeout=7", 7), ("", 2)] {
        let before = tokio::time::Instant::now();
        bench.get(&format!("{CALL}&distribute=true{timeout}")).await;
        assert_eq!(before.elapsed().as_secs(), seconds, "{timeout}");
    }
}

#[tokio::test]
async fn what_is_not_waited_for_is_answered_before_it_is_live() {
    let bench = among(1, 0).await;
    let gate = bench.carrier.gate.lock().await;
    let (status, json) = bench.get(&format!("{CALL}&wait=none")).await;
    assert_eq!((status, &json["Stored"]), (202, &true.into()), "{json}");
    assert!(bench.carrier.live().is_empty());
    drop(gate);
    let (status, _) = bench.get(CALL).await;
    assert_eq!(status, 200);
    assert_eq!(bench.carrier.live(), ["a"]);
}

#[tokio::test]
async fn contradictions_and_nonsense_are_refused() {
    let bench = among(1, 0).await;
    for query in [
        "wait=some",
        "distribute=true&wait=quorum",
        "distribute=true&wait=none",
        "wait=all&timeout=0",
        "wait=all&timeout=301",
        "wait=all&timeout=soon",
        "wait=all&timeout=-1",
    ] {
        let (status, json) = bench.get(&format!("{CALL}&{query}")).await;
        assert_eq!(status, 400, "{query}: {json}");
        let message = json["Message"].as_str().unwrap();
        assert!(message.contains("nothing was changed"), "{message}");
    }
    assert!(bench.store.view().stored.table().is_empty());
    let (status, _) = bench.get(&format!("{CALL}&distribute=true&wait=all")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn an_empty_import_that_is_waited_for_is_answered() {
    let bench = Bench::new().await;
    let file = Body::from(r#"{"format":1,"services":[]}"#);
    let request = Request::put("/v1/docker-flow-proxy/import?distribute=true").body(file);
    let (status, json) = bench.send(request.unwrap()).await;
    assert_eq!((status, &json["Stored"]), (200, &true.into()), "{json}");
}
