//! Writing down what is served, beside the engine: disk work that holds nobody up.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::Snapshot;

/// Writes something of each snapshot to disk.
pub(crate) trait Keep: Send + 'static {
    /// Writes down what changed. May wait for the disk. A failure is logged, and nothing else.
    fn keep(&mut self, snapshot: &Snapshot);
}

/// Keeps each snapshot until the token is cancelled; those between two looks are skipped.
pub(crate) async fn follow(
    mut keep: impl Keep,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
) {
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        // On a thread that may wait for the disk; what keeps comes back with it.
        let kept = tokio::task::spawn_blocking(move || {
            keep.keep(&snapshot);
            keep
        });
        keep = match kept.await {
            Ok(keep) => keep,
            Err(_) => return,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
        }
    }
}
