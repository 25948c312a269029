//! Calls and answers that are a peer's, and those that only look so.

use http::{HeaderName, StatusCode};

use super::*;
use crate::call::PeerReply;

const BODY: &[u8] = b"{}";
const NONCE: Nonce = Nonce(Bytes32([7; 32]));
const FROM: HeaderName = HeaderName::from_static("x-instance");

fn signer(secret: &str) -> Signer {
    Signer::new(&secret.to_owned().into())
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn call(seconds: u64, nonce: Nonce) -> SignedCall {
    let body = BodyDigest::of(BODY);
    signer("geheim").authorize(&Method::POST, "/a?b=c", body, (at(seconds), nonce))
}

fn signed(seconds: u64) -> HeaderValue {
    call(seconds, NONCE).header()
}

fn verified(header: &HeaderValue, now: u64) -> Result<SignedCall, SignatureError> {
    signer("geheim").verify(&Method::POST, "/a?b=c", Some(header), at(now))
}

#[test]
fn the_scheme_stays_as_it_is_documented() {
    // printf 'Peer-HMAC-SHA256\nPOST\n/a?b=c\n1700000000\n0707...\n44136f...' | openssl dgst -sha256 -hmac geheim
    let expected = "Peer-HMAC-SHA256 time=1700000000,\
        nonce=0707070707070707070707070707070707070707070707070707070707070707,\
        body=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a,\
        signature=d5b4187ce7dbc5d05f35a5d681e341b192177c751d1a9707190a1ad3bd39055b";
    assert_eq!(signed(1_700_000_000).to_str().unwrap(), expected);
}

#[test]
fn a_peers_call_is_taken_and_its_body_checked() {
    let heard = verified(&signed(1_000), 1_000).unwrap();
    assert_eq!(heard, call(1_000, NONCE));
    let digest = heard.body();
    assert_eq!(digest.check(BODY), Ok(()));
    assert_eq!(digest.check(b"{ }"), Err(SignatureError::WrongBody));
}

#[test]
fn another_secret_method_path_body_or_time_is_refused() {
    let header = signed(1_000);
    let (post, path, now) = (Method::POST, "/a?b=c", at(1_000));
    let verify = |signer: &Signer, method: &Method, path: &str| {
        signer.verify(method, path, Some(&header), now)
    };
    let wrong = Err(SignatureError::Wrong);
    assert_eq!(verify(&signer("geheim2"), &post, path), wrong);
    assert_eq!(verify(&signer(""), &post, path), wrong);
    assert_eq!(verify(&signer("geheim"), &Method::PUT, path), wrong);
    assert_eq!(verify(&signer("geheim"), &post, "/a?b=d"), wrong);
    assert_eq!(verify(&signer("geheim"), &post, "/a"), wrong);
    let text = header.to_str().unwrap();
    for (from, to) in [
        ("time=1000", "time=1001"),
        ("nonce=07", "nonce=08"),
        ("body=44", "body=45"),
    ] {
        let changed = HeaderValue::try_from(text.replace(from, to)).unwrap();
        assert_eq!(verified(&changed, 1_000), wrong, "{to}");
    }
}

#[test]
fn the_window_is_open_on_both_sides_and_the_error_names_the_clocks() {
    let window = SIGNATURE_WINDOW.as_secs();
    for now in [10_000 - window, 10_000, 10_000 + window] {
        assert!(verified(&signed(10_000), now).is_ok(), "{now}");
    }
    for (now, when) in [
        (10_000 - window - 1, "61 s ahead of"),
        (10_000 + window + 1, "61 s behind"),
    ] {
        let error = verified(&signed(10_000), now).unwrap_err().to_string();
        assert!(error.contains(when) && error.contains("clocks"), "{error}");
    }
    // The clock is no help to whoever guesses.
    let wrong = signer("x").verify(&Method::POST, "/a?b=c", Some(&signed(1)), at(10_000));
    assert_eq!(wrong, Err(SignatureError::Wrong));
}

#[test]
fn what_is_no_signature_is_told_from_a_wrong_one() {
    let verify = |text: &str| {
        let header = HeaderValue::try_from(text).unwrap();
        verified(&header, 1_000)
    };
    for missing in [
        "Bearer geheim",
        "",
        "Peer-HMAC-SHA256",
        "peer-hmac-sha256 time=1",
    ] {
        assert_eq!(verify(missing), Err(SignatureError::Missing), "{missing}");
    }
    let good = signed(1_000).to_str().unwrap().to_owned();
    for malformed in [
        "Peer-HMAC-SHA256 ",
        "Peer-HMAC-SHA256 time=1000",
        &good[..good.len() - 1],
        &good.replace("time=1000", "time=-1"),
        &good.replace("nonce=", "nonse="),
        &good.replace("nonce=07", "nonce="),
        &format!("{good},more=1"),
        &good.to_uppercase().replace("PEER-", "Peer-"),
    ] {
        assert_eq!(
            verify(malformed),
            Err(SignatureError::Malformed),
            "{malformed}"
        );
    }
    let missing = signer("geheim").verify(&Method::POST, "/", None, at(0));
    assert_eq!(missing, Err(SignatureError::Missing));
}

#[test]
fn a_signer_shows_nothing() {
    assert_eq!(format!("{:?}", signer("geheim")), "Signer { .. }");
}

fn answered(to: &SignedCall, status: u16, instance: &'static str, body: &'static str) -> PeerReply {
    let status = StatusCode::from_u16(status).unwrap();
    let answer = PeerReply::new(status, body).with_header(FROM, HeaderValue::from_static(instance));
    let signature = signer("geheim").sign_answer(to, &answer, Some(&FROM));
    answer.with_header(SIGNATURE_HEADER, signature)
}

#[test]
fn the_scheme_of_answers_stays_as_it_is_documented() {
    // printf 'Peer-HMAC-SHA256 answer\nd5b418...\n200\none\n44136f...' | openssl dgst -sha256 -hmac geheim
    let answer = answered(&call(1_700_000_000, NONCE), 200, "one", "{}");
    let expected =
        "Peer-HMAC-SHA256 464935ed1cadff3995cd3971f99f8e21d4f11781a904058ab49aa1479e27760c";
    assert_eq!(answer.header(&SIGNATURE_HEADER).unwrap(), expected);
}

#[test]
fn an_answer_is_taken_for_the_call_that_it_answers_and_no_other() {
    let (one, other) = (call(1_000, NONCE), call(1_000, Nonce(Bytes32([8; 32]))));
    let answer = answered(&one, 200, "one", "{}");
    let verify = |secret: &str, call: &SignedCall, answer: &PeerReply| {
        signer(secret).verify_answer(call, answer, Some(&FROM))
    };
    assert_eq!(verify("geheim", &one, &answer), Ok(()));
    let wrong = Err(AnswerError::Wrong);
    assert_eq!(verify("geheim2", &one, &answer), wrong);
    // The same call at the same second: an answer that was overheard fits it no more.
    assert_eq!(verify("geheim", &other, &answer), wrong);
    let signature = answer.header(&SIGNATURE_HEADER).unwrap();
    for forged in [
        PeerReply::new(StatusCode::CREATED, "{}").with_header(FROM, "one".parse().unwrap()),
        PeerReply::new(StatusCode::OK, "{ }").with_header(FROM, "one".parse().unwrap()),
        PeerReply::new(StatusCode::OK, "{}").with_header(FROM, "two".parse().unwrap()),
        PeerReply::new(StatusCode::OK, "{}"),
    ] {
        assert_eq!(verify("geheim", &one, &forged), Err(AnswerError::Missing));
        let forged = forged.with_header(SIGNATURE_HEADER, signature.clone());
        assert_eq!(verify("geheim", &one, &forged), wrong, "{forged:?}");
    }
    // Neither is a call's own signature one of an answer.
    let call = one.signature.to_string();
    for text in [format!("{SIGNATURE_SCHEME} {call}"), call, String::new()] {
        let value = HeaderValue::try_from(text).unwrap();
        let forged = answer.clone().with_header(SIGNATURE_HEADER, value);
        assert_eq!(verify("geheim", &one, &forged), wrong);
    }
}

#[test]
fn no_two_calls_are_alike() {
    assert_ne!(Nonce::random(), Nonce::random());
}
