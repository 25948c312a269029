//! Reading requests: parameters from the URL and, where there is one, from a form body.

use axum::{
    body::Bytes,
    http::{HeaderMap, Uri, header},
};
use proxy_core::{Distribute, FieldErrors, Params, ParamsError};

use super::{
    Api,
    answer::Answered,
    wait::{Given, Manner},
};

/// What a request asks and how that is done, or the answer that refuses it.
pub(super) fn asked<T>(
    api: &Api,
    (uri, headers, body): &Received,
    parse: impl Fn(&Params) -> Result<T, FieldErrors>,
    distribute: impl Fn(&T) -> Distribute,
) -> Result<(T, Manner), Answered> {
    let mut params = params(uri, headers, body)?;
    let given = Given::take(&mut params)?;
    let parsed = parse(&params)?;
    let manner = given.read(api, distribute(&parsed))?;
    Ok((parsed, manner))
}

/// A request as it was received.
pub(super) type Received = (Uri, HeaderMap, Bytes);

/// The parameters of a request.
pub(super) fn params(uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Params, ParamsError> {
    let mut params = Params::from_query(uri.query().unwrap_or_default())?;
    let form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if form {
        params.extend_from_query(body)?;
    }
    Ok(params)
}
