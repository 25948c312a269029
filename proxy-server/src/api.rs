//! The admin API: Docker Flow Proxy's URLs, and what is new beside them.
//!
//! One file per endpoint. Only this module knows HTTP: what the engine answers becomes a status and
//! a JSON object with Docker Flow Proxy's capitalised names in [`answer`].

mod accept;
mod answer;
mod auth;
mod blame;
mod cert;
mod certs;
mod config;
mod dry_run;
mod explain;
mod export;
mod health;
mod history;
mod import;
mod metrics;
mod openapi;
mod peer;
mod ping;
mod reconfigure;
mod reload;
mod remove;
mod request;
mod rollback;
mod routes;
mod service_cert;
mod service_json;
mod standing;
mod status;
mod text;
mod wait;
mod writes;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, StatusCode},
    middleware,
    response::Response,
};
use proxy_core::{InstanceId, RawConfig, RouteOrder, RouteStore, RouteTable};
use proxy_haproxy::OldWorkers;
use proxy_peers::{Realm, Signer};
use secrecy::SecretString;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::{catch_panic::CatchPanicLayer, timeout::RequestBodyTimeoutLayer};

use crate::{
    carrier::{Carrier, CarrierCondition, CatalogFollower, CheckError, DryRun},
    certificates::{CertificateExchange, Certificates, Step},
    contacts::Contacts,
    dry_run::DryRuns,
    engine::EngineHandle,
    metrics::Metrics,
    sources::Sources,
    standing::{Station, Survey},
    statistics::Statistics,
    store::ReplicatedStore,
    works::Works,
};

pub(crate) use export::Export;
pub(crate) use writes::WriteLimits;

/// Is in every answer of the API, with the name of the program.
const API_HEADER: HeaderName = HeaderName::from_static("x-proxy-api");

/// The largest body of a request in bytes, but for an import or an announcement.
const MAX_BODY: usize = 2 * 1024 * 1024;
/// The largest table that can be imported, and the largest announcement, in bytes.
pub(crate) const MAX_TABLE_BODY: usize = 64 * 1024 * 1024;

/// Calls that are handled at once; more wait their turn.
const MOST_CALLS: usize = 4_096;
/// How long the next part of a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What the handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) engine: EngineHandle,
    pub(crate) store: Arc<dyn RouteStore>,
    pub(crate) carrier: Arc<dyn Carried>,
    pub(crate) dry_runs: Arc<DryRuns>,
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) writes: WriteLimits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) instance: InstanceId,
    /// The registers, where the replicas share no store.
    pub(crate) registers: Option<Arc<ReplicatedStore>>,
    pub(crate) wait_timeout: Duration,
    /// Whether raw HAProxy text is taken.
    pub(crate) raw: RawConfig,
    pub(crate) keys: Arc<Keys>,
    pub(crate) station: Arc<Station>,
    pub(crate) survey: Arc<dyn Survey>,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) certificates: Arc<Certificates>,
    /// Where services come from beside calls, and how all of them are read.
    pub(crate) sources: Sources,
    /// The catalog, where there is one.
    pub(crate) catalog: Option<Arc<CatalogFollower>>,
    pub(crate) exchange: Arc<CertificateExchange>,
    /// Owns what goes on where a caller hangs up.
    pub(crate) works: Works,
    /// The file that holds a table which gave way to the store's, if there is one.
    pub(crate) superseded_file: tokio::sync::watch::Receiver<Option<String>>,
}

/// What callers must carry.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) api: Option<SecretString>,
    /// Verifies the calls of peers; where it is absent they carry `api`.
    pub(crate) peer: Option<Signer>,
    /// For whom calls of peers must be; none: for anybody.
    pub(crate) realm: Option<Realm>,
}

/// What the API shows of a carrier, whatever its candidates are.
#[async_trait]
pub(crate) trait Carried: Send + Sync + std::fmt::Debug {
    fn config_text(&self) -> Option<String>;
    fn digest(&self) -> Option<String>;
    fn condition(&self) -> CarrierCondition;
    fn route_order(&self) -> RouteOrder;
    async fn statistics(&self) -> Result<String, String>;
    async fn old_workers(&self) -> Option<OldWorkers>;
    async fn dry_run(&self, table: &RouteTable) -> Result<DryRun, CheckError>;
    async fn would_show(&self, table: &RouteTable, step: Step) -> Result<(), CheckError>;
}

#[async_trait]
impl<C: Carrier + std::fmt::Debug> Carried for C {
    fn config_text(&self) -> Option<String> {
        Carrier::config_text(self)
    }

    fn digest(&self) -> Option<String> {
        Carrier::digest(self)
    }

    fn condition(&self) -> CarrierCondition {
        Carrier::condition(self)
    }

    fn route_order(&self) -> RouteOrder {
        Carrier::route_order(self)
    }

    async fn statistics(&self) -> Result<String, String> {
        Carrier::statistics(self).await
    }

    async fn old_workers(&self) -> Option<OldWorkers> {
        Carrier::old_workers(self).await
    }

    async fn dry_run(&self, table: &RouteTable) -> Result<DryRun, CheckError> {
        Carrier::dry_run(self, table).await
    }

    async fn would_show(&self, table: &RouteTable, step: Step) -> Result<(), CheckError> {
        Carrier::would_show(self, table, step).await
    }
}

/// The whole API as a service. It holds no socket.
pub(crate) fn router(api: Api) -> Router {
    around(routes::routes(&api).router, api)
}

/// What every call goes through, whichever route takes it.
fn around(routes: Router<Api>, api: Api) -> Router {
    routes
        .fallback(nowhere)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        // Within the check, which signs the answer to a peer whatever became of its call, and around it.
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(api.clone(), auth::check))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(RequestBodyTimeoutLayer::new(BODY_DEADLINE))
        .layer(GlobalConcurrencyLimitLayer::new(MOST_CALLS))
        .layer(middleware::map_response(signed))
        .with_state(api)
}

/// Whatever is answered says who answers it: a caller at the wrong port hears some service, which may well say 200.
async fn signed(mut response: Response) -> Response {
    let name = HeaderValue::from_static(env!("CARGO_PKG_NAME"));
    response.headers_mut().insert(API_HEADER, name);
    response
}

async fn nowhere(uri: axum::http::Uri) -> answer::Answered {
    let message = format!(
        "there is nothing at {}; the API is below /v1/docker-flow-proxy/, for instance /v1/docker-flow-proxy/reconfigure",
        uri.path()
    );
    answer::Answered::refused(StatusCode::NOT_FOUND, message)
}

async fn no_method(method: axum::http::Method, uri: axum::http::Uri) -> answer::Answered {
    let message = format!(
        "{} does not take {method}; the header Allow says what it takes; nothing was changed",
        uri.path()
    );
    answer::Answered::refused(StatusCode::METHOD_NOT_ALLOWED, message)
}

fn panicked(_panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    use axum::response::IntoResponse;
    tracing::error!("a handler panicked; this is a bug");
    let message =
        "a bug in the proxy ended this call; whether it changed something is not known: see status"
            .to_owned();
    answer::Answered::refused(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}
