//! Following certificates: files that somebody renews and tells nobody, and what other replicas keep.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{CertificateExchange, Certificates};
use crate::engine::EngineHandle;

/// Between two looks at the folders. A look is a list of names and dates.
const LOOK: Duration = Duration::from_secs(10);
/// Every so many looks the other replicas are asked for what this one lacks.
const COMPARE_EVERY: u32 = 3;

/// Looks until the token is cancelled, and has HAProxy show what changed.
pub(crate) async fn follow(
    certificates: Arc<Certificates>,
    exchange: Arc<CertificateExchange>,
    engine: EngineHandle,
    stop: CancellationToken,
) {
    let mut versions = certificates.versions();
    versions.borrow_and_update();
    let mut looks: u32 = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {
                looks = looks.wrapping_add(1);
                certificates.scan().await;
                if looks.is_multiple_of(COMPARE_EVERY) {
                    exchange.compare().await;
                }
            }
            changed = versions.changed() => if changed.is_err() { return },
        }
        versions.borrow_and_update();
        // What was there at the start is in the first configuration.
        if !certificates.is_begun() || certificates.offer().is_none() {
            continue;
        }
        if let Err(why) = engine.refresh().await {
            tracing::error!(
                why,
                "other certificates are not shown yet; it is tried again"
            );
        }
    }
}
