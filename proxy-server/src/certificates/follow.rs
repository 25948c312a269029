//! Following the files of certificates: whoever renews one tells nobody.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Certificates;
use crate::engine::EngineHandle;

/// Between two looks at the folders. A look is a list of names and dates.
const LOOK: Duration = Duration::from_secs(10);

/// Looks at the folders until the token is cancelled, and has HAProxy show what changed.
pub(crate) async fn follow(
    certificates: Arc<Certificates>,
    engine: EngineHandle,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if certificates.scan().await
            && let Err(why) = engine.refresh().await
        {
            tracing::error!(
                why,
                "other certificates are not shown yet; it is tried again"
            );
        }
    }
}
