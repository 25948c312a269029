//! When what is not served is judged, and tried again. The clock is simulated: what is waited for is a rule and not
//! a measurement.

use super::*;

/// Has a replica hold back `z`, which another stored.
async fn holds_back_z() -> (Replica, Replica) {
    let store = store();
    let [strict, lax] = [Replica::on(&store), Replica::on(&store)];
    strict.put("a").await.unwrap();
    strict.carrier.bad.lock().unwrap().insert("z");
    lax.put("z").await.unwrap();
    let mut snapshots = strict.handle.snapshots();
    let is_held = |s: &Arc<Snapshot>| s.quarantined.contains_key("z");
    snapshots.wait_for(is_held).await.unwrap();
    (strict, lax)
}

/// Sixty stored services, of which these many in front do not pass, and a check takes that long.
async fn sixty(bad: usize, takes: Duration) -> (Arc<MemoryStore>, Vec<&'static str>, Scripted) {
    let store = store();
    let names: Vec<&'static str> = (0..60).map(|i| &*format!("s{i:02}").leak()).collect();
    let changes: Vec<_> = names.iter().map(|name| put(name)).collect();
    store.commit(&store.view(), &changes).await.unwrap();
    let carrier = Scripted::default();
    carrier.bad.lock().unwrap().extend(&names[..bad]);
    *carrier.check_takes.lock().unwrap() = takes;
    (store, names, carrier)
}

/// The first that a replica says of a table.
async fn first_of(replica: &Replica) -> Arc<Snapshot> {
    let mut snapshots = replica.handle.snapshots();
    let first = snapshots.wait_for(|s| s.is_loaded()).await;
    first.unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_served_nothing_yet_judges_all_before_it_says_that_it_serves() {
    for is_restarted in [false, true] {
        let (store, names, carrier) = sixty(40, Duration::from_millis(50)).await;
        let good = &names[40..];
        let served = match is_restarted {
            false => RouteTable::new(),
            true => store.view().stored.table().clone(),
        };
        let replica = Replica::after(&store, carrier, served);
        let first = first_of(&replica).await;
        let served: Vec<_> = first.served.iter().map(|s| s.name().to_string()).collect();
        assert_eq!(served, good);
        assert_eq!(replica.carrier.live(), good);
        assert_eq!((first.quarantined.len(), first.unjudged.len()), (40, 0));
        assert_eq!(first.applied, store.view().seq);
        // Each load of what holds a culprit is a reload that fails.
        assert_eq!(replica.carrier.loads.load(SeqCst), 1);
    }
}

/// Who is not ready soon after the image's `--start-period` is ended and begins anew.
#[tokio::test(start_paused = true)]
async fn a_replica_that_served_nothing_yet_serves_what_passed_before_it_is_ended_for_not_being_ready()
 {
    for is_restarted in [false, true] {
        let (store, names, carrier) = sixty(40, Duration::from_secs(1)).await;
        let served = match is_restarted {
            false => RouteTable::new(),
            true => store.view().stored.table().clone(),
        };
        let began = tokio::time::Instant::now();
        let replica = Replica::after(&store, carrier, served);
        let first = first_of(&replica).await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?}");
        assert_eq!(replica.carrier.condition(), CarrierCondition::Running);
        let (bad, left) = (first.quarantined.len(), first.unjudged.len());
        assert!(bad > 2 && bad + left == 60, "{bad} {left}");
        assert!(first.applied < store.view().seq, "it may be served yet");
        // The rest takes minutes, in slices.
        let mut snapshots = replica.handle.snapshots();
        let all = snapshots.wait_for(|s| s.applied == store.view().seq);
        let all = tokio::time::timeout(Duration::from_secs(3_600), all).await;
        assert!(all.is_ok(), "live: {:?}", replica.carrier.live());
        assert_eq!(replica.carrier.live(), names[40..]);
    }
}

/// A partial table in its place would be less than what it serves.
#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_left_serves_on_until_all_is_judged() {
    for is_known in [false, true] {
        let (store, names, carrier) = sixty(40, Duration::from_secs(1)).await;
        let served = match is_known {
            false => RouteTable::new(),
            true => store.view().stored.table().clone(),
        };
        carrier.left.store(true, SeqCst);
        let began = tokio::time::Instant::now();
        let replica = Replica::after(&store, carrier, served);
        let first = loop {
            let live = replica.carrier.live.lock().unwrap().clone();
            if let Some(live) = live {
                break live;
            }
            assert!(began.elapsed() < Duration::from_secs(3_600));
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let first: Vec<_> = first.iter().map(|s| s.name().to_string()).collect();
        assert_eq!(first, names[40..], "known: {is_known}");
        assert!(
            began.elapsed() > Duration::from_secs(25),
            "all in the first turn"
        );
        replica.serves(&names[40..]).await;
        let snapshot = replica.handle.snapshot();
        assert_eq!(
            (snapshot.quarantined.len(), snapshot.unjudged.len()),
            (40, 0)
        );
        assert_eq!(snapshot.applied, store.view().seq);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_to_end_does_not_judge_the_rest_first() {
    let (store, _, carrier) = sixty(40, Duration::from_millis(50)).await;
    let replica = Replica::with(&store, carrier);
    tokio::time::sleep(Duration::from_secs(1)).await;
    replica.stop.cancel();
    replica.task.await.unwrap();
    let snapshot = replica.handle.snapshot();
    assert!(snapshot.quarantined.len() < 40);
    assert!(snapshot.applied < store.view().seq);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_serves_says_what_it_has_not_judged_yet() {
    let store = store();
    let [strict, lax] = [Replica::on(&store), Replica::on(&store)];
    strict.put("a").await.unwrap();
    strict.carrier.bad.lock().unwrap().extend(["b", "c", "d"]);
    *strict.carrier.check_takes.lock().unwrap() = Duration::from_millis(600);
    let before = store.view().seq;
    lax.change(["b", "c", "d", "e"].map(put).to_vec())
        .await
        .unwrap();
    let mut snapshots = strict.handle.snapshots();
    let first = snapshots.wait_for(|s| s.view.seq > before).await;
    let first = first.unwrap().clone();
    assert_eq!(first.quarantined.keys().next().unwrap().as_str(), "b");
    assert!(first.unjudged.contains("e"), "{:?}", first.unjudged);
    assert_eq!(first.applied, before, "it may be served yet");
    strict.serves(&["a", "e"]).await;
    let last = strict.handle.served(store.view().seq).await.unwrap();
    assert_eq!((last.quarantined.len(), last.unjudged.len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_others_store_all_the_time_keeps_nothing_from_being_tried_again() {
    let (strict, lax) = holds_back_z().await;
    // One comes every few milliseconds, and to load it takes longer.
    *strict.carrier.load_takes.lock().unwrap() = Duration::from_millis(50);
    let storing = tokio::spawn(async move {
        for i in 0.. {
            let query = format!("serviceName=other&servicePath=/v{i}&port=80");
            let change = Change::Put(crate::testing::service(&query));
            lax.change(vec![change]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    strict.serves_one_more("other").await;
    strict.carrier.bad.lock().unwrap().clear();
    strict.serves_one_more("z").await;
    storing.abort();
}

#[tokio::test(start_paused = true)]
async fn names_that_move_all_the_time_keep_nothing_from_being_tried_again() {
    let (strict, _lax) = holds_back_z().await;
    *strict.carrier.check_takes.lock().unwrap() = Duration::from_millis(50);
    strict.carrier.bad.lock().unwrap().clear();
    let carrier = Arc::clone(&strict.carrier);
    let moving = tokio::spawn(async move {
        loop {
            carrier.moves.notify_one();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    strict.serves_one_more("z").await;
    moving.abort();
}

#[tokio::test(start_paused = true)]
async fn what_haproxy_would_not_load_is_not_tried_because_another_changed() {
    let store = store();
    let [strict, lax] = [Replica::on(&store), Replica::on(&store)];
    lax.change(vec![put("a"), put("b")]).await.unwrap();
    strict.serves(&["a", "b"]).await;
    strict.carrier.unloadable.lock().unwrap().insert("z");
    lax.put("z").await.unwrap();
    // It is tried more and more seldom, at last after minutes.
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    assert!(strict.handle.snapshot().quarantined.contains_key("z"));
    let refusals = strict.carrier.refusals.load(SeqCst);
    for i in 0..10 {
        let query = format!("serviceName=b&servicePath=/v{i}&port=80");
        let change = Change::Put(crate::testing::service(&query));
        lax.change(vec![change]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(strict.carrier.refusals.load(SeqCst), refusals);
}

/// Each try is a reload that fails, of which HAProxy bears only so many.
#[tokio::test(start_paused = true)]
async fn what_haproxy_would_not_load_is_tried_a_few_times_for_each_reload_with_something_else() {
    const LONG: Duration = Duration::from_secs(24 * 60 * 60);
    // As many as HAProxy bears, those of the change with them.
    const MOST: usize = 20;
    for (names, tries) in [
        (&["z"][..], 4),
        (&["y", "z"], 2),
        (&["w", "x", "y", "z"], 1),
    ] {
        let store = store();
        let [strict, lax] = [Replica::on(&store), Replica::on(&store)];
        strict.put("a").await.unwrap();
        strict.carrier.unloadable.lock().unwrap().extend(names);
        let all = || {
            let [refusals, reloads] = [&strict.carrier.refusals, &strict.carrier.reloads];
            refusals.load(SeqCst) + reloads.load(SeqCst)
        };
        let before = all();
        let changes = names.iter().map(|name| put(name)).collect();
        lax.change(changes).await.unwrap();
        let mut snapshots = strict.handle.snapshots();
        let held = |s: &Arc<Snapshot>| s.quarantined.len() == names.len();
        drop(snapshots.wait_for(held).await.unwrap());
        let why = || strict.handle.snapshot().quarantined["z"].told();
        assert_eq!(why(), "z does not load");

        let first = all();
        tokio::time::sleep(LONG).await;
        let spent = all();
        assert!(
            spent - before <= MOST,
            "{names:?}: {before} {first} {spent}"
        );
        // Not the load of what was stored, which a try does not begin with.
        assert_eq!(spent - first, tries * (first - before - 1), "{names:?}");
        assert!(why().contains("reloaded with something else"), "{}", why());

        // What is asked is a new beginning.
        strict.put("b").await.unwrap();
        tokio::time::sleep(LONG).await;
        let again = all();
        assert!(
            again > spent && again - spent <= MOST + 1,
            "{spent} {again}"
        );
        strict.carrier.unloadable.lock().unwrap().clear();
        tokio::time::sleep(LONG).await;
        assert!(why().contains("reloaded with something else"), "{}", why());
        strict.handle.reload().await.unwrap();
        let served: Vec<_> = ["a", "b"].iter().chain(names).copied().collect();
        strict.serves(&served).await;
    }
}

/// However many are not loaded at once, and however few reloads HAProxy bears.
#[tokio::test(start_paused = true)]
async fn one_search_by_loading_costs_no_more_reloads_than_haproxy_bears() {
    for bears in [20, 6, 3, 1] {
        let store = store();
        let [strict, lax] = [Replica::on(&store), Replica::on(&store)];
        *strict.carrier.bears.lock().unwrap() = Some(bears);
        strict.put("a").await.unwrap();
        let names: Vec<&'static str> = (0..40).map(|i| &*format!("s{i:02}").leak()).collect();
        strict.carrier.unloadable.lock().unwrap().extend(&names);
        let all = || {
            let [refusals, reloads] = [&strict.carrier.refusals, &strict.carrier.reloads];
            refusals.load(SeqCst) + reloads.load(SeqCst)
        };
        let before = all();
        lax.change(names.iter().map(|name| put(name)).collect())
            .await
            .unwrap();
        let mut snapshots = strict.handle.snapshots();
        let held = |s: &Arc<Snapshot>| s.quarantined.len() == names.len();
        drop(snapshots.wait_for(held).await.unwrap());
        tokio::time::sleep(Duration::from_secs(5 * 60)).await;
        // The load of what was stored, and that of what passed the check.
        let spent = all() - before;
        assert!(spent <= bears.max(2), "{bears}: {spent}");
        let last = strict.handle.snapshot().quarantined["s39"].told();
        assert!(last.contains("what came together with it"), "{last}");
        assert_eq!(strict.carrier.live(), ["a"]);

        // Something else is loaded.
        strict.carrier.unloadable.lock().unwrap().clear();
        strict.put("b").await.unwrap();
        tokio::time::sleep(Duration::from_secs(10 * 60)).await;
        strict.serves_one_more("s39").await;
        assert_eq!(strict.carrier.live().len(), 42);
    }
}

/// However few reloads HAProxy bears, and wherever they are among the others.
#[tokio::test(start_paused = true)]
async fn good_ones_that_came_with_what_is_not_loaded_are_served_in_the_end() {
    for (bears, bad) in [(20, 30), (20, 7), (3, 7), (1, 3)] {
        let store = store();
        let [strict, lax] = [Replica::on(&store), Replica::on(&store)];
        *strict.carrier.bears.lock().unwrap() = Some(bears);
        strict.put("a").await.unwrap();
        let names: Vec<&'static str> = (0..40).map(|i| &*format!("s{i:02}").leak()).collect();
        let (bad, good) = names.split_at(bad);
        strict.carrier.unloadable.lock().unwrap().extend(bad);
        let changes = names.iter().map(|name| put(name)).collect();
        lax.change(changes).await.unwrap();
        tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
        let live = strict.carrier.live();
        assert_eq!(
            live.len(),
            1 + good.len(),
            "{bears} {}: {live:?}",
            bad.len()
        );
        let held = strict.handle.snapshot().quarantined.clone();
        assert_eq!(held.len(), bad.len());
        for (name, held) in held {
            assert!(held.why.ends_with("does not load"), "{name}: {}", held.why);
            assert!(!held.is_tried, "{name}");
        }
        // It comes to an end.
        let refusals = strict.carrier.refusals.load(SeqCst);
        tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
        assert_eq!(strict.carrier.refusals.load(SeqCst), refusals);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_no_more_is_forgotten_once_another_replica_removes_it() {
    let store = store();
    let [strict, lax] = [Replica::on(&store), Replica::on(&store)];
    strict.put("a").await.unwrap();
    strict.carrier.unloadable.lock().unwrap().insert("z");
    lax.put("z").await.unwrap();
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
    assert!(!strict.handle.snapshot().quarantined["z"].is_tried);

    let removal = Change::Remove("z".parse().unwrap());
    lax.change(vec![removal]).await.unwrap();
    let gone = strict.handle.served(store.view().seq).await.unwrap();
    assert!(gone.quarantined.is_empty(), "{:?}", gone.quarantined);
    // The same document again is judged.
    strict.carrier.unloadable.lock().unwrap().clear();
    lax.put("z").await.unwrap();
    strict.serves(&["a", "z"]).await;
}

/// Nothing else goes live meanwhile.
#[tokio::test(start_paused = true)]
async fn a_haproxy_that_does_not_load_what_it_runs_is_tried_more_and_more_seldom() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("a").await.unwrap();
    replica.carrier.unloadable.lock().unwrap().insert("a");
    assert!(replica.put("b").await.unwrap().failure.is_some());
    let before = replica.carrier.refusals.load(SeqCst);
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    // Two each: what is stored, and what serves.
    let tries = (replica.carrier.refusals.load(SeqCst) - before) / 2;
    assert!((10..=16).contains(&tries), "{tries}");
    replica.carrier.unloadable.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(601)).await;
    replica.serves(&["a", "b"]).await;
}
