//! What runs beside the engine for as long as a replica does.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Ground, store::Kept};
use crate::{
    certificates::{self, CertificateExchange},
    engine::EngineHandle,
    keep,
    older::OlderVersions,
    store::Exchange,
};

/// Tasks that run until a replica ends: that one of them ends before is a bug. Dropped, they are aborted.
pub(super) struct Followers {
    stop: CancellationToken,
    tasks: Vec<AbortOnDropHandle<()>>,
}

// === impl Followers ===

impl Followers {
    /// None yet.
    pub(super) fn until(stop: CancellationToken) -> Self {
        let tasks = Vec::new();
        Self { stop, tasks }
    }

    /// Starts one.
    pub(super) fn add<F>(&mut self, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = run(self.stop.clone());
        self.tasks.push(AbortOnDropHandle::new(tokio::spawn(task)));
    }

    /// Takes over those that run already.
    pub(super) fn join(&mut self, tasks: Vec<JoinHandle<()>>) {
        self.tasks
            .extend(tasks.into_iter().map(AbortOnDropHandle::new));
    }

    pub(super) fn into_tasks(self) -> Vec<AbortOnDropHandle<()>> {
        self.tasks
    }

    /// Follows what moves outside the table: where services are, and what certificates there are.
    pub(super) fn follow_names_and_certificates(
        &mut self,
        ground: &Ground,
        exchange: &Arc<CertificateExchange>,
        engine: &EngineHandle,
    ) {
        let (names, shown) = (Arc::clone(&ground.names), Arc::clone(&ground.certificates));
        self.add(|stop| names.follow(stop));
        let (exchange, engine) = (Arc::clone(exchange), engine.clone());
        self.add(|stop| certificates::follow(shown, exchange, engine, stop));
        if let Some(catalog) = ground.catalog.clone() {
            self.add(|stop| catalog.follow(stop));
        }
        let carrier = Arc::clone(&ground.carrier);
        self.add(|stop| async move { carrier.keep_startable(stop).await });
    }

    /// Writes down what is served. Gives the file of a table that gave way to the store's, once there is
    /// one.
    pub(super) fn keep_tables(
        &mut self,
        kept: &mut Kept,
        older: OlderVersions,
        engine: &EngineHandle,
    ) -> watch::Receiver<Option<String>> {
        self.add(|stop| keep::follow(older, engine.snapshots(), stop));
        match (kept.keeper.take(), &kept.registers) {
            (Some(keeper), _) => {
                let file = keeper.superseded();
                self.add(|stop| keep::follow(keeper, engine.snapshots(), stop));
                file
            }
            (None, Some(store)) => store.superseded_file(),
            (None, None) => watch::channel(None).1,
        }
    }

    /// Brings registers up to date with the other replicas', where there are others, and forgets old ones.
    pub(super) fn keep_registers(&mut self, kept: &Kept, exchange: Option<Exchange>) {
        if let Some(exchange) = exchange {
            self.add(|stop| exchange.run(stop));
        } else if let Some(store) = &kept.registers {
            let store = Arc::clone(store);
            self.add(|stop| store.keep_house(stop));
        }
    }
}
