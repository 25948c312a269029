//! How a replica is, for whoever supervises the process.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    engine::{EngineHandle, Snapshot},
    standing::{Standing, Station},
};

/// How a replica is: what `/healthz` and `/readyz` say, without HTTP.
#[derive(Debug)]
pub struct Health {
    engine: EngineHandle,
    station: Arc<Station>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

// === impl Health ===

impl Health {
    pub(super) fn new(engine: EngineHandle, station: Arc<Station>) -> Self {
        let snapshots = engine.snapshots();
        Self {
            engine,
            station,
            snapshots,
        }
    }

    /// Why no traffic shall be sent here; none where the replica is ready.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<&'static str> {
        self.station.why_not_ready()
    }

    /// Why the replica is not alive; none where its engine turns.
    #[must_use]
    pub fn why_not_alive(&self) -> Option<String> {
        self.engine.hangs()
    }

    /// One line for people: what is served, and what is wrong with it.
    #[must_use]
    pub fn line(&self) -> String {
        match self.why_not_ready() {
            Some(why) => format!("not ready: {why}"),
            None => line(&self.station.now()),
        }
    }

    /// Waits until something may have changed. HAProxy's own ups and downs are not among it, so the
    /// caller also looks from time to time. Cancel safe.
    pub async fn changed(&mut self) {
        if self.snapshots.changed().await.is_err() {
            // The engine has ended, and nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

fn line(now: &Standing) -> String {
    let mut line = format!("serves {} services", now.services);
    if let Some(revision) = &now.revision {
        line.push_str(&format!(" at revision {}", revision.number));
    }
    line.push_str(&format!("; the store is {}", now.store));
    for (names, what) in [
        (&now.quarantined, "quarantined"),
        (&now.degraded, "degraded"),
    ] {
        if !names.is_empty() {
            line.push_str(&format!("; {} {what}", names.len()));
        }
    }
    if now.failure.is_some() {
        line.push_str("; what is stored is not live");
    }
    line
}
