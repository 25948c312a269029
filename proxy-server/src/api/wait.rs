//! How a change is made: `wait` and `timeout`, what its answer waits for; `dryRun`, whether it is made at all.

use std::time::Duration;

use axum::http::StatusCode;
use proxy_core::{Distribute, Order, Params};

use super::{Api, answer::Answered, dry_run::Mode, request::flag};
use crate::{
    announce::MOST_WAIT,
    engine::{Wait, WaitFor},
};

/// How a change is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// What its answer waits for.
    pub(super) wait: Wait,
    /// Whether it is made at all.
    pub(super) mode: Mode,
}

/// These parameters as they were given, taken out before the rest is read.
pub(super) struct Given {
    wait: Option<String>,
    timeout: Option<String>,
    mode: Mode,
}

// === impl Given ===

impl Given {
    pub(super) fn take(params: &mut Params) -> Result<Self, Answered> {
        Ok(Self {
            wait: params.take("wait"),
            timeout: params.take("timeout"),
            mode: Mode::take(params)?,
        })
    }

    /// How the change is made, where `distribute` said this.
    pub(super) fn read(&self, api: &Api, distribute: Distribute) -> Result<Manner, Answered> {
        let who = match self.wait.as_deref() {
            None if distribute == Distribute::Yes => WaitFor::Everyone,
            None => WaitFor::Here,
            Some("none") => WaitFor::Nobody,
            Some("local") => WaitFor::Here,
            Some("quorum") => WaitFor::Quorum,
            Some("all") => WaitFor::Everyone,
            Some(other) => {
                let problem = "it is not known";
                return Err(refuse("wait", other, problem, "none, local, quorum or all"));
            }
        };
        if distribute == Distribute::Yes && who != WaitFor::Everyone {
            let problem = "distribute=true waits for all replicas, and this does not";
            return Err(refuse("wait", who.word(), problem, "one of the two"));
        }
        if who == WaitFor::Quorum && api.store.order() != Order::Total {
            let problem = "without Consul the replicas have no common order of changes, so that a majority of them settles nothing";
            return Err(refuse("wait", who.word(), problem, "none, local or all"));
        }
        let most = match self.timeout.as_deref() {
            None => api.wait_timeout,
            Some(text) => match text.parse().map(Duration::from_secs) {
                Ok(most) if !most.is_zero() && most <= MOST_WAIT => most,
                _ => {
                    let problem = "it is no such number of seconds";
                    let allowed = format!("1 to {}", MOST_WAIT.as_secs());
                    return Err(refuse("timeout", text, problem, &allowed));
                }
            },
        };
        Ok(Manner {
            wait: Wait { who, most },
            mode: self.mode,
        })
    }
}

/// How a call makes its change: `distribute`, `wait`, `timeout` and `dryRun`.
pub(super) fn manner_of(api: &Api, params: &mut Params) -> Result<Manner, Answered> {
    let distribute = match flag(params, "distribute")? {
        true => Distribute::Yes,
        false => Distribute::No,
    };
    Given::take(params)?.read(api, distribute)
}

fn refuse(parameter: &str, value: &str, problem: &str, allowed: &str) -> Answered {
    let message = format!(
        "{parameter}={:?}: {problem}; allowed: {allowed}; nothing was changed",
        value.chars().take(80).collect::<String>()
    );
    Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false)
}
