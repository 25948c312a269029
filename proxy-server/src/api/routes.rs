//! Which handler answers at which path, by which methods.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    middleware,
    routing::{MethodFilter, MethodRouter, get, on, post, put},
};
use tower::limit::GlobalConcurrencyLimitLayer;

use super::{
    Api, MAX_TABLE_BODY, accept, auth, cert, certs, config, explain, export, health, history,
    import, metrics,
    openapi::{self, ALIAS, BASE, DOCUMENT_PATH},
    peer, ping, reconfigure, reload, remove, rollback, standing, status,
    writes::Writes,
};
use crate::{
    announce::{PEER_PATH, REGISTERS_PATH},
    certificates::CERTIFICATES_PATH,
    standing::STANDING_PATH,
    statistics::STATISTICS_PATH,
};

/// Imports at once, and announcements, and questions about registers: their bodies are large. Each has
/// its own, since an announcement may wait for the answer to such a question on another replica.
const MOST_TABLES: usize = 4;
/// Answers with the figures of all replicas that are made at once.
const MOST_FIGURES: usize = 2;

/// Every route, and the paths as they were given, which a router does not tell.
pub(super) struct Routes {
    pub(super) router: Router<Api>,
    pub(super) paths: Vec<String>,
}

pub(super) fn routes(api: &Api) -> Routes {
    let writes = Writes::new(api.writes);
    let tables = GlobalConcurrencyLimitLayer::new(MOST_TABLES);
    let import = large(post(import::import).put(import::import), tables);
    let mut routes = Routes {
        router: Router::new(),
        paths: Vec::new(),
    };
    for (name, route) in proxy(&writes, import) {
        for base in [BASE, ALIAS] {
            routes.add(format!("{base}/{name}"), route.clone());
        }
    }
    let from_peer = |route: MethodRouter<Api>| {
        let route = route.layer(middleware::from_fn(auth::check_body));
        large(route, GlobalConcurrencyLimitLayer::new(MOST_TABLES))
    };
    for (path, route) in [
        (PEER_PATH, from_peer(post(peer::announce))),
        (REGISTERS_PATH, from_peer(post(peer::registers))),
        (CERTIFICATES_PATH, from_peer(post(peer::certificates))),
        (STANDING_PATH, get(standing::standing)),
        (STATISTICS_PATH, get(metrics::to_peer)),
        ("/healthz", get(health::healthz)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(metrics::metrics)),
        (DOCUMENT_PATH, get(openapi::document)),
        ("/v1/test", any(ping::test)),
        ("/v2/test", any(ping::test)),
    ] {
        routes.add(path.to_owned(), route);
    }
    routes
}

/// What is below the path of the API.
fn proxy(writes: &Writes, import: MethodRouter<Api>) -> Vec<(&'static str, MethodRouter<Api>)> {
    let change = |route| writes.change(route);
    let (best_put, best_delete) = (MethodFilter::PUT, MethodFilter::DELETE);
    let reconfigure = writes.also_get(best_put, reconfigure::reconfigure);
    vec![
        ("reconfigure", reconfigure),
        ("remove", writes.also_get(best_delete, remove::remove)),
        ("reload", writes.also_get(best_put, reload::reload)),
        ("config", get(config::config)),
        ("metrics", few(get(metrics::csv))),
        ("cert", change(put(cert::put).delete(cert::delete))),
        ("certs", get(certs::certs)),
        ("status", get(status::status)),
        ("history", get(history::history)),
        ("diff", get(history::diff)),
        ("rollback", change(post(rollback::rollback))),
        ("accept", change(post(accept::accept))),
        ("explain", get(explain::explain)),
        ("export", get(export::export)),
        ("import", change(import)),
        ("ping", any(ping::ping)),
        ("successfulinitreload", any(ping::listener_was_read)),
    ]
}

/// What Docker Flow Proxy answers whatever the method: health checks use many. Those that have no name here are 405.
fn any<H, T>(handler: H) -> MethodRouter<Api>
where
    H: Handler<T, Api>,
    T: 'static,
{
    let more = [
        MethodFilter::PUT,
        MethodFilter::POST,
        MethodFilter::DELETE,
        MethodFilter::OPTIONS,
        MethodFilter::PATCH,
        MethodFilter::TRACE,
    ];
    // GET answers HEAD too.
    on(
        more.into_iter().fold(MethodFilter::GET, MethodFilter::or),
        handler,
    )
}

/// A route whose answers hold the figures of every replica, few at once.
fn few(route: MethodRouter<Api>) -> MethodRouter<Api> {
    route.layer(GlobalConcurrencyLimitLayer::new(MOST_FIGURES))
}

/// A route whose bodies are whole tables, few at once.
fn large(route: MethodRouter<Api>, slots: GlobalConcurrencyLimitLayer) -> MethodRouter<Api> {
    let route: MethodRouter<Api> = route.layer(DefaultBodyLimit::max(MAX_TABLE_BODY));
    route.layer(slots)
}

// === impl Routes ===

impl Routes {
    fn add(&mut self, path: String, route: MethodRouter<Api>) {
        let router = std::mem::take(&mut self.router);
        self.router = router.route(&path, route);
        self.paths.push(path);
    }
}
