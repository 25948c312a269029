//! How a place where services come from is, for `status` and whoever watches over it.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// How many names a report holds for each kind of trouble; the log has all.
const MOST_NAMED: usize = 100;

/// How a place where services come from is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceReport {
    /// How many services the last list had that could be read; none before the first.
    pub(crate) listed: Option<usize>,
    /// Why the list cannot be read now, or not whole.
    pub(crate) trouble: Option<String>,
    /// What it lists and cannot be configured, by what it is called there, and why.
    pub(crate) refused: Named,
    /// What it lists no more and is served on, and why.
    pub(crate) doubted: Named,
}

/// Reasons by name: the first of them, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) first: BTreeMap<String, String>,
    pub(crate) count: usize,
}

/// Tells how a place is.
#[derive(Debug, Default)]
pub(super) struct Reporter(watch::Sender<SourceReport>);

/// What came of a list that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// How many services it has that can be read.
    pub(crate) listed: usize,
    /// Whether some could not be stored now, and are tried again.
    pub(crate) again: bool,
    /// What it falls short of being believed whole, where it does.
    pub(crate) shortfall: Option<Shortfall>,
    /// What cannot be configured of it, by what it is called there, and why.
    pub(crate) refused: Named,
    /// What it lacks and is served on, and why: what is doubted, and what is not removed yet or never is.
    pub(crate) doubted: Named,
}

/// Why a list is not believed to be all that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shortfall {
    /// Some of it could not be read, and why.
    Part(String),
    /// There is nothing in it, while so many services are kept that came from it.
    Empty { kept: usize },
}

// === impl SourceReport ===

impl SourceReport {
    /// Whether all that it says is configured and nothing is doubted.
    pub(crate) fn is_well(&self) -> bool {
        self.trouble.is_none() && self.refused.count == 0 && self.doubted.count == 0
    }
}

// === impl Named ===

impl FromIterator<(String, String)> for Named {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(all: I) -> Self {
        let mut named = Self::default();
        for (name, why) in all {
            named.count += 1;
            if named.first.len() < MOST_NAMED {
                named.first.insert(name, why);
            }
        }
        named
    }
}

// === impl Reporter ===

impl Reporter {
    pub(super) fn reports(&self) -> watch::Receiver<SourceReport> {
        self.0.subscribe()
    }

    /// What is refused of the list that was reported last.
    pub(super) fn refused(&self) -> Named {
        self.0.borrow().refused.clone()
    }

    pub(super) fn say(&self, change: impl FnOnce(&mut SourceReport)) {
        self.0.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            *report != before
        });
    }
}
