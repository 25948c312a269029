//! How often a HAProxy that starts or reloads is asked whether it has.

use std::{path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use crate::master::{self, DEFAULT_ASK_DEADLINE, Processes};

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

/// Asks what runs until it is as wanted. While a master re-executes itself its socket refuses
/// connections, so errors are no answer.
pub(super) async fn processes_when(
    socket: &Path,
    wanted: impl Fn(&Processes) -> bool,
) -> Processes {
    let begun = Instant::now();
    loop {
        match master::processes(socket, DEFAULT_ASK_DEADLINE).await {
            Ok(processes) if wanted(&processes) => return processes,
            _ => pause(begun).await,
        }
    }
}
