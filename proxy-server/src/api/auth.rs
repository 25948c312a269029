//! Who may call: a bearer token, compared in constant time, or, between replicas, a signature.
//!
//! A signature is verified before the body is read, so that a stranger's body never is; that the body
//! is the signed one is checked where it is read ([`check_body`]). A signed call that is played again
//! within the minute that it holds for is answered again and changes nothing: what replicas tell each
//! other is ordered by revisions and stamps, and hearing it twice is as good as once. The answer to a
//! signed call is signed for it.
//!
//! What is said to a replica must also be for this proxy, with a secret or without: the address that a
//! caller found may lead to another proxy by now, which would take the call for its own.

use std::time::SystemTime;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use proxy_peers::{
    BodyDigest, PeerReply, SIGNATURE_HEADER, SIGNATURE_SCHEME, SignatureError, SignedCall, Signer,
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{Api, MAX_TABLE_BODY, answer::Answered, peer::named};
use crate::announce::{INSTANCE_HEADER, PEER_PATHS};

/// Routes that health checks call without a token.
const OPEN: [&str; 6] = [
    "/healthz",
    "/readyz",
    "/v1/docker-flow-proxy/ping",
    "/v1/proxy/ping",
    "/v1/test",
    "/v2/test",
];

pub(super) async fn check(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) {
        return next.run(request).await;
    }
    if let Some(signer) = api
        .keys
        .peer
        .as_ref()
        .filter(|_| path.starts_with(PEER_PATHS))
    {
        return match verify(&request, signer) {
            Ok(call) => {
                request.extensions_mut().insert(call.body());
                answered(for_this_proxy(&api, request, next).await, signer, &call).await
            }
            // Whoever called could not have signed this, so nothing is lost where the answer is not.
            Err(error) => not_a_peer(&error),
        };
    }
    match &api.keys.api {
        Some(token) if !carries(&request, token) => {
            let message = "this call needs the header \"Authorization: Bearer <API_TOKEN>\" with the proxy's API_TOKEN; nothing was changed";
            unauthorized("Bearer", message)
        }
        _ => for_this_proxy(&api, request, next).await,
    }
}

/// Lets a call through, if it is not one that a replica made for those of another proxy.
async fn for_this_proxy(api: &Api, request: Request, next: Next) -> Response {
    let uri = request.uri();
    let from_peer = uri.path().starts_with(PEER_PATHS);
    let realm = api.keys.realm.as_ref().filter(|_| from_peer);
    match realm.map_or(Ok(()), |realm| realm.check(uri.query())) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            tracing::warn!(why = %error, "a call between replicas was refused");
            let message = format!(
                "this call is for another proxy: {error} (PROXY_INSTANCE_NAME): the address leads to the wrong one, or replicas of one proxy have different names; nothing was changed"
            );
            named(
                api,
                Answered::refused(StatusCode::MISDIRECTED_REQUEST, message),
            )
        }
    }
}

/// Lets a signed call through if its body is the one that was signed.
pub(super) async fn check_body(request: Request, next: Next) -> Response {
    let Some(signed) = request.extensions().get::<BodyDigest>().copied() else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_TABLE_BODY).await else {
        let message = format!(
            "the body did not arrive whole, or has more than {MAX_TABLE_BODY} bytes; nothing was changed"
        );
        return Answered::refused(StatusCode::PAYLOAD_TOO_LARGE, message).into_response();
    };
    match signed.check(&body) {
        Ok(()) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(error) => not_a_peer(&error),
    }
}

/// The answer to a peer's call, signed.
async fn answered(response: Response, signer: &Signer, call: &SignedCall) -> Response {
    let (parts, body) = response.into_parts();
    // It is whole already; no caller reads more.
    let (mut parts, body) = match to_bytes(body, MAX_TABLE_BODY).await {
        Ok(body) => (parts, body),
        Err(_) => {
            let message = format!("the answer has more than {MAX_TABLE_BODY} bytes; this is a bug");
            let answered = Answered::refused(StatusCode::INTERNAL_SERVER_ERROR, message);
            let (parts, body) = answered.into_response().into_parts();
            (
                parts,
                to_bytes(body, MAX_TABLE_BODY).await.unwrap_or_default(),
            )
        }
    };
    let mut answer = PeerReply::new(parts.status, body.clone());
    if let Some(me) = parts.headers.get(INSTANCE_HEADER) {
        answer = answer.with_header(INSTANCE_HEADER, me.clone());
    }
    let signature = signer.sign_answer(call, &answer, Some(&INSTANCE_HEADER));
    parts.headers.insert(SIGNATURE_HEADER, signature);
    Response::from_parts(parts, Body::from(body))
}

fn verify(request: &Request, signer: &Signer) -> Result<SignedCall, SignatureError> {
    let uri = request.uri();
    let path = uri
        .path_and_query()
        .map_or(uri.path(), |path| path.as_str());
    let authorization = request.headers().get(header::AUTHORIZATION);
    signer.verify(request.method(), path, authorization, SystemTime::now())
}

fn not_a_peer(error: &SignatureError) -> Response {
    tracing::debug!(why = %error, "a call between replicas was refused");
    let message = format!(
        "this call is not taken for a replica's: {error} (PEER_SECRET); nothing was changed"
    );
    unauthorized(SIGNATURE_SCHEME, message)
}

fn unauthorized(scheme: &'static str, message: impl Into<String>) -> Response {
    let mut response = Answered::refused(StatusCode::UNAUTHORIZED, message).into_response();
    let scheme = HeaderValue::from_static(scheme);
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    response
}

fn carries(request: &Request, needed: &SecretString) -> bool {
    request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .is_some_and(|given| given.ct_eq(needed.expose_secret().as_bytes()).into())
}
