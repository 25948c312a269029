//! The client against a Consul that fails in every way that the design names.

use std::{sync::Arc, sync::Mutex, time::Duration};

use proxy_consul::{
    Address, CallOutcome, CasOutcome, Client, ClientError, ConsulSettings, Endpoints, FailureKind,
    Observer, Operation, Sent, Timeouts, Txn, TxnOutcome, Watch,
};
use testkit::consul::{FakeConsul, Fault, On, Right};

use crate::support::{DEADLINE, commit, fast_timeouts, live, put, start};

/// Timeouts that let a test see a timeout in a moment.
fn fast() -> Timeouts {
    let mut timeouts = fast_timeouts();
    timeouts.cool_down = Duration::from_secs(60);
    timeouts
}

fn settings(fake: &FakeConsul) -> ConsulSettings {
    let addresses = Endpoints::parse_list(&fake.addresses()).unwrap();
    ConsulSettings::builder(addresses)
        .timeouts(fast())
        .max_answer_bytes(100_000)
        .build()
        .unwrap()
}

fn client(fake: &FakeConsul) -> Client {
    Client::new(&settings(fake)).unwrap()
}

fn write() -> Txn {
    let mut txn = Txn::new();
    txn.cas("a/head", 0, b"one").unwrap();
    txn.set("a/x", b"1").unwrap();
    txn
}

/// What a first server does, what the walk makes of it, and whether a write may have arrived.
fn rows() -> Vec<(Fault, FailureKind, Sent)> {
    vec![
        (Fault::BlackHole, FailureKind::Timeout, Sent::Maybe),
        (Fault::Reset, FailureKind::Reset, Sent::Maybe),
        (Fault::ResetInAnswer, FailureKind::Reset, Sent::Maybe),
        (Fault::ApplyThenReset, FailureKind::Reset, Sent::Maybe),
        (Fault::ApplyThenHang, FailureKind::Timeout, Sent::Maybe),
        (
            Fault::Answer(500, "No cluster leader".into()),
            FailureKind::ServerError,
            Sent::Maybe,
        ),
        (
            Fault::Answer(503, String::new()),
            FailureKind::ServerError,
            Sent::Maybe,
        ),
        (
            Fault::Answer(429, "slow down".into()),
            FailureKind::RateLimited,
            Sent::No,
        ),
        (
            Fault::Answer(200, "<html>welcome</html>".into()),
            FailureKind::Garbage,
            Sent::Maybe,
        ),
        (
            Fault::Answer(200, r#"{"Results":["#.into()),
            FailureKind::Garbage,
            Sent::Maybe,
        ),
        (
            Fault::Answer(404, "<html>nginx</html>".into()),
            FailureKind::Garbage,
            Sent::Maybe,
        ),
        (
            Fault::Answer(302, String::new()),
            FailureKind::Garbage,
            Sent::Maybe,
        ),
        (Fault::Huge(10_000_000), FailureKind::TooLarge, Sent::Maybe),
    ]
}

#[tokio::test]
async fn reads_go_on_to_the_next_address() {
    for (fault, kind, _) in rows() {
        let fake = FakeConsul::start(2).await;
        fake.kv().put("a/b", "value");
        fake.server(0).always(On::Any, fault.clone());
        let entry = client(&fake)
            .get("a/b")
            .await
            .unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(entry.unwrap().value, "value", "{fault:?}");
        // With no next address, the error names it and why.
        let alone = Endpoints::parse_list(&fake.server(0).address()).unwrap();
        let alone = ConsulSettings::builder(alone)
            .timeouts(fast())
            .max_answer_bytes(100_000);
        let error = Client::new(&alone.build().unwrap())
            .unwrap()
            .get("a/b")
            .await
            .unwrap_err();
        assert_eq!(error.failures()[0].error.kind, kind, "{fault:?}: {error}");
        assert!(
            error.to_string().contains(&fake.server(0).address()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn writes_go_on_to_the_next_address_and_say_whether_the_first_may_have_acted() {
    for (fault, kind, sent) in rows() {
        let fake = FakeConsul::start(2).await;
        fake.server(0).always(On::Writes, fault.clone());
        let answer = client(&fake)
            .txn(&write())
            .await
            .unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(answer.failures[0].error.kind, kind, "{fault:?}");
        assert_eq!(answer.doubtful(), sent, "{fault:?}");
        let applied_by_the_first = matches!(
            fault,
            Fault::ResetInAnswer | Fault::ApplyThenReset | Fault::ApplyThenHang
        );
        match answer.value {
            TxnOutcome::Applied(entries) => {
                assert!(!applied_by_the_first, "{fault:?}");
                assert_eq!(entries.len(), 2);
            }
            TxnOutcome::Refused(problems) => {
                assert!(
                    applied_by_the_first && problems[0].is_stale(),
                    "{fault:?} {problems:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            fake.kv().get("a/x").unwrap().value,
            b"1",
            "once, whichever did it"
        );
    }
}

#[tokio::test]
async fn refused_connections_are_known_not_to_have_been_sent() {
    let fake = FakeConsul::start(3).await;
    for nth in 0..3 {
        fake.server(nth).down().await;
    }
    let error = client(&fake).txn(&write()).await.unwrap_err();
    assert_eq!(error.sent(), Sent::No);
    let text = error.to_string();
    for (nth, failure) in error.failures().iter().enumerate() {
        assert_eq!(failure.error.kind, FailureKind::Connect);
        assert!(text.contains(&fake.server(nth).address()), "{text}");
    }
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_one_failed_address() {
    let fake = FakeConsul::start(1).await;
    fake.kv().put("a", "1");
    let list = format!("no-such-host.invalid:8500,{}", fake.addresses());
    let mut timeouts = fast();
    timeouts.connect = Duration::from_secs(2);
    timeouts.request = Duration::from_secs(3);
    let settings =
        ConsulSettings::builder(Endpoints::parse_list(&list).unwrap()).timeouts(timeouts);
    let client = Client::new(&settings.build().unwrap()).unwrap();
    assert!(client.get("a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_refusal_stops_the_walk() {
    for status in [400, 403, 405, 413] {
        let fake = FakeConsul::start(2).await;
        fake.server(0)
            .always(On::Any, Fault::Answer(status, "Permission denied".into()));
        let error = client(&fake).txn(&write()).await.unwrap_err();
        assert!(error.to_string().contains("Permission denied"), "{error}");
        assert_eq!(matches!(error, ClientError::Denied { .. }), status == 403);
        assert_eq!(error.sent(), Sent::No);
        assert!(
            fake.server(1).seen().is_empty(),
            "the next address would say the same"
        );
    }
}

#[tokio::test]
async fn a_dead_first_server_costs_one_timeout_per_cool_down() {
    let fake = FakeConsul::start(2).await;
    fake.server(0).always(On::Any, Fault::BlackHole);
    let client = client(&fake);
    for _ in 0..20 {
        client.get("a").await.unwrap();
    }
    assert_eq!(fake.server(0).seen().len(), 1);
    // The cooling address is still there when the others fail.
    fake.server(0).heal();
    fake.server(1).down().await;
    client.get("a").await.unwrap();
    assert_eq!(fake.server(0).seen().len(), 2);
}

#[tokio::test]
async fn keys_are_read_listed_and_compared() {
    let fake = FakeConsul::start(1).await;
    let client = client(&fake);
    assert_eq!(client.get("a/x y").await.unwrap(), None);
    assert_eq!(
        client.cas("a/x y", 0, "1".into()).await.unwrap().value,
        CasOutcome::Written
    );
    assert_eq!(
        client.cas("a/x y", 0, "2".into()).await.unwrap().value,
        CasOutcome::Stale
    );
    let entry = client.get("a/x y").await.unwrap().unwrap();
    assert_eq!(entry.value, "1");
    let again = client
        .cas("a/x y", entry.modify_index, "3".into())
        .await
        .unwrap();
    assert_eq!(again.value, CasOutcome::Written);
    fake.kv().put("a-2/x", "other");
    assert_eq!(client.list("a/").await.unwrap().len(), 1);
    assert!(client.list("b/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_that_consul_would_take_for_another_is_sent_to_nobody() {
    let fake = FakeConsul::start(1).await;
    let client = client(&fake);
    for key in ["t/x/../b", "../agent/self", "a//b", "/a", "a/.", "a\nb"] {
        let errors = [
            client.get(key).await.unwrap_err(),
            client.list(key).await.unwrap_err(),
            client.cas(key, 0, "1".into()).await.unwrap_err(),
            Watch::new(client.clone(), key).step().await.unwrap_err(),
            client.instances(key).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, ClientError::Key { .. }), "{key:?}: {error}");
            assert_eq!(error.sent(), Sent::No);
            assert!(error.to_string().contains("was not sent"), "{error}");
        }
        assert!(Txn::new().set(key, b"1").is_err(), "{key:?}");
    }
    assert!(client.instances("..").await.is_err());
    assert_eq!(fake.server(0).seen().len(), 0);
    // A folder's own key is one, and everything may be listed.
    client.cas("a/", 0, "".into()).await.unwrap();
    assert_eq!(client.list("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_token_goes_with_every_request_and_denial_is_told_from_absence() {
    let fake = FakeConsul::start(1).await;
    fake.kv().put("a/head", "1");
    fake.kv().allow("weak", "a/log/", Right::Write);
    let list = Endpoints::parse_list(&fake.addresses()).unwrap();
    let settings = ConsulSettings::builder(list)
        .token("weak".into())
        .datacenter("dc one");
    let client = Client::new(&settings.build().unwrap()).unwrap();
    assert!(matches!(
        client.get("a/head").await,
        Err(ClientError::Denied { .. })
    ));
    let mut txn = Txn::new();
    txn.get("a/head").unwrap();
    let hidden = client.txn(&txn).await.unwrap().value;
    assert_eq!(
        hidden,
        TxnOutcome::Applied(Vec::new()),
        "there, and not shown"
    );
    fake.kv().delete("a/head");
    let gone = client.txn(&txn).await.unwrap().value;
    assert!(matches!(gone, TxnOutcome::Refused(problems) if problems[0].is_missing()));
    for seen in fake.server(0).seen() {
        assert_eq!(seen.token, "weak");
        assert!(seen.target.contains("dc=dc%20one"), "{}", seen.target);
    }
}

#[tokio::test]
async fn a_watch_wakes_for_its_key_and_notices_a_frozen_server() {
    let fake = FakeConsul::start(2).await;
    fake.kv().put("a", "1");
    let client = client(&fake);
    let mut watch = Watch::new(client.clone(), "a");
    assert_eq!(watch.step().await.unwrap().unwrap().value, "1");
    // Nothing happens: the step ends by itself with what there is.
    assert_eq!(watch.step().await.unwrap().unwrap().value, "1");
    let (step, ()) = tokio::join!(watch.step(), async {
        fake.kv().put("b", "other keys do not wake it");
        fake.kv().put("a", "2");
    });
    assert_eq!(step.unwrap().unwrap().value, "2");
    // The first server freezes with the watch in its hands: the next step goes to the second.
    fake.server(0).always(On::Any, Fault::BlackHole);
    let started = tokio::time::Instant::now();
    let error = watch.step().await.unwrap_err();
    assert_eq!(error.failures()[0].error.kind, FailureKind::Timeout);
    assert!(
        started.elapsed() >= fast().watch_wait,
        "{:?}",
        started.elapsed()
    );
    fake.kv().put("a", "3");
    assert_eq!(watch.step().await.unwrap().unwrap().value, "3");
    // One that refuses costs no step.
    fake.server(0).down().await;
    let mut watch = Watch::new(Client::new(&settings(&fake)).unwrap(), "a");
    assert_eq!(watch.step().await.unwrap().unwrap().value, "3");
}

#[tokio::test]
async fn a_watch_survives_a_store_whose_index_begins_anew() {
    let fake = FakeConsul::start(1).await;
    for _ in 0..50 {
        fake.kv().put("a", "old");
    }
    let mut watch = Watch::new(client(&fake), "a");
    watch.step().await.unwrap();
    fake.kv().reset_index(3);
    // The index went backwards: the next step reads at once, the one after waits again.
    watch.step().await.unwrap();
    assert_eq!(watch.step().await.unwrap().unwrap().value, "old");
    let (step, ()) = tokio::join!(watch.step(), async { fake.kv().put("a", "new") });
    assert_eq!(step.unwrap().unwrap().value, "new");
}

#[derive(Debug, Default)]
struct Counts(Mutex<Vec<(String, Operation, CallOutcome)>>);

impl Observer for Counts {
    fn request(&self, address: &Address, operation: Operation, outcome: CallOutcome, _: Duration) {
        self.0
            .lock()
            .unwrap()
            .push((address.to_string(), operation, outcome));
    }
}

#[tokio::test]
async fn the_observer_hears_of_each_address() {
    let fake = FakeConsul::start(2).await;
    fake.server(0).down().await;
    let counts = Arc::new(Counts::default());
    let list = Endpoints::parse_list(&fake.addresses()).unwrap();
    let settings = ConsulSettings::builder(list)
        .observer(counts.clone())
        .build()
        .unwrap();
    Client::new(&settings).unwrap().txn(&write()).await.unwrap();
    let heard = counts.0.lock().unwrap().clone();
    let server = |nth| format!("http://{}", fake.server(nth).address());
    assert_eq!(
        heard,
        [
            (
                server(0),
                Operation::WriteTxn,
                CallOutcome::Failed(FailureKind::Connect)
            ),
            (server(1), Operation::WriteTxn, CallOutcome::Ok),
        ]
    );
}

#[tokio::test]
async fn requests_under_way_are_bounded() {
    let fake = FakeConsul::start(1).await;
    fake.server(0).always(On::Any, Fault::BlackHole);
    let list = Endpoints::parse_list(&fake.addresses()).unwrap();
    let settings = ConsulSettings::builder(list)
        .timeouts(fast())
        .max_in_flight(2)
        .build()
        .unwrap();
    let client = Client::new(&settings).unwrap();
    let asks: Vec<_> = (0..10)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { client.get("a").await }
            })
        })
        .collect();
    let mut busy = 0;
    for ask in asks {
        let error = ask.await.unwrap().unwrap_err();
        if let ClientError::Busy { under_way, .. } = &error {
            busy += 1;
            assert_eq!(*under_way, 2);
            // No server had a part in it.
            assert!(error.failures().is_empty());
            assert!(
                !error.to_string().contains(&fake.server(0).address()),
                "{error}"
            );
            assert_eq!(error.sent(), Sent::No);
        }
    }
    assert!(busy >= 4, "{busy}");
    assert!(
        fake.server(0).seen().len() <= 6,
        "{}",
        fake.server(0).seen().len()
    );
}

#[tokio::test]
async fn times_may_be_as_long_as_they_like() {
    let fake = FakeConsul::start(1).await;
    let mut timeouts = Timeouts::default();
    timeouts.connect = Duration::MAX;
    timeouts.request = Duration::MAX;
    timeouts.watch_wait = Duration::MAX;
    timeouts.watch_grace = Duration::MAX;
    timeouts.settle = Duration::MAX;
    timeouts.backoff_min = Duration::MAX;
    timeouts.backoff_max = Duration::MAX;
    timeouts.cool_down = Duration::MAX;
    timeouts.fill_takeover = Duration::MAX;
    assert!(timeouts.watch_total() < Duration::from_secs(3 * 24 * 60 * 60));
    let store = start(
        &crate::support::settings(&fake.addresses(), timeouts),
        "r1",
        None,
    );
    // The follower watches, which would have ended it, and a commit sets itself a deadline.
    live(&store).await;
    commit(&store, &[put("a", 1)]).await.unwrap();
    commit(&store, &[put("b", 1)]).await.unwrap();
    assert!(store.client().get("proxy/head").await.unwrap().is_some());
    let watched = fake.server(0).seen().into_iter().map(|seen| seen.target);
    let watched: Vec<_> = watched.filter(|target| target.contains("wait=")).collect();
    assert!(
        watched
            .iter()
            .all(|target| target.contains("wait=600000ms")),
        "{watched:?}"
    );
}

#[tokio::test]
async fn watches_that_wait_keep_no_request_from_its_answer() {
    let fake = FakeConsul::start(1).await;
    fake.kv().put("a", "1");
    let list = Endpoints::parse_list(&fake.addresses()).unwrap();
    let mut timeouts = fast();
    timeouts.watch_wait = Duration::from_secs(60);
    let settings = ConsulSettings::builder(list)
        .timeouts(timeouts)
        .max_in_flight(2)
        .max_watches(5);
    let client = Client::new(&settings.build().unwrap()).unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut watch = Watch::new(client.clone(), "a");
        waiting.spawn(async move {
            watch.step().await.unwrap();
            watch.step().await
        });
    }
    let asked = async {
        while fake.server(0).seen().len() < 10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.unwrap();
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "1");
}

#[test]
fn what_is_public_crosses_threads() {
    fn fits<T: Send + Sync + 'static>() {}
    fits::<Client>();
    fits::<Watch>();
    fits::<ConsulSettings>();
}
