//! The rules of retries, deadlines and bounds, on a transport that answers from a
//! script and a clock that the test owns.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use http::Method;

use super::*;
use crate::sign::SIGNATURE_HEADER;

const INSTANCE: HeaderName = HeaderName::from_static("x-test-instance");

#[derive(Debug, Clone)]
enum Step {
    Reply(u16),
    From(&'static str, u16),
    Signed(&'static str, &'static str, u16),
    Slow(Duration, u16),
    Refuse,
    Break,
    Garble,
    Hang,
}

/// Plays each peer's steps in turn and the last one for ever.
#[derive(Debug, Default)]
struct Script {
    steps: Mutex<BTreeMap<String, VecDeque<Step>>>,
    heard: Mutex<Vec<(String, Call)>>,
    on_wire: AtomicUsize,
    most_on_wire: AtomicUsize,
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Script {
    fn new(steps: impl IntoIterator<Item = (&'static str, Vec<Step>)>) -> Arc<Self> {
        let steps = steps
            .into_iter()
            .map(|(peer, steps)| (peer.to_owned(), steps.into()))
            .collect();
        Arc::new(Self {
            steps: Mutex::new(steps),
            ..Self::default()
        })
    }

    fn peers(&self) -> BTreeSet<PeerAddress> {
        let steps = self.steps.lock().unwrap();
        steps.keys().map(|peer| peer.parse().unwrap()).collect()
    }

    fn next(&self, peer: &str) -> Step {
        let mut steps = self.steps.lock().unwrap();
        let steps = steps.get_mut(peer).unwrap();
        if steps.len() > 1 {
            steps.pop_front().unwrap()
        } else {
            steps.front().unwrap().clone()
        }
    }
}

fn reply(status: u16) -> PeerReply {
    PeerReply::new(StatusCode::from_u16(status).unwrap(), "")
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, peer: &PeerAddress, call: &Call) -> Result<PeerReply, TransportError> {
        let peer = peer.to_string();
        self.heard
            .lock()
            .unwrap()
            .push((peer.clone(), call.clone()));
        let now = self.on_wire.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_on_wire.fetch_max(now, Ordering::SeqCst);
        let _leave = Leave(&self.on_wire);
        let source = || Box::new(io::Error::other("scripted"));
        match self.next(&peer) {
            Step::Reply(status) => Ok(reply(status)),
            Step::From(instance, status) => {
                Ok(reply(status).with_header(INSTANCE, HeaderValue::from_static(instance)))
            }
            Step::Signed(secret, instance, status) => {
                let answer =
                    reply(status).with_header(INSTANCE, HeaderValue::from_static(instance));
                let header = call.header_value(&header::AUTHORIZATION);
                let heard =
                    signer("geheim").verify(call.method(), call.path(), header, SystemTime::now());
                let signature =
                    signer(secret).sign_answer(&heard.unwrap(), &answer, Some(&INSTANCE));
                Ok(answer.with_header(SIGNATURE_HEADER, signature))
            }
            Step::Slow(delay, status) => {
                sleep(delay).await;
                Ok(reply(status))
            }
            Step::Refuse => Err(TransportError::Connect { source: source() }),
            Step::Break => Err(TransportError::Broken { source: source() }),
            Step::Garble => Err(TransportError::Garbled { source: source() }),
            Step::Hang => std::future::pending().await,
        }
    }
}

fn signer(secret: &str) -> Signer {
    Signer::new(&secret.to_owned().into())
}

fn ping(repeat: Repeat) -> Call {
    Call::new(Method::PUT, "/offer").unwrap().repeat(repeat)
}

async fn run(script: &Arc<Script>, settings: BroadcastSettings, call: &Call) -> Report {
    let transport: Arc<dyn Transport> = Arc::clone(script) as _;
    Broadcast::over(transport, settings)
        .call(&script.peers(), call)
        .await
}

fn row<'a>(report: &'a Report, peer: &str) -> &'a Row {
    let found = report
        .rows()
        .iter()
        .find(|row| row.address().to_string() == peer);
    found.unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_peer_has_a_row_in_order() {
    let script = Script::new([
        ("c:1", vec![Step::Reply(204)]),
        ("a:1", vec![Step::Reply(200)]),
        ("b:1", vec![Step::Reply(409)]),
    ]);

    let report = run(
        &script,
        BroadcastSettings::default(),
        &ping(Repeat::Unwanted),
    )
    .await;

    let rows: Vec<_> = report
        .rows()
        .iter()
        .map(|row| {
            (
                row.address().to_string(),
                row.outcome().word(),
                row.attempts(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("a:1".to_owned(), "confirmed", 1),
            ("b:1".to_owned(), "refused", 1),
            ("c:1".to_owned(), "confirmed", 1),
        ]
    );
    assert!(!report.all_confirmed());
    assert_eq!(
        row(&report, "b:1").reason().unwrap(),
        "answered 409 Conflict"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_back_soon_is_told() {
    let script = Script::new([("a:1", vec![Step::Refuse, Step::Refuse, Step::Reply(200)])]);

    let report = run(
        &script,
        BroadcastSettings::default(),
        &ping(Repeat::Unwanted),
    )
    .await;

    assert!(report.all_confirmed());
    assert_eq!(row(&report, "a:1").attempts(), 3);
    assert!(row(&report, "a:1").took() >= DEFAULT_FIRST_BACKOFF);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_is_given_up_long_before_the_deadline() {
    let script = Script::new([("a:1", vec![Step::Refuse])]);

    let report = run(
        &script,
        BroadcastSettings::default(),
        &ping(Repeat::Harmless),
    )
    .await;

    let row = row(&report, "a:1");
    assert_eq!(row.outcome().word(), "unreachable");
    assert_eq!(row.attempts(), DEFAULT_ATTEMPTS);
    assert!(row.took() < Duration::from_secs(2), "{:?}", row.took());
    assert_eq!(row.reason().unwrap(), "no connection: scripted");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_heard_is_repeated_only_where_that_is_harmless() {
    for (step, unwanted, harmless) in [
        (Step::Break, 1, 2),
        (Step::Reply(503), 1, 2),
        (Step::Reply(429), 1, 2),
        (Step::Reply(500), 1, 1),
        (Step::Garble, 1, 1),
    ] {
        for (repeat, attempts) in [(Repeat::Unwanted, unwanted), (Repeat::Harmless, harmless)] {
            let script = Script::new([("a:1", vec![step.clone(), Step::Reply(200)])]);
            let report = run(&script, BroadcastSettings::default(), &ping(repeat)).await;
            assert_eq!(
                row(&report, "a:1").attempts(),
                attempts,
                "{step:?} {repeat:?}"
            );
            assert_eq!(report.all_confirmed(), attempts == 2, "{step:?} {repeat:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_heard_the_call_and_is_gone_then_is_not_said_not_to_have_heard() {
    use Step::{Break, Refuse, Reply};
    for (steps, word, reason) in [
        (vec![Break, Refuse], "unanswered", "the connection broke"),
        (
            vec![Refuse, Break, Refuse],
            "unanswered",
            "the connection broke",
        ),
        (vec![Reply(503), Refuse], "refused", "answered 503"),
        (vec![Reply(503), Break, Refuse], "unanswered", "broke"),
        (vec![Refuse, Refuse, Break], "unanswered", "broke"),
        (vec![Break, Refuse, Reply(200)], "confirmed", ""),
        (vec![Refuse], "unreachable", "no connection"),
    ] {
        let script = Script::new([("a:1", steps.clone())]);
        let report = run(
            &script,
            BroadcastSettings::default(),
            &ping(Repeat::Harmless),
        )
        .await;
        let row = row(&report, "a:1");
        assert_eq!(row.outcome().word(), word, "{steps:?}");
        let said = row.reason().unwrap_or_default();
        assert!(said.contains(reason), "{steps:?}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_may_be_as_long_as_they_like() {
    let script = Script::new([("a:1", vec![Step::Refuse, Step::Hang, Step::Reply(200)])]);
    let settings = BroadcastSettings::default()
        .connect_deadline(Duration::MAX)
        .total_deadline(Duration::MAX);
    let report = run(&script, settings, &ping(Repeat::Harmless)).await;
    assert!(report.all_confirmed(), "{report:?}");

    let script = Script::new([("a:1", vec![Step::Refuse])]);
    let settings = BroadcastSettings::default()
        .attempt_deadline(Duration::MAX)
        .total_deadline(Duration::MAX)
        .first_backoff(Duration::MAX);
    let report = run(&script, settings, &ping(Repeat::Harmless)).await;
    assert_eq!(row(&report, "a:1").outcome().word(), "unreachable");
    assert_eq!(row(&report, "a:1").attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_delays_no_other_row_and_ends_with_the_deadline() {
    let script = Script::new([
        ("a:1", vec![Step::Hang]),
        ("b:1", vec![Step::Slow(Duration::from_millis(20), 200)]),
    ]);
    let settings = BroadcastSettings::default()
        .attempt_deadline(Duration::from_secs(2))
        .total_deadline(Duration::from_secs(5));
    let start = Instant::now();

    let report = run(&script, settings, &ping(Repeat::Harmless)).await;

    assert!(
        start.elapsed() <= Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let hung = row(&report, "a:1");
    assert_eq!(hung.outcome().word(), "unanswered");
    assert!(hung.attempts() > 1, "{}", hung.attempts());
    let other = row(&report, "b:1");
    assert_eq!(other.outcome().word(), "confirmed");
    assert!(
        other.took() < Duration::from_millis(50),
        "{:?}",
        other.took()
    );
}

#[tokio::test(start_paused = true)]
async fn peers_that_hang_do_not_keep_the_others_from_the_wire() {
    let mut steps: Vec<(&'static str, Vec<Step>)> = vec![
        ("a-hangs:1", vec![Step::Hang]),
        ("b-hangs:1", vec![Step::Hang]),
    ];
    steps.extend(["c:1", "d:1", "e:1"].map(|peer| (peer, vec![Step::Reply(200)])));
    let script = Script::new(steps);
    let settings = BroadcastSettings::default().fan_out(2);

    let report = run(&script, settings, &ping(Repeat::Harmless)).await;

    for peer in ["c:1", "d:1", "e:1"] {
        let row = row(&report, peer);
        assert_eq!(row.outcome().word(), "confirmed");
        assert!(row.took() <= DEFAULT_ATTEMPT_DEADLINE + Duration::from_millis(50));
    }
    assert_eq!(script.most_on_wire.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_turn_never_comes_is_said_not_to_have_heard() {
    let script = Script::new([("a:1", vec![Step::Hang]), ("b:1", vec![Step::Reply(200)])]);
    let settings = BroadcastSettings::default()
        .fan_out(1)
        .attempt_deadline(Duration::from_secs(9))
        .total_deadline(Duration::from_secs(3));

    let report = run(&script, settings, &ping(Repeat::Unwanted)).await;

    assert_eq!(row(&report, "b:1").outcome().word(), "not-tried");
    assert_eq!(row(&report, "b:1").attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn this_instance_is_known_by_its_id() {
    let script = Script::new([
        ("a:1", vec![Step::From("me", 500)]),
        ("b:1", vec![Step::From("other", 200)]),
    ]);
    let identity = Identity::new(INSTANCE, HeaderValue::from_static("me"));
    let settings = BroadcastSettings::default().identity(identity);

    let report = run(&script, settings, &ping(Repeat::Harmless)).await;

    assert_eq!(row(&report, "a:1").outcome().word(), "myself");
    assert_eq!(row(&report, "b:1").instance(), Some("other"));
    assert!(report.all_confirmed());
    let heard = script.heard.lock().unwrap();
    assert!(
        heard
            .iter()
            .all(|(_, call)| call.header_value(&INSTANCE).unwrap() == "me")
    );
}

#[tokio::test(start_paused = true)]
async fn the_secret_is_sent_and_never_shown() {
    let script = Script::new([("a:1", vec![Step::Reply(200)])]);
    let settings = BroadcastSettings::default().bearer("geheim".to_owned().into());
    assert!(!format!("{settings:?}").contains("geheim"));

    let report = run(&script, settings, &ping(Repeat::Unwanted)).await;

    let heard = script.heard.lock().unwrap();
    let (_, call) = &heard[0];
    let bearer = call.header_value(&header::AUTHORIZATION).unwrap();
    assert_eq!(bearer, "Bearer geheim");
    assert!(!format!("{call:?} {bearer:?} {report:?}").contains("geheim"));
}

fn signing() -> (Signer, BroadcastSettings) {
    let signer = signer("geheim");
    let settings = BroadcastSettings::default()
        .bearer("other".to_owned().into())
        .identity(Identity::new(INSTANCE, HeaderValue::from_static("me")))
        .signer(signer.clone());
    (signer, settings)
}

#[tokio::test(start_paused = true)]
async fn every_try_is_signed_for_itself() {
    let script = Script::new([("a:1", vec![Step::Break, Step::Signed("geheim", "a", 200)])]);
    let (signer, settings) = signing();
    let call = ping(Repeat::Harmless).body("{}");

    let report = run(&script, settings, &call).await;

    assert!(report.all_confirmed());
    assert_eq!(row(&report, "a:1").instance(), Some("a"));
    let heard = script.heard.lock().unwrap();
    let headers = heard.iter().map(|(_, call)| {
        let header = call.header_value(&header::AUTHORIZATION);
        let verify = |path| signer.verify(call.method(), path, header, SystemTime::now());
        let signed = verify(call.path()).unwrap();
        assert_eq!(signed.body().check(call.body_bytes()), Ok(()));
        assert!(verify("/other").is_err());
        header.unwrap()
    });
    let headers: Vec<_> = headers.collect();
    assert_eq!(headers.len(), 2);
    // Within one second, and so an answer to the one is none to the other.
    assert_ne!(headers[0], headers[1]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_the_peers_confirms_nothing() {
    let script = Script::new([
        ("another-secret:1", vec![Step::Signed("gemein", "a", 200)]),
        ("refused:1", vec![Step::Signed("geheim", "a", 503)]),
        ("says-its-me:1", vec![Step::From("me", 200)]),
        ("stranger-refuses:1", vec![Step::From("me", 401)]),
        ("unsigned:1", vec![Step::Reply(200)]),
        ("unsigned-and-busy:1", vec![Step::Reply(503)]),
    ]);
    let (_, settings) = signing();

    let report = run(&script, settings.attempts(2), &ping(Repeat::Harmless)).await;

    assert_eq!(report.missing().count(), 6);
    for (peer, word, words) in [
        ("another-secret:1", "unanswered", "another secret"),
        ("refused:1", "refused", "answered 503"),
        (
            "says-its-me:1",
            "unanswered",
            "answered 200 OK, which is not taken",
        ),
        // It could not sign it, and is no reason to believe anything.
        ("stranger-refuses:1", "refused", "answered 401"),
        ("unsigned:1", "unanswered", "not signed"),
        ("unsigned-and-busy:1", "unanswered", "not signed"),
    ] {
        let row = row(&report, peer);
        let reason = row.reason().unwrap();
        assert_eq!(row.outcome().word(), word, "{peer}: {reason}");
        assert!(reason.contains(words), "{peer}: {reason}");
        let named = (peer == "refused:1").then_some("a");
        assert_eq!(row.instance(), named, "{peer}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_peer_that_hangs_does_not_hold_every_place_over_many_calls() {
    let script = Script::new([
        ("a-hangs:1", vec![Step::Hang]),
        ("b:1", vec![Step::Reply(200)]),
    ]);
    let transport: Arc<dyn Transport> = Arc::clone(&script) as _;
    let settings = BroadcastSettings::default().fan_out(16);
    let broadcast = Broadcast::over(transport, settings);
    let (peers, call) = (script.peers(), ping(Repeat::Unwanted));

    let calls = (0..64).map(|_| broadcast.call(&peers, &call));
    let reports = join_all(calls).await;

    for report in reports {
        let row = row(&report, "b:1");
        assert_eq!(row.outcome().word(), "confirmed");
        assert!(row.took() < Duration::from_millis(50), "{:?}", row.took());
    }
}

#[test]
fn what_crosses_threads_may() {
    fn assert_shared<T: Send + Sync + 'static>() {}
    assert_shared::<Broadcast>();
    assert_shared::<Report>();
    assert_shared::<TransportError>();
    assert_shared::<crate::DiscoverError>();
    assert_shared::<crate::Peers>();
}

#[tokio::test(start_paused = true)]
async fn a_signature_is_over_whom_a_call_is_for_and_who_makes_it() {
    let script = Script::new([("a:1", vec![Step::Signed("geheim", "a", 200)])]);
    let (signer, settings) = signing();
    let settings = settings.realm(Realm::new("docker-flow").unwrap());
    for path in ["/a", "/a?b=c"] {
        let call = Call::new(Method::GET, path).unwrap();
        let report = run(&script, settings.clone(), &call).await;
        assert!(report.all_confirmed());
    }
    let heard = script.heard.lock().unwrap();
    let paths: Vec<_> = heard.iter().map(|(_, call)| call.path()).collect();
    let asked = "realm=docker-flow&from=me";
    assert_eq!(paths, [format!("/a?{asked}"), format!("/a?b=c&{asked}")]);
    for (_, call) in &*heard {
        let header = call.header_value(&header::AUTHORIZATION);
        let verify = |path: &str| signer.verify(call.method(), path, header, SystemTime::now());
        assert!(verify(call.path()).is_ok());
        for (from, to) in [
            ("docker-flow", "staging"),
            ("from=me", "from=a"),
            (asked, ""),
        ] {
            assert!(verify(&call.path().replace(from, to)).is_err(), "{to}");
        }
    }
}
