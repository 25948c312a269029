//! Where replicas stand: this one, its peers, and how they compare.

mod compare;
mod survey;

use std::{sync::Arc, time::Duration};

use proxy_core::{InstanceId, Revision, ServiceName, StoreCondition, StoreTrouble, ViewSeq};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use compare::{Place, compare};
pub(crate) use survey::{PeerSurvey, STANDING_PATH, Survey, Surveyed};

use crate::{api::Carried, carrier::CarrierCondition, digest::TableDigest, engine::EngineHandle};

/// The most services that a replica names in trouble to its peers. `status` on the replica itself
/// names all.
const MOST_NAMES: usize = 50;

/// How long a replica that serves the table of an earlier run is not ready because the store has not
/// answered yet: an old table is better than none, and no start is to wait for a server that hangs.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Where a replica stands, as it tells its peers. Fields may be added; none changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Standing {
    pub(crate) instance: InstanceId,
    pub(crate) version: String,
    pub(crate) revision: Option<Revision>,
    /// Of the documents at that revision.
    pub(crate) table_digest: String,
    pub(crate) config_digest: Option<String>,
    pub(crate) services: usize,
    /// In one word, as in `status`.
    pub(crate) store: String,
    /// In one word, as in `status`.
    pub(crate) haproxy: String,
    pub(crate) failure: Option<String>,
    pub(crate) quarantined: Vec<ServiceName>,
    pub(crate) degraded: Vec<ServiceName>,
}

/// Tells where this replica stands.
#[derive(Debug)]
pub(crate) struct Station {
    instance: InstanceId,
    engine: EngineHandle,
    carrier: Arc<dyn Carried>,
    digest: TableDigest,
    /// Cancelled once this replica is asked to end.
    ending: CancellationToken,
    earlier: Option<Earlier>,
}

/// The table of an earlier run is served: what was removed since is there again.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    view: ViewSeq,
    /// Until when it is waited for what the store says.
    until: Instant,
}

// === impl Station ===

impl Station {
    pub(crate) fn new(
        instance: InstanceId,
        engine: EngineHandle,
        carrier: Arc<dyn Carried>,
        ending: CancellationToken,
    ) -> Self {
        Self {
            ending,
            instance,
            engine,
            carrier,
            digest: TableDigest::default(),
            earlier: None,
        }
    }

    /// Begins with the table of an earlier run, which is this view, if there is one.
    pub(crate) fn after(mut self, earlier: Option<ViewSeq>) -> Self {
        let until = Instant::now() + FIRST_ANSWER;
        self.earlier = earlier.map(|view| Earlier { view, until });
        self
    }

    /// Whether what is served is still the table of an earlier run and nobody has heard of the store, good or bad.
    fn is_earlier(&self) -> bool {
        let Some(Earlier { view, until }) = self.earlier else {
            return false;
        };
        let snapshot = self.engine.snapshot();
        snapshot.applied <= view && snapshot.failure.is_none() && Instant::now() < until
    }

    /// Why no traffic shall be sent here; none where a table is loaded and HAProxy runs it. One that is
    /// old, or lacks what was quarantined, is better than none; but the store has a moment to say what is new.
    pub(crate) fn why_not_ready(&self) -> Option<&'static str> {
        if self.ending.is_cancelled() {
            return Some("this replica shuts down");
        }
        if let StoreCondition::Starting { trouble } = &self.engine.snapshot().view.condition {
            // Whoever asks needs no token, so neither addresses nor names are told: `status` does.
            return Some(match trouble {
                Some(StoreTrouble::Denied(_)) => {
                    "no table is loaded yet: the store does not let this replica read it (see CONSUL_TOKEN, and status)"
                }
                Some(_) => {
                    "no table is loaded yet: the store cannot be read, which is tried again; see status"
                }
                None => {
                    "no table is loaded yet: the store was not read, or what it holds is judged for the first time"
                }
            });
        }
        match self.carrier.condition() {
            CarrierCondition::Running if self.is_earlier() => Some(
                "the table of the run before is served, and the store has not said yet what has changed since",
            ),
            CarrierCondition::Running => None,
            CarrierCondition::NotStarted | CarrierCondition::Starting => {
                Some("HAProxy does not run yet")
            }
            CarrierCondition::Down(_) => Some("HAProxy is down; it is started again"),
        }
    }

    pub(crate) fn now(&self) -> Standing {
        let snapshot = self.engine.snapshot();
        let view = &snapshot.view;
        let names = |names: &mut dyn Iterator<Item = &ServiceName>| {
            names.take(MOST_NAMES).cloned().collect()
        };
        Standing {
            instance: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: view.revision,
            table_digest: self.digest.of(&view.stored),
            config_digest: self.carrier.digest(),
            services: snapshot.served.len(),
            store: store_word(&view.condition).to_owned(),
            haproxy: self.carrier.condition().word().to_owned(),
            failure: snapshot.failure.as_deref().map(str::to_owned),
            quarantined: names(&mut snapshot.quarantined.keys()),
            degraded: names(&mut view.degraded().keys()),
        }
    }
}

/// How a store is, in one word.
pub(crate) fn store_word(condition: &StoreCondition) -> &'static str {
    match condition {
        StoreCondition::Starting { .. } => "starting",
        StoreCondition::Live => "live",
        StoreCondition::Stale { .. } => "stale",
        StoreCondition::Wiped { .. } => "wiped",
        _ => "unknown",
    }
}
