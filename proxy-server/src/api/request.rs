//! Reading requests: parameters from the URL and, where there is one, from a form body.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, Uri, header},
};
use proxy_core::Params;

use super::{answer::Answered, wait::Given};

/// The parameters of a request, without those that say how it is done.
pub(super) fn asked((uri, headers, body): &Received) -> Result<(Params, Given), Answered> {
    let mut params = params(uri, headers, body)?;
    let given = Given::take(&mut params)?;
    Ok((params, given))
}

/// A request as it was received.
pub(super) type Received = (Uri, HeaderMap, Whole);

/// A body that arrived whole; one that did not is refused in our words.
pub(super) struct Whole(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Answered;

    async fn from_request(request: Request, state: &S) -> Result<Self, Answered> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|problem| unread(&problem))
    }
}

fn unread(problem: &BytesRejection) -> Answered {
    let (status, words) = match problem.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => (status, "it is too large".to_owned()),
        _ => (StatusCode::BAD_REQUEST, problem.body_text()),
    };
    let message = format!("the body did not arrive whole: {words}; nothing was changed");
    Answered::refused(status, message).with("Stored", false)
}

/// A yes or no of a call that changes something; no where it is absent.
pub(super) fn flag(params: &Params, name: &str) -> Result<bool, Answered> {
    match params.get(name) {
        Some("true") => Ok(true),
        None | Some("false") => Ok(false),
        Some(other) => {
            let other: String = other.chars().take(80).collect();
            let message = format!(
                "{name}={other:?}: it is neither true nor false; allowed: true or false; nothing was changed"
            );
            Err(Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false))
        }
    }
}

/// The parameters of a request. A body in another form that has them is refused: what it says would count for nothing.
pub(super) fn params(
    uri: &Uri,
    headers: &HeaderMap,
    Whole(body): &Whole,
) -> Result<Params, Answered> {
    let mut params = Params::from_query(uri.query().unwrap_or_default())?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("application/x-www-form-urlencoded") {
        params.extend_from_query(body)?;
    } else if !body.is_empty() && (kind.contains("json") || kind.starts_with("multipart/")) {
        let message = "the body is no form: send the parameters in the URL, or as a form (Content-Type: application/x-www-form-urlencoded); nothing was changed";
        let refused = Answered::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        return Err(refused.with("Stored", false));
    }
    Ok(params)
}
