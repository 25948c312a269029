//! Whether the engine turns: since when it is at work on one thing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Longer than the longest round of a turn. A search among ten thousand services ends at its first culprit, which takes
/// some fifteen checks or loads, each with its own deadline; what takes longer than this hangs.
const LONGEST_TURN: Duration = Duration::from_secs(600);

/// Since when the engine is at work on one thing; none while it waits for the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Mutex<Option<Instant>>>);

// === impl Pulse ===

impl Pulse {
    pub(super) fn begin(&self) {
        self.set(Some(Instant::now()));
    }

    pub(super) fn end(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// How long one turn has taken, where that is longer than any takes.
    pub(super) fn hangs(&self) -> Option<Duration> {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let took = since?.elapsed();
        (took > LONGEST_TURN).then_some(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_end_is_noticed() {
        let pulse = Pulse::default();
        tokio::time::advance(LONGEST_TURN * 2).await;
        assert_eq!(pulse.hangs(), None, "it waits");
        pulse.begin();
        tokio::time::advance(LONGEST_TURN).await;
        assert_eq!(pulse.hangs(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(pulse.hangs().is_some());
        pulse.end();
        assert_eq!(pulse.hangs(), None);
    }
}
