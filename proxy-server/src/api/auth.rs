//! Who may call: a bearer token, compared in constant time.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{Api, answer::Answered};

/// Routes that health checks call without a token.
const OPEN: [&str; 4] = [
    "/v1/docker-flow-proxy/ping",
    "/v1/proxy/ping",
    "/v1/test",
    "/v2/test",
];

pub(super) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let keys = &api.keys;
    let (needed, setting) = match path {
        path if OPEN.contains(&path) => (None, ""),
        crate::announce::PEER_PATH => (keys.peer.as_ref().or(keys.api.as_ref()), "PEER_SECRET"),
        _ => (keys.api.as_ref(), "API_TOKEN"),
    };
    if needed.is_none_or(|needed| carries(&request, needed)) {
        return next.run(request).await;
    }
    let message = format!(
        "this call needs the header \"Authorization: Bearer <{setting}>\" with the proxy's {setting}; nothing was changed"
    );
    let mut response = Answered::refused(StatusCode::UNAUTHORIZED, message).into_response();
    let bearer = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, bearer);
    response
}

fn carries(request: &Request, needed: &SecretString) -> bool {
    request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .is_some_and(|given| given.ct_eq(needed.expose_secret().as_bytes()).into())
}
