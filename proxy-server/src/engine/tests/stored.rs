//! What the store holds becomes live, whoever put it there, and is tried until it does.

use super::*;

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
async fn what_the_store_cannot_be_read_of_is_written_again() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("a").await.unwrap();
    store.put_document(crate::testing::newer("a"));
    let answer = replica.put("a").await.unwrap();
    assert_eq!(answer.commits, 1);
    assert!(store.view().degraded().is_empty());
}
