//! The log told backwards, a full read on demand, and an empty store that is accepted.

use std::{sync::Arc, time::Duration};

use proxy_consul::{ConsulSettings, ConsulStore, OnEmptyStore};
use proxy_core::{CommitError, Outcome, RouteStore, StoreCondition, StoreView};
use testkit::consul::{FakeConsul, FakeServer, Fault, On};
use tokio::time::timeout;

use super::support::{
    DEADLINE, commit, documents, fast_timeouts, held, live, names, put, remove, replica, settings,
    start, until, until_key,
};

#[tokio::test]
async fn the_history_is_told_from_its_end_in_pages() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    for port in 1..=70 {
        commit(&store, &[put("a", port)]).await.unwrap();
    }
    commit(&store, &[remove("a")]).await.unwrap();
    let numbers = async |before, limit| -> Vec<u64> {
        let page = store.history(before, limit).await.unwrap();
        page.iter().map(|record| record.revision.number).collect()
    };
    assert_eq!(numbers(None, 2).await, [71, 70]);
    assert_eq!(numbers(Some(3), 10).await, [2, 1]);
    assert_eq!(numbers(None, 1_000).await.len(), 71);
    // The table of any revision is what is left when the later commits are taken back.
    let mut table = store.view().stored.clone();
    for record in store.history(None, 21).await.unwrap() {
        table.revert(&record);
    }
    let service = table.service(&"a".parse().unwrap()).unwrap();
    assert_eq!(service.destinations()[0].port().unwrap().get(), 50);
}

#[tokio::test]
async fn the_history_begins_where_what_is_kept_begins() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    for port in 1..=10 {
        commit(&store, &[put("a", port)]).await.unwrap();
    }
    fake.kv().delete("proxy/log/4");
    let kept = store.history(None, 100).await.unwrap();
    let numbers: Vec<_> = kept.iter().map(|record| record.revision.number).collect();
    assert_eq!(numbers, [10, 9, 8, 7, 6, 5]);
}

#[tokio::test]
async fn a_document_changed_by_hand_is_seen_by_a_full_read() {
    let fake = FakeConsul::start(1).await;
    let store = replica(&fake.addresses(), "r1");
    let committed = commit(&store, &[put("a", 1)]).await.unwrap();
    let by_hand = documents(&["a"]);
    let text = by_hand.documents().next().unwrap().raw().to_owned();
    fake.kv().put("proxy/services/a", text);
    let seq = store.reread().await.unwrap();
    let view = store.view();
    assert!(view.seq >= seq);
    assert_eq!(view.revision, committed.view.revision);
    assert_eq!(view.stored, by_hand);
}

#[tokio::test]
async fn an_empty_store_is_taken_for_the_truth_only_where_it_is_accepted() {
    let fake = FakeConsul::start(1).await;
    let settings = settings(&fake.addresses(), fast_timeouts());
    let hold = |name: &str| {
        ConsulStore::start(&settings, name.parse().unwrap(), None, OnEmptyStore::Hold).unwrap()
    };
    let (one, two) = (hold("r1"), hold("r2"));
    commit(&one, &[put("a", 1)]).await.unwrap();
    for store in [&one, &two] {
        until(store, "both serve a", |view| names(view) == ["a"]).await;
    }
    // Nothing to accept: nothing happens.
    one.accept().await.unwrap();
    assert_eq!(names(&one.view()), ["a"]);
    fake.kv().delete("");
    for store in [&one, &two] {
        until(store, "wiped", |view| {
            matches!(view.condition, StoreCondition::Wiped { .. })
        })
        .await;
    }
    one.accept().await.unwrap();
    until_key(&fake, "proxy/head").await;
    for store in [&one, &two] {
        let view = until(store, "empty", |view| {
            view.condition == StoreCondition::Live && names(view).is_empty()
        })
        .await;
        let superseded = view.superseded.as_ref().unwrap();
        assert_eq!(superseded.stored.table().len(), 1);
    }
    commit(&two, &[put("b", 1)]).await.unwrap();
    let view = until(&one, "b", |view| names(view) == ["b"]).await;
    assert_eq!(live(&two).await.revision, view.revision);
}

/// A replica that holds one service against an empty store.
async fn holding(settings: &ConsulSettings) -> ConsulStore {
    let name = "r1".parse().unwrap();
    let store = ConsulStore::start(settings, name, None, OnEmptyStore::Hold).unwrap();
    commit(&store, &[put("a", 1)]).await.unwrap();
    store
}

async fn wipe(fake: &FakeConsul, store: &ConsulStore) -> Arc<StoreView> {
    let served = store.view();
    fake.kv().delete("");
    until(store, "wiped", |view| {
        matches!(view.condition, StoreCondition::Wiped { .. })
    })
    .await;
    served
}

/// How many transactions that write have arrived.
fn writes(server: &FakeServer) -> usize {
    let seen = server.seen();
    let is_write = |body: &[u8]| body.windows(5).any(|part| part == br#""cas""#);
    seen.iter().filter(|it| is_write(&it.body)).count()
}

/// Waits until one more than these has arrived.
async fn until_write_after(before: usize, server: &FakeServer) {
    let waiting = async {
        while writes(server) == before {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap();
}

#[tokio::test]
async fn whether_an_empty_store_was_accepted_may_be_unknown_and_is_told_later() {
    for (fault, applied) in [(Fault::ApplyThenReset, true), (Fault::Reset, false)] {
        let fake = FakeConsul::start(1).await;
        let store = holding(&settings(&fake.addresses(), fast_timeouts())).await;
        wipe(&fake, &store).await;
        let server = fake.server(0);
        server.once(On::Writes, fault);
        server.always(On::Writes, Fault::Answer(500, "No cluster leader".into()));
        let id = match store.accept().await {
            Err(CommitError::Unknown { id, .. }) => id,
            other => panic!("{other:?}"),
        };
        server.heal();
        if applied {
            until(&store, "empty", |view| names(view).is_empty()).await;
            let at = live(&store).await.revision.unwrap();
            assert_eq!(store.outcome(id).await, Outcome::Committed(at));
        } else {
            // It may still be on its way, until another commit stands in its place.
            assert!(matches!(store.outcome(id).await, Outcome::Unknown(_)));
            assert_eq!(names(&store.view()), ["a"]);
            store.accept().await.unwrap();
            assert_eq!(store.outcome(id).await, Outcome::NotThere);
        }
    }
}

#[tokio::test]
async fn an_empty_store_that_another_replica_fills_meanwhile_is_not_accepted() {
    let fake = FakeConsul::start(1).await;
    let mut timeouts = fast_timeouts();
    timeouts.request = Duration::from_secs(10);
    timeouts.settle = Duration::from_secs(10);
    let settings = settings(&fake.addresses(), timeouts);
    let store = holding(&settings).await;
    let served = wipe(&fake, &store).await;
    let server = fake.server(0);
    let before = writes(server);
    server.once(On::Writes, Fault::Delay(Duration::from_secs(2)));
    let refilled = async {
        until_write_after(before, server).await;
        let other = start(&settings, "r2", Some(held(&served)));
        until_key(&fake, "proxy/head").await;
        live(&other).await;
        other
    };
    let (accepted, _other) = tokio::join!(store.accept(), refilled);
    match accepted {
        Err(CommitError::LostRace { view }) => assert_eq!(names(&view), ["a"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_empty_store_that_cannot_be_read_once_it_is_accepted_is_accepted_all_the_same() {
    let fake = FakeConsul::start(1).await;
    let mut timeouts = fast_timeouts();
    timeouts.request = Duration::from_secs(10);
    timeouts.settle = Duration::from_secs(10);
    let settings = settings(&fake.addresses(), timeouts);
    let store = holding(&settings).await;
    wipe(&fake, &store).await;
    // Nobody reads from when the write has arrived, which is before it is done.
    let server = fake.server(0);
    let before = writes(server);
    server.once(On::Writes, Fault::Delay(Duration::from_secs(1)));
    let arrived = async {
        until_write_after(before, server).await;
        server.always(On::Reads, Fault::Reset);
    };
    let (accepted, ()) = tokio::join!(store.accept(), arrived);
    let seq = accepted.unwrap();
    let view = store.view();
    assert!(view.seq >= seq && names(&view).is_empty(), "{view:?}");
    server.heal();
    assert!(names(live(&store).await.as_ref()).is_empty());
}
