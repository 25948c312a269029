//! What the tests of the store share: replicas, and waiting for what they show.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proxy_consul::{ConsulSettings, ConsulStore, Endpoints, HeldTable, OnEmptyStore, Timeouts};
use proxy_core::{
    Change, CommitError, Committed, Document, Params, RouteStore, StoreCondition, StoreView,
    StoredTable, parse_reconfigure,
};
use testkit::consul::FakeConsul;
use tokio::time::timeout;

/// How long anything that is awaited may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Timeouts that let a test see a timeout in a moment.
pub(crate) fn fast_timeouts() -> Timeouts {
    let mut timeouts = Timeouts::default();
    timeouts.connect = Duration::from_millis(300);
    timeouts.request = Duration::from_millis(300);
    timeouts.watch_wait = Duration::from_millis(200);
    timeouts.watch_grace = Duration::from_millis(200);
    timeouts.settle = Duration::from_secs(2);
    timeouts.backoff_min = Duration::from_millis(10);
    timeouts.backoff_max = Duration::from_millis(100);
    timeouts.cool_down = Duration::from_millis(500);
    timeouts.fill_takeover = Duration::from_millis(300);
    timeouts
}

/// Timeouts for real servers: the ones of production, with shorter pauses.
pub(crate) fn real_timeouts() -> Timeouts {
    let mut timeouts = Timeouts::default();
    timeouts.watch_wait = Duration::from_secs(2);
    timeouts.backoff_max = Duration::from_millis(500);
    timeouts.cool_down = Duration::from_secs(2);
    timeouts.fill_takeover = Duration::from_secs(3);
    timeouts
}

pub(crate) fn settings(addresses: &str, timeouts: Timeouts) -> ConsulSettings {
    let addresses = Endpoints::parse_list(addresses).unwrap();
    let builder = ConsulSettings::builder(addresses).timeouts(timeouts);
    builder.instance_name("proxy").unwrap().build().unwrap()
}

pub(crate) fn start(settings: &ConsulSettings, name: &str, held: Option<HeldTable>) -> ConsulStore {
    let instance = name.parse().unwrap();
    ConsulStore::start(settings, instance, held, OnEmptyStore::Refill).unwrap()
}

/// A replica that follows a fake.
pub(crate) fn replica(addresses: &str, name: &str) -> ConsulStore {
    start(&settings(addresses, fast_timeouts()), name, None)
}

/// What a replica holds, to start another with.
pub(crate) fn held(view: &StoreView) -> HeldTable {
    HeldTable::new(view.revision.unwrap(), view.stored.clone())
}

/// Waits until a view is as wanted.
pub(crate) async fn until(
    store: &ConsulStore,
    what: &str,
    wanted: impl Fn(&StoreView) -> bool,
) -> Arc<StoreView> {
    let waiting = async {
        let mut view = store.view();
        while !wanted(&view) {
            view = store.changed(view.seq).await;
        }
        view
    };
    match timeout(DEADLINE, waiting).await {
        Ok(view) => view,
        Err(_) => {
            let view = store.view();
            panic!(
                "never {what}: revision {:?}, {:?}, services {:?}, degraded {:?}",
                view.revision,
                view.condition,
                names(&view),
                view.degraded()
            )
        }
    }
}

pub(crate) async fn live(store: &ConsulStore) -> Arc<StoreView> {
    until(store, "live", |view| view.condition == StoreCondition::Live).await
}

pub(crate) async fn shows(store: &ConsulStore, service: &str) -> Arc<StoreView> {
    until(store, &format!("shows {service}"), |view| {
        has(view, service)
    })
    .await
}

pub(crate) fn has(view: &StoreView, service: &str) -> bool {
    view.stored.service(&service.parse().unwrap()).is_some()
}

pub(crate) fn names(view: &StoreView) -> Vec<String> {
    view.stored
        .table()
        .iter()
        .map(|service| service.name().to_string())
        .collect()
}

/// The table as text, to compare replicas by.
pub(crate) fn table(view: &StoreView) -> BTreeMap<String, String> {
    let documents = view.stored.documents();
    documents
        .map(|document| (document.name().to_string(), document.raw().to_owned()))
        .collect()
}

pub(crate) fn put(name: &str, port: u16) -> Change {
    let query = format!("serviceName={name}&servicePath=/{name}&port={port}");
    let params = Params::from_query(query).unwrap();
    Change::Put(parse_reconfigure(&params).unwrap().value.service)
}

/// A service whose document is about this large.
pub(crate) fn put_large(name: &str, bytes: usize) -> Change {
    let paths: Vec<_> = (0..bytes / 230)
        .map(|nth| format!("/{nth:0>190}"))
        .collect();
    let query = format!("serviceName={name}&servicePath={}&port=80", paths.join(","));
    let params = Params::from_query(query).unwrap();
    Change::Put(parse_reconfigure(&params).unwrap().value.service)
}

pub(crate) fn remove(name: &str) -> Change {
    Change::Remove(name.parse().unwrap())
}

/// Commits as the engine does: on the newest view, and again when the race was lost.
pub(crate) async fn commit(
    store: &ConsulStore,
    changes: &[Change],
) -> Result<Committed, CommitError> {
    let mut base = store.view();
    for _ in 0..1000 {
        match store.commit(&base, changes).await {
            Err(CommitError::LostRace { view }) => base = view,
            other => return other,
        }
    }
    panic!("lost every race");
}

/// A table of documents that no store has seen.
pub(crate) fn documents(names: &[&str]) -> StoredTable {
    StoredTable::from_documents(names.iter().map(|name| {
        let Change::Put(service) = put(name, 80) else {
            unreachable!()
        };
        Arc::new(Document::from_service(service).unwrap())
    }))
}

/// Waits until a fake holds a key.
pub(crate) async fn until_key(fake: &FakeConsul, key: &str) {
    let waiting = async {
        while fake.kv().get(key).is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap();
}
