use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use axum::http::StatusCode;
use proxy_peers::{
    BroadcastSettings, FollowSettings, PeerAddress, PeerReply, StaticDiscover, Transport,
    TransportError,
};

use super::*;
use crate::testing::Scripted;

/// What each replica says: ten bytes.
const FIGURES: &str = "# figures\n";

/// Peers that all say the same, and how many are asked at once.
#[derive(Debug, Default)]
struct Asked {
    now: AtomicUsize,
    at_once: AtomicUsize,
    calls: AtomicUsize,
}

#[async_trait]
impl Transport for Asked {
    async fn send(&self, _: &PeerAddress, _: &Call) -> Result<PeerReply, TransportError> {
        self.calls.fetch_add(1, SeqCst);
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.at_once.fetch_max(now, SeqCst);
        // Whoever else is asked in the same round is asked before this one has answered.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, SeqCst);
        Ok(PeerReply::new(StatusCode::OK, FIGURES))
    }
}

fn among(peers: usize, bounds: Bounds) -> (Arc<Asked>, Statistics) {
    let addresses = (1..=peers).map(|n| format!("127.0.0.1:{n}").parse().unwrap());
    let discover = StaticDiscover::new(addresses);
    let found = Peers::follow(Arc::new(discover), FollowSettings::default());
    let asked = Arc::new(Asked::default());
    let broadcast = Broadcast::over(Arc::clone(&asked) as _, BroadcastSettings::default());
    let carrier = Scripted::default();
    *carrier.statistics.lock().unwrap() = Some(FIGURES.to_owned());
    let mut statistics = Statistics::new(Arc::new(carrier), Some((Arc::new(found), broadcast)));
    statistics.bounds = bounds;
    (asked, statistics)
}

#[tokio::test]
async fn the_figures_of_all_replicas_have_room_before_they_are_asked_for() {
    let bounds = Bounds { each: 10, all: 60 };
    let (asked, statistics) = among(5, bounds);
    assert_eq!(statistics.everywhere().await.unwrap(), FIGURES.repeat(6));
    assert_eq!(asked.at_once.load(SeqCst), 5);
    // Room for three at first, then for one and one and one.
    let (asked, statistics) = among(5, Bounds { each: 15, all: 60 });
    assert_eq!(statistics.everywhere().await.unwrap(), FIGURES.repeat(6));
    assert_eq!(asked.at_once.load(SeqCst), 3);
}

#[tokio::test]
async fn figures_that_are_too_many_are_refused_and_not_gathered() {
    let (asked, statistics) = among(50, Bounds { each: 10, all: 60 });
    let why = statistics.everywhere().await.unwrap_err();
    assert!(why.contains("more than 60 bytes"), "{why}");
    // The five that had room, and one more.
    assert_eq!(asked.calls.load(SeqCst), 6);
}
