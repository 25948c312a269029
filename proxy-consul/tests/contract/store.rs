//! The store against a fake that breaks as scripted.

use std::{sync::Arc, time::Duration};

use proxy_consul::{ConsulStore, HeldTable, OnEmptyStore};
use proxy_core::{
    CommitError, CommitId, Degradation, Epoch, Outcome, Revision, RouteStore, StoreCondition,
    StoredTable,
};
use testkit::consul::{FakeConsul, Fault, On, Right};

use crate::support::{
    commit, documents, fast_timeouts, has, held, live, names, put, put_large, remove, replica,
    settings, shows, start, table, until,
};

#[tokio::test]
async fn a_change_is_stored_and_every_replica_follows() {
    let fake = FakeConsul::start(1).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&fake.addresses(), name));
    assert_eq!(one.view().condition, StoreCondition::Starting);
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
        matches!(refused, Err(CommitError::Refused { .. })),
        "{refused:?}"
    );
    fake.server(0).heal();
    // Rights on some keys only: a 409 that is no lost race.
    fake.kv().allow("", "proxy/", Right::Read);
    fake.kv().allow("", "proxy/head", Right::Write);
    match store.commit(&store.view(), &[put("a", 1)]).await {
        Err(CommitError::Refused { why }) => assert!(why.to_string().contains("Permission denied")),
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
async fn a_held_table_is_served_until_the_store_is_read() {
    let fake = FakeConsul::start(1).await;
    let one = replica(&fake.addresses(), "r1");
    commit(&one, &[put("a", 1), put("b", 1)]).await.unwrap();
    let held = held(&one.view());
    commit(&one, &[remove("a"), put("c", 1)]).await.unwrap();
    fake.server(0).down().await;
    let settings = settings(&fake.addresses(), fast_timeouts());
    let two = start(&settings, "r2", Some(held));
    assert!(matches!(two.view().condition, StoreCondition::Stale { .. }));
    assert_eq!(names(&two.view()), ["a", "b"]);
    let text = until(
        &two,
        "told why",
        |view| matches!(&view.condition, StoreCondition::Stale { why } if why.contains("refused")),
    );
    text.await;
    fake.server(0).up().await;
    let view = live(&two).await;
    assert_eq!(names(&view), ["b", "c"]);
    assert!(view.superseded.is_none());
}

#[tokio::test]
async fn a_wiped_store_is_filled_again_by_whoever_holds_the_table() {
    let fake = FakeConsul::start(1).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&fake.addresses(), name));
    live(&one).await;
    live(&two).await;
    // More than one transaction holds.
    let many: Vec<_> = (0..200).map(|nth| put(&format!("s{nth:03}"), 80)).collect();
    for part in many.chunks(50) {
        commit(&one, part).await.unwrap();
    }
    let goal = one.view().revision;
    until(&two, "caught up", |view| view.revision == goal).await;
    let before = table(&one.view());
    fake.kv().delete("");
    let epoch = goal.unwrap().epoch;
    let new_life = |view: &proxy_core::StoreView| {
        let revision = view.revision;
        assert_eq!(view.stored.table().len(), 200, "never a half");
        revision.is_some_and(|r| r.epoch != epoch) && view.condition == StoreCondition::Live
    };
    let (view_one, view_two) = (
        until(&one, "filled again", new_life).await,
        until(&two, "filled again", new_life).await,
    );
    assert_eq!(table(&view_one), before);
    assert_eq!(table(&view_two), before);
    assert_eq!(view_one.revision, view_two.revision);
    assert!(view_one.superseded.is_none() && view_two.superseded.is_none());
    assert_eq!(fake.kv().list("proxy/services/").len(), 200);
    // A newcomer reads the same, and all go on together.
    let three = replica(&fake.addresses(), "r3");
    assert_eq!(table(&*live(&three).await), before);
    commit(&three, &[put("more", 1)]).await.unwrap();
    shows(&one, "more").await;
}

#[tokio::test]
async fn a_filling_that_was_left_midway_is_gone_on_with() {
    let fake = FakeConsul::start(2).await;
    let names: Vec<_> = (0..150).map(|nth| format!("s{nth:03}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let stored = documents(&names);
    let revision = Revision::new(Epoch::from_bytes([1; 16]), 9, CommitId::from_bytes([2; 16]));
    // A witness that held the table too, and is away while the store is wiped.
    let settings_two = settings(&fake.server(1).address(), fast_timeouts());
    fake.server(1).down().await;
    let witness = start(
        &settings_two,
        "r2",
        Some(HeldTable::new(revision, stored.clone())),
    );
    // The first replica gets its first commit of three through, and dies.
    fake.server(0).once(On::Writes, Fault::None);
    fake.server(0).always(On::Writes, Fault::BlackHole);
    let settings_one = settings(&fake.server(0).address(), fast_timeouts());
    let mut other = stored.clone();
    other.remove(&"s149".parse().unwrap());
    other.put(Arc::clone(documents(&["more"]).documents().next().unwrap()));
    let one = start(&settings_one, "r1", Some(HeldTable::new(revision, other)));
    until_key(&fake, "proxy/log/1").await;
    drop(one);
    let head =
        |fake: &FakeConsul| String::from_utf8(fake.kv().get("proxy/head").unwrap().value).unwrap();
    assert!(
        head(&fake).contains(r#""filling":{"from":"replica","by":"r1"}"#),
        "{}",
        head(&fake)
    );
    let half = fake.kv().list("proxy/services/").len();
    assert!((50..150).contains(&half), "{half}");
    // The witness comes back: it serves all it held throughout, and goes on after a while.
    fake.server(1).up().await;
    let view = until(&witness, "live", |view| {
        assert_eq!(
            names.iter().filter(|name| has(view, name)).count(),
            150,
            "never a half"
        );
        view.condition == StoreCondition::Live
    })
    .await;
    // What the store had already stays, what only the witness held is added.
    assert!(has(&view, "more"), "the first of r1's table went through");
    assert_eq!(view.stored.table().len(), 151);
    assert!(!head(&fake).contains("filling"), "{}", head(&fake));
    let newcomer = replica(&fake.server(1).address(), "r3");
    assert_eq!(table(&*live(&newcomer).await), table(&view));
}

async fn until_key(fake: &FakeConsul, key: &str) {
    let waiting = async {
        while fake.kv().get(key).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_newcomer_waits_for_a_filling_and_takes_what_is_there_in_the_end() {
    let fake = FakeConsul::start(1).await;
    let head = r#"{"epoch":"01010101010101010101010101010101","revision":1,"id":"02020202020202020202020202020202","services":1,"filling":{"from":"replica","by":"dead"}}"#;
    fake.kv().put("proxy/head", head);
    let stored = documents(&["a"]);
    fake.kv()
        .put("proxy/services/a", stored.documents().next().unwrap().raw());
    let store = replica(&fake.addresses(), "r1");
    let refused = store.commit(&store.view(), &[put("b", 1)]).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(names(&*live(&store).await), ["a"]);
    commit(&store, &[put("b", 1)]).await.unwrap();
}

#[tokio::test]
async fn hold_keeps_the_table_and_changes_nothing() {
    let fake = FakeConsul::start(1).await;
    let settings = settings(&fake.addresses(), fast_timeouts());
    let hold = |name: &str| {
        ConsulStore::start(&settings, name.parse().unwrap(), None, OnEmptyStore::Hold).unwrap()
    };
    let store = hold("r1");
    commit(&store, &[put("a", 1)]).await.unwrap();
    let snapshot = fake.kv().snapshot();
    fake.kv().delete("");
    let view = until(&store, "wiped", |view| {
        matches!(view.condition, StoreCondition::Wiped { .. })
    });
    assert_eq!(names(&*view.await), ["a"]);
    let refused = store.commit(&store.view(), &[put("b", 1)]).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    assert!(fake.kv().list("").is_empty());
    // A newcomer with nothing makes an empty store, and still the table is held.
    let two = hold("r2");
    live(&two).await;
    until_key(&fake, "proxy/head").await;
    let refused = store.commit(&store.view(), &[put("b", 1)]).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(names(&store.view()), ["a"]);
    // The operator restores the store: all is well.
    fake.kv().restore(snapshot);
    assert_eq!(names(&*live(&store).await), ["a"]);
    shows(&two, "a").await;
}

#[tokio::test]
async fn a_newcomer_that_made_an_empty_store_empties_no_one() {
    let fake = FakeConsul::start(2).await;
    let holder = replica(&fake.server(0).address(), "r1");
    commit(&holder, &[put("a", 1)]).await.unwrap();
    fake.server(0).down().await;
    fake.kv().delete("");
    let newcomer = replica(&fake.server(1).address(), "r2");
    live(&newcomer).await;
    fake.server(0).up().await;
    assert_eq!(names(&*live(&holder).await), ["a"]);
    shows(&newcomer, "a").await;
}

#[tokio::test]
async fn a_restored_store_wins_and_the_table_is_handed_over() {
    let fake = FakeConsul::start(1).await;
    let [one, two] = ["r1", "r2"].map(|name| replica(&fake.addresses(), name));
    live(&one).await;
    live(&two).await;
    commit(&one, &[put("a", 1), put("b", 1)]).await.unwrap();
    let snapshot = fake.kv().snapshot();
    commit(&one, &[remove("b")]).await.unwrap();
    let last = commit(&one, &[put("c", 1)]).await.unwrap();
    shows(&two, "c").await;
    fake.kv().restore(snapshot);
    for store in [&one, &two] {
        let view = until(store, "restored", |view| has(view, "b")).await;
        assert_eq!(names(&view), ["a", "b"]);
        assert_eq!(view.condition, StoreCondition::Live);
        let gone = view.superseded.as_ref().unwrap();
        assert_eq!(gone.revision, last.record.revision);
        assert_eq!(gone.stored.table().len(), 2);
    }
    commit(&two, &[put("d", 1)]).await.unwrap();
    shows(&one, "d").await;
    // One that slept through it all meets the new history beyond its own number.
    for nth in 0..5 {
        commit(&one, &[put("e", nth + 1)]).await.unwrap();
    }
    let stored = documents(&["a", "c"]);
    let settings = settings(&fake.addresses(), fast_timeouts());
    let held = HeldTable::new(last.record.revision, stored);
    let three = start(&settings, "r3", Some(held));
    let view = live(&three).await;
    assert_eq!(table(&view), table(&one.view()));
    assert!(view.superseded.is_some());
}

#[tokio::test]
async fn a_token_without_rights_empties_nothing() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    commit(&store, &[put("a", 1), put("b", 1), put("c", 1)])
        .await
        .unwrap();
    let held = held(&store.view());
    // No rights at all.
    fake.kv().allow("", "other/", Right::Read);
    let view = until(&store, "stale", |view| {
        matches!(view.condition, StoreCondition::Stale { .. })
    });
    assert_eq!(names(&*view.await), ["a", "b", "c"]);
    let settings = settings(&fake.addresses(), fast_timeouts());
    let two = start(&settings, "r2", Some(held.clone()));
    let three = replica(&fake.addresses(), "r3");
    until(&two, "told", |view| {
        matches!(&view.condition, StoreCondition::Stale { why } if why.contains("Permission denied"))
    })
    .await;
    assert_eq!(names(&two.view()), ["a", "b", "c"]);
    assert_eq!(three.view().condition, StoreCondition::Starting);
    // Rights on a part: the list comes back short, without a word.
    fake.kv().allow("", "proxy/head", Right::Read);
    fake.kv().allow("", "proxy/services/a", Right::Read);
    let four = start(&settings, "r4", Some(held));
    for (store, what) in [(&two, "two"), (&four, "four")] {
        let view = until(store, what, |view| view.condition == StoreCondition::Live).await;
        assert_eq!(names(&view), ["a", "b", "c"]);
    }
    let five = replica(&fake.addresses(), "r5");
    let view = until(&five, "short", |view| {
        matches!(view.condition, StoreCondition::Stale { .. })
    });
    assert_eq!(names(&*view.await), ["a"]);
    let refused = five.commit(&five.view(), &[put("d", 1)]).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    // The rights come back: all is well, without a restart.
    fake.kv().allow_all();
    for store in [&store, &two, &three, &four, &five] {
        commit(store, &[put("d", 1)]).await.unwrap();
        let view = live(store).await;
        assert_eq!(names(&view), ["a", "b", "c", "d"]);
    }
}

#[tokio::test]
async fn keys_deleted_by_hand_stay_and_are_named() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    commit(&store, &[put("a", 1), put("b", 1)]).await.unwrap();
    let held = held(&store.view());
    fake.kv().delete("proxy/services/a");
    // Only a whole read notices: that of a replica that starts behind a log it cannot follow.
    commit(&store, &[put("c", 1)]).await.unwrap();
    fake.kv().delete("proxy/log/2");
    let settings = settings(&fake.addresses(), fast_timeouts());
    let two = start(&settings, "r2", Some(held));
    let view = shows(&two, "c").await;
    assert_eq!(names(&view), ["a", "b", "c"]);
    assert_eq!(view.degraded()["a"], Degradation::Missing);
    commit(&store, &[put("a", 2)]).await.unwrap();
    until(&two, "healed", |view| view.degraded().is_empty()).await;
}

#[tokio::test]
async fn a_document_of_a_newer_release_is_kept_and_never_written_back() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    commit(&store, &[put("a", 1), put("b", 1)]).await.unwrap();
    let two = replica(&fake.addresses(), "r2");
    live(&two).await;
    let newer = r#"{"version":99,"name":"a","wings":2}"#;
    // A newer replica commits it.
    let view = store.view();
    let record = serde_json::json!({
        "revision": {"epoch": view.revision.unwrap().epoch, "revision": 2, "id": "0a".repeat(16)},
        "previous": view.revision.unwrap().id, "origin": "new", "at_unix_ms": 1,
        "services": {"a": {"before": null, "after": "newer"}},
    });
    let head = serde_json::json!({"epoch": view.revision.unwrap().epoch, "revision": 2, "id": "0a".repeat(16), "services": 2});
    fake.kv().put("proxy/services/a", newer);
    let record = record.to_string().replace("\"newer\"", newer);
    fake.kv().put("proxy/log/2", record);
    fake.kv().put("proxy/head", head.to_string());
    let view = until(&two, "degraded", |view| view.degraded().len() == 1).await;
    assert!(matches!(view.degraded()["a"], Degradation::Unreadable(_)));
    assert!(has(&view, "a"), "its last good version is served");
    // A newcomer never had a good version; the rest is served.
    let three = replica(&fake.addresses(), "r3");
    assert_eq!(names(&*live(&three).await), ["b"]);
    commit(&two, &[put("b", 2)]).await.unwrap();
    // Wiped and filled again: the newer document goes back as it was.
    for store in [&store, &three] {
        store.shutdown().await;
    }
    fake.kv().delete("");
    until_key(&fake, "proxy/services/a").await;
    let value = String::from_utf8(fake.kv().get("proxy/services/a").unwrap().value).unwrap();
    assert_eq!(value, newer);
}

#[tokio::test]
async fn nonsense_in_the_store_hurts_one_service_only() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    commit(&store, &[put("a", 1), put("b", 1)]).await.unwrap();
    let held = held(&store.view());
    fake.kv().put("proxy/services/a", "nonsense");
    fake.kv().put("proxy/log/2", "nonsense");
    commit(&store, &[put("c", 1)]).await.unwrap();
    fake.kv().put("proxy/log/2", "nonsense");
    let settings = settings(&fake.addresses(), fast_timeouts());
    let two = start(&settings, "r2", Some(held));
    assert_eq!(names(&*shows(&two, "c").await), ["a", "b", "c"]);
    // A head that is nonsense stops the following, not the serving.
    let good = fake.kv().get("proxy/head").unwrap().value;
    fake.kv().put("proxy/head", "nonsense");
    let view = until(&two, "stale", |view| {
        matches!(view.condition, StoreCondition::Stale { .. })
    });
    assert_eq!(names(&*view.await), ["a", "b", "c"]);
    fake.kv().put("proxy/head", good);
    live(&two).await;
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
async fn an_empty_held_table_is_no_table() {
    let fake = FakeConsul::start(1).await;
    let revision = Revision::new(Epoch::from_bytes([1; 16]), 3, CommitId::from_bytes([2; 16]));
    let settings = settings(&fake.addresses(), fast_timeouts());
    let store = start(
        &settings,
        "r1",
        Some(HeldTable::new(revision, StoredTable::default())),
    );
    live(&store).await;
    let made = commit(&store, &[put("a", 1)]).await.unwrap();
    assert_eq!(made.record.revision.number, 1);
}

fn put_old(fake: &FakeConsul, service: &str, path: &str, port: &str) {
    for (attribute, value) in [
        ("path", path),
        ("port", port),
        ("color", ""),
        ("skipcheck", "false"),
    ] {
        fake.kv()
            .put(&format!("proxy/{service}/{attribute}"), value);
    }
    fake.kv().put(&format!("proxy/service/{service}"), "swarm");
}

#[tokio::test]
async fn the_layout_of_2016_is_imported_once_and_left_as_it_is() {
    let fake = FakeConsul::start(1).await;
    // More than one commit, and one that cannot be had.
    for nth in 0..100 {
        put_old(&fake, &format!("s{nth:02}"), "/x,/y", "8080");
    }
    put_old(&fake, "bad", "/x", "no port");
    let old = fake.kv().snapshot();
    let [one, two] = ["r1", "r2"].map(|name| replica(&fake.addresses(), name));
    for store in [&one, &two] {
        let view = until(store, "live", |view| {
            let services = view.stored.table().len();
            assert!(services == 0 || services == 100, "never a half: {services}");
            view.condition == StoreCondition::Live
        })
        .await;
        assert_eq!(view.stored.table().len(), 100);
    }
    for (key, entry) in old {
        assert_eq!(fake.kv().get(&key).as_ref(), Some(&entry), "{key}");
    }
    // Only once: what is removed now stays removed.
    commit(&one, &[remove("s00")]).await.unwrap();
    let three = replica(&fake.addresses(), "r3");
    assert_eq!(live(&three).await.stored.table().len(), 99);
}
