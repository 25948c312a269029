use std::sync::Mutex;

use async_trait::async_trait;
use proxy_core::{
    Change, CommitError, CommitId, CommitRecord, Committed, Document, HistoryError, OfferError,
    Outcome, RereadError, Revision, RouteTable, StoreCondition, StoredTable, ViewSeq,
};
use tokio::sync::watch;

use super::*;
use crate::{
    api::Carried,
    engine::{Engine, EngineHandle, Parts},
    standing::Surveyed,
    testing::{Notes, Peers, Scripted},
};

/// A store in which somebody changed a document behind the log's back: a second read shows another
/// port at the same commit.
#[derive(Debug)]
struct Meddled {
    views: watch::Sender<Arc<StoreView>>,
    rereads: Mutex<u32>,
}

fn view(seq: u64, port: u16) -> Arc<StoreView> {
    let query = format!("serviceName=a&servicePath=/a&port={port}");
    let params = proxy_core::Params::from_query(query).unwrap();
    let service = proxy_core::parse_reconfigure(&params)
        .unwrap()
        .value
        .service;
    let document = Arc::new(Document::from_service(service).unwrap());
    let id = CommitId::from_bytes([7; 16]);
    let revision = Revision::new(proxy_core::Epoch::from_bytes([1; 16]), 1, id);
    let stored = StoredTable::from_documents([document]);
    let (seq, live) = (ViewSeq(seq), StoreCondition::Live);
    Arc::new(StoreView::new(seq, Some(revision), stored, live))
}

#[async_trait]
impl RouteStore for Meddled {
    fn view(&self) -> Arc<StoreView> {
        Arc::clone(&self.views.borrow())
    }

    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView> {
        let mut views = self.views.subscribe();
        let newer = views.wait_for(|view| view.seq > seen).await.unwrap();
        Arc::clone(&newer)
    }

    async fn commit(&self, base: &StoreView, _: &[Change]) -> Result<Committed, CommitError> {
        let view = Arc::new(base.clone());
        Err(CommitError::LostRace { view })
    }

    async fn offer(&self, _: CommitRecord) -> Result<ViewSeq, OfferError> {
        Ok(self.view().seq)
    }

    async fn confirm(&self, _: &StoreView, _: &[ServiceName]) -> Result<(), CommitError> {
        Ok(())
    }

    async fn outcome(&self, _: CommitId) -> Outcome {
        Outcome::NotThere
    }

    async fn history(
        &self,
        _: Option<u64>,
        _: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, HistoryError> {
        Err(HistoryError::NotKept)
    }

    async fn reread(&self) -> Result<ViewSeq, RereadError> {
        *self.rereads.lock().unwrap() += 1;
        self.views.send_if_modified(|known| {
            let first = known.seq == ViewSeq(1);
            if first {
                *known = view(2, 81);
            }
            first
        });
        Ok(self.view().seq)
    }

    async fn accept(&self) -> Result<ViewSeq, CommitError> {
        Ok(self.view().seq)
    }
}

struct Bench {
    check: DriftCheck,
    store: Arc<Meddled>,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
    engine: EngineHandle,
}

impl Bench {
    async fn new() -> Self {
        let store = Arc::new(Meddled {
            views: watch::Sender::new(view(1, 80)),
            rereads: Mutex::default(),
        });
        let (carrier, metrics) = (Arc::new(Scripted::default()), Arc::new(Metrics::new()));
        let (engine, handle) = Engine::new(Parts {
            served: RouteTable::new(),
            store: Arc::clone(&store) as Arc<dyn RouteStore>,
            carrier: Arc::clone(&carrier),
            announce: Arc::new(Notes::default()),
            metrics: Arc::clone(&metrics),
            stop: CancellationToken::new(),
        });
        tokio::spawn(engine.run());
        handle.served(ViewSeq(1)).await.unwrap();
        let carrier = carrier as Arc<dyn Carried>;
        let station = Station::new(
            "me".parse().unwrap(),
            handle.clone(),
            carrier,
            CancellationToken::new(),
        );
        let peers = Arc::new(Peers::default());
        let check = DriftCheck {
            station: Arc::new(station),
            survey: Arc::clone(&peers) as Arc<dyn Survey>,
            store: Arc::clone(&store) as Arc<dyn RouteStore>,
            metrics: Arc::clone(&metrics),
        };
        Self {
            check,
            store,
            peers,
            metrics,
            engine: handle,
        }
    }

    /// A peer that says what this replica says, with another name and this digest.
    fn peer(&self, digest: Option<&str>) {
        let mut standing = self.check.station.now();
        standing.instance = "other".parse().unwrap();
        if let Some(digest) = digest {
            standing.table_digest = digest.to_owned();
        }
        *self.peers.0.lock().unwrap() = vec![Surveyed {
            address: "10.0.0.2:8080".into(),
            took: Duration::ZERO,
            standing: Ok(standing),
        }];
    }

    fn counted(&self, against: &str) -> bool {
        let line = format!("proxy_drift_total{{against=\"{against}\"}} 1");
        self.metrics.text().contains(&line)
    }

    fn rereads(&self) -> u32 {
        *self.store.rereads.lock().unwrap()
    }
}

#[tokio::test]
async fn another_table_at_the_same_commit_is_counted_and_the_store_read_anew() {
    let bench = Bench::new().await;
    bench.peer(Some("another"));
    let before = bench.check.station.now().table_digest;
    bench.check.look(false).await;
    assert_eq!(bench.rereads(), 1);
    assert!(bench.counted("peers") && bench.counted("store"));
    let healed = bench.engine.served(ViewSeq(2)).await.unwrap();
    let service = healed.served.get(&"a".parse().unwrap()).unwrap();
    assert_eq!(service.destinations()[0].port().unwrap().get(), 81);
    assert_ne!(bench.check.station.now().table_digest, before);
}

#[tokio::test]
async fn what_is_no_drift_reads_nothing() {
    let bench = Bench::new().await;
    bench.peer(None);
    bench.check.look(false).await;
    // Another commit: it lags, or is ahead.
    bench.peer(Some("another"));
    if let Ok(standing) = &mut bench.peers.0.lock().unwrap()[0].standing {
        standing.revision.as_mut().unwrap().number = 2;
    }
    bench.check.look(false).await;
    bench.peers.0.lock().unwrap()[0].standing = Err("gone".into());
    bench.check.look(false).await;
    // Itself, found by discovery while its table moved on.
    bench.peer(Some("another"));
    if let Ok(standing) = &mut bench.peers.0.lock().unwrap()[0].standing {
        standing.instance = "me".parse().unwrap();
    }
    bench.check.look(false).await;
    assert_eq!(bench.rereads(), 0);
    assert!(!bench.metrics.text().contains("proxy_drift_total{"));
}

#[tokio::test]
async fn the_store_itself_is_held_against_the_table_now_and_then() {
    let bench = Bench::new().await;
    bench.check.look(true).await;
    assert_eq!(bench.rereads(), 1);
    assert!(bench.counted("store") && !bench.counted("peers"));
    bench.check.look(true).await;
    assert!(bench.counted("store"), "it is healed and not counted again");
}

#[tokio::test(start_paused = true)]
async fn checks_come_at_the_interval_and_end_when_told() {
    let bench = Bench::new().await;
    let stop = CancellationToken::new();
    let store = Arc::clone(&bench.store);
    let task = tokio::spawn(bench.check.run(Duration::from_secs(60), stop.clone()));
    tokio::time::sleep(Duration::from_secs(60 * 3 / 2 * u64::from(STORE_EVERY) + 1)).await;
    assert!(*store.rereads.lock().unwrap() >= 1);
    stop.cancel();
    task.await.unwrap();
}

#[test]
fn services_that_changed_in_a_commit_are_no_drift() {
    let older = view(1, 80);
    let mut newer = StoreView::clone(&view(2, 81));
    assert_eq!(differing(&older, &newer).len(), 1);
    newer.revision.as_mut().unwrap().number = 2;
    assert!(differing(&older, &newer).is_empty());
}
