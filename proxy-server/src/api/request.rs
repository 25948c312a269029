//! Reading requests: parameters from the URL and, where there is one, from a form body.

use axum::{
    body::Bytes,
    http::{HeaderMap, Uri, header},
};
use proxy_core::{Params, ParamsError};

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
