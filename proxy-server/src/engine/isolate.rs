//! Finding which of several changes HAProxy will not take.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use proxy_core::{Change, RouteTable};

use crate::carrier::{ApplyError, Carrier, CheckError, Reload};

/// How many culprits are looked for before what passed so far goes live. Each costs log n checks, and
/// a thousand bad services must not keep the good ones waiting.
const MOST_CULPRITS: usize = 16;

/// What is left of some groups of changes once the bad ones are out.
pub(super) struct Isolated<T> {
    /// A configuration with all groups that passed.
    pub(super) candidate: T,
    /// The table of that configuration.
    pub(super) table: RouteTable,
    /// The groups that did not pass, by index in order, with HAProxy's words.
    pub(super) culprits: Vec<(usize, String)>,
    /// The groups from this index on were not judged: too many culprits stood before them.
    pub(super) judged: usize,
}

/// Says whether HAProxy takes a table.
#[async_trait]
pub(super) trait Judge: Sync {
    /// What a table that it takes is turned into.
    type Good: Send;

    /// Judges a table.
    async fn judge(&self, table: &RouteTable) -> Result<Self::Good, CheckError>;

    /// Judges the table that everything else stands on, to know that nothing else is to blame.
    async fn judge_base(&self, table: &RouteTable) -> Result<(), CheckError> {
        self.judge(table).await.map(|_| ())
    }
}

/// Judges by HAProxy's check. Changes nothing that is live.
pub(super) struct Checking<'a, C>(pub(super) &'a C);

/// Judges by loading, for what passes the check and is refused all the same. What it takes is live;
/// after a refusal the last that it took still is.
pub(super) struct Loading<'a, C> {
    carrier: &'a C,
    /// The last table that it took.
    live: Mutex<Option<RouteTable>>,
}

/// Takes as many groups as go together, in order of arrival.
///
/// The usual case is one check. When it fails, the longest prefix that passes is found by binary
/// search, the group behind it is a culprit, and the search goes on without it: log n checks per
/// culprit, and of two groups that clash only together the later one loses, on every replica alike.
/// `refused` are the words with which all of them together were refused, where that is known.
///
/// The last table that is judged is the one that is returned.
///
/// # Errors
/// When nothing can be judged, or not even the base passes any more.
pub(super) async fn isolate<J: Judge>(
    judge: &J,
    base: &RouteTable,
    groups: &[&[Change]],
    mut refused: Option<String>,
) -> Result<Isolated<J::Good>, CheckError> {
    let mut table = base.clone();
    let mut culprits = Vec::new();
    let mut rest = 0;
    loop {
        let tail = match culprits.len() {
            n if n < MOST_CULPRITS => groups.get(rest..).unwrap_or_default(),
            _ => &[],
        };
        let all = with_groups(&table, tail);
        let judged = match refused.take() {
            Some(words) => Err(CheckError::Rejected { words }),
            None => judge.judge(&all).await,
        };
        let mut words = match judged {
            Ok(candidate) => {
                return Ok(Isolated {
                    candidate,
                    table: all,
                    culprits,
                    judged: rest + tail.len(),
                });
            }
            Err(error) if tail.is_empty() => return Err(error),
            Err(CheckError::Rejected { words }) => words,
            Err(unable) => return Err(unable),
        };
        if culprits.is_empty() && rest == 0 && !base.is_empty() {
            // Nobody here is to blame for a base that does not pass by itself.
            judge.judge_base(base).await?;
        }
        // `good` groups of the tail pass, `bad` do not.
        let (mut good, mut bad) = (0, tail.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            let some = with_groups(&table, tail.get(..middle).unwrap_or_default());
            match judge.judge(&some).await {
                Ok(_) => good = middle,
                Err(CheckError::Rejected { words: said }) => (bad, words) = (middle, said),
                Err(unable) => return Err(unable),
            }
        }
        table = with_groups(&table, tail.get(..good).unwrap_or_default());
        culprits.push((rest + good, words));
        rest += bad;
    }
}

// === impl Checking ===

#[async_trait]
impl<C: Carrier> Judge for Checking<'_, C> {
    type Good = C::Candidate;

    async fn judge(&self, table: &RouteTable) -> Result<C::Candidate, CheckError> {
        self.0.check(table).await
    }
}

// === impl Loading ===

impl<'a, C: Carrier> Loading<'a, C> {
    pub(super) fn on(carrier: &'a C) -> Self {
        Self {
            carrier,
            live: Mutex::default(),
        }
    }

    /// The table that is live, if one was loaded here.
    pub(super) fn live(self) -> Option<RouteTable> {
        self.live
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self, table: &RouteTable, force: Reload) -> Result<(), CheckError> {
        let candidate = self.carrier.check(table).await?;
        match self.carrier.apply(candidate, force).await {
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
impl<C: Carrier> Judge for Loading<'_, C> {
    type Good = ();

    async fn judge(&self, table: &RouteTable) -> Result<(), CheckError> {
        self.load(table, Reload::IfDifferent).await
    }

    async fn judge_base(&self, table: &RouteTable) -> Result<(), CheckError> {
        self.load(table, Reload::Always).await
    }
}

pub(super) fn with_groups(table: &RouteTable, groups: &[&[Change]]) -> RouteTable {
    let mut table = table.clone();
    for change in groups.iter().copied().flatten() {
        table.apply(change);
    }
    table
}
