//! What replicas that hold a secret say to each other, and what others say in their place.

use proxy_peers::{AnswerError, BodyDigest, Nonce, PeerReply, SIGNATURE_HEADER, SignedCall};

use proxy_core::{Counting, Epoch, RegisterSet, Revision};

use super::*;
use crate::{
    announce::{MOST_WAIT, REGISTERS_PATH},
    certificates::CERTIFICATES_PATH,
    standing::STANDING_PATH,
    statistics::STATISTICS_PATH,
    store::{Others, ReplicatedStore},
};

fn signer(secret: &str) -> Signer {
    Signer::new(&secret.to_owned().into())
}

fn keys() -> Keys {
    Keys {
        api: None,
        peer: Some(signer("sesame")),
        realm: None,
    }
}

fn request(path: &str, signed: &SignedCall, sent: Vec<u8>) -> Request<Body> {
    let method = match sent.is_empty() {
        true => Method::GET,
        false => Method::POST,
    };
    let request = Request::builder().method(method).uri(path);
    let request = request
        .header("content-type", "application/json")
        .header("authorization", signed.header());
    request.body(sent.into()).unwrap()
}

#[tokio::test]
async fn only_a_signed_call_is_a_peers() {
    let bench = Bench::with(keys()).await;
    let base = bench.store.view();
    let committed = bench.store.commit(&base, &[put("a")]).await.unwrap();
    let news = Announcement::new(
        committed.view.revision,
        vec![committed.record],
        Default::default(),
    );
    let body = serde_json::to_vec(&news).unwrap();
    let now = SystemTime::now();
    let call = |signer: Signer, path: &str, at: SystemTime, sent: Vec<u8>| {
        let (digest, nonce) = (BodyDigest::of(&body), Nonce::random().unwrap());
        let signed = signer.authorize(&Method::POST, path, digest, (at, nonce));
        bench.send(request(PEER_PATH, &signed, sent))
    };
    let hours = Duration::from_secs(7_200);
    for (signer, path, at, sent, words) in [
        (
            signer("other"),
            PEER_PATH,
            now,
            body.clone(),
            "another secret",
        ),
        (
            signer("sesame"),
            PEER_PATH,
            now - hours,
            body.clone(),
            "s behind this",
        ),
        (
            signer("sesame"),
            PEER_PATH,
            now + hours,
            body.clone(),
            "s ahead of this",
        ),
        (
            signer("sesame"),
            "/peer/other",
            now,
            body.clone(),
            "signature is wrong",
        ),
        (
            signer("sesame"),
            PEER_PATH,
            now,
            b"{}".to_vec(),
            "its body is not",
        ),
    ] {
        let (status, json) = call(signer, path, at, sent).await;
        let message = json["Message"].as_str().unwrap();
        assert_eq!(status, 401, "{json}");
        assert!(
            message.contains(words) && message.contains("nothing was changed"),
            "{message}"
        );
    }
    let (status, json) = bench.announce("other", &news).await;
    assert_eq!(status, 401, "{json}");
    // The right one is taken, and taken again: hearing it twice is as good as once.
    for _ in 0..2 {
        let (status, json) = call(signer("sesame"), PEER_PATH, now, body.clone()).await;
        assert_eq!(status, 200, "{json}");
    }
    assert_eq!(bench.carrier.live(), ["a"]);
    assert_eq!(bench.get("status").await.0, 200);
}

async fn panics() {
    panic!("as it is to");
}

#[tokio::test]
async fn every_answer_to_a_peer_is_signed_for_its_call() {
    const PANICS: &str = "/v1/docker-flow-proxy/peer/panics";
    const ENDLESS: &str = "/v1/docker-flow-proxy/peer/endless";
    let bench = Bench::with(keys()).await;
    let endless = || async { vec![0; MAX_TABLE_BODY + 1] };
    let routes = routes::routes(&bench.api).router;
    let routes = routes
        .route(PANICS, axum::routing::get(panics))
        .route(ENDLESS, axum::routing::get(endless));
    let app = around(routes, bench.api.clone());
    let signed = |method: &Method, path: &str, body: &[u8]| {
        let (digest, nonce) = (BodyDigest::of(body), Nonce::random().unwrap());
        signer("sesame").authorize(method, path, digest, (SystemTime::now(), nonce))
    };
    let base = bench.store.view();
    let committed = bench.store.commit(&base, &[put("a")]).await.unwrap();
    let news = vec![committed.record];
    let news = Announcement::new(committed.view.revision, news, Default::default());
    let news = serde_json::to_vec(&news).unwrap();
    let (get, post) = (Method::GET, Method::POST);
    for (method, path, body, sent, expected) in [
        (&post, PEER_PATH, &news[..], &news[..], 200),
        (&get, STANDING_PATH, b"", b"", 200),
        // Not of this kind of store, not understood, not there, not the body that was signed.
        (&post, REGISTERS_PATH, br#""digest""#, br#""digest""#, 409),
        (&post, PEER_PATH, b"{", b"{", 400),
        (&get, "/v1/docker-flow-proxy/peer/none", b"", b"", 404),
        (&post, PEER_PATH, &news, b"{}", 401),
        // Ended by a bug of ours.
        (&get, PANICS, b"", b"", 500),
        (&get, ENDLESS, b"", b"", 500),
    ] {
        let call = signed(method, path, body);
        let answered = app.clone();
        let answered = answered.oneshot(request(path, &call, sent.to_vec()));
        let (parts, body) = answered.await.unwrap().into_parts();
        assert_eq!(parts.status.as_u16(), expected, "{path}");
        let mut answer = PeerReply::new(parts.status, to_bytes(body, 1 << 20).await.unwrap());
        for (name, value) in parts.headers {
            answer = answer.with_header(name.unwrap(), value);
        }
        let verify = |secret: &str, call: &SignedCall| {
            signer(secret).verify_answer(call, &answer, Some(&INSTANCE_HEADER))
        };
        assert_eq!(verify("sesame", &call), Ok(()), "{path}: {answer:?}");
        let wrong = Err(AnswerError::Wrong);
        assert_eq!(verify("other", &call), wrong);
        assert_eq!(verify("sesame", &signed(method, path, sent)), wrong);
        assert_eq!(
            answer.header(&INSTANCE_HEADER).is_some(),
            expected == 200 || expected == 409
        );
    }
    // A stranger's call has no answer that could be signed for it.
    let request = Request::post(PEER_PATH).body(Body::empty()).unwrap();
    let answered = bench.app.clone().oneshot(request).await.unwrap();
    assert_eq!(answered.headers().get(SIGNATURE_HEADER), None);
}

#[tokio::test]
async fn a_replica_takes_no_call_for_another_proxy() {
    let realm = || Some(Realm::new("docker-flow").unwrap());
    let (signed, unsigned) = (keys(), Keys::default());
    // Without a secret the name proves nothing, and saves from a stale address all the same.
    for keys in [signed, unsigned] {
        let bench = Bench::with(Keys {
            realm: realm(),
            ..keys
        })
        .await;
        for path in [
            PEER_PATH,
            REGISTERS_PATH,
            CERTIFICATES_PATH,
            STANDING_PATH,
            STATISTICS_PATH,
        ] {
            let get = [STANDING_PATH, STATISTICS_PATH].contains(&path);
            let body = if get { &b""[..] } else { b"{}" };
            for (query, expected) in [
                // As an older release calls, which names no proxy.
                ("", false),
                ("?realm=docker-flow", false),
                ("?realm=docker-flow&from=other-1", false),
                ("?realm=staging&from=other-1", true),
                ("?realm=&from=other-1", true),
            ] {
                let path = format!("{path}{query}");
                let (digest, nonce) = (BodyDigest::of(body), Nonce::random().unwrap());
                let method = if get { Method::GET } else { Method::POST };
                let now = (SystemTime::now(), nonce);
                let call = signer("sesame").authorize(&method, &path, digest, now);
                let (status, json) = bench.send(request(&path, &call, body.to_vec())).await;
                assert_ne!(status, 401, "{path}: {json}");
                assert_eq!(status == 421, expected, "{path}: {status} {json}");
                let message = json["Message"].as_str().unwrap_or_default();
                let words = [
                    "one of \"docker-flow\"",
                    "(PROXY_INSTANCE_NAME)",
                    "nothing was",
                ];
                let told = words.iter().all(|words| message.contains(words));
                assert_eq!(told, expected, "{path}: {message}");
            }
        }
    }
}

#[tokio::test]
async fn an_older_replica_takes_a_call_that_names_its_proxy() {
    // One that knows no realm, as before there were any: the signature is over the query all the same.
    let bench = Bench::with(keys()).await;
    for query in ["", "?realm=docker-flow&from=other-1"] {
        let path = format!("{STANDING_PATH}{query}");
        let now = (SystemTime::now(), Nonce::random().unwrap());
        let call = signer("sesame").authorize(&Method::GET, &path, BodyDigest::of(b""), now);
        let (status, json) = bench.send(request(&path, &call, Vec::new())).await;
        assert_eq!((status, &json["Instance"]), (200, &"me-1".into()), "{json}");
        let elsewhere = path.replace("other-1", "me-1") + "&a=b";
        let changed = bench.send(request(&elsewhere, &call, Vec::new())).await;
        assert_eq!(changed.0, 401, "{}", changed.1);
    }
}

#[tokio::test]
async fn who_calls_is_what_the_signature_says() {
    let bench = Bench::with(keys()).await;
    bench.carrier.broken.store(true, SeqCst);
    let base = bench.store.view();
    let committed = bench.store.commit(&base, &[put("a")]).await.unwrap();
    let news = Announcement::new(
        committed.view.revision,
        vec![committed.record],
        Default::default(),
    );
    let body = serde_json::to_vec(&news).unwrap();
    for (query, expected) in [
        // Something between wrote this replica's own name into the header: it confirmed what it does not serve.
        ("?realm=docker-flow&from=other-1", 500),
        ("?realm=docker-flow&from=me-1", 200),
        // An older release says it in the header alone.
        ("", 200),
    ] {
        let path = format!("{PEER_PATH}{query}");
        let now = (SystemTime::now(), Nonce::random().unwrap());
        let call = signer("sesame").authorize(&Method::POST, &path, BodyDigest::of(&body), now);
        let mut request = request(&path, &call, body.clone());
        let me = "me-1".parse().unwrap();
        request.headers_mut().insert(INSTANCE_HEADER, me);
        let (status, json) = bench.send(request).await;
        assert_eq!(status, expected, "{query}: {json}");
    }
}

#[tokio::test]
async fn what_is_stamped_far_ahead_is_refused_at_once_and_with_the_reason() {
    let mut bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let own = ReplicatedStore::open(folder.path(), "me-1".parse().unwrap(), Others::Possible);
    let registers = Some(Arc::new(own.unwrap()));
    bench.app = router(Api {
        registers,
        ..bench.api.clone()
    });
    let (mut set, other) = (RegisterSet::default(), "other-1".parse().unwrap());
    let written = set.write(&other, &[put("a")], Counting::ByClock, 1 << 52);
    for (name, register) in written.unwrap() {
        set.merge(&name, &register).unwrap();
    }
    let names = set.iter().map(|(name, _)| name.clone()).collect();
    // As long as nobody waits in vain: the reason is known now.
    let news = Announcement::new(None, Vec::new(), names).waited_for(Some(MOST_WAIT));
    let body = serde_json::to_vec(&news.with_registers(&set, 1_024)).unwrap();
    let call = Request::post(PEER_PATH).header("content-type", "application/json");
    let asked = bench.send(call.body(body.into()).unwrap());
    let answer = tokio::time::timeout(Duration::from_secs(60), asked).await;
    let (status, json) = answer.expect("it waits for what never comes");
    assert_eq!(status, 500, "{json}");
    let reason = json["reason"].as_str().or(json["Reason"].as_str());
    let words = "the register of a has the counter 4503599627370496, which is years ahead";
    assert!(reason.unwrap().starts_with(words), "{json}");
}

/// The clock is simulated, so that nobody waits.
#[tokio::test(start_paused = true)]
async fn a_replica_of_another_store_says_that_its_history_is_another_one() {
    let bench = Bench::new().await;
    let base = bench.store.view();
    let committed = bench.store.commit(&base, &[put("a")]).await.unwrap();
    let own = committed.view.revision.unwrap();
    let later = Revision::new(own.epoch, own.number + 9, own.id);
    let other = Revision::new(Epoch::from_bytes([7; 16]), own.number, own.id);
    for (reach, words) in [(later, "not live here in time"), (other, "another history")] {
        let news = Announcement::new(Some(reach), Vec::new(), [].into());
        let (status, json) = bench.announce("other", &news).await;
        assert_eq!(status, 500, "{json}");
        assert!(json.to_string().contains(words), "{json}");
    }
}

/// The clock is simulated: nothing is judged while this asks.
#[tokio::test(start_paused = true)]
async fn what_was_served_and_waits_to_be_judged_anew_is_not_confirmed() {
    let bench = Bench::new().await;
    let names: Vec<&'static str> = (0..20).map(|i| &*format!("s{i:02}").leak()).collect();
    let changes: Vec<_> = names.iter().map(|name| put(name)).collect();
    let base = bench.store.view();
    let committed = bench.store.commit(&base, &changes).await.unwrap();
    let last = names[19].parse().unwrap();
    let news = Announcement::new(committed.view.revision, Vec::new(), [last].into());
    assert_eq!(bench.announce("other", &news).await.0, 200);

    // HAProxy ended and is another: what was good is not, and the search for it ends before the last.
    bench.carrier.bad.lock().unwrap().extend(&names[..18]);
    *bench.carrier.check_takes.lock().unwrap() = Duration::from_millis(100);
    bench.carrier.down.store(true, SeqCst);
    bench.carrier.moves.notify_one();
    let mut seen = bench.engine.snapshots();
    seen.wait_for(|s| !s.unjudged.is_empty()).await.unwrap();
    assert!(!bench.carrier.live().contains(&names[19].to_owned()));
    let (status, json) = bench.announce("other", &news).await;
    assert_eq!(status, 500, "{json}");
    assert!(
        json.to_string().contains("it is judged after others"),
        "{json}"
    );
    seen.wait_for(|s| s.unjudged.is_empty()).await.unwrap();
    assert_eq!(bench.announce("other", &news).await.0, 200);
}
