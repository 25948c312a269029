//! What was refused of what comes from elsewhere: how long it is left alone.

use std::time::Duration;

use proxy_core::{Change, Params, Revision, RouteTable};
use tokio::time::Instant;

/// How long what was refused is left alone while nobody changes it: HAProxy's judgement of one service may
/// depend on the others, and costs a check each time. A removal is tried sooner if the table changes, anything
/// else if something that was in the table may have stood in its way.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(600);
/// How long it is left alone at least, at first; twice as long with each refusal of the same.
pub(super) const REST: Duration = Duration::from_secs(2);

/// What was refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) params: Params,
    /// The table beside which it was refused.
    pub(super) beside: RouteTable,
    pub(super) since: Instant,
    /// How long it is left alone at least.
    pub(super) rest: Duration,
    pub(super) by: By,
    pub(super) why: String,
}

/// Who refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Whoever judged it, and will judge it the same as long as all is as it was.
    Judgement,
    /// A store that does not let this replica write: the right may come without anything of the table changing.
    Rights,
}

/// A removal that was refused.
#[derive(Debug)]
pub(super) struct Stuck {
    /// The table that was refused without the service.
    pub(super) on: Option<Revision>,
    pub(super) since: Instant,
    pub(super) why: String,
}

// === impl Refused ===

impl Refused {
    /// Whether it is worth another try.
    pub(super) fn is_due(&self, table: &RouteTable, now: Instant) -> bool {
        self.by == By::Rights
            || now >= self.since + REFUSED_FOR
            || (now >= self.since + self.rest && self.is_freed(table))
    }

    /// How long it is left alone at least that is refused once more.
    pub(super) fn next_rest(&self, by: By) -> Duration {
        // Longer only for what was tried soon, and judged each time.
        let is_soon = self.since.elapsed() < REFUSED_FOR;
        match is_soon && (self.by, by) == (By::Judgement, By::Judgement) {
            true => (self.rest * 2).min(REFUSED_FOR),
            false => self.rest,
        }
    }

    /// Whether a service is gone, or is another, that may have stood in its way.
    pub(super) fn is_freed(&self, table: &RouteTable) -> bool {
        let changes = table.changes_since(&self.beside);
        let mut changed = changes.iter().map(Change::service_name);
        changed.any(|name| self.beside.get(name).is_some())
    }
}

/// Waits until then; for ever, where that is not known.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
