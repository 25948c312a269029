//! One replica, put together and taken apart.

mod assemble;
mod certificates;
mod error_files;
mod health;
mod serve;

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::select_all;

use proxy_consul::ConsulStore;
use proxy_peers::Peers;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use health::Health;

use crate::{
    carrier::HaproxyCarrier,
    engine::EngineHandle,
    settings::{OnEnd, Settings},
    standing::Station,
    works::Works,
};

/// A replica that runs. Dropped, it ends at once: calls are cut, and HAProxy is left serving for the next start to take
/// over. [`Server::shutdown`] and [`Server::leave`] end it in good order.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    handle: EngineHandle,
    station: Arc<Station>,
    carrier: Arc<HaproxyCarrier>,
    consul: Option<Arc<ConsulStore>>,
    peers: Option<Arc<Peers>>,
    stops: Stops,
    api: AbortOnDropHandle<std::io::Result<()>>,
    works: Works,
    engine: AbortOnDropHandle<()>,
    followers: Vec<AbortOnDropHandle<()>>,
}

/// What is stopped, in this order.
#[derive(Debug, Default)]
struct Stops {
    /// No longer ready for traffic.
    ready: CancellationToken,
    /// No new calls.
    api: CancellationToken,
    /// No new changes.
    engine: CancellationToken,
    /// Names are followed and tables kept no longer.
    followers: CancellationToken,
}

// === impl Server ===

impl Server {
    /// Starts a replica: the admin API listens when this returns; HAProxy starts as soon as the
    /// table is known, be it from the store or, while that cannot be reached, from the last run.
    ///
    /// # Errors
    /// When something that does not heal by itself is wrong: a port in use, a folder that cannot
    /// be written, another replica on the same `STATE_PATH`. Nothing is left running.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        assemble::start(settings).await
    }

    /// Where the admin API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How this replica is, for whoever supervises the process.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::new(self.handle.clone(), Arc::clone(&self.station))
    }

    /// Waits until a part that must not end has ended: that is a bug, and the caller ends the process
    /// so that whoever supervises it starts a new one. HAProxy serves on meanwhile; [`Server::shutdown`] still ends it.
    pub async fn broken(&mut self) -> String {
        let followers = self
            .followers
            .iter_mut()
            .map(|task| Box::pin(task) as Pin<Box<_>>);
        let part = tokio::select! {
            ended = &mut self.engine => format!("the engine ended: {ended:?}"),
            ended = &mut self.api => format!("the admin API ended: {ended:?}"),
            (ended, _, _) = select_all(followers) => format!("a follower ended: {ended:?}"),
        };
        tracing::error!(part, "a part of the server ended; this is a bug");
        part
    }

    /// Says from now on that this replica is not ready, so that whoever sends it traffic looks
    /// elsewhere, and goes on serving for the delay: what is on its way still arrives. Cancel safe.
    pub async fn drain(&self, delay: Duration) {
        self.stops.ready.cancel();
        tokio::time::sleep(delay).await;
    }

    /// Ends the replica: no new calls; those that run are answered; HAProxy takes no new
    /// connections and finishes those it has. Whatever is left at the deadline is cut.
    pub async fn shutdown(self, deadline: Duration) {
        self.end(deadline, OnEnd::Stop).await;
    }

    /// As [`Server::shutdown`], but HAProxy serves on, for the next start to take over.
    pub async fn leave(self, deadline: Duration) {
        self.end(deadline, OnEnd::Leave).await;
    }

    async fn end(self, deadline: Duration, haproxy: OnEnd) {
        let Self {
            carrier,
            stops,
            api,
            works,
            engine,
            followers,
            ..
        } = self;
        stops.ready.cancel();
        stops.api.cancel();
        stops.engine.cancel();
        let quiet = async {
            // The engine answers what it has; then the calls that waited for it end.
            until_ended(engine).await;
            until_ended(api).await;
            works.end().await;
        };
        let calls = tokio::time::timeout(deadline, quiet);
        let carried = async {
            match haproxy {
                OnEnd::Stop => carrier.shutdown(deadline).await,
                OnEnd::Leave => {}
            }
        };
        let (calls, ()) = tokio::join!(calls, carried);
        if calls.is_err() {
            tracing::warn!("calls were cut at the deadline");
        }
        stops.followers.cancel();
        for follower in followers {
            let _ = tokio::time::timeout(Duration::from_secs(1), until_ended(follower)).await;
        }
        if let Some(consul) = self.consul {
            consul.shutdown().await;
        }
        drop(self.peers);
    }
}

/// Waits for a task that may have ended, and been seen to, before.
async fn until_ended<T>(task: AbortOnDropHandle<T>) {
    if !task.is_finished() {
        let _ = task.await;
    }
}
