//! The API as an OpenAPI 3.1 document, for whoever generates a client or checks an answer: served at
//! [`DOCUMENT_PATH`], committed as `docs/openapi.json`.
//!
//! What is called and what comes back stands in [`calls`]; the parameters of `reconfigure` are the list that the
//! parser is held to. Tests hold the document to the router, and every answer that a test of the API gets to the
//! document.

mod calls;
mod endpoint;
mod parameters;
mod schemas;
mod shape;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use utoipa::openapi::{
    Components, ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, PathsBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::Api;
use crate::settings::GetWrites;

/// Where the document is.
pub(super) const DOCUMENT_PATH: &str = "/v1/openapi.json";
/// Below this are the endpoints of Docker Flow Proxy, and ours beside them.
pub(super) const BASE: &str = "/v1/docker-flow-proxy";
/// Another name of the same.
pub(super) const ALIAS: &str = "/v1/proxy";
/// The name of the security scheme.
const TOKEN: &str = "token";

const ABOUT: &str = "\
HAProxy carries the traffic; this says what it shall do. Every path below /v1/docker-flow-proxy/ is also there below \
/v1/proxy/.

Every answer that is JSON has `Status` (`OK` or `NOK`) and `Message`; a refusal says what is wrong, with which \
parameter, what is allowed, and whether something was changed (`Stored`). Calls that have a form for people take \
`type=text`. Every answer has the header `X-Proxy-Api`, by which a caller knows whom it reached. With `dryRun=true` a change is planned, rendered and checked by HAProxy, and not made: `Effect`, `Changes` \
and `Diff` say what it would do.

Parameters come in the URL, and those of reconfigure in a form as well; one that is given twice with different values \
is refused, and one that is not known is taken with a warning. Where API_TOKEN is set, all but \
the probes need it. Any call may be answered with 413 (a body over 2 MiB, 64 MiB for an import), 414 (a URL over 64 \
KiB), 415 (JSON or multipart where parameters are read), and 500 where a bug ended it.";

pub(super) async fn document(State(api): State<Api>) -> Response {
    let json = text(api.writes.get_writes);
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

/// The document as JSON.
fn text(get_writes: GetWrites) -> String {
    // It holds nothing that JSON could not.
    let mut document = serde_json::to_value(described(get_writes)).unwrap_or_default();
    allow_empty(&mut document);
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// An empty value counts as none, which only a parameter that is required refuses. The types of the document have no
/// word for that.
fn allow_empty(document: &mut Value) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for item in paths.into_iter().flat_map(|paths| paths.values_mut()) {
        let parameters = item.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let is_required = parameter.get("required") == Some(&Value::Bool(true));
            if let Some(fields) = parameter.as_object_mut() {
                fields.insert("allowEmptyValue".to_owned(), (!is_required).into());
            }
        }
    }
}

fn described(get_writes: GetWrites) -> OpenApi {
    let mut paths = PathsBuilder::new();
    for endpoint in calls::endpoints(get_writes) {
        let (path, item) = endpoint.described();
        paths = paths.path(path, item);
    }
    let info = InfoBuilder::new()
        .title("The proxy's admin API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(License::new("MIT OR Apache-2.0")));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components()))
        // Either: the token is needed only where API_TOKEN is set.
        .security(Some([SecurityRequirement::new(TOKEN, [""; 0])]))
        .build()
}

fn components() -> Components {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "The setting API_TOKEN; where it is absent, nothing is needed.",
        ));
    let mut components =
        ComponentsBuilder::new().security_scheme(TOKEN, SecurityScheme::Http(bearer.build()));
    for (name, schema) in schemas::all() {
        components = components.schema(name, schema);
    }
    components.build()
}

#[cfg(test)]
pub(super) mod check;
#[cfg(test)]
mod tests;
