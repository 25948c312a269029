//! Services of the environment: brought in once, at the start.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::intake::{Intake, Wanted};
use crate::settings::GivenService;

/// The pause before what could not be brought in is tried again: no store, no HAProxy.
const RETRY: Duration = Duration::from_secs(5);

/// Brings the services of the environment in as soon as there is a table, and until each is stored or
/// refused. Then waits to be stopped.
pub(super) async fn bring(given: Vec<GivenService>, mut intake: Intake, stop: CancellationToken) {
    let mut list = Vec::new();
    for service in given {
        let called = service.prefix;
        match service.params {
            Ok(params) => list.push(Wanted { called, params }),
            Err(why) => tracing::error!(
                service = called,
                why,
                "a service of the environment cannot be read; the others are not touched by it"
            ),
        }
    }
    let brought = async {
        if !intake.loaded().await {
            return;
        }
        while intake.bring(list.clone()).await.again {
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = brought => stop.cancelled().await,
        () = stop.cancelled() => {}
    }
}
