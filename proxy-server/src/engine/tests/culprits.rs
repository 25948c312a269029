//! What HAProxy will not take: it is refused or quarantined, and the rest is served.

use super::*;

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

/// Has a replica be asked for all of these at once, and gives what became of each and when.
async fn asked_at_once(
    replica: &Arc<Replica>,
    names: &[&'static str],
    most: Duration,
) -> Vec<(Result<(), ChangeError>, Duration)> {
    let began = tokio::time::Instant::now();
    let calls = names.iter().map(|name| {
        let wait = Wait {
            who: WaitFor::Here,
            most,
        };
        let request = ChangeRequest::new(vec![put(name)], wait);
        let replica = Arc::clone(replica);
        async move {
            let answer = replica.handle.change(request).await;
            let answer = answer.map(|answer| assert_eq!(answer.failure, None));
            (answer, began.elapsed())
        }
    });
    futures_util::future::join_all(calls).await
}

/// The clock is simulated. A check takes as long as that of one service really does.
#[tokio::test(start_paused = true)]
async fn each_of_many_refused_in_one_batch_hears_so_and_all_others_succeed() {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let store = store();
    let replica = Arc::new(Replica::on(&store));
    replica.put("first").await.unwrap();
    let names: Vec<&'static str> = (0..200).map(|i| &*format!("s{i:03}").leak()).collect();
    let bad: Vec<&'static str> = names.iter().copied().skip(7).step_by(10).collect();
    assert_eq!(bad.len(), 20);
    replica.carrier.bad.lock().unwrap().extend(&bad);
    *replica.carrier.check_takes.lock().unwrap() = Duration::from_millis(26);
    let reloads = replica.carrier.reloads.load(SeqCst);
    let answers = asked_at_once(&replica, &names, TIMEOUT).await;
    for (name, (answer, took)) in names.iter().zip(&answers) {
        match bad.contains(name) {
            true => assert!(
                matches!(answer, Err(ChangeError::Rejected { words, .. }) if *words == format!("{name} is bad")),
                "{name}: {answer:?}"
            ),
            false => assert_eq!(*answer, Ok(()), "{name}"),
        }
        assert!(*took < TIMEOUT, "{name}: {took:?}");
    }
    assert_eq!(store.view().stored.table().len(), 181);
    assert_eq!(replica.carrier.live().len(), 181);
    let reloads = replica.carrier.reloads.load(SeqCst) - reloads;
    assert!(reloads <= 3, "{reloads}");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_come_to_in_time_is_told_and_has_changed_nothing() {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let store = store();
    let replica = Arc::new(Replica::on(&store));
    replica.put("first").await.unwrap();
    let names: Vec<&'static str> = (0..200).map(|i| &*format!("s{i:03}").leak()).collect();
    replica.carrier.bad.lock().unwrap().extend(&names[1..]);
    *replica.carrier.check_takes.lock().unwrap() = Duration::from_millis(500);
    let answers = asked_at_once(&replica, &names, TIMEOUT).await;
    assert_eq!(answers[0].0, Ok(()));
    let is_late = |answer: &&(Result<(), ChangeError>, Duration)| matches!(&answer.0, Err(ChangeError::Unable { why, commits: 0 }) if why.contains("longer than 10 s"));
    let late: Vec<_> = answers.iter().skip(1).filter(is_late).collect();
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer.0, Err(ChangeError::Rejected { .. })));
    assert_eq!(refused.count() + late.len(), 199);
    assert!((100..199).contains(&late.len()), "{}", late.len());
    // Its time, and the batch that it was in then.
    let longest = late.iter().map(|(_, took)| *took).max().unwrap();
    assert!(
        (TIMEOUT..TIMEOUT + Duration::from_secs(5)).contains(&longest),
        "{longest:?}"
    );
    assert_eq!(store.view().stored.table().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_judged_is_refused_where_the_engine_ends() {
    let store = store();
    let replica = Arc::new(Replica::on(&store));
    replica.put("first").await.unwrap();
    let names: Vec<&'static str> = (0..100).map(|i| &*format!("s{i:03}").leak()).collect();
    replica.carrier.bad.lock().unwrap().extend(&names[1..]);
    *replica.carrier.check_takes.lock().unwrap() = Duration::from_millis(500);
    let asked = {
        let (replica, names) = (Arc::clone(&replica), names.clone());
        tokio::spawn(async move { asked_at_once(&replica, &names, Duration::from_secs(60)).await })
    };
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ended = tokio::time::Instant::now();
    replica.stop.cancel();
    let answers = asked.await.unwrap();
    assert!(ended.elapsed() <= Duration::from_millis(500), "one check");
    let last = &answers.last().unwrap().0;
    assert_eq!(*last, Err(ChangeError::ShuttingDown));
    assert!(store.view().stored.table().len() <= 2);
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
    replica.carrier.bad.lock().unwrap().extend(["a", "evil"]);
    // What is asked meanwhile is judged all the same before it is stored.
    let refused = replica.put("evil").await.unwrap_err();
    assert!(matches!(refused, ChangeError::Rejected { words, .. } if words == "evil is bad"));
    assert_eq!(store.view().stored.table().len(), 2);
    replica.put("c").await.unwrap();
    replica.serves(&["b", "c"]).await;
    assert!(replica.handle.snapshot().quarantined.contains_key("a"));
    assert_eq!(
        store.view().stored.table().len(),
        3,
        "nothing leaves the store"
    );
}

/// The clock is simulated.
#[tokio::test(start_paused = true)]
async fn while_what_is_served_is_judged_anew_nothing_of_it_goes_and_callers_are_answered() {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let store = store();
    let replica = Arc::new(Replica::on(&store));
    let names: Vec<&'static str> = (0..60).map(|i| &*format!("s{i:02}").leak()).collect();
    let changes = names.iter().map(|name| put(name)).collect();
    replica.change(changes).await.unwrap();
    // HAProxy or a template changed: what was good is not.
    let bad = ["s03", "s20", "s21", "s40", "s59"];
    replica.carrier.bad.lock().unwrap().extend(bad);
    *replica.carrier.check_takes.lock().unwrap() = Duration::from_millis(400);
    let watching = {
        let carrier = Arc::clone(&replica.carrier);
        let good: Vec<_> = names.iter().filter(|it| !bad.contains(it)).collect();
        let good: Vec<String> = good.into_iter().map(ToString::to_string).collect();
        tokio::spawn(async move {
            let mut looks = 0;
            loop {
                let live = carrier.live();
                let gone: Vec<_> = good.iter().filter(|it| !live.contains(it)).collect();
                assert_eq!(gone, [""; 0], "after {looks}");
                looks += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    };
    let (answer, took) = asked_at_once(&replica, &["new"], TIMEOUT).await.remove(0);
    // Its time, and the batch that it was in then.
    assert!(took < TIMEOUT + Duration::from_secs(8), "{took:?}");
    assert!(
        matches!(&answer, Ok(()) | Err(ChangeError::Unable { .. })),
        "{answer:?}"
    );
    // The search goes on from where it was.
    let (answer, _) = asked_at_once(&replica, &["newer"], Duration::from_secs(60))
        .await
        .remove(0);
    assert_eq!(answer, Ok(()));
    assert!(!watching.is_finished(), "{:?}", watching.await);
    watching.abort();
    let snapshot = replica.handle.snapshot();
    let held: Vec<_> = snapshot.quarantined.keys().map(|it| it.as_str()).collect();
    assert_eq!(held, bad);
    assert!(snapshot.unjudged.is_empty());
    let live = replica.carrier.live();
    assert!(live.contains(&"newer".to_owned()) && live.contains(&"s58".to_owned()));
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

/// The clock is simulated: what is waited for is a rule and not a measurement.
#[tokio::test(start_paused = true)]
async fn who_asks_for_something_does_not_wait_for_the_end_of_a_search() {
    let store = store();
    let replica = Replica::on(&store);
    replica.put("a").await.unwrap();
    let names: Vec<&'static str> = (0..40).map(|i| &*format!("s{i:02}").leak()).collect();
    replica.carrier.bad.lock().unwrap().extend(names.clone());
    *replica.carrier.check_takes.lock().unwrap() = Duration::from_millis(500);
    let changes: Vec<_> = names.iter().map(|name| put(name)).collect();
    store.commit(&store.view(), &changes).await.unwrap();
    let checks = replica.carrier.checks.load(SeqCst);
    for name in ["b", "c", "d"] {
        let asked = tokio::time::Instant::now();
        let answer = replica.put(name).await.unwrap();
        assert_eq!(answer.failure, None);
        // What was stored and what is asked together, the stored alone, a search, and what is asked.
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "{:?}",
            asked.elapsed()
        );
        let searched = replica.carrier.checks.load(SeqCst) - checks;
        assert!(
            searched < 40 * 6,
            "the search is not over: {searched} checks"
        );
    }
    assert!(replica.carrier.live().contains(&"d".to_owned()));
    let mut snapshots = replica.handle.snapshots();
    let all = snapshots.wait_for(|s| {
        s.quarantined
            .values()
            .filter(|it| it.why.ends_with("is bad"))
            .count()
            == 40
    });
    tokio::time::timeout(Duration::from_secs(600), all)
        .await
        .unwrap()
        .unwrap();
    replica.carrier.bad.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(replica.carrier.live().len(), 44);
}

#[tokio::test(start_paused = true)]
async fn what_is_quarantined_is_tried_soon_after_what_it_clashed_with_is_gone() {
    let store = store();
    let [strict, lax] = [Replica::on(&store), Replica::on(&store)];
    lax.change(vec![put("a"), put("b")]).await.unwrap();
    strict.serves(&["a", "b"]).await;
    *strict.carrier.clash.lock().unwrap() = Some(["b", "z"]);
    lax.put("z").await.unwrap();
    // It is tried more and more seldom.
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(strict.handle.snapshot().quarantined.contains_key("z"));
    let mut checks = strict.carrier.checks.load(SeqCst);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = strict.carrier.checks.load(SeqCst);
        if now != checks {
            break;
        }
        checks = now;
    }
    // Others that come stand in nobody's way, and a try later is not due for a minute.
    let checks = strict.carrier.checks.load(SeqCst);
    lax.put("c").await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(strict.carrier.checks.load(SeqCst), checks);
    let gone = tokio::time::Instant::now();
    let removal = Change::Remove("b".parse().unwrap());
    lax.change(vec![removal]).await.unwrap();
    strict.serves(&["a", "c", "z"]).await;
    assert!(
        gone.elapsed() < Duration::from_secs(10),
        "{:?}",
        gone.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_for_something_all_the_time_tries_again_all_the_same() {
    let store = store();
    let (strict, lax) = (Arc::new(Replica::on(&store)), Replica::on(&store));
    strict.put("a").await.unwrap();
    strict.carrier.bad.lock().unwrap().insert("z");
    *strict.carrier.check_takes.lock().unwrap() = Duration::from_millis(50);
    lax.put("z").await.unwrap();
    let mut snapshots = strict.handle.snapshots();
    let held = |s: &Arc<Snapshot>| s.quarantined.contains_key("z");
    snapshots.wait_for(held).await.unwrap();
    // One comes every few milliseconds, and a turn takes longer.
    let asking = tokio::spawn({
        let strict = Arc::clone(&strict);
        async move {
            let mut calls = tokio::task::JoinSet::new();
            for i in 0.. {
                let (strict, query) = (
                    Arc::clone(&strict),
                    format!("serviceName=asked&servicePath=/v{i}&port=80"),
                );
                calls.spawn(async move {
                    let service = crate::testing::service(&query);
                    strict.change(vec![Change::Put(service)]).await
                });
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    strict.serves_one_more("asked").await;
    strict.carrier.bad.lock().unwrap().clear();
    strict.serves_one_more("z").await;
    asking.abort();
}
