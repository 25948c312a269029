//! The store against real servers. Without a Consul these tests fail and say what to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proxy_consul::{Client, ConsulSettings, ConsulStore, Endpoints, OnEmptyStore, Txn, TxnOutcome};
use proxy_core::{CommitError, CommitId, Outcome, RouteStore, StoreCondition, StoreView};
use testkit::consul::{ClusterOptions, ConsulCluster};
use tokio::time::{Instant, sleep};

use crate::support::{
    commit, has, held, live, names, put, put_large, real_timeouts, remove, settings, shows, start,
    table, until,
};

async fn cluster(servers: u8) -> ConsulCluster {
    ConsulCluster::start(ClusterOptions::servers(servers))
        .await
        .unwrap_or_else(|e| panic!("{e}"))
}

fn replica(cluster: &ConsulCluster, name: &str) -> ConsulStore {
    start(&settings(&cluster.addresses(), real_timeouts()), name, None)
}

fn is_stale(view: &StoreView) -> bool {
    matches!(view.condition, StoreCondition::Stale { .. })
}

#[tokio::test]
async fn the_first_address_is_dead() {
    let mut cluster = cluster(3).await;
    cluster.kill(0);
    cluster.wait_leader().await.unwrap();
    let [one, two] = ["r1", "r2"].map(|name| replica(&cluster, name));
    let base = live(&one).await;
    let started = Instant::now();
    let made = one.commit(&base, &[put("go-demo", 8080)]).await.unwrap();
    assert_eq!(made.record.revision.number, 1);
    shows(&two, "go-demo").await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    commit(&two, &[remove("go-demo"), put("go-demo-2", 1)])
        .await
        .unwrap();
    assert_eq!(names(&*shows(&one, "go-demo-2").await), ["go-demo-2"]);
}

#[tokio::test]
async fn the_first_server_is_frozen() {
    let cluster = cluster(3).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&cluster, name));
    live(&one).await;
    live(&two).await;
    cluster.freeze(0).unwrap();
    let started = Instant::now();
    commit(&one, &[put("a", 1)]).await.unwrap();
    shows(&two, "a").await;
    // One watch, or one request and an election.
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    let started = Instant::now();
    commit(&one, &[put("b", 1)]).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "it cools: {:?}",
        started.elapsed()
    );
    cluster.thaw(0).unwrap();
    shows(&two, "b").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_in_the_middle_of_writes() {
    let mut cluster = cluster(3).await;
    let stores: Vec<_> = ["r1", "r2", "r3"]
        .iter()
        .map(|name| Arc::new(replica(&cluster, name)))
        .collect();
    for store in &stores {
        live(store).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = stores
        .iter()
        .enumerate()
        .map(|(who, store)| {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut done, mut unknown) = (Vec::<(String, CommitId)>::new(), Vec::new());
                let mut refused = Vec::<String>::new();
                for nth in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("w{who}-{nth}");
                    // Two services each, so that half a commit would be seen.
                    let pair = [put(&name, 1), put(&format!("{name}-too"), 2)];
                    match commit(&store, &pair).await {
                        Ok(made) => done.push((name, made.record.revision.id)),
                        Err(CommitError::Unknown { id, .. }) => unknown.push((name, id)),
                        Err(CommitError::Unavailable { .. }) => {
                            refused.push(name);
                            sleep(Duration::from_millis(50)).await;
                        }
                        Err(other) => panic!("{name}: {other:?}"),
                    }
                }
                (done, unknown, refused)
            })
        })
        .collect();
    for _ in 0..2 {
        sleep(Duration::from_millis(700)).await;
        let leader = cluster.wait_leader().await.unwrap();
        cluster.kill(leader);
        cluster.wait_leader().await.unwrap();
        cluster.restart(leader).unwrap();
        cluster.wait_leader().await.unwrap();
    }
    sleep(Duration::from_millis(700)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut done, mut unknown, mut refused) = (Vec::new(), Vec::new(), Vec::<String>::new());
    for writer in writers {
        let (some, others, not) = writer.await.unwrap();
        done.extend(some);
        unknown.extend(others);
        refused.extend(not);
    }
    let counts = (done.len(), unknown.len(), refused.len());
    assert!(counts.0 > 50, "{counts:?}");
    println!("committed, unknown, refused: {counts:?}");
    let last = commit(&stores[0], &[put("last", 1)]).await.unwrap();
    for store in &stores {
        let goal = |view: &StoreView| view.revision == Some(last.record.revision);
        let view = until(store, "the end", goal).await;
        for (name, _) in &done {
            assert!(
                has(&view, name) && has(&view, &format!("{name}-too")),
                "lost {name}"
            );
        }
        for name in &refused {
            assert!(!has(&view, name), "{name} was refused and is there");
        }
        for (name, _) in &unknown {
            assert_eq!(
                has(&view, name),
                has(&view, &format!("{name}-too")),
                "half of {name}"
            );
        }
        assert_eq!(table(&view), table(&stores[0].view()));
    }
    // Nothing was made twice, and the log is whole.
    let made = last.record.revision.number;
    let known = stores[0].view().stored.table().len() as u64;
    assert_eq!(known, 2 * (made - 1) + 1, "each commit made two services");
    for (name, id) in unknown {
        let there = has(&stores[0].view(), &name);
        let outcome = stores[0].outcome(id).await;
        assert_eq!(
            matches!(outcome, Outcome::Committed(_)),
            there,
            "{name} {outcome:?}"
        );
    }
}

#[tokio::test]
async fn all_die_and_come_back() {
    let mut cluster = cluster(3).await;
    let store = replica(&cluster, "r1");
    commit(&store, &[put("a", 1)]).await.unwrap();
    for nth in 0..3 {
        cluster.kill(nth);
    }
    let view = until(&store, "stale", is_stale).await;
    assert_eq!(names(&view), ["a"]);
    match store.commit(&view, &[put("b", 1)]).await {
        Err(CommitError::Unavailable { why }) => {
            for nth in 0..3 {
                let address = cluster.address(nth);
                assert!(why.to_string().contains(&address), "{why} names {address}");
            }
        }
        other => panic!("{other:?}"),
    }
    // A replica that starts now serves what it held.
    let settings = settings(&cluster.addresses(), real_timeouts());
    let two = start(&settings, "r2", Some(held(&view)));
    assert_eq!(names(&two.view()), ["a"]);
    for nth in 0..3 {
        cluster.restart(nth).unwrap();
    }
    cluster.wait_leader().await.unwrap();
    live(&store).await;
    live(&two).await;
    commit(&two, &[put("b", 1)]).await.unwrap();
    assert_eq!(names(&*shows(&store, "b").await), ["a", "b"]);
}

#[tokio::test]
async fn without_a_quorum_nothing_is_acknowledged() {
    let mut cluster = cluster(3).await;
    let store = replica(&cluster, "r1");
    let base = commit(&store, &[put("a", 1)]).await.unwrap().view;
    cluster.kill(1);
    cluster.kill(2);
    let id = match store.commit(&base, &[put("b", 1)]).await {
        Err(CommitError::Unknown { id, .. }) => Some(id),
        Err(CommitError::Unavailable { .. }) => None,
        other => panic!("{other:?}"),
    };
    until(&store, "stale", is_stale).await;
    cluster.restart(1).unwrap();
    cluster.restart(2).unwrap();
    cluster.wait_leader().await.unwrap();
    live(&store).await;
    commit(&store, &[put("c", 1)]).await.unwrap();
    if let Some(id) = id {
        let there = has(&store.view(), "b");
        let outcome = store.outcome(id).await;
        assert_eq!(
            matches!(outcome, Outcome::Committed(_)),
            there,
            "{outcome:?}"
        );
        assert_eq!(outcome == Outcome::NotThere, !there, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_wiped_store_is_filled_again() {
    let mut cluster = cluster(1).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&cluster, name));
    live(&one).await;
    live(&two).await;
    let many: Vec<_> = (0..100).map(|nth| put(&format!("s{nth:03}"), 80)).collect();
    commit(&one, &many[..50]).await.unwrap();
    let made = commit(&one, &many[50..]).await.unwrap();
    let before = table(&made.view);
    until(&two, "caught up", |view| {
        view.revision == made.view.revision
    })
    .await;
    cluster.wipe().await.unwrap();
    let epoch = made.record.revision.epoch;
    for store in [&one, &two] {
        let view = until(store, "filled again", |view| {
            assert_eq!(view.stored.table().len(), 100, "never a half");
            view.condition == StoreCondition::Live
                && view.revision.is_some_and(|r| r.epoch != epoch)
        })
        .await;
        assert_eq!(table(&view), before);
    }
    // Keys deleted by hand, under the eyes of the watches.
    let epoch = one.view().revision.unwrap().epoch;
    cluster.delete("proxy/").await.unwrap();
    for store in [&one, &two] {
        let view = until(store, "filled again", |view| {
            view.condition == StoreCondition::Live
                && view.revision.is_some_and(|r| r.epoch != epoch)
        })
        .await;
        assert_eq!(table(&view), before);
    }
    assert_eq!(cluster.keys("proxy/services/").await.unwrap().len(), 100);
}

#[tokio::test]
async fn hold_leaves_a_wiped_store_empty() {
    let cluster = cluster(1).await;
    let settings = settings(&cluster.addresses(), real_timeouts());
    let store =
        ConsulStore::start(&settings, "r1".parse().unwrap(), None, OnEmptyStore::Hold).unwrap();
    commit(&store, &[put("a", 1)]).await.unwrap();
    let snapshot = cluster.snapshot().await.unwrap();
    cluster.delete("proxy/").await.unwrap();
    let wiped = |view: &StoreView| matches!(view.condition, StoreCondition::Wiped { .. });
    assert_eq!(names(&*until(&store, "wiped", wiped).await), ["a"]);
    assert!(cluster.keys("proxy/").await.unwrap().is_empty());
    cluster.restore(snapshot).await.unwrap();
    assert_eq!(names(&*live(&store).await), ["a"]);
}

#[tokio::test]
async fn a_store_restored_from_an_older_state_wins() {
    let cluster = cluster(3).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&cluster, name));
    live(&one).await;
    live(&two).await;
    commit(&one, &[put("a", 1), put("b", 1)]).await.unwrap();
    let snapshot = cluster.snapshot().await.unwrap();
    commit(&one, &[remove("b")]).await.unwrap();
    let last = commit(&one, &[put("c", 1)]).await.unwrap();
    shows(&two, "c").await;
    cluster.restore(snapshot).await.unwrap();
    for store in [&one, &two] {
        let view = until(store, "restored", |view| has(view, "b") && !has(view, "c")).await;
        assert_eq!(view.condition, StoreCondition::Live);
        let gone = view.superseded.as_ref().unwrap();
        assert_eq!(gone.revision, last.record.revision);
    }
    commit(&two, &[put("d", 1)]).await.unwrap();
    assert_eq!(names(&*shows(&one, "d").await), ["a", "b", "d"]);
}

#[tokio::test]
async fn a_token_without_rights_empties_nothing() {
    let options = ClusterOptions::servers(1).with_acl();
    let cluster = ConsulCluster::start(options)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let all = r#"key_prefix "proxy/" { policy = "write" }"#;
    let token = cluster.token("proxy", all).await.unwrap();
    let settings = |token: Option<String>| {
        let addresses = Endpoints::parse_list(&cluster.addresses()).unwrap();
        let builder = ConsulSettings::builder(addresses).timeouts(real_timeouts());
        let builder = builder.instance_name("proxy").unwrap();
        match token {
            Some(token) => builder.token(token.into()).build().unwrap(),
            None => builder.build().unwrap(),
        }
    };
    let mine = settings(Some(token.0));
    let store = start(&mine, "r1", None);
    commit(&store, &[put("a", 1), put("b", 1)]).await.unwrap();
    let held = held(&store.view());
    // No token at all, and one that Consul does not know.
    for token in [
        None,
        Some("00000000-1111-2222-3333-444444444444".to_owned()),
    ] {
        let two = start(&settings(token), "r2", Some(held.clone()));
        until(&two, "told", |view| {
            matches!(&view.condition, StoreCondition::Stale { why } if why.contains("denied"))
        })
        .await;
        assert_eq!(names(&two.view()), ["a", "b"]);
        match two.commit(&two.view(), &[put("c", 1)]).await {
            Err(CommitError::Unavailable { .. } | CommitError::Denied { .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(cluster.get("proxy/services/a").await.unwrap().is_some());
    }
    // The rights of the token shrink while it is in use.
    let some =
        r#"key "proxy/head" { policy = "read" } key_prefix "proxy/services/a" { policy = "read" }"#;
    cluster.set_rules("proxy", some).await.unwrap();
    let two = start(&mine, "r3", Some(held));
    let admin = cluster.management_token().unwrap().to_owned();
    let admin = start(&settings(Some(admin)), "admin", None);
    commit(&admin, &[put("a", 2)]).await.unwrap();
    let view = until(&two, "degraded", |view| !view.degraded().is_empty()).await;
    assert_eq!(names(&view), ["a", "b"]);
    assert_eq!(view.degraded().keys().next().unwrap().as_str(), "b");
    match two.commit(&view, &[put("c", 1)]).await {
        Err(CommitError::Denied { why }) => assert!(why.to_string().contains("Permission denied")),
        other => panic!("{other:?}"),
    }
    cluster.set_rules("proxy", all).await.unwrap();
    until(&two, "healed", |view| view.degraded().is_empty()).await;
    commit(&two, &[put("c", 1)]).await.unwrap();
    shows(&store, "c").await;
}

#[tokio::test]
async fn tls_takes_its_own_ca_and_shows_a_client_certificate() {
    let options = ClusterOptions::servers(1).with_tls();
    let cluster = ConsulCluster::start(options)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let tls = cluster.tls().unwrap();
    let addresses = Endpoints::parse_list(&cluster.addresses()).unwrap();
    let builder = ConsulSettings::builder(addresses).timeouts(real_timeouts());
    let with_ca = builder.clone().ca_pem(tls.ca.clone());
    let with_both = with_ca
        .clone()
        .client_certificate(&tls.client_certificate, &tls.client_key);
    let store = start(&with_both.build().unwrap(), "r1", None);
    commit(&store, &[put("a", 1)]).await.unwrap();
    // Another CA's server is not spoken to, and a server that wants a certificate says no.
    for (settings, what) in [(builder, "no CA"), (with_ca, "no client certificate")] {
        let client = Client::new(&settings.build().unwrap()).unwrap();
        let error = client.get("proxy/head").await.unwrap_err();
        assert_eq!(error.failures().len(), 1, "{what}: {error}");
    }
    let nonsense = ConsulSettings::builder(Endpoints::parse_list("a:1").unwrap());
    let nonsense = nonsense.ca_pem(b"nonsense".to_vec()).build().unwrap();
    assert!(Client::new(&nonsense).is_err());
}

#[tokio::test]
async fn the_limits_of_a_transaction_are_consuls() {
    let cluster = cluster(1).await;
    let store = replica(&cluster, "r1");
    live(&store).await;
    let many: Vec<_> = (0..70).map(|nth| put(&format!("s{nth}"), 80)).collect();
    assert_eq!(commit(&store, &many).await.unwrap().taken, 62);
    let large: Vec<_> = (0..10)
        .map(|nth| put_large(&format!("l{nth}"), 60_000))
        .collect();
    let made = commit(&store, &large).await.unwrap();
    assert!((2..=4).contains(&made.taken), "{}", made.taken);
    // As full as it can be.
    let mut txn = Txn::new();
    txn.set("full", &[b'x'; 390_000]).unwrap();
    while txn.set("x", b"").is_ok() {}
    let answer = store.client().txn(&txn).await.unwrap();
    assert!(matches!(answer.value, TxnOutcome::Applied(_)));
}

#[tokio::test]
async fn a_fixed_table_costs_no_reads_but_the_watch() {
    // A watch on a key that exists does not wake for other keys.
    let cluster = cluster(1).await;
    let store = replica(&cluster, "r1");
    commit(&store, &[put("a", 1)]).await.unwrap();
    let view = live(&store).await;
    for nth in 0..50 {
        cluster
            .put(&format!("elsewhere/{nth}"), b"x")
            .await
            .unwrap();
    }
    assert_eq!(store.view().seq, view.seq);
}

#[tokio::test]
async fn a_burst_stays_below_consuls_connections() {
    // Consul refuses the 201st connection of one client address.
    let cluster = cluster(1).await;
    let store = replica(&cluster, "r1");
    live(&store).await;
    let asks: Vec<_> = (0..600)
        .map(|nth| {
            let client = store.client().clone();
            tokio::spawn(async move { client.get(&format!("a/{nth}")).await })
        })
        .collect();
    for ask in asks {
        ask.await.unwrap().unwrap();
    }
}
