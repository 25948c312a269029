//! From a configuration that is good to one that is live, and what is done where HAProxy will not
//! load it.

use std::time::{Duration, Instant};

use proxy_core::{Change, RouteTable};

use super::{
    Engine, Refused,
    isolate::{Loading, Searched},
};
use crate::{
    carrier::{Applied, ApplyError, Carrier, CarrierCondition, CheckError, Reason, Reload},
    chain::chain,
    culprits::{Judge as _, isolate},
};

/// A configuration that is good and not live yet.
pub(super) struct Ready<T> {
    pub(super) candidate: T,
    pub(super) table: RouteTable,
    /// How long it took to load it, where it is live for having been judged so.
    pub(super) took: Duration,
}

impl<T> Ready<T> {
    /// One that was checked.
    pub(super) fn checked(candidate: T, table: RouteTable) -> Self {
        let took = Duration::ZERO;
        Self {
            candidate,
            table,
            took,
        }
    }
}

// === impl Engine ===

impl<C: Carrier> Engine<C> {
    /// Renders the served table again and makes it live.
    pub(super) async fn render_again(&mut self, force: Reload) -> Result<(), String> {
        if let Some(why) = self.not_loaded() {
            return Err(why.to_string());
        }
        self.render_served(force).await;
        self.settle_retry();
        self.publish();
        match &self.failure {
            Some(why) => Err(why.to_string()),
            None => Ok(()),
        }
    }

    /// The same in a turn, which says itself what came of it.
    pub(super) async fn render_served(&mut self, force: Reload) {
        match self.check_served().await {
            Ok(ready) => self.make_live(ready, force).await,
            Err(error) => {
                let why = chain(&error);
                tracing::error!(
                    why,
                    "what is served could not be rendered again; it is tried again"
                );
                self.metrics.apply_failed(self.reason);
                self.failure = Some(why.into());
            }
        }
    }

    async fn check_served(&mut self) -> Result<Ready<C::Candidate>, CheckError> {
        let table = self.served.clone();
        if let Some(ready) = self.start_with(&table).await {
            return Ok(ready);
        }
        match self.carrier.check(&table).await {
            Ok(candidate) => Ok(Ready::checked(candidate, table)),
            // There is no last good configuration that goes on meanwhile.
            Err(CheckError::Rejected { words })
                if !table.is_empty() && self.carrier.condition() != CarrierCondition::Running =>
            {
                tracing::error!(
                    why = words,
                    "what was good does not pass any more; looking for the culprits"
                );
                let ready = self.check_anew().await?;
                ready.ok_or(CheckError::Rejected { words })
            }
            Err(error) => Err(error),
        }
    }

    /// Starts HAProxy with a table that is stored, where it was never started. None where it was, or
    /// will not start with this.
    async fn start_with(&mut self, table: &RouteTable) -> Option<Ready<C::Candidate>> {
        match self.carrier.condition() {
            CarrierCondition::NotStarted => self.load(table).await,
            _ => None,
        }
    }

    /// Loads a table that is stored and was not loaded here yet: it was checked before it was stored. None
    /// where it is not loaded; what ran before runs on, if something did.
    pub(super) async fn load_stored(&mut self, table: &RouteTable) -> Option<Ready<C::Candidate>> {
        let is_new = match self.carrier.condition() {
            CarrierCondition::NotStarted => true,
            // What was refused here before is better checked: reloads that fail count as replacements of the
            // worker that serves, of which HAProxy bears `mworker-max-reloads`.
            CarrierCondition::Running => self.reason != Reason::Retry && self.failure.is_none(),
            _ => false,
        };
        match is_new {
            true => self.load(table).await,
            false => None,
        }
    }

    async fn load(&mut self, table: &RouteTable) -> Option<Ready<C::Candidate>> {
        let begun = Instant::now();
        let is_running = self.carrier.condition() == CarrierCondition::Running;
        match self.carrier.check_by_loading(table).await {
            Ok(candidate) => Some(Ready {
                candidate,
                table: table.clone(),
                took: begun.elapsed(),
            }),
            Err(error) => {
                let why = chain(&error);
                tracing::error!(why, "HAProxy does not load what is stored; it is checked");
                if is_running && error.is_refused_load() {
                    self.retry.loads(1, self.carrier.bears());
                }
                None
            }
        }
    }

    /// Makes a configuration live, or as much of it as HAProxy loads. A failure is kept.
    pub(super) async fn make_live(&mut self, ready: Ready<C::Candidate>, force: Reload) {
        let started = Instant::now();
        // Without quarantine the table is the store's own, whose past it shares: later differences
        // are then cheap to find.
        self.served = match self.view.stored.table() {
            table if *table == ready.table => table.clone(),
            _ => ready.table,
        };
        self.unloadable = false;
        match self.carrier.apply(ready.candidate, force).await {
            Ok(applied) => {
                self.failure = None;
                self.anew = None;
                (self.live, self.proven) = (self.served.clone(), true);
                if matches!(applied, Applied::Started | Applied::Reloaded) {
                    self.retry.has_new_worker();
                }
                self.metrics
                    .applied(applied, self.reason, ready.took + started.elapsed());
                if applied != Applied::Unchanged {
                    let revision = self.view.revision.map(|r| r.number);
                    let services = self.served.len();
                    let reason = self.reason.word();
                    tracing::info!(revision, services, ?applied, reason, "the table is live");
                }
            }
            Err(error) => {
                let why = chain(&error);
                tracing::error!(why, "the table is not live; it is tried again");
                self.metrics.apply_failed(self.reason);
                self.failure = Some(why.into());
                if let ApplyError::Refused { words } = error {
                    self.lose_culprits(words).await;
                }
            }
        }
    }

    /// Makes as much live as HAProxy loads, and quarantines what it would not. What is live stays so
    /// where it does not load either: then no service is to blame.
    async fn lose_culprits(&mut self, words: String) {
        self.unloadable = true;
        // Where none runs, none is ended for it.
        let is_running = self.carrier.condition() == CarrierCondition::Running;
        if is_running {
            self.retry.loads(1, self.carrier.bears());
        }
        let mut base = self.live.clone();
        let mut changes = self.served.changes_since(&base);
        if changes.is_empty() {
            if is_running {
                return;
            }
            // Nothing runs, and what was good in an earlier run is not: each service is judged anew.
            base = RouteTable::new();
            changes = self.served.changes_since(&base);
        }
        let groups: Vec<&[Change]> = changes.iter().map(std::slice::from_ref).collect();
        // A reload that fails takes longer than a check, and each search begins with two.
        let bound = self.bound(Searched::Asked);
        let most = match is_running {
            true => self.retry.loads_left(),
            false => usize::MAX,
        };
        let loading = Loading::on(&*self.carrier, most);
        let refused = Some(words.clone());
        let isolated = isolate(&loading, &base, &groups, refused, &bound).await;
        if is_running {
            self.retry.loads(loading.reloads(), self.carrier.bears());
        }
        let is_spent = loading.is_spent();
        if let Some(live) = loading.live() {
            if live != base {
                // What is left of the search is tried with it.
                self.retry.has_new_worker();
            }
            (self.live, self.proven) = (live, true);
        }
        match isolated {
            Ok(isolated) => {
                for (index, words) in isolated.culprits {
                    if let Some(change) = changes.get(index) {
                        self.hold(change.clone(), words, Refused::AtLoad);
                    }
                }
                let left = changes.get(isolated.judged..).unwrap_or_default();
                match (is_spent, left) {
                    // Nothing else came with it.
                    (true, [one]) if changes.len() == 1 => {
                        self.hold(one.clone(), words, Refused::AtLoad);
                    }
                    (true, left) => self.hold_unasked(left, &words),
                    (false, left) => self.put_aside(left),
                }
                self.served = isolated.whole;
                self.unloadable = false;
                self.failure = None;
            }
            Err(CheckError::Rejected { words }) => {
                tracing::error!(
                    why = words,
                    "no service is to blame for what HAProxy does not load"
                );
            }
            Err(error) => {
                let why = chain(&error);
                tracing::warn!(
                    why,
                    "the search for what HAProxy does not load broke off; it is tried again"
                );
            }
        }
    }
}
