//! What a replica tells its peers of itself. Not for people: `status` is.

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};

use super::Api;
use crate::announce::INSTANCE_HEADER;

pub(super) async fn standing(State(api): State<Api>) -> Response {
    let mut response = Json(api.station.now()).into_response();
    if let Ok(me) = HeaderValue::from_str(api.instance.as_str()) {
        response.headers_mut().insert(INSTANCE_HEADER, me);
    }
    response
}
