//! A store that does not let this replica write, for a while: the right comes without the table changing.

use std::sync::atomic::AtomicBool;

use proxy_core::{
    CommitError, CommitId, CommitRecord, Committed, HistoryError, OfferError, Outcome, RereadError,
    StoreView, ViewSeq,
};

use super::{
    refused::{Gone, Names},
    *,
};

/// A store that may deny every commit.
#[derive(Debug)]
struct Guarded {
    store: Arc<MemoryStore>,
    denies: AtomicBool,
}

#[async_trait::async_trait]
impl RouteStore for Guarded {
    fn view(&self) -> Arc<StoreView> {
        self.store.view()
    }

    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView> {
        self.store.changed(seen).await
    }

    async fn commit(&self, base: &StoreView, changes: &[Change]) -> Result<Committed, CommitError> {
        match self.denies.load(SeqCst) {
            true => Err(CommitError::Denied {
                why: "ACL not found".into(),
            }),
            false => self.store.commit(base, changes).await,
        }
    }

    async fn offer(&self, record: CommitRecord) -> Result<ViewSeq, OfferError> {
        self.store.offer(record).await
    }

    async fn confirm(&self, base: &StoreView, services: &[ServiceName]) -> Result<(), CommitError> {
        self.store.confirm(base, services).await
    }

    async fn outcome(&self, id: CommitId) -> Outcome {
        self.store.outcome(id).await
    }

    async fn history(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, HistoryError> {
        self.store.history(before, limit).await
    }

    async fn reread(&self) -> Result<ViewSeq, RereadError> {
        self.store.reread().await
    }

    async fn accept(&self) -> Result<ViewSeq, CommitError> {
        self.store.accept().await
    }
}

async fn guarded() -> (Bench, Arc<Guarded>) {
    let store = store();
    let guarded = Arc::new(Guarded {
        store: Arc::clone(&store),
        denies: AtomicBool::new(false),
    });
    let seen = Arc::clone(&guarded) as Arc<dyn RouteStore>;
    let bench = Bench::seen_as(store, seen);
    bench.until(|services| services.is_empty()).await;
    (bench, guarded)
}

async fn says(reports: &mut watch::Receiver<SourceReport>, word: &str) {
    let says = |report: &SourceReport| {
        let mut whys = report.refused.first.values();
        whys.any(|why| why.contains(word))
    };
    let said = reports.wait_for(says);
    tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap();
}

fn pace() -> Pace {
    Pace {
        again: None,
        retry: Duration::from_secs(5),
        confirm: Duration::from_millis(10),
        patience: Some(Patience {
            looks: 2,
            least: Duration::ZERO,
            doubted: Duration::ZERO,
        }),
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_of_the_environment_comes_once_the_token_is_right() {
    let (bench, guarded) = guarded().await;
    guarded.denies.store(true, SeqCst);
    let sources = bench.start(&[
        ("DFP_SERVICE_1_SERVICE_NAME", "one"),
        ("DFP_SERVICE_1_SERVICE_PATH", "/one"),
        ("DFP_SERVICE_1_PORT", "81"),
    ]);
    let mut reports = sources.reports_of(Source::Environment);
    says(&mut reports, "ACL not found").await;
    let revision = bench.revision();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.revision(), revision);
    guarded.denies.store(false, SeqCst);
    bench.until(|services| services.contains_key("one")).await;
    let said = reports.wait_for(|report| report.refused.count == 0);
    tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_of_a_list_comes_and_goes_once_the_token_is_right() {
    let (bench, guarded) = guarded().await;
    guarded.denies.store(true, SeqCst);
    let intake = || Intake::new(bench.way(), Source::Docker);
    let follower = Follower::new(Names("a"), intake(), pace(), watch::channel(false).0);
    let mut reports = follower.reports();
    let (stop, asking) = (CancellationToken::new(), mpsc::channel(1));
    let running = tokio::spawn(follower.run(asking.1, stop.clone()));
    says(&mut reports, "ACL not found").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    guarded.denies.store(false, SeqCst);
    bench.until(|services| services.contains_key("a")).await;
    stop.cancel();
    running.await.unwrap();

    guarded.denies.store(true, SeqCst);
    let follower = Follower::new(Gone, intake(), pace(), watch::channel(false).0);
    let (stop, asking) = (CancellationToken::new(), mpsc::channel(1));
    let running = tokio::spawn(follower.run(asking.1, stop.clone()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.names(), ["a"]);
    guarded.denies.store(false, SeqCst);
    bench.until(|services| services.is_empty()).await;
    stop.cancel();
    running.await.unwrap();
}
