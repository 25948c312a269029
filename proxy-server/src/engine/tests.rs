//! The engine against a scripted carrier and a store in memory, which several engines may share.

mod commits;
mod culprits;
mod stored;
mod tried;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use proxy_core::{MemoryStore, Params, parse_reconfigure};
use tokio::task::JoinHandle;

use super::*;
use crate::{
    carrier::CarrierCondition,
    testing::{Notes, Scripted, put, store},
};

struct Replica {
    handle: EngineHandle,
    carrier: Arc<Scripted>,
    notes: Arc<Notes>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Replica {
    fn on(store: &Arc<MemoryStore>) -> Self {
        Self::with(store, Scripted::default())
    }

    fn with(store: &Arc<MemoryStore>, carrier: Scripted) -> Self {
        Self::after(store, carrier, RouteTable::new())
    }

    /// A replica that served this table when its earlier run ended.
    fn after(store: &Arc<MemoryStore>, carrier: Scripted, served: RouteTable) -> Self {
        Self::before(Arc::clone(store) as Arc<dyn RouteStore>, carrier, served)
    }

    fn before(store: Arc<dyn RouteStore>, carrier: Scripted, served: RouteTable) -> Self {
        let (carrier, notes) = (Arc::new(carrier), Arc::new(Notes::default()));
        let stop = CancellationToken::new();
        let parts = Parts {
            served,
            store,
            carrier: Arc::clone(&carrier),
            announce: Arc::clone(&notes) as Arc<dyn Announce>,
            metrics: Arc::new(Metrics::new()),
            stop: stop.clone(),
        };
        let (engine, handle) = Engine::new(parts);
        let task = tokio::spawn(engine.run());
        Self {
            handle,
            carrier,
            notes,
            stop,
            task,
        }
    }

    async fn put(&self, name: &str) -> Result<Answer, ChangeError> {
        self.change(vec![put(name)]).await
    }

    async fn change(&self, changes: Vec<Change>) -> Result<Answer, ChangeError> {
        self.handle
            .change(ChangeRequest::new(changes, Wait::here()))
            .await
    }

    /// Waits until this service is live.
    async fn serves_one_more(&self, name: &str) {
        let mut snapshots = self.handle.snapshots();
        let right = |s: &Arc<Snapshot>| s.served.iter().any(|s| s.name().as_str() == name);
        let waited = tokio::time::timeout(Duration::from_secs(20), snapshots.wait_for(right)).await;
        assert!(waited.is_ok(), "live: {:?}", self.carrier.live());
    }

    /// Waits until these services are live.
    async fn serves(&self, names: &[&str]) {
        let mut snapshots = self.handle.snapshots();
        let right = |s: &Arc<Snapshot>| {
            let served: Vec<_> = s.served.iter().map(|s| s.name().to_string()).collect();
            served == names && s.failure.is_none()
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), snapshots.wait_for(right)).await;
        assert!(waited.is_ok(), "live: {:?}", self.carrier.live());
    }
}

#[tokio::test]
async fn a_change_is_live_and_stored_when_it_is_answered() {
    let store = store();
    let replica = Replica::on(&store);
    let answer = replica.put("a").await.unwrap();
    assert_eq!((answer.commits, answer.revision.unwrap().number), (1, 1));
    assert_eq!(replica.carrier.live(), ["a"]);
    assert_eq!(store.view().stored.table().len(), 1);
    assert_eq!(replica.notes.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_same_again_makes_no_commit_and_no_reload() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("a").await.unwrap();
    let (checks, reloads) = (
        replica.carrier.checks.load(SeqCst),
        replica.carrier.reloads.load(SeqCst),
    );
    let answer = replica.put("a").await.unwrap();
    assert_eq!((answer.commits, answer.revision.unwrap().number), (0, 1));
    assert_eq!(replica.carrier.checks.load(SeqCst), checks);
    assert_eq!(replica.carrier.reloads.load(SeqCst), reloads);
}

#[tokio::test]
async fn an_empty_table_is_served_too() {
    let replica = Replica::on(&store());
    replica.serves(&[]).await;
    let mut snapshots = replica.handle.snapshots();
    snapshots
        .wait_for(|_| replica.carrier.condition() == CarrierCondition::Running)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_peers_are_told_while_this_replica_goes_live() {
    let store = store();
    let replica = Arc::new(Replica::on(&store));
    replica.put("a").await.unwrap();
    let gate = replica.carrier.gate.lock().await;
    let call = tokio::spawn({
        let replica = Arc::clone(&replica);
        async move { replica.put("b").await }
    });
    let told = async {
        while replica.notes.0.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await;
    assert!(told.is_ok() && !call.is_finished());
    assert_eq!(replica.carrier.live(), ["a"]);
    drop(gate);
    assert_eq!(call.await.unwrap().unwrap().failure, None);
}

#[tokio::test]
async fn a_whole_table_takes_the_place_of_what_is_there_when_its_turn_comes() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("old").await.unwrap();
    let request = ChangeRequest::whole(vec![put("new")], Wait::here());
    replica.handle.change(request).await.unwrap();
    replica.serves(&["new"]).await;
}

#[tokio::test]
async fn an_engine_that_stops_refuses_what_waits() {
    let replica = Replica::on(&store());
    replica.put("a").await.unwrap();
    replica.stop.cancel();
    replica.task.await.unwrap();
    assert_eq!(
        replica
            .handle
            .change(ChangeRequest::new(vec![put("b")], Wait::here()))
            .await
            .unwrap_err(),
        ChangeError::ShuttingDown
    );
}
