//! What a replica tells its peers of itself. Not for people: `status` is.

use axum::{Json, extract::State, response::Response};

use super::{Api, peer::named};

pub(super) async fn standing(State(api): State<Api>) -> Response {
    named(&api, Json(api.station.now()))
}
