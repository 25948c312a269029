//! Dry runs: what a change would do, for whoever wants to know before it is done.
//!
//! A dry run is planned on the newest table and rendered and checked as the change would be, beside
//! the engine's turns and not in one of them, so that no change waits for it.

use std::{sync::Arc, time::Duration};

use proxy_core::{
    Change, ChangeKind, Document, Plan, RouteStore, RouteTable, StoreCondition, StoreView, plan,
};
use proxy_haproxy::ApplyStep;
use tokio::sync::Semaphore;

use crate::{
    api::Carried,
    carrier::{self, CheckError},
    certificates::Step,
    chain::chain,
    config_diff::ConfigDiff,
    engine::{ChangeError, ChangeRequest, EngineHandle, Snapshot},
};

/// Dry runs at once: each takes a core for as long as HAProxy's check does, and certificates that are given are
/// tried like them.
const MOST_AT_ONCE: usize = 2;
/// Dry runs that run or wait. One more is refused at once.
const MOST_WAITING: usize = 64;
/// How long one may take, the wait for others included: a check that hangs is ended after 20 s.
const DEADLINE: Duration = Duration::from_secs(30);

/// Tries changes out.
#[derive(Debug)]
pub(crate) struct DryRuns {
    engine: EngineHandle,
    store: Arc<dyn RouteStore>,
    carrier: Arc<dyn Carried>,
    places: Semaphore,
    slots: Semaphore,
}

/// What a change would do.
#[derive(Debug)]
pub(crate) struct Tried {
    /// What was planned, on the newest table.
    pub(crate) plan: Plan,
    /// What would be done to HAProxy.
    pub(crate) step: ApplyStep,
    /// What is worth saying of it.
    pub(crate) warnings: Vec<String>,
    /// How many rules every request would walk.
    pub(crate) rules: usize,
    /// What would be different in what HAProxy reads.
    pub(crate) diff: ConfigDiff,
}

/// Why something was not tried.
#[derive(Debug, thiserror::Error)]
enum NoTurn {
    #[error("too many others are tried; try again")]
    Busy,
    #[error("it took longer than {} s; try again", DEADLINE.as_secs())]
    Late,
}

// === impl DryRuns ===

impl DryRuns {
    pub(crate) fn new(
        engine: EngineHandle,
        store: Arc<dyn RouteStore>,
        carrier: Arc<dyn Carried>,
    ) -> Self {
        Self {
            engine,
            store,
            carrier,
            places: Semaphore::new(MOST_WAITING),
            slots: Semaphore::new(MOST_AT_ONCE),
        }
    }

    /// Says what a change would do. Nothing is changed. Cancel safe.
    ///
    /// # Errors
    /// As the change itself would be refused.
    pub(crate) async fn of(&self, request: ChangeRequest) -> Result<Tried, ChangeError> {
        match self.in_turn(self.run(request)).await {
            Ok(tried) => tried,
            Err(NoTurn::Busy) => Err(ChangeError::Busy),
            Err(late) => {
                let why = late.to_string();
                Err(ChangeError::Unable { why, commits: 0 })
            }
        }
    }

    /// Whether HAProxy would take what is served with something else that is shown. Nothing is changed.
    /// Cancel safe.
    ///
    /// # Errors
    /// When it would not, or cannot be asked now.
    pub(crate) async fn would_show(&self, step: Step) -> Result<(), CheckError> {
        let asked = async {
            let snapshot = self.engine.snapshot();
            self.carrier.would_show(&snapshot.served, step).await
        };
        let asked = self.in_turn(asked).await;
        asked.unwrap_or_else(|error| Err(CheckError::Unable { why: error.into() }))
    }

    /// Has its turn among all that has HAProxy check the whole configuration beside the engine.
    async fn in_turn<T>(&self, run: impl Future<Output = T>) -> Result<T, NoTurn> {
        let _place = self.places.try_acquire().map_err(|_| NoTurn::Busy)?;
        let run = async {
            // Never closed; without a slot it would just go ahead.
            let _slot = self.slots.acquire().await;
            run.await
        };
        let in_time = tokio::time::timeout(DEADLINE, run).await;
        in_time.map_err(|_| NoTurn::Late)
    }

    async fn run(&self, mut request: ChangeRequest) -> Result<Tried, ChangeError> {
        let (view, snapshot) = (self.store.view(), self.engine.snapshot());
        if let Some(why) = ChangeError::not_loaded(&view.condition) {
            return Err(why);
        }
        request.complete(&view, view.stored.table())?;
        let order = self.carrier.route_order();
        let stored = view.stored.table().in_order(order);
        let plan = plan(&stored, &request.changes);
        let plan = plan.map_err(|error| ChangeError::Plan { error, commits: 0 })?;
        for change in &request.changes {
            fits(change)?;
        }
        let mut warnings: Vec<String> = not_now(&view.condition).into_iter().collect();
        let changes_nothing = !plan.changes.is_empty()
            && plan
                .changes
                .iter()
                .all(|it| it.kind == ChangeKind::Unchanged);
        if changes_nothing {
            return Ok(Tried {
                plan,
                step: ApplyStep::None,
                warnings,
                rules: 0,
                diff: ConfigDiff::default(),
            });
        }
        let base = to_be_served(&snapshot, &view).in_order(order);
        let mut table = base.clone();
        for change in &request.changes {
            table.apply(change);
        }
        let tried = self.check(&base, &table).await?;
        warnings.extend(tried.warnings);
        Ok(Tried {
            plan,
            step: tried.step,
            warnings,
            rules: tried.rules,
            diff: tried.diff,
        })
    }

    async fn check(
        &self,
        base: &RouteTable,
        table: &RouteTable,
    ) -> Result<carrier::DryRun, ChangeError> {
        let unable = |error: &CheckError| ChangeError::Unable {
            why: chain(error),
            commits: 0,
        };
        let words = match self.carrier.dry_run(table).await {
            Ok(tried) => return Ok(tried),
            Err(CheckError::Rejected { words }) => words,
            Err(error) => return Err(unable(&error)),
        };
        // The change is not to blame for a table that does not pass without it.
        if let Err(error) = self.carrier.dry_run(base).await {
            return Err(unable(&error));
        }
        Err(ChangeError::Rejected { words, commits: 0 })
    }
}

/// Whether a change can be stored at all.
fn fits(change: &Change) -> Result<(), ChangeError> {
    let Change::Put(service) = change else {
        return Ok(());
    };
    let document = Document::from_service(Arc::clone(service));
    document
        .map(drop)
        .map_err(|error| ChangeError::StoreRefused {
            why: chain(&error),
            commits: 0,
        })
}

/// Why the change itself would be refused at this moment, where that is known.
fn not_now(condition: &StoreCondition) -> Option<String> {
    let why = match condition {
        StoreCondition::Stale { why } | StoreCondition::Wiped { why } => why,
        _ => return None,
    };
    Some(format!(
        "the store does not take changes now, and its table may be newer than the one that this was tried on: {why}"
    ))
}

/// What is served, or is about to be: what the store has, less what is quarantined here or was not judged yet.
fn to_be_served(snapshot: &Snapshot, view: &StoreView) -> RouteTable {
    let mut table = snapshot.served.clone();
    let (newest, seen) = (view.stored.table(), snapshot.view.stored.table());
    for change in newest.changes_since(&snapshot.served) {
        let name = change.service_name();
        let is_held = snapshot.quarantined.contains_key(name) || snapshot.unjudged.contains(name);
        if !(is_held && newest.get(name) == seen.get(name)) {
            table.apply(&change);
        }
    }
    table
}
