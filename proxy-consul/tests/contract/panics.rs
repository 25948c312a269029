//! What is somebody else's, and panics: those who follow say so, and follow on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use proxy_consul::{
    Address, CallOutcome, Catalog, CatalogView, Client, ConsulSettings, ConsulStore, Endpoints,
    Observer, OnEmptyStore, Operation, Request, Response, Transport, TransportError,
};
use proxy_core::StoreCondition;
use testkit::consul::FakeConsul;
use tokio::time::{sleep, timeout};

use crate::support::{DEADLINE, commit, fast_timeouts, live, put, replica, shows, until};

/// Panics while it is told to: as an observer of watches, and as a server.
#[derive(Debug, Default)]
struct Panics(AtomicBool);

impl Panics {
    fn now(&self, panics: bool) {
        self.0.store(panics, Ordering::SeqCst);
    }

    fn check(&self) {
        assert!(!self.0.load(Ordering::SeqCst), "scripted");
    }
}

impl Observer for Panics {
    fn request(&self, _: &Address, operation: Operation, _: CallOutcome, _: Duration) {
        if operation == Operation::Watch {
            self.check();
        }
    }
}

#[async_trait]
impl Transport for Panics {
    async fn send(&self, _: &Address, request: &Request) -> Result<Response, TransportError> {
        self.check();
        let asked = &request.path_and_query;
        if asked.contains("index=") && !asked.contains("index=0") {
            sleep(fast_timeouts().watch_wait).await;
        }
        let answer = if asked.starts_with("/v1/catalog/services") {
            "{}"
        } else {
            "[]"
        };
        Ok(Response::new(200, Some(7), answer.into()))
    }
}

#[tokio::test]
async fn a_store_whose_follower_panics_is_stale_and_followed_again() {
    let fake = FakeConsul::start(1).await;
    let panics = Arc::new(Panics::default());
    let settings = ConsulSettings::builder(Endpoints::parse_list(&fake.addresses()).unwrap())
        .timeouts(fast_timeouts())
        .observer(panics.clone())
        .instance_name("proxy")
        .unwrap();
    let settings = settings.build().unwrap();
    let id = "r1".parse().unwrap();
    let store = ConsulStore::start(&settings, id, None, OnEmptyStore::Refill).unwrap();
    live(&store).await;
    commit(&store, &[put("a", 1)]).await.unwrap();

    panics.now(true);
    until(&store, "stale", |view| match &view.condition {
        StoreCondition::Stale { why } => why.contains("panicked"),
        _ => false,
    })
    .await;
    panics.now(false);

    live(&store).await;
    let other = replica(&fake.addresses(), "r2");
    commit(&other, &[put("b", 1)]).await.unwrap();
    shows(&store, "b").await;
}

#[tokio::test]
async fn a_catalog_whose_follower_panics_says_so_and_is_followed_again() {
    let panics = Arc::new(Panics::default());
    let settings = ConsulSettings::builder(vec!["a:1".parse().unwrap()]).timeouts(fast_timeouts());
    let settings = settings.build().unwrap();
    let client = Client::with_transport(&settings, panics.clone()).unwrap();
    let catalog = Catalog::start(client, CatalogView::default());
    let mut changes = catalog.changes();
    let mut until = async |wanted: fn(&CatalogView) -> bool| {
        let waiting = timeout(DEADLINE, changes.wait_for(wanted));
        waiting.await.expect("never so").unwrap().clone()
    };
    catalog.follow(BTreeSet::from([Arc::from("web"), Arc::from("..")]));
    let view = until(|view| view.iter().count() == 2).await;
    // What no request can ask for is named, and troubles nobody else.
    assert_eq!(view.trouble, None);
    let hidden: Vec<_> = view.hidden().collect();
    assert!(
        matches!(&hidden[..], [("..", why)] if why.contains("was not sent")),
        "{hidden:?}"
    );

    panics.now(true);
    let view = until(|view| view.trouble.is_some()).await;
    assert!(view.trouble.unwrap().contains("panicked"));
    panics.now(false);

    until(|view| view.trouble.is_none()).await;
}
