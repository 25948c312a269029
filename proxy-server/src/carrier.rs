//! The seam to whatever carries the traffic.
//!
//! The engine decides what the table is; a [`Carrier`] turns tables into configurations, judges
//! them and makes them live. [`HaproxyCarrier`] is the real one; tests script another.

mod catalog;
mod entry;
mod haproxy;
mod names;
mod places;

use async_trait::async_trait;
use proxy_core::{RouteOrder, RouteTable};
use proxy_haproxy::{ApplyStep, OldWorkers};

pub(crate) use catalog::{CatalogFollower, CatalogReport};
pub(crate) use haproxy::{CarrierSettings, HaproxyCarrier};
pub(crate) use names::NameFollower;

use crate::{certificates::Step, chain::chain, config_diff::ConfigDiff};

/// What HAProxy bears where its configuration does not say it.
const DEFAULT_BEARS: usize = 20;

/// Turns tables into live configurations.
#[async_trait]
pub(crate) trait Carrier: Send + Sync + 'static {
    /// A configuration that was found good and is not live yet. Dropping it leaves nothing behind.
    type Candidate: Send;

    /// Renders a table and has it judged. Changes nothing that is live.
    async fn check(&self, table: &RouteTable) -> Result<Self::Candidate, CheckError>;

    /// As [`Carrier::check`], for a stored table, which was found good by whoever stored it: it may be
    /// judged by loading it, which reads it once and not twice. Then it is live already, and
    /// [`Carrier::apply`] only says so. After an error what ran before runs on, if something did.
    async fn check_by_loading(&self, table: &RouteTable) -> Result<Self::Candidate, LoadError> {
        self.check(table).await.map_err(LoadError::Check)
    }

    /// Shows the certificates that are to be shown, as far as this table is good with them, from the next
    /// [`Carrier::check`] on. What is not is named by whoever keeps certificates.
    async fn renew(&self, _table: &RouteTable) -> Result<(), CheckError> {
        Ok(())
    }

    /// Whether a table would be good with another certificate. Changes nothing, and may run while something
    /// else is checked or made live.
    async fn would_show(&self, _table: &RouteTable, _step: Step) -> Result<(), CheckError> {
        Ok(())
    }

    /// Says what [`Carrier::check`] would and what making it live would take. It may run while another
    /// table is checked or made live, and stands in its way no longer than a file is written.
    async fn dry_run(&self, table: &RouteTable) -> Result<DryRun, CheckError>;

    /// Makes a candidate live: writes it, reloads, and confirms that it runs. After an error the
    /// last good configuration runs on, unless the error says otherwise.
    async fn apply(&self, candidate: Self::Candidate, force: Reload)
    -> Result<Applied, ApplyError>;

    /// Waits until rendering the same table may give another configuration (a name that was
    /// followed has moved, an instance of the catalog has come or gone). Cancel safe.
    async fn moved(&self);

    /// The configuration that is live, as the file that HAProxy runs; none before the first.
    fn config_text(&self) -> Option<String>;

    /// What tells the live configuration from others, as hexadecimal digits.
    fn digest(&self) -> Option<String>;

    /// What decides between routes that match the same request.
    fn route_order(&self) -> RouteOrder {
        RouteOrder::default()
    }

    /// How many rules of the live configuration every request walks.
    fn rules(&self) -> usize;

    /// What finishes the connections of configurations that were replaced; none where that is not known.
    async fn old_workers(&self) -> Option<OldWorkers> {
        None
    }

    /// What it counts, as HAProxy's CSV with a line of headings.
    async fn statistics(&self) -> Result<String, String> {
        Err("there are no statistics".to_owned())
    }

    /// How many reloads what was replaced lives through, those that fail counted; with one more its connections are cut.
    fn bears(&self) -> usize {
        DEFAULT_BEARS
    }

    /// Whether something carries traffic, also what an earlier run left and this one has not taken over yet.
    fn serves(&self) -> bool {
        self.condition() == CarrierCondition::Running
    }

    /// How the carrier is, in words for `status`.
    fn condition(&self) -> CarrierCondition;
}

/// What a table would do.
#[derive(Debug)]
pub(crate) struct DryRun {
    /// What would be done to HAProxy.
    pub(crate) step: ApplyStep,
    /// What HAProxy warns of.
    pub(crate) warnings: Vec<String>,
    /// How many rules every request would walk.
    pub(crate) rules: usize,
    /// What would be different in what HAProxy reads.
    pub(crate) diff: ConfigDiff,
}

/// Whether a configuration that is live already is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// Only one that differs from what is live.
    IfDifferent,
    /// Always, as it stands on disk where it is the one that is live.
    Always,
    /// Always, and written anew, whatever stands on disk.
    Anew,
}

/// Why a configuration is made live: the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Somebody asked this replica for a change.
    Change,
    /// The store brought it.
    Store,
    /// A name moved that HAProxy cannot follow.
    Names,
    /// Somebody asked for a reload.
    Asked,
    /// Other certificates are to be shown.
    Certificates,
    /// It failed before.
    Retry,
}

/// Why a table did not become a candidate. Nothing that is live was touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The table makes a configuration that is not valid.
    #[error("HAProxy would not take the configuration: {words}")]
    Rejected {
        /// The carrier's own words.
        words: String,
    },
    /// The table could not be judged (no disk, no process, no time). It may be fine.
    #[error("the configuration could not be checked")]
    Unable {
        /// Why.
        #[source]
        why: proxy_core::BoxError,
    },
}

/// What making a candidate live took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was live already.
    Unchanged,
    /// HAProxy was started, or taken over, with it.
    Started,
    /// HAProxy was reloaded with it.
    Reloaded,
    /// HAProxy was told of it while it ran on: only its map and its servers are others.
    Runtime,
}

/// Why a candidate is not live.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// HAProxy found it good and would not load it all the same: something in it is to blame. It runs
    /// the one before, where there is one.
    #[error("HAProxy found the configuration good and would not load it: {words}")]
    Refused {
        /// The carrier's own words.
        words: String,
    },
    /// It could not be made live (no disk, no process, no time). It may be fine.
    #[error("the configuration is not live")]
    Unable {
        /// Why, and what runs instead.
        #[source]
        why: proxy_core::BoxError,
    },
}

/// Why a stored table was not judged by loading it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// It was not come to that.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// It was not loaded.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// How a carrier is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CarrierCondition {
    /// It was not asked to run yet.
    NotStarted,
    /// It is being started.
    Starting,
    /// It carries traffic.
    Running,
    /// It does not, and why; it is tried again.
    Down(String),
}

// === impl ApplyError ===

impl ApplyError {
    /// A candidate that did not become live, through no fault of its own that is known.
    #[must_use]
    pub(crate) fn new(why: impl Into<proxy_core::BoxError>) -> Self {
        Self::Unable { why: why.into() }
    }
}

impl From<proxy_haproxy::ApplyError> for ApplyError {
    fn from(error: proxy_haproxy::ApplyError) -> Self {
        if error.is_refusal() {
            Self::Refused {
                words: chain(&error),
            }
        } else {
            Self::new(error)
        }
    }
}

// === impl LoadError ===

impl LoadError {
    /// Whether it cost a reload that failed.
    pub(crate) fn is_refused_load(&self) -> bool {
        matches!(self, Self::Apply(ApplyError::Refused { .. }))
    }
}

// === impl Reason ===

impl Reason {
    /// One word for metrics and logs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Store => "store",
            Self::Names => "names",
            Self::Asked => "asked",
            Self::Certificates => "certificates",
            Self::Retry => "retry",
        }
    }
}

// === impl CarrierCondition ===

impl CarrierCondition {
    /// One word for answers and metrics.
    #[must_use]
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Down(_) => "down",
        }
    }
}
