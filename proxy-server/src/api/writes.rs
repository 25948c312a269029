//! What calls that change something have in common: by which methods they come, and how many a second.

use std::{num::NonZeroU32, sync::Arc};

use axum::{
    extract::{Request, State},
    handler::Handler,
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use governor::{
    DefaultDirectRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};

use super::{Api, answer::Answered};
use crate::settings::GetWrites;

/// How many seconds' worth of calls may come at once: a deployment is a burst.
const BURST_SECONDS: u32 = 4;

/// What the settings say of calls that change something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriteLimits {
    pub(crate) get_writes: GetWrites,
    /// How many calls a second; none: any number.
    pub(crate) rate: Option<NonZeroU32>,
}

/// Makes the routes of calls that change something.
pub(super) struct Writes {
    get_writes: GetWrites,
    limiter: Option<Arc<DefaultDirectRateLimiter>>,
}

// === impl Writes ===

impl Writes {
    pub(super) fn new(limits: WriteLimits) -> Self {
        let quota = limits.rate.map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
            Quota::per_second(rate).allow_burst(burst)
        });
        Self {
            get_writes: limits.get_writes,
            limiter: quota.map(|quota| Arc::new(DefaultDirectRateLimiter::direct(quota))),
        }
    }

    /// A call that POST makes, and the method that says it best, and GET where that is allowed: scripts
    /// and docker-flow-swarm-listener use nothing else.
    pub(super) fn also_get<H, T>(&self, best: MethodFilter, handler: H) -> MethodRouter<Api>
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let route = on(best.or(MethodFilter::POST), handler.clone());
        let route = match self.get_writes {
            // What answers a GET would answer a HEAD too, and change something.
            GetWrites::Allowed => route.get(handler).head(no_head),
            GetWrites::Refused => route,
        };
        self.change(route)
    }

    /// A call that changes something, within the rate of all of them.
    pub(super) fn change(&self, route: MethodRouter<Api>) -> MethodRouter<Api> {
        match &self.limiter {
            Some(limiter) => route.layer(middleware::from_fn_with_state(
                Arc::clone(limiter),
                within_rate,
            )),
            None => route,
        }
    }
}

async fn within_rate(
    State(limiter): State<Arc<DefaultDirectRateLimiter>>,
    request: Request,
    next: Next,
) -> Response {
    let Err(early) = limiter.check() else {
        return next.run(request).await;
    };
    // In whole seconds, and never now.
    let seconds = early
        .wait_time_from(DefaultClock::default().now())
        .as_secs()
        + 1;
    let message = format!(
        "there were too many changes in the last seconds (WRITE_RATE); nothing was changed; try again in {seconds} s"
    );
    let mut response = Answered::refused(StatusCode::TOO_MANY_REQUESTS, message)
        .with("Stored", false)
        .into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

async fn no_head() -> Response {
    let allow = [(header::ALLOW, "GET, POST")];
    (StatusCode::METHOD_NOT_ALLOWED, allow).into_response()
}
