//! A request that takes several commits, between which others store something.

use std::sync::Mutex;

use async_trait::async_trait;
use proxy_core::{
    CommitError, CommitId, CommitRecord, Committed, HistoryError, OfferError, Outcome, RereadError,
    ViewSeq,
};

use super::*;
use crate::testing::service;

/// Takes one change at a time, and then something of another replica's.
#[derive(Debug)]
struct Interrupted {
    store: Arc<MemoryStore>,
    between: Mutex<Option<Change>>,
}

#[async_trait]
impl RouteStore for Interrupted {
    fn view(&self) -> Arc<StoreView> {
        self.store.view()
    }

    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView> {
        self.store.changed(seen).await
    }

    async fn commit(&self, base: &StoreView, changes: &[Change]) -> Result<Committed, CommitError> {
        let first = changes.get(..1).unwrap_or_default();
        let committed = self.store.commit(base, first).await?;
        let other = self.between.lock().unwrap().take();
        if let Some(other) = other {
            self.store.commit(&self.store.view(), &[other]).await?;
        }
        Ok(committed)
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

    async fn accept(&self) -> Result<ViewSeq, CommitError> {
        self.store.accept().await
    }

    async fn reread(&self) -> Result<ViewSeq, RereadError> {
        self.store.reread().await
    }
}

fn version(name: &str, path: &str) -> Change {
    let query = format!("serviceName={name}&servicePath={path}&port=80");
    Change::Put(service(&query))
}

/// What is stored of a request stays as others left it since; nothing is decided on it again.
#[tokio::test]
async fn what_another_replica_stores_between_two_commits_of_a_request_stands() {
    for (between, names) in [
        (version("a", "/theirs"), vec!["a", "b", "c"]),
        // The table that is replaced did not have it.
        (version("new", "/theirs"), vec!["a", "b", "c", "new"]),
        (Change::Remove("a".parse().unwrap()), vec!["b", "c"]),
    ] {
        let store = store();
        let interrupted = Arc::new(Interrupted {
            store: Arc::clone(&store),
            between: Mutex::default(),
        });
        let parts = Arc::clone(&interrupted) as Arc<dyn RouteStore>;
        let replica = Replica::before(parts, Scripted::default(), RouteTable::new());
        replica.put("old").await.unwrap();
        *interrupted.between.lock().unwrap() = Some(between.clone());

        let all = ["a", "b", "c"].map(|name| version(name, "/ours"));
        // What the first commit takes: of a request for the whole table the removal of `old`, else `a`.
        let request = match between.service_name().as_str() {
            "new" => ChangeRequest::whole(all.to_vec(), Wait::here()),
            _ => {
                let old = Change::Remove("old".parse().unwrap());
                let changes = all.into_iter().chain([old]).collect();
                ChangeRequest::new(changes, Wait::here())
            }
        };
        let answer = replica.handle.change(request).await.unwrap();
        assert_eq!(answer.commits, 4, "{between:?}");
        let stored = store.view();
        let table = stored.stored.table();
        let there: Vec<_> = table.iter().map(|it| it.name().to_string()).collect();
        assert_eq!(there, names);
        if let Change::Put(theirs) = &between {
            assert_eq!(table.get(theirs.name()), Some(theirs));
        }
        replica.serves(&names).await;
    }
}
