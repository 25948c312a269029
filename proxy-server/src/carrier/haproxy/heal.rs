//! A HAProxy that ended and does not start with what stands on disk: what it served last is put there again.

use proxy_haproxy::{Haproxy, HaproxyState};
use tokio_util::sync::CancellationToken;

use super::{HaproxyCarrier, Stage};
use crate::chain::chain;

impl HaproxyCarrier {
    /// Watches over the files that HAProxy starts with, until `stop`. Somebody may have edited or removed them since
    /// it read them, and then every start fails until they are written anew.
    pub(crate) async fn keep_startable(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.put_back_for_ever() => {}
        }
    }

    async fn put_back_for_ever(&self) {
        let haproxy = self.launched().await;
        let mut state = haproxy.state();
        loop {
            let failed = |state: &HaproxyState| matches!(state, HaproxyState::Down { attempts, .. } if *attempts > 0);
            if state.wait_for(failed).await.is_err() {
                // It is not supervised any more.
                return std::future::pending().await;
            }
            self.put_back().await;
            if state.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn launched(&self) -> std::sync::Arc<Haproxy> {
        loop {
            let launched = self.launched.notified();
            if let Some(haproxy) = self.shown().haproxy.clone() {
                return haproxy;
            }
            launched.await;
        }
    }

    async fn put_back(&self) {
        // What is being made live is written anyway.
        let Stage::Running(applier) = &mut *self.stage.lock().await else {
            return;
        };
        match applier.put_back().await {
            Ok(None) => {}
            Ok(Some(active)) => tracing::warn!(
                generation = active.generation,
                "the configuration on disk was not the one that HAProxy served; that is written again, and HAProxy starts with it"
            ),
            Err(error) => tracing::error!(
                why = chain(&error),
                "HAProxy is down, and the configuration that it served last cannot be written again"
            ),
        }
    }
}
