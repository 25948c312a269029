//! The engine against a scripted carrier and a store in memory, which several engines may share.

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
        let (carrier, notes) = (Arc::new(carrier), Arc::new(Notes::default()));
        let stop = CancellationToken::new();
        let parts = Parts {
            served,
            store: Arc::clone(store) as Arc<dyn RouteStore>,
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
async fn a_refused_change_changes_nothing() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("a").await.unwrap();
    replica.carrier.bad.lock().unwrap().insert("evil");
    let before = store.view().seq;
    let refused = replica.put("evil").await.unwrap_err();
    assert!(matches!(refused, ChangeError::Rejected { words, .. } if words == "evil is bad"));
    replica.carrier.unable.store(true, SeqCst);
    let unable = replica.put("b").await.unwrap_err();
    assert!(matches!(unable, ChangeError::Unable { why, .. } if why.contains("no disk")));
    assert_eq!(store.view().seq, before);
    assert_eq!(replica.carrier.live(), ["a"]);
}

#[tokio::test]
async fn a_burst_is_one_reload_and_loses_only_its_culprits() {
    let store = store();
    let replica = Arc::new(Replica::on(&store));
    replica.put("first").await.unwrap();
    replica.carrier.bad.lock().unwrap().extend(["s13", "s77"]);
    *replica.carrier.clash.lock().unwrap() = Some(["s20", "s21"]);
    let reloads = replica.carrier.reloads.load(SeqCst);
    // While one apply is held up, everything else queues behind it.
    let gate = replica.carrier.gate.lock().await;
    let mut calls = Vec::new();
    for name in std::iter::once("held".to_owned()).chain((0..100).map(|i| format!("s{i}"))) {
        let replica = Arc::clone(&replica);
        let call = tokio::spawn(async move { replica.put(&name).await.map_err(|e| e.to_string()) });
        tokio::task::yield_now().await;
        calls.push(call);
    }
    drop(gate);
    let mut refused = Vec::new();
    for (i, call) in calls.into_iter().enumerate() {
        if let Err(why) = call.await.unwrap() {
            refused.push((i, why));
        }
    }
    let names: Vec<_> = refused.iter().map(|(i, _)| i - 1).collect();
    assert_eq!(names, [13, 21, 77], "{refused:?}");
    assert_eq!(store.view().stored.table().len(), 99);
    let reloads = replica.carrier.reloads.load(SeqCst) - reloads;
    assert!(reloads <= 3, "{reloads} reloads for 101 calls");
}

#[tokio::test]
async fn what_another_replica_stores_is_served_and_its_bad_services_are_quarantined() {
    let store = store();
    let strict = Replica::on(&store);
    let lax = Replica::on(&store);
    lax.change(vec![put("a"), put("b")]).await.unwrap();
    strict.serves(&["a", "b"]).await;
    strict.carrier.bad.lock().unwrap().insert("c");
    lax.change(vec![put("c"), put("d")]).await.unwrap();
    strict.serves(&["a", "b", "d"]).await;
    let held = strict.handle.snapshot().quarantined.clone();
    assert_eq!(held["c"].why, "c is bad");
    // A later change does not wait for it, and it heals by itself.
    strict.put("e").await.unwrap();
    lax.serves(&["a", "b", "c", "d", "e"]).await;
    strict.carrier.bad.lock().unwrap().clear();
    strict.serves(&["a", "b", "c", "d", "e"]).await;
    assert!(strict.handle.snapshot().quarantined.is_empty());
}

#[tokio::test]
async fn what_another_replica_has_checked_is_loaded_and_not_checked_again() {
    let store = store();
    let [one, other] = [Replica::on(&store), Replica::on(&store)];
    for name in ["a", "b", "c"] {
        one.put(name).await.unwrap();
        other.serves_one_more(name).await;
    }
    assert_eq!(other.carrier.checks.load(SeqCst), 0);
    assert!(one.carrier.checks.load(SeqCst) >= 3);
    // What is not loaded is checked.
    other.carrier.bad.lock().unwrap().insert("evil");
    one.change(vec![put("evil"), put("good")]).await.unwrap();
    other.serves(&["a", "b", "c", "good"]).await;
    assert!(other.carrier.checks.load(SeqCst) > 0);
}

/// HAProxy bears only so many reloads that fail, whoever asks for them.
#[tokio::test]
async fn while_nothing_loads_each_stored_change_is_checked_and_not_loaded_in_vain() {
    let store = store();
    let [one, other] = [Replica::on(&store), Replica::on(&store)];
    one.put("a").await.unwrap();
    other.serves(&["a"]).await;
    let loads = other.carrier.loads.load(SeqCst);
    other.carrier.unable.store(true, SeqCst);
    let mut snapshots = other.handle.snapshots();
    for (before, name) in ["b", "c", "d", "e"].into_iter().enumerate() {
        one.put(name).await.unwrap();
        let tried = snapshots.wait_for(|_| other.carrier.checks.load(SeqCst) > before);
        let tried = tokio::time::timeout(Duration::from_secs(20), tried).await;
        assert!(tried.is_ok(), "{name} is not tried");
    }
    assert_eq!(other.carrier.loads.load(SeqCst), loads + 1, "b alone");
    other.carrier.unable.store(false, SeqCst);
    other.serves(&["a", "b", "c", "d", "e"]).await;
}

#[tokio::test]
async fn a_stored_change_that_does_not_go_live_is_said_and_tried_again() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("a").await.unwrap();
    replica.carrier.broken.store(true, SeqCst);
    let answer = replica.put("b").await.unwrap();
    assert!(answer.failure.unwrap().contains("no descriptor"));
    assert_eq!(store.view().stored.table().len(), 2);
    assert_eq!(replica.carrier.live(), ["a"]);
    let seq = store.view().seq;
    assert!(replica.handle.served(seq).await.is_err());
    replica.carrier.broken.store(false, SeqCst);
    replica.serves(&["a", "b"]).await;
    assert_eq!(replica.carrier.live(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_fault_is_made_up_for_within_seconds_of_its_end() {
    let store = store();
    let replica = Replica::on(&store);
    replica.carrier.broken.store(true, SeqCst);
    assert!(replica.put("a").await.unwrap().failure.is_some());
    tokio::time::sleep(Duration::from_secs(250)).await;
    replica.carrier.broken.store(false, SeqCst);
    // The clock is simulated: this is a rule and not a measurement.
    let mended = tokio::time::Instant::now();
    replica.serves(&["a"]).await;
    assert!(mended.elapsed() <= Duration::from_secs(5));
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
async fn what_could_not_be_checked_at_the_start_is_never_served_as_an_empty_table() {
    let store = store();
    store.commit(&store.view(), &[put("a")]).await.unwrap();
    let carrier = Scripted::default();
    carrier.unable.store(true, SeqCst);
    let replica = Replica::with(&store, carrier);
    let mut snapshots = replica.handle.snapshots();
    snapshots.wait_for(|s| s.failure.is_some()).await.unwrap();
    assert_eq!(replica.carrier.condition(), CarrierCondition::NotStarted);
    replica.carrier.unable.store(false, SeqCst);
    replica.serves(&["a"]).await;
    assert_eq!(replica.carrier.live(), ["a"]);
    assert_eq!(
        replica.carrier.reloads.load(SeqCst),
        1,
        "one apply, of the whole table"
    );
}

#[tokio::test]
async fn replicas_that_race_end_with_one_table() {
    let store = store();
    let replicas = [
        Arc::new(Replica::on(&store)),
        Arc::new(Replica::on(&store)),
        Arc::new(Replica::on(&store)),
    ];
    let mut calls = Vec::new();
    for i in 0..60 {
        let replica = Arc::clone(&replicas[i % 3]);
        calls.push(tokio::spawn(async move {
            // Ten services, each asked for by several replicas with different paths.
            let query = format!("serviceName=s{}&servicePath=/v{i}&port=80", i % 10);
            let service = parse_reconfigure(&Params::from_query(query).unwrap())
                .unwrap()
                .value
                .service;
            replica.change(vec![Change::Put(service)]).await.unwrap();
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    let view = store.view();
    assert_eq!(view.stored.table().len(), 10);
    for replica in &replicas {
        let at = replica.handle.served(view.seq).await.unwrap();
        assert_eq!(&at.served, view.stored.table());
        assert_eq!(
            replica.carrier.live.lock().unwrap().as_ref(),
            Some(view.stored.table())
        );
    }
}

#[tokio::test]
async fn a_request_that_repeats_a_refused_one_is_refused_too() {
    let store = store();
    let replica = Arc::new(Replica::on(&store));
    replica.put("first").await.unwrap();
    replica.carrier.bad.lock().unwrap().insert("evil");
    let gate = replica.carrier.gate.lock().await;
    let mut calls = Vec::new();
    for name in ["held", "evil", "evil", "evil", "good"] {
        let replica = Arc::clone(&replica);
        calls.push(tokio::spawn(async move { replica.put(name).await }));
        tokio::task::yield_now().await;
    }
    drop(gate);
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap().is_ok());
    }
    assert_eq!(outcomes, [true, false, false, false, true]);
}

#[tokio::test]
async fn what_is_stored_and_quarantined_here_is_no_success() {
    let store = store();
    let strict = Replica::on(&store);
    let lax = Replica::on(&store);
    strict.put("a").await.unwrap();
    strict.carrier.bad.lock().unwrap().insert("c");
    lax.change(vec![put("c"), put("d")]).await.unwrap();
    strict.serves(&["a", "d"]).await;
    let answer = strict.put("c").await.unwrap();
    assert!(answer.failure.unwrap().contains("c is bad"));
}

#[tokio::test]
async fn a_base_that_no_longer_passes_does_not_block_the_rest() {
    let store = store();
    let replica = Replica::on(&store);
    replica.change(vec![put("a"), put("b")]).await.unwrap();
    // HAProxy or a template changed: what was good is not.
    replica.carrier.bad.lock().unwrap().insert("a");
    assert!(matches!(
        replica.put("c").await,
        Err(ChangeError::Unable { .. }) | Ok(_)
    ));
    replica.put("c").await.unwrap();
    replica.serves(&["b", "c"]).await;
    assert!(replica.handle.snapshot().quarantined.contains_key("a"));
    assert_eq!(
        store.view().stored.table().len(),
        3,
        "nothing leaves the store"
    );
}

#[tokio::test(start_paused = true)]
async fn what_passes_the_check_and_does_not_load_is_quarantined_and_nobody_waits_for_it() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("a").await.unwrap();
    replica
        .carrier
        .unloadable
        .lock()
        .unwrap()
        .extend(["c", "e"]);
    let changes = ["b", "c", "d", "e", "f"].map(put).to_vec();
    let answer = replica.change(changes).await.unwrap();
    assert!(answer.failure.unwrap().contains("c does not load"));
    assert_eq!(replica.carrier.live(), ["a", "b", "d", "f"]);
    // A later change is live when it is answered.
    let later = replica.put("g").await.unwrap();
    assert_eq!(later.failure, None);
    assert_eq!(replica.carrier.live(), ["a", "b", "d", "f", "g"]);
    let held = replica.handle.snapshot().quarantined.clone();
    assert_eq!(held["e"].why, "e does not load");
    // A try costs traffic, so there is none for a while, whatever else is tried again.
    let reloads = replica.carrier.reloads.load(SeqCst);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(replica.carrier.reloads.load(SeqCst), reloads);
    replica.carrier.unloadable.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(30)).await;
    replica.serves(&["a", "b", "c", "d", "e", "f", "g"]).await;
    assert!(replica.handle.snapshot().quarantined.is_empty());
}

#[tokio::test]
async fn no_service_is_blamed_for_a_haproxy_that_does_not_even_load_what_it_runs() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("a").await.unwrap();
    replica.carrier.unloadable.lock().unwrap().insert("a");
    let answer = replica.put("b").await.unwrap();
    assert!(answer.failure.unwrap().contains("a does not load"));
    assert!(replica.handle.snapshot().quarantined.is_empty());
    assert_eq!(replica.carrier.live(), ["a"]);
    replica.carrier.unloadable.lock().unwrap().clear();
    replica.serves(&["a", "b"]).await;
}

#[tokio::test]
async fn a_table_that_was_served_last_is_made_live_again_whatever_haproxy_runs_meanwhile() {
    let store = store();
    store.commit(&store.view(), &[put("a")]).await.unwrap();
    let carrier = Scripted::default();
    *carrier.live.lock().unwrap() = Some(RouteTable::new());
    let served = store.view().stored.table().clone();
    let replica = Replica::after(&store, carrier, served);
    replica.serves(&["a"]).await;
    assert_eq!(replica.carrier.live(), ["a"]);
}

#[tokio::test]
async fn a_replica_that_starts_anew_serves_the_older_version_of_what_is_not_valid() {
    let store = store();
    store
        .commit(&store.view(), &[put("a"), put("b")])
        .await
        .unwrap();
    let served = store.view().stored.table().clone();
    // While it was away, "a" got a version that no HAProxy takes.
    let query = "serviceName=a&servicePath=/other&port=80";
    let parsed = parse_reconfigure(&Params::from_query(query).unwrap()).unwrap();
    let change = Change::Put(parsed.value.service);
    store.commit(&store.view(), &[change]).await.unwrap();
    let carrier = Scripted::default();
    carrier.unloadable_paths.lock().unwrap().insert("/other");
    let replica = Replica::after(&store, carrier, served.clone());
    let mut snapshots = replica.handle.snapshots();
    snapshots
        .wait_for(|s| s.quarantined.len() == 1)
        .await
        .unwrap();
    assert_eq!(replica.carrier.live.lock().unwrap().as_ref(), Some(&served));
    assert!(replica.handle.snapshot().quarantined["a"].serves_older);
}

#[tokio::test]
async fn a_haproxy_that_does_not_even_start_with_one_service_starts_with_the_others() {
    let store = store();
    let changes = ["a", "b", "c"].map(put);
    store.commit(&store.view(), &changes).await.unwrap();
    for served in [RouteTable::new(), store.view().stored.table().clone()] {
        let carrier = Scripted::default();
        carrier.unloadable.lock().unwrap().insert("b");
        let replica = Replica::after(&store, carrier, served);
        replica.serves(&["a", "c"]).await;
        assert!(replica.handle.snapshot().quarantined.contains_key("b"));
    }
}

#[tokio::test]
async fn many_culprits_do_not_keep_the_good_ones_waiting() {
    let store = store();
    let names: Vec<String> = (0..60).map(|i| format!("s{i:02}")).collect();
    let changes: Vec<_> = names.iter().map(|name| put(name)).collect();
    store.commit(&store.view(), &changes).await.unwrap();
    let carrier = Scripted::default();
    let bad = [
        "s01", "s05", "s07", "s09", "s11", "s13", "s15", "s17", "s19", "s21", "s23", "s25", "s27",
        "s29", "s31", "s33", "s35", "s37", "s39", "s41",
    ];
    carrier.bad.lock().unwrap().extend(bad);
    let replica = Replica::with(&store, carrier);
    let mut snapshots = replica.handle.snapshots();
    snapshots
        .wait_for(|s| s.quarantined.len() == bad.len())
        .await
        .unwrap();
    assert_eq!(replica.carrier.live().len(), names.len() - bad.len());
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
