//! Reading requests: parameters from the URL and, where there is one, from a form body.

use axum::{
    body::Bytes,
    http::{HeaderMap, Uri, header},
};
use proxy_core::{Params, ParamsError};

use super::{answer::Answered, wait::Given};

/// The parameters of a request, without those that say how it is done.
pub(super) fn asked((uri, headers, body): &Received) -> Result<(Params, Given), Answered> {
    let mut params = params(uri, headers, body)?;
    let given = Given::take(&mut params)?;
    Ok((params, given))
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
