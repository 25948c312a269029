//! A store that shows less, or other things, than it should.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use proxy_consul::{
    Address, ConsulStore, HeldTable, OnEmptyStore, Operation, Request, Response, Transport,
    TransportError,
};
use proxy_core::{
    CommitError, CommitId, Degradation, Epoch, Revision, RouteStore, ServiceName, StoreCondition,
    StoreTrouble,
};
use testkit::consul::{FakeConsul, Right};

use crate::support::{
    commit, documents, fast_timeouts, has, held, live, names, put, remove, replica, settings,
    shows, start, table, until, until_key,
};

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
    let nothing = until(&three, "told why it has nothing", |view| {
        matches!(&view.condition, StoreCondition::Starting { trouble: Some(StoreTrouble::Denied(why)) }
            if why.contains("Permission denied") && why.contains("ACL token"))
    });
    assert!(names(&*nothing.await).is_empty());
    // To say why costs no change its answer: it is denied, and not unavailable.
    for store in [&two, &three] {
        let refused = store.commit(&store.view(), &[put("d", 1)]).await;
        assert!(
            matches!(refused, Err(CommitError::Denied { .. })),
            "{refused:?}"
        );
    }
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
    // A newcomer never had a good version: the rest is served, and nobody takes it for hidden.
    let three = replica(&fake.addresses(), "r3");
    let view = live(&three).await;
    assert_eq!(names(&view), ["b", "c"]);
    let why = &view.degraded()["a"];
    assert!(matches!(why, Degradation::NoDocument(_)), "{why}");
    commit(&three, &[put("a", 2)]).await.unwrap();
    let four = replica(&fake.addresses(), "r4");
    for store in [&store, &two, &three, &four] {
        let view = until(store, "mended", |view| {
            has(view, "a") && view.degraded().is_empty() && view.condition == StoreCondition::Live
        });
        assert_eq!(names(&*view.await), ["a", "b", "c"]);
    }
    // What is no document is counted, and goes as any other.
    fake.kv().put("proxy/services/a", "nonsense");
    let five = replica(&fake.addresses(), "r5");
    assert_eq!(names(&*live(&five).await), ["b", "c"]);
    commit(&five, &[remove("a")]).await.unwrap();
    assert!(fake.kv().get("proxy/services/a").is_none());
    let six = replica(&fake.addresses(), "r6");
    for store in [&store, &two, &three, &four, &five, &six] {
        let view = until(store, "without it", |view| {
            !has(view, "a") && view.degraded().is_empty() && view.condition == StoreCondition::Live
        });
        assert_eq!(names(&*view.await), ["b", "c"]);
    }
    let head = String::from_utf8(fake.kv().get("proxy/head").unwrap().value).unwrap();
    assert!(head.contains(r#""services":2"#), "{head}");
}

#[tokio::test]
async fn what_is_there_already_is_confirmed_only_while_the_store_holds_it() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    commit(&store, &[put("a", 1), put("b", 1)]).await.unwrap();
    let [a, b]: [ServiceName; 2] = ["a", "b"].map(|name| name.parse().unwrap());
    let key = "proxy/services/a";
    let good = || fake.kv().get(key).unwrap().value;
    for (spoilt, degraded) in [
        (Some("nonsense"), true),
        (
            Some(r#"{"version":1,"name":"a","destinations":[{"port":"x"}]}"#),
            true,
        ),
        (Some(r#"{"version":99,"name":"a"}"#), true),
        (Some(r#"{"version":1,"name":"b","destinations":[]}"#), true),
        (None, true),
        // Another service that can be read: it is what the store holds, until it is written again.
        (
            Some(
                r#"{"version":1,"name":"a","destinations":[{"port":7,"paths":[{"kind":"path","text":"/x"}]}]}"#,
            ),
            false,
        ),
    ] {
        let (view, document) = (store.view(), good());
        store.confirm(&view, &[a.clone(), b.clone()]).await.unwrap();
        match spoilt {
            Some(text) => fake.kv().put(key, text),
            None => fake.kv().delete(key),
        }
        store
            .confirm(&view, std::slice::from_ref(&b))
            .await
            .unwrap();
        assert_eq!(store.view().seq, view.seq, "nobody asked");
        let confirmed = store.confirm(&view, &[b.clone(), a.clone()]).await;
        let Err(CommitError::LostRace { view: newer }) = confirmed else {
            panic!("{spoilt:?}: {confirmed:?}");
        };
        assert_eq!(newer.degraded().contains_key(&a), degraded, "{spoilt:?}");
        assert!(has(&newer, "a"), "{spoilt:?}");
        commit(&store, &[put("a", 1)]).await.unwrap();
        assert_eq!(good(), document, "{spoilt:?}");
    }
    // More than one transaction reads are looked at all the same.
    let many: Vec<_> = (0..100).map(|nth| put(&format!("s{nth}"), 1)).collect();
    for some in many.chunks(40) {
        commit(&store, some).await.unwrap();
    }
    let view = store.view();
    let all: Vec<_> = many.iter().map(|it| it.service_name().clone()).collect();
    store.confirm(&view, &all).await.unwrap();
    fake.kv().put("proxy/services/s99", "nonsense");
    let confirmed = store.confirm(&view, &all).await;
    assert!(
        matches!(confirmed, Err(CommitError::LostRace { .. })),
        "{confirmed:?}"
    );
}

/// A Consul that hides everything without a word, as some versions do.
#[derive(Debug, Default)]
struct Hiding {
    writes: AtomicUsize,
}

#[async_trait]
impl Transport for Hiding {
    async fn send(&self, _: &Address, request: &Request) -> Result<Response, TransportError> {
        if request.operation.writes() {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(match request.operation {
            Operation::ReadTxn => {
                Response::new(200, None, r#"{"Results":[],"Errors":null}"#.into())
            }
            _ => Response::new(404, Some(7), "".into()),
        })
    }
}

#[tokio::test]
async fn a_head_that_is_hidden_is_not_an_empty_store() {
    let settings = settings("anywhere:1", fast_timeouts());
    let hiding = Arc::new(Hiding::default());
    let revision = Revision::new(Epoch::from_bytes([1; 16]), 3, CommitId::from_bytes([2; 16]));
    let held = HeldTable::new(revision, documents(&["a"]));
    let instance = "r1".parse().unwrap();
    let transport = Arc::clone(&hiding) as Arc<dyn Transport>;
    let on_empty = OnEmptyStore::Refill;
    let store =
        ConsulStore::start_with(&settings, transport, instance, Some(held), on_empty).unwrap();
    until(&store, "told", |view| {
        matches!(&view.condition, StoreCondition::Stale { why } if why.contains("does not show"))
    })
    .await;
    let refused = store.commit(&store.view(), &[put("b", 1)]).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(names(&store.view()), ["a"]);
    assert_eq!(
        hiding.writes.load(Ordering::Relaxed),
        0,
        "nobody fills a store that is not seen"
    );
}
