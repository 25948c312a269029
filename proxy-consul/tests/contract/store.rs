//! The store against a fake that breaks as scripted.

use std::sync::Arc;

use proxy_core::{CommitError, CommitId, Epoch, Outcome, Revision, RouteStore, StoreCondition};
use testkit::consul::{FakeConsul, Fault, On, Right};

use tokio::time::Instant;

use crate::support::{
    commit, fast_timeouts, has, live, names, put, put_large, remove, replica, shows, table, until,
};

#[tokio::test]
async fn a_change_is_stored_and_every_replica_follows() {
    let fake = FakeConsul::start(1).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&fake.addresses(), name));
    assert_eq!(one.view().condition, StoreCondition::STARTING);
    let base = live(&one).await;
    assert_eq!(base.revision, None);
    let made = one.commit(&base, &[put("go-demo", 8080)]).await.unwrap();
    assert_eq!((made.taken, made.record.revision.number), (1, 1));
    assert_eq!(made.view.revision, Some(made.record.revision));
    assert_eq!(shows(&two, "go-demo").await.revision, made.view.revision);
    commit(&two, &[put("go-demo-2", 80), remove("go-demo")])
        .await
        .unwrap();
    let view = shows(&one, "go-demo-2").await;
    assert_eq!(names(&view), ["go-demo-2"]);
    assert_eq!(view.revision.unwrap().number, 2);
    // Exactly the keys of the design.
    let keys: Vec<_> = fake.kv().list("").into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "proxy/head",
            "proxy/log/1",
            "proxy/log/2",
            "proxy/services/go-demo-2"
        ]
    );
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn the_loser_of_a_race_gets_the_newer_table() {
    let fake = FakeConsul::start(1).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&fake.addresses(), name));
    let (base_one, base_two) = (live(&one).await, live(&two).await);
    let won = one.commit(&base_one, &[put("a", 1)]).await.unwrap();
    match two.commit(&base_two, &[put("b", 1)]).await {
        Err(CommitError::LostRace { view }) => {
            assert_eq!(view.revision, won.view.revision);
            let made = two.commit(&view, &[put("b", 1)]).await.unwrap();
            assert!(made.record.follows(&won.record.revision));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(&*shows(&one, "b").await), ["a", "b"]);
}

#[tokio::test]
async fn an_ambiguous_commit_ends_in_certainty() {
    let faults = [
        (Fault::ApplyThenReset, "applied"),
        (Fault::ApplyThenHang, "applied"),
        (Fault::ResetInAnswer, "applied"),
        (Fault::ApplyThenAnswer(500, "rpc error".into()), "applied"),
        (Fault::Reset, "not applied"),
        (Fault::BlackHole, "not applied"),
        (
            Fault::Answer(500, "No cluster leader".into()),
            "not applied",
        ),
        (Fault::Answer(200, "garbage".into()), "not applied"),
        (Fault::Answer(429, String::new()), "not applied"),
        (Fault::Huge(10), "not applied"),
    ];
    for (fault, case) in faults {
        for servers in [1, 2] {
            let fake = FakeConsul::start(servers).await;
            let store = replica(&fake.addresses(), "r1");
            let base = live(&store).await;
            fake.server(0).once(On::Writes, fault.clone());
            let said = format!("{fault:?} {case} {servers}");
            let made = store.commit(&base, &[put("a", 1)]).await;
            if matches!(fault, Fault::Answer(429, _)) && servers == 1 {
                assert!(
                    matches!(made, Err(CommitError::Unavailable { .. })),
                    "{said}: {made:?}"
                );
                assert!(fake.kv().list("proxy/services/").is_empty());
                continue;
            }
            let made = made.unwrap_or_else(|error| panic!("{said}: {error:?}"));
            assert_eq!(made.record.revision.number, 1, "{said}");
            assert_eq!(fake.kv().list("proxy/log/").len(), 1, "once: {said}");
            // The next commit knows where the head is.
            let next = store.commit(&made.view, &[put("b", 1)]).await.unwrap();
            assert_eq!(names(&next.view), ["a", "b"]);
        }
    }
}

#[tokio::test]
async fn another_commit_is_not_taken_for_mine() {
    let fake = FakeConsul::start(2).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&fake.addresses(), name));
    let (base, base_two) = (live(&one).await, live(&two).await);
    // The first server swallows mine; before the second gets it, another replica is first.
    fake.server(0).once(On::Writes, Fault::BlackHole);
    let change = [put("mine", 1)];
    let (mine, ()) = tokio::join!(one.commit(&base, &change), async {
        while !fake.server(0).seen().iter().any(|seen| {
            seen.method == "PUT"
                && seen.target == "/v1/txn"
                && String::from_utf8_lossy(&seen.body).contains("proxy/services/mine")
        }) {
            tokio::task::yield_now().await;
        }
        // The fake's first server holds mine; the other replica's commit goes through meanwhile.
        two.commit(&base_two, &[put("other", 1)]).await.unwrap();
    });
    match mine {
        Err(CommitError::LostRace { view }) => assert_eq!(names(&view), ["other"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn with_no_server_left_the_end_is_unknown_and_told_later() {
    for (fault, applied) in [(Fault::ApplyThenReset, true), (Fault::Reset, false)] {
        let fake = FakeConsul::start(1).await;
        let store = replica(&fake.addresses(), "r1");
        let base = live(&store).await;
        fake.server(0).once(On::Writes, fault);
        fake.server(0)
            .always(On::Any, Fault::Answer(500, "No cluster leader".into()));
        let (id, text) = match store.commit(&base, &[put("a", 1)]).await {
            Err(CommitError::Unknown { id, why }) => (id, why.to_string()),
            other => panic!("{other:?}"),
        };
        assert!(text.contains(&fake.server(0).address()), "{text}");
        assert!(matches!(store.outcome(id).await, Outcome::Unknown(_)));
        fake.server(0).heal();
        live(&store).await;
        if applied {
            let view = shows(&store, "a").await;
            assert_eq!(
                store.outcome(id).await,
                Outcome::Committed(view.revision.unwrap())
            );
        } else {
            // It may still be on its way, until another commit stands in its place.
            assert!(matches!(store.outcome(id).await, Outcome::Unknown(_)));
            commit(&store, &[put("b", 1)]).await.unwrap();
            assert_eq!(store.outcome(id).await, Outcome::NotThere);
        }
        // Another replica finds it in the log, or cannot tell.
        let two = replica(&fake.addresses(), "r2");
        live(&two).await;
        let found = matches!(two.outcome(id).await, Outcome::Committed(_));
        assert_eq!(found, applied);
    }
}

#[tokio::test]
async fn with_all_servers_down_nothing_was_changed_and_each_is_named() {
    let fake = FakeConsul::start(3).await;
    let store = replica(&fake.addresses(), "r1");
    commit(&store, &[put("a", 1)]).await.unwrap();
    for nth in 0..3 {
        fake.server(nth).down().await;
    }
    let stale = until(&store, "stale", |view| {
        matches!(view.condition, StoreCondition::Stale { .. })
    });
    assert_eq!(names(&*stale.await), ["a"]);
    match store.commit(&store.view(), &[put("b", 1)]).await {
        Err(CommitError::Unavailable { why }) => {
            for nth in 0..3 {
                assert!(
                    why.to_string().contains(&fake.server(nth).address()),
                    "{why}"
                );
            }
        }
        other => panic!("{other:?}"),
    }
    for nth in 0..3 {
        fake.server(nth).up().await;
    }
    live(&store).await;
    commit(&store, &[put("b", 1)]).await.unwrap();
}

#[tokio::test]
async fn what_consul_refuses_is_refused() {
    let fake = FakeConsul::start(2).await;
    let store = replica(&fake.addresses(), "r1");
    let base = live(&store).await;
    fake.server(0)
        .always(On::Writes, Fault::Answer(403, "ACL not found".into()));
    let refused = store.commit(&base, &[put("a", 1)]).await;
    assert!(
        matches!(refused, Err(CommitError::Denied { .. })),
        "{refused:?}"
    );
    fake.server(0).heal();
    // Rights on some keys only: a 409 that is no lost race.
    fake.kv().allow("", "proxy/", Right::Read);
    fake.kv().allow("", "proxy/head", Right::Write);
    match store.commit(&store.view(), &[put("a", 1)]).await {
        Err(CommitError::Denied { why }) => assert!(why.to_string().contains("Permission denied")),
        other => panic!("{other:?}"),
    }
    assert!(fake.kv().list("proxy/services/").is_empty());
}

#[tokio::test]
async fn a_large_change_is_taken_as_far_as_it_fits() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    let many: Vec<_> = (0..150).map(|nth| put(&format!("s{nth:03}"), 80)).collect();
    let first = store.commit(&*live(&store).await, &many).await.unwrap();
    assert_eq!(
        first.taken, 62,
        "64 operations, of which two are the head and the log"
    );
    let second = store
        .commit(&first.view, &many[first.taken..])
        .await
        .unwrap();
    assert_eq!(second.taken, 62);
    let third = store.commit(&second.view, &many[124..]).await.unwrap();
    assert_eq!((third.taken, third.view.stored.table().len()), (26, 150));

    let large: Vec<_> = (0..10)
        .map(|nth| put_large(&format!("l{nth}"), 60_000))
        .collect();
    let made = store.commit(&third.view, &large).await.unwrap();
    assert!((2..=4).contains(&made.taken), "{}", made.taken);
    // Each replaced by another: before, after and the document itself.
    let again = store
        .commit(&made.view, &[put_large("l0", 61_000)])
        .await
        .unwrap();
    assert_eq!(again.taken, 1);
}

#[tokio::test]
async fn a_follower_far_behind_catches_up_by_the_log_or_by_reading_all() {
    let fake = FakeConsul::start(2).await;
    let writer = replica(&fake.server(0).address(), "w");
    live(&writer).await;
    let behind = replica(&fake.server(1).address(), "behind");
    commit(&writer, &[put("gone", 1)]).await.unwrap();
    shows(&behind, "gone").await;
    fake.server(1).down().await;
    commit(&writer, &[remove("gone")]).await.unwrap();
    for nth in 0..150 {
        commit(&writer, &[put("x", nth + 1)]).await.unwrap();
    }
    let seen = fake.server(1).seen().len();
    fake.server(1).up().await;
    let goal = writer.view().revision;
    let view = until(&behind, "caught up", |view| view.revision == goal).await;
    assert_eq!(names(&view), ["x"]);
    assert_eq!(view.degraded().len(), 0);
    let reads = fake.server(1).seen().len() - seen;
    assert!(
        reads < 12,
        "152 entries in pages of 64, not one by one: {reads}"
    );
    // The log lost its beginning: the whole store is read, and what was removed is still removed.
    fake.server(1).down().await;
    commit(&writer, &[put("y", 1)]).await.unwrap();
    let hole = writer.view().revision.unwrap().number;
    commit(&writer, &[remove("x")]).await.unwrap();
    fake.kv().delete(&format!("proxy/log/{hole}"));
    fake.server(1).up().await;
    let goal = writer.view().revision;
    let view = until(&behind, "caught up", |view| view.revision == goal).await;
    assert_eq!(names(&view), ["y"]);
    assert!(view.superseded.is_none());
}

#[tokio::test]
async fn the_log_keeps_a_thousand_commits() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    live(&store).await;
    for nth in 0..1_005_u16 {
        commit(&store, &[put("x", nth + 1)]).await.unwrap();
    }
    let log = fake.kv().list("proxy/log/");
    assert_eq!(log.len(), 1_000);
    assert!(fake.kv().get("proxy/log/5").is_none() && fake.kv().get("proxy/log/6").is_some());
}

#[tokio::test]
async fn offers_are_taken_ignored_or_settled() {
    let fake = FakeConsul::start(2).await;
    let writer = replica(&fake.server(0).address(), "w");
    live(&writer).await;
    let peer = replica(&fake.server(1).address(), "p");
    live(&peer).await;
    let first = commit(&writer, &[put("a", 1)]).await.unwrap();
    shows(&peer, "a").await;
    // The peer's Consul is gone: only offers reach it.
    fake.server(1).down().await;
    let second = commit(&writer, &[put("b", 1)]).await.unwrap();
    let third = commit(&writer, &[put("c", 1)]).await.unwrap();
    // Too early, and no store to ask.
    assert!(peer.offer((*third.record).clone()).await.is_err());
    let seq = peer.offer((*second.record).clone()).await.unwrap();
    assert!(peer.view().seq >= seq && has(&peer.view(), "b"));
    // Again, and one of long ago: known.
    assert_eq!(peer.offer((*second.record).clone()).await.unwrap(), seq);
    peer.offer((*first.record).clone()).await.unwrap();
    peer.offer((*third.record).clone()).await.unwrap();
    assert_eq!(table(&peer.view()), table(&writer.view()));
    // What the store does not hold is not taken, whatever its number.
    fake.server(1).up().await;
    let mut forged = (*third.record).clone();
    forged.revision = Revision::new(
        third.record.revision.epoch,
        third.record.revision.number,
        CommitId::from_bytes([7; 16]),
    );
    assert!(peer.offer(forged.clone()).await.is_err());
    forged.revision = Revision::new(Epoch::from_bytes([9; 16]), 1, CommitId::from_bytes([7; 16]));
    forged.previous = None;
    assert!(peer.offer(forged).await.is_err());
    assert_eq!(table(&peer.view()), table(&writer.view()));
    // And it commits on top of what it was told.
    commit(&peer, &[put("d", 1)]).await.unwrap();
    shows(&writer, "d").await;
}

#[tokio::test]
async fn conflicting_writers_end_with_one_table() {
    let fake = FakeConsul::start(2).await;
    let stores: Vec<_> = (0..3)
        .map(|nth| Arc::new(replica(&fake.addresses(), &format!("r{nth}"))))
        .collect();
    for store in &stores {
        live(store).await;
    }
    let tasks: Vec<_> = stores
        .iter()
        .enumerate()
        .map(|(who, store)| {
            let (store, peers) = (Arc::clone(store), stores.clone());
            tokio::spawn(async move {
                for nth in 0..50_u16 {
                    let port = nth * 3 + u16::try_from(who).unwrap() + 1;
                    let made = commit(&store, &[put("same", port)]).await.unwrap();
                    if nth % 3 == 0 {
                        for peer in &peers {
                            let _hint = peer.offer((*made.record).clone()).await;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut tables = Vec::new();
    for store in &stores {
        let at = |view: &proxy_core::StoreView| view.revision.is_some_and(|r| r.number == 150);
        tables.push(table(&*until(store, "all 150", at).await));
    }
    assert!(tables.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_commit_has_one_deadline_for_all_of_it() {
    let fake = FakeConsul::start(3).await;
    let store = replica(&fake.addresses(), "r1");
    live(&store).await;
    commit(&store, &[put("a", 1)]).await.unwrap();
    for nth in 0..3 {
        fake.server(nth).always(On::Any, Fault::BlackHole);
    }
    let started = Instant::now();
    match store.commit(&store.view(), &[put("b", 1)]).await {
        Err(CommitError::Unknown { why, .. }) => {
            let (why, first) = (why.to_string(), fake.server(0).address());
            assert!(why.contains(&first), "{why}");
        }
        other => panic!("{other:?}"),
    }
    let settle = fast_timeouts().settle;
    assert!(
        started.elapsed() < settle + settle / 2,
        "{:?}",
        started.elapsed()
    );
    // By now it is known that the store does not answer, and nothing is sent.
    until(&store, "stale", |view| {
        matches!(view.condition, StoreCondition::Stale { .. })
    })
    .await;
    let refused = store.commit(&store.view(), &[put("b", 1)]).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_commit_waits_for_a_leader_that_is_being_chosen() {
    let fake = FakeConsul::start(2).await;
    let store = replica(&fake.addresses(), "r1");
    commit(&store, &[put("a", 1)]).await.unwrap();
    for nth in 0..2 {
        fake.server(nth)
            .always(On::Any, Fault::Answer(500, "No cluster leader".into()));
    }
    until(&store, "stale", |view| {
        matches!(view.condition, StoreCondition::Stale { .. })
    })
    .await;
    let view = store.view();
    let change = [put("b", 1)];
    let (made, ()) = tokio::join!(store.commit(&view, &change), async {
        let asked = fake.server(0).seen().len();
        while fake.server(0).seen().len() < asked + 3 {
            tokio::task::yield_now().await;
        }
        fake.server(0).heal();
    });
    assert_eq!(names(&made.unwrap().view), ["a", "b"]);
    // When none is chosen, it is not sent, and each is named.
    fake.server(0)
        .always(On::Any, Fault::Answer(500, "No cluster leader".into()));
    until(&store, "stale", |view| {
        matches!(view.condition, StoreCondition::Stale { .. })
    })
    .await;
    match store.commit(&store.view(), &[put("c", 1)]).await {
        Err(CommitError::Unavailable { why }) => {
            assert!(why.to_string().contains("No cluster leader"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}
