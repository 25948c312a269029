//! How often a HAProxy that starts or reloads is asked whether it has.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A question costs a tenth of this.
const SHORTEST: Duration = Duration::from_millis(1);
/// Nobody notices more than this.
const LONGEST: Duration = Duration::from_millis(10);
/// What is asked for is found out this part of its time late at most.
const PART: u32 = 16;

/// Waits before the next question, the longer the longer the wait has been.
pub(super) async fn pause(begun: Instant) {
    sleep((begun.elapsed() / PART).clamp(SHORTEST, LONGEST)).await;
}
