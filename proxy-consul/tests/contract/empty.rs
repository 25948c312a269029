//! A store that is new, wiped, half filled, or of another program.

use std::sync::Arc;

use proxy_consul::{ConsulStore, HeldTable, OnEmptyStore};
use proxy_core::{CommitError, CommitId, Epoch, Revision, RouteStore, StoreCondition, StoredTable};
use testkit::consul::{FakeConsul, Fault, On};

use crate::support::{
    commit, documents, fast_timeouts, has, held, live, names, put, remove, replica, settings,
    shows, start, table, until, until_key,
};

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

#[tokio::test]
async fn a_store_that_lost_its_head_alone_is_not_imported_again() {
    let fake = FakeConsul::start(1).await;
    put_old(&fake, "old", "/old", "80");
    put_old(&fake, "gone", "/gone", "80");
    let one = replica(&fake.addresses(), "r1");
    commit(&one, &[remove("gone"), put("new", 1)])
        .await
        .unwrap();
    assert_eq!(names(&one.view()), ["new", "old"]);
    one.shutdown().await;
    fake.kv().delete("proxy/head");
    // The documents that are left are the table; the log of before belongs to no chain any more.
    let two = replica(&fake.addresses(), "r2");
    assert_eq!(names(&*live(&two).await), ["new", "old"]);
    assert!(fake.kv().list("proxy/log/").is_empty());
    commit(&two, &[put("more", 1)]).await.unwrap();
    let three = replica(&fake.addresses(), "r3");
    assert_eq!(table(&*live(&three).await), table(&two.view()));
}
