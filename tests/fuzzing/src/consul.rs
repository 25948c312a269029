//! What a Consul server, or whoever pretends to be one, answers.

use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use proxy_consul::{
    Address, Catalog, CatalogView, Client, ConsulSettings, ConsulStore, Endpoints, Instance,
    MAX_INSTANCES, OnEmptyStore, Request, Response, Transport, TransportError, Txn,
};
use proxy_core::{Params, RouteStore as _, parse_reconfigure};

/// The statuses that answers have: each is handled in a way of its own.
const STATUSES: [u16; 8] = [200, 200, 200, 404, 403, 409, 429, 500];
/// From this first byte of a length on, which no body of an input has, the answer hides what the token may
/// not read.
const HIDES: u8 = 0x80;
/// The first bit of a length says that.
const LENGTH: u16 = 0x7fff;
/// How many services are followed: beyond 16 their registrations are read at once.
const FOLLOWED: usize = 18;
/// What the store may take, in time that passes at once.
const LONGEST: Duration = Duration::from_secs(600);

/// Answers as bytes: a byte for the status, one for the index, two for the length, and the body.
#[derive(Debug)]
struct Script {
    left: Mutex<Vec<Response>>,
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, _: &Address, _: &Request) -> Result<Response, TransportError> {
        let next = self.left.lock().ok().and_then(|mut left| left.pop());
        match next {
            Some(answer) => Ok(answer),
            // Nothing more comes: the deadline of whoever asked ends it.
            None => std::future::pending().await,
        }
    }
}

fn script(data: &[u8]) -> Script {
    let mut answers = Vec::new();
    let mut rest = data;
    while let [status, index, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]) & LENGTH).min(after.len());
        let (body, after) = after.split_at(length);
        let status = STATUSES.get(usize::from(*status) % STATUSES.len());
        let index = (*index > 0).then_some(u64::from(*index));
        let body = Bytes::copy_from_slice(body);
        let answer = Response::new(status.copied().unwrap_or(200), index, body);
        answers.push(match *high >= HIDES {
            true => answer.filtered(),
            false => answer,
        });
        rest = after;
    }
    answers.reverse();
    Script {
        left: Mutex::new(answers),
    }
}

/// Takes bytes as a series of answers, to single questions and to a store that follows Consul.
///
/// # Panics
/// When an answer makes the client or the store panic, or the store's numbers of views go back.
#[expect(clippy::expect_used, reason = "a panic is what a finding is")]
pub fn consul(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let all = tokio::time::timeout(LONGEST, all(data));
        let _ = all.await;
    });
}

#[expect(clippy::expect_used, reason = "a panic is what a finding is")]
async fn all(data: &[u8]) {
    let addresses = Endpoints::parse_list("a:8500").expect("an address");
    let settings = ConsulSettings::builder(addresses)
        .build()
        .expect("settings");
    let client = Client::with_transport(&settings, std::sync::Arc::new(script(data)));
    let client = client.expect("a client");
    let ask = async {
        let _ = client.get("k").await;
        let _ = client.list("k").await;
        let _ = client.cas("k", 1, Bytes::from_static(b"v")).await;
        let mut txn = Txn::new();
        let _ = txn.get("k");
        let _ = client.txn(&txn).await;
        let _ = proxy_consul::read_legacy(&client, "docker-flow").await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(30), ask).await;
    catalog(&settings, data).await;

    let name = "fuzz-1".parse().expect("a name");
    let script = std::sync::Arc::new(script(data));
    let store = ConsulStore::start_with(&settings, script, name, None, OnEmptyStore::Refill);
    let store = store.expect("a store");
    let mut seq = store.view().seq;
    for _ in 0..3 {
        let next = tokio::time::timeout(Duration::from_secs(5), store.changed(seq)).await;
        let Ok(next) = next else { break };
        assert!(next.seq > seq, "a view went back");
        seq = next.seq;
    }
    let params = Params::from_query("serviceName=s&servicePath=/s&port=80").expect("a query");
    let service = parse_reconfigure(&params).expect("a service").value.service;
    let view = store.view();
    let _ = store
        .commit(&view, &[proxy_core::Change::Put(service)])
        .await;
    let _ = store.reread().await;
    store.shutdown().await;
}

/// The same answers to whoever follows the catalog.
#[expect(clippy::expect_used, reason = "a panic is what a finding is")]
async fn catalog(settings: &ConsulSettings, data: &[u8]) {
    let client = || {
        let client = Client::with_transport(settings, std::sync::Arc::new(script(data)));
        client.expect("a client")
    };
    let asking = client();
    let ask = async {
        let _ = asking.instances("web").await;
        let _ = asking.service_names().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(30), ask).await;
    // What was known before may be lost, hidden and found again.
    let read = asking.instances("web");
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    let known: Vec<Instance> = read.ok().and_then(Result::ok).unwrap_or_default();
    let catalog = Catalog::start(client(), [("web", known)].into_iter().collect());
    let names = (1..FOLLOWED).map(|nth| format!("s{nth}").into());
    let mut changes = catalog.changes();
    catalog.follow(names.chain(["web".into()]).collect());
    let fits = |view: &CatalogView| view.iter().all(|(_, all)| all.len() <= 2 * MAX_INSTANCES);
    for _ in 0..3 {
        let next = tokio::time::timeout(Duration::from_secs(90), changes.changed()).await;
        let Ok(Ok(())) = next else { break };
        assert!(fits(&changes.borrow_and_update()), "a view grew");
    }
    assert!(fits(&catalog.view()), "a view grew");
}
