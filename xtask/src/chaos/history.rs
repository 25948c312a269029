//! What happened: every call with its answer, and everything that was seen of the table. Moments
//! are counted from the start of the run.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// A moment, counted from the start of the run.
pub(super) type Moment = Duration;

/// A call's number, which its value carries.
pub(super) type CallId = u64;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The service with the paths of this call, see [`paths`].
    Put,
    /// The service gone.
    Remove,
    /// The same as `Put`, in a form that must be refused.
    Invalid,
}

/// What became of a call, as its caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is stored and live where it was asked.
    Live,
    /// It is stored; not live there, or not known to be.
    Stored,
    /// It was said that nothing was changed, or it was never sent.
    Refused,
    /// There was no answer, or one that does not know.
    Lost,
}

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) service: String,
    pub(super) wish: Wish,
    /// The calls that are one: an import writes every service at once. Its first one's number.
    pub(super) group: Option<CallId>,
    /// Which replica was asked, and in which of its lives, where it was the same one to the end.
    pub(super) replica: usize,
    pub(super) life: Option<u64>,
    pub(super) begun: Moment,
    /// When the answer was there, or was given up on.
    pub(super) ended: Moment,
    pub(super) outcome: Outcome,
    /// The answer in words, for people.
    pub(super) said: String,
    /// Under which identity the outcome can be asked for later.
    pub(super) commit: Option<String>,
}

/// What a service is seen to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Absent,
    /// What this call put.
    Of(CallId),
    /// Nothing that a call put, or not all of it.
    Strange(String),
}

/// What a replica said of a service.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) service: String,
    pub(super) value: Value,
    pub(super) replica: usize,
    pub(super) life: u64,
    pub(super) begun: Moment,
    pub(super) ended: Moment,
}

/// Everything that happened. Shared by all who make it happen.
#[derive(Debug)]
pub(super) struct History {
    start: Instant,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) calls: Vec<Call>,
    pub(super) sights: Vec<Sight>,
    next: CallId,
}

/// The paths that a call gives its service: two, so that half a change can be told from a whole one.
pub(super) fn paths(id: CallId) -> [String; 2] {
    [format!("/v{id}/a"), format!("/v{id}/b")]
}

// === impl History ===

impl History {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            events: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.start.elapsed()
    }

    pub(super) fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_id(&self) -> CallId {
        let mut events = self.events();
        events.next += 1;
        events.next
    }
}

// === impl Value ===

impl Value {
    /// What a service of `config?type=json` is.
    pub(super) fn read(service: Option<&Json>) -> Self {
        let Some(service) = service else {
            return Self::Absent;
        };
        let mut found: Vec<&str> = service
            .get("ServiceDest")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(|destination| destination.get("ServicePath")?.as_array())
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        found.sort_unstable();
        let id = found
            .first()
            .and_then(|path| path.strip_prefix("/v")?.split('/').next()?.parse().ok());
        match id {
            Some(id) if paths(id) == *found => Self::Of(id),
            _ => Self::Strange(format!("{found:?} of {service}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_the_whole_of_a_call_or_strange() {
        let with = |paths: &[&str]| json!({ "ServiceDest": [{ "ServicePath": paths }] });
        assert_eq!(Value::read(None), Value::Absent);
        assert_eq!(Value::read(Some(&with(&["/v7/b", "/v7/a"]))), Value::Of(7));
        for strange in [
            with(&["/v7/a"]),
            with(&["/v7/a", "/v8/b"]),
            with(&[]),
            json!({ "Quarantined": "why" }),
        ] {
            let read = Value::read(Some(&strange));
            assert!(matches!(read, Value::Strange(_)), "{strange}: {read:?}");
        }
    }
}
