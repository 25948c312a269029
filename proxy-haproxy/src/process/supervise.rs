//! The task that owns the master: restarts it when it dies and ends it when told to.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    DownReason, HaproxyState, MasterProcess, Shared, StopOrder, Stopped, end::end_all, launch,
};

/// A master that ran this long was healthy: its next start is at once again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The owner of the master process.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    orders: mpsc::Receiver<StopOrder>,
    /// Masters that were replaced and finish their connections, within HAProxy's own
    /// `hard-stop-after`.
    retiring: Vec<MasterProcess>,
}

impl Supervisor {
    /// `others` are told to finish.
    pub(super) fn new(
        shared: Arc<Shared>,
        orders: mpsc::Receiver<StopOrder>,
        others: Vec<MasterProcess>,
    ) -> Self {
        for other in &others {
            other.finish();
        }
        Self {
            shared,
            orders,
            retiring: others,
        }
    }

    /// Watches the master until it is told to end it, or dropped.
    pub(super) async fn run(mut self, mut master: MasterProcess) {
        let mut failures = 0;
        loop {
            let since = Instant::now();
            let status = tokio::select! {
                status = master.exited() => status,
                Some(order) = self.orders.recv() => return self.stop(Some(master), order).await,
            };
            let why = DownReason::Exited(status);
            tracing::error!(%why, "HAProxy is down; starting it again");
            if since.elapsed() >= STABLE_AFTER {
                failures = 0;
            }
            match self.start_again(why, failures).await {
                Ok((again, attempts)) => (master, failures) = (again, attempts + 1),
                Err(order) => return self.stop(None, order).await,
            }
        }
    }

    /// Starts until a master serves. Gives how many starts in a row it took, or the order to stop.
    async fn start_again(
        &mut self,
        mut why: DownReason,
        mut failures: u32,
    ) -> Result<(MasterProcess, u32), StopOrder> {
        let since = std::time::SystemTime::now();
        let mut attempts = 0;
        loop {
            self.shared.state.send_replace(HaproxyState::Down {
                why: why.clone(),
                since,
                attempts,
            });
            let shared = Arc::clone(&self.shared);
            let pause = self.pause(failures);
            let start = async {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = shared.start_now.notified() => {}
                }
                shared.state.send_replace(HaproxyState::Starting);
                launch::launch(&shared.settings, &[]).await
            };
            let started = tokio::select! {
                started = start => started,
                Some(order) = self.orders.recv() => return Err(order),
            };
            match started {
                Ok((master, processes)) => {
                    tracing::info!(master = processes.master, "HAProxy runs again");
                    let running = HaproxyState::running(&processes);
                    self.shared.state.send_replace(running);
                    return Ok((master, failures));
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "HAProxy does not start"
                    );
                    why = DownReason::StartFailed(error.to_string());
                    attempts += 1;
                    failures += 1;
                }
            }
        }
    }

    /// None before the first start, then growing, with jitter.
    fn pause(&self, failures: u32) -> Duration {
        let Some(index) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let settings = &self.shared.settings;
        ExponentialBuilder::default()
            .with_min_delay(settings.restart_delay)
            .with_max_delay(settings.restart_delay_limit)
            .with_jitter()
            .without_max_times()
            .build()
            .nth(index.min(20) as usize)
            .unwrap_or(settings.restart_delay_limit)
    }

    async fn stop(self, master: Option<MasterProcess>, order: StopOrder) {
        let was_down = master.is_none();
        let masters = self.retiring.into_iter().chain(master);
        let run = self.shared.settings.run();
        let stopped = match end_all(masters, run, order.deadline).await {
            _ if was_down => Stopped::WasDown,
            stopped => stopped,
        };
        self.shared.state.send_replace(HaproxyState::Stopped);
        let _ = order.done.send(stopped);
    }
}
