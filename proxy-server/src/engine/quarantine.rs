//! What the store holds and this replica does not serve: put aside, and tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proxy_core::{Change, RouteTable, ServiceName, StoreView};
use tokio::time::Instant;

use super::{Engine, Quarantined, degraded, retry::LOAD_MOST};
use crate::carrier::{Carrier, Reason, Reload};

/// A change that the store holds and that is not served.
pub(super) struct Held {
    pub(super) change: Change,
    /// Why HAProxy would not take it. None where it was not judged yet.
    pub(super) why: Option<String>,
    /// When it would not.
    pub(super) refused: Refused,
    /// When it is tried again.
    pub(super) due: Instant,
    /// When it is tried where what may stand in its way changes.
    pub(super) early: Instant,
}

/// When HAProxy refused a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// When it was asked whether it would take it.
    AtCheck,
    /// Only when it was to load it.
    AtLoad,
    /// It may not even be what HAProxy did not load: it came together with that.
    Unasked,
}

// === impl Engine ===

impl<C: Carrier> Engine<C> {
    /// The store shows this now. What is quarantined and not what it holds any more is forgotten: where it is tried no
    /// more, nothing else would end that, and the same stored again would not be judged.
    pub(super) fn show(&mut self, view: Arc<StoreView>) {
        degraded::tell(&self.view, &view);
        self.view = view;
        let table = self.view.stored.table();
        self.quarantine
            .retain(|_, held| is_stored(table, &held.change));
    }

    /// Whether all that the store has was judged: what was not may be served yet.
    pub(super) fn is_judged(&self) -> bool {
        self.quarantine.values().all(|held| held.why.is_some())
    }

    /// Tries again what is quarantined, what could not be checked, and what failed to go live.
    pub(super) async fn try_again(&mut self) {
        let until = self.retry.begin(&self.quarantine);
        let Ok(alone) = self.next_alone(until).await else {
            return;
        };
        // What is not due stays where it is: a try may cost traffic.
        let all = std::mem::take(&mut self.quarantine).into_iter();
        let is_due = |held: &Held| held.due <= until && self.retry.tries(held);
        (self.tried, self.quarantine) = match &alone {
            Some(alone) => all.partition(|(name, _)| name == alone),
            None => all.partition(|(_, held)| is_due(held)),
        };
        self.render_moved(Reason::Retry).await;
        self.tried.clear();
    }

    /// Where HAProxy bears no more tries of many: the next that is held back for what came together with it. It is tried
    /// alone, so that each try ends with a service that is served or to blame, and the others wait for the next.
    async fn next_alone(&mut self, until: Instant) -> Result<Option<ServiceName>, Broken> {
        if !self.retry.is_tired() {
            return Ok(None);
        }
        let mut alone = None;
        let next = Instant::now() + LOAD_MOST;
        for (name, held) in &mut self.quarantine {
            if held.refused == Refused::Unasked && held.due <= until {
                held.due = next;
                alone.get_or_insert_with(|| name.clone());
            }
        }
        if alone.is_some() && self.retry.loads_left() == 0 {
            // With another worker before it, the one that serves is not ended for a reload that fails.
            self.reason = Reason::Retry;
            let renewed = self.render_again(Reload::Always).await;
            renewed.map_err(|_| Broken)?;
            self.retry.was_renewed();
        }
        Ok(alone)
    }

    /// What is said of what is not served.
    pub(super) fn quarantined(&self) -> BTreeMap<ServiceName, Quarantined> {
        let said = |(name, held): (&ServiceName, &Held)| {
            let quarantined = Quarantined {
                why: held.why.clone()?,
                serves_older: self.served.get(name).is_some(),
                is_tried: self.retry.tries(held),
            };
            Some((name.clone(), quarantined))
        };
        self.quarantine.iter().filter_map(said).collect()
    }

    /// What waits to be judged.
    pub(super) fn unjudged(&self) -> BTreeSet<ServiceName> {
        let all = self.quarantine.iter();
        let unjudged = all.filter(|(_, held)| held.why.is_none());
        unjudged.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn hold(&mut self, change: Change, why: String, refused: Refused) {
        let name = change.service_name().clone();
        tracing::error!(service = %name, why, "quarantined: its stored version is not valid here");
        let (due, early) = self.retry.hold(&name, refused);
        let held = Held {
            change,
            why: Some(why),
            refused,
            due,
            early,
        };
        self.quarantine.insert(name, held);
    }

    /// Holds back what HAProxy may load or not, where to find out would cost more reloads than it bears.
    pub(super) fn hold_unasked(&mut self, changes: &[Change], words: &str) {
        for change in changes {
            let before = self.tried.remove(change.service_name());
            let before = before.filter(|it| it.refused == Refused::AtLoad && it.change == *change);
            if let Some(why) = before.and_then(|held| held.why) {
                // It was found out before.
                self.hold(change.clone(), why, Refused::AtLoad);
                continue;
            }
            let why = format!(
                "HAProxy would not load what came together with it ({words}), and to find out which is to blame takes more reloads than `mworker-max-reloads` allows"
            );
            self.hold(change.clone(), why, Refused::Unasked);
        }
    }

    /// Puts aside what a search did not come to. It goes on with the next try, which is due at once.
    pub(super) fn put_aside(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let services = changes.len();
        tracing::warn!(services, "stored services wait to be judged after others");
        let now = Instant::now();
        for change in changes {
            let name = change.service_name().clone();
            let before = self.tried.remove(&name);
            let before = before.filter(|held| held.change == *change);
            let held = before.unwrap_or_else(|| Held {
                change: change.clone(),
                why: None,
                refused: Refused::AtCheck,
                due: now,
                early: now,
            });
            self.quarantine.insert(name, held);
        }
    }

    /// Tries what is quarantined soon where a service that was served before is another, or gone: it may be what stood
    /// in its way.
    pub(super) fn free(&mut self, before: &RouteTable) {
        let changes = self.served.changes_since(before);
        let changed = changes.iter().map(Change::service_name);
        let changed: Vec<_> = changed.filter(|name| before.get(name).is_some()).collect();
        for (name, held) in &mut self.quarantine {
            if changed.iter().any(|other| *other != name) {
                held.due = held.due.min(held.early);
            }
        }
    }
}

/// What runs could not be loaded again. The engine says why.
struct Broken;

/// Whether this is what the store holds of the service.
pub(super) fn is_stored(table: &RouteTable, change: &Change) -> bool {
    let stored = table.get(change.service_name());
    match change {
        Change::Put(service) => stored == Some(service),
        _ => stored.is_none(),
    }
}
