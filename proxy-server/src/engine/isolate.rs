//! Judges of tables, for the search for the services that HAProxy will not take.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use proxy_core::{Change, RouteTable};

use crate::{
    carrier::{Applied, ApplyError, Carrier, CheckError, Reload},
    culprits::{Bound, Judge, isolate},
};

/// What is left of what the store brought, and of what is asked on top of it.
pub(super) struct Sorted<Good> {
    /// What the judge made of all that passed.
    pub(super) candidate: Good,
    /// The table with all that passed.
    pub(super) table: RouteTable,
    pub(super) stored: Verdicts,
    pub(super) asked: Verdicts,
}

/// What was found of some groups of changes.
#[derive(Default)]
pub(super) struct Verdicts {
    /// Those that did not pass, by index in order, with HAProxy's words.
    pub(super) culprits: Vec<(usize, String)>,
    /// Those from this index on were not judged.
    pub(super) judged: usize,
}

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Searched {
    /// What the store brought, for which nobody waits.
    Stored,
    /// What is asked.
    Asked,
}

/// Sorts out what HAProxy does not take. `bound` is asked anew for each search: for one among what the store brought,
/// and for one among what is asked.
pub(super) async fn sort<'a, J: Judge<Whole = RouteTable, Step = &'a [Change]>>(
    judge: &J,
    served: &RouteTable,
    stored: &[J::Step],
    asked: &[J::Step],
    bound: impl Fn(Searched) -> Bound,
) -> Result<Sorted<J::Good>, CheckError> {
    let mut words = None;
    if !asked.is_empty() {
        let both = judge.with(&judge.with(served, stored), asked);
        match judge.judge(&both).await {
            Ok(candidate) => {
                let all = |groups: &[J::Step]| Verdicts {
                    culprits: Vec::new(),
                    judged: groups.len(),
                };
                return Ok(Sorted {
                    candidate,
                    table: both,
                    stored: all(stored),
                    asked: all(asked),
                });
            }
            Err(CheckError::Rejected { words: said }) => words = Some(said),
            Err(unable) => return Err(unable),
        }
    }
    if stored.is_empty() {
        let asked = isolate(judge, served, asked, words, &bound(Searched::Asked)).await?;
        return Ok(Sorted {
            candidate: asked.candidate,
            table: asked.whole,
            stored: Verdicts::default(),
            asked: Verdicts {
                culprits: asked.culprits,
                judged: asked.judged,
            },
        });
    }
    let first = isolate(judge, served, stored, None, &bound(Searched::Stored)).await?;
    let is_whole = first.judged == stored.len() && first.culprits.is_empty();
    let base = first.whole;
    let verdicts = Verdicts {
        culprits: first.culprits,
        judged: first.judged,
    };
    if asked.is_empty() {
        return Ok(Sorted {
            candidate: first.candidate,
            table: base,
            stored: verdicts,
            asked: Verdicts::default(),
        });
    }
    drop(first.candidate);
    let words = words.filter(|_| is_whole);
    let second = isolate(judge, &base, asked, words, &bound(Searched::Asked)).await?;
    Ok(Sorted {
        candidate: second.candidate,
        table: second.whole,
        stored: verdicts,
        asked: Verdicts {
            culprits: second.culprits,
            judged: second.judged,
        },
    })
}

/// Judges by HAProxy's check. Changes nothing that is live.
pub(super) struct Checking<'a, C>(pub(super) &'a C);

/// Judges by loading, for what passes the check and is refused all the same. What it takes is live;
/// after a refusal the last that it took still is.
pub(super) struct Loading<'a, C> {
    carrier: &'a C,
    /// The last table that it took.
    live: Mutex<Option<RouteTable>>,
    /// How many reloads that were, with those that failed.
    reloads: AtomicUsize,
    /// How many they may be.
    most: usize,
}

// === impl Checking ===

#[async_trait]
impl<'a, C: Carrier> Judge for Checking<'a, C> {
    type Whole = RouteTable;
    type Step = &'a [Change];
    type Good = C::Candidate;

    async fn judge(&self, table: &RouteTable) -> Result<C::Candidate, CheckError> {
        self.0.check(table).await
    }

    async fn judge_base(&self, table: &RouteTable) -> Result<(), CheckError> {
        match table.is_empty() {
            true => Ok(()),
            false => self.0.check(table).await.map(|_| ()),
        }
    }

    fn with(&self, table: &RouteTable, groups: &[&'a [Change]]) -> RouteTable {
        with_groups(table, groups)
    }
}

// === impl Loading ===

impl<'a, C: Carrier> Loading<'a, C> {
    pub(super) fn on(carrier: &'a C, most: usize) -> Self {
        Self {
            carrier,
            live: Mutex::default(),
            reloads: AtomicUsize::new(0),
            most,
        }
    }

    /// How many reloads that were, with those that failed.
    pub(super) fn reloads(&self) -> usize {
        self.reloads.load(Ordering::Relaxed)
    }

    /// The table that is live, if one was loaded here.
    pub(super) fn live(self) -> Option<RouteTable> {
        self.live
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self, table: &RouteTable, force: Reload) -> Result<(), CheckError> {
        let candidate = self.carrier.check(table).await?;
        let applied = self.carrier.apply(candidate, force).await;
        let is_reload = match &applied {
            Ok(applied) => matches!(applied, Applied::Started | Applied::Reloaded),
            Err(error) => matches!(error, ApplyError::Refused { .. }),
        };
        self.reloads
            .fetch_add(usize::from(is_reload), Ordering::Relaxed);
        match applied {
            Ok(_) => {
                let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
                *live = Some(table.clone());
                Ok(())
            }
            Err(ApplyError::Refused { words }) => Err(CheckError::Rejected { words }),
            Err(ApplyError::Unable { why }) => Err(CheckError::Unable { why }),
        }
    }
}

#[async_trait]
impl<'a, C: Carrier> Judge for Loading<'a, C> {
    type Whole = RouteTable;
    type Step = &'a [Change];
    type Good = ();

    async fn judge(&self, table: &RouteTable) -> Result<(), CheckError> {
        self.load(table, Reload::IfDifferent).await
    }

    async fn judge_base(&self, table: &RouteTable) -> Result<(), CheckError> {
        match table.is_empty() {
            true => Ok(()),
            false => self.load(table, Reload::Always).await,
        }
    }

    fn is_spent(&self) -> bool {
        self.reloads() >= self.most
    }

    fn with(&self, table: &RouteTable, groups: &[&'a [Change]]) -> RouteTable {
        with_groups(table, groups)
    }
}

pub(super) fn with_groups(table: &RouteTable, groups: &[&[Change]]) -> RouteTable {
    let mut table = table.clone();
    for change in groups.iter().copied().flatten() {
        table.apply(change);
    }
    table
}
