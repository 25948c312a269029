//! The task that owns the master: restarts it when it dies and ends it when told to.

use std::{pin::pin, sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use rustix::process::Signal;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    DownReason, HaproxyState, MasterProcess, Shared, StopOrder, Stopped,
    end::{after, end_all},
    find, launch,
    liveness::{Finding, Liveness},
};

/// A master that ran this long was healthy: its next start is at once again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// So long a master has to end after the worker that served.
const MASTER_GRACE: Duration = Duration::from_secs(2);

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
        let mut liveness = Liveness::default();
        let mut since = Instant::now();
        loop {
            let shared = Arc::clone(&self.shared);
            let status = tokio::select! {
                status = master.exited() => status,
                Some(order) = self.orders.recv() => return self.stop(Some(master), order).await,
                finding = liveness.until_found(&shared) => {
                    match self.mend(master, finding).await {
                        Ok(mended) => master = mended,
                        Err((master, order)) => return self.stop(Some(master), order).await,
                    }
                    continue;
                }
            };
            liveness = Liveness::default();
            let why = DownReason::Exited(status);
            tracing::error!(%why, "HAProxy is down; starting it again");
            if since.elapsed() >= STABLE_AFTER {
                failures = 0;
            }
            match self.start_again(why, failures).await {
                Ok((again, attempts)) => {
                    (master, failures) = (again, attempts + 1);
                    since = Instant::now();
                }
                Err(order) => return self.stop(None, order).await,
            }
        }
    }

    /// Ends what hangs; has another master take over from one that nobody reaches. Gives the master that is watched
    /// from now on, and the order to stop where that came meanwhile.
    async fn mend(
        &mut self,
        mut master: MasterProcess,
        finding: Finding,
    ) -> Result<MasterProcess, (MasterProcess, StopOrder)> {
        match finding {
            Finding::Worker(pid) => {
                tracing::error!(
                    worker = pid,
                    "the worker of HAProxy hangs: it is asked and does not answer, and nothing is served; it is ended and HAProxy started again"
                );
                self.end_worker(&master, pid);
                // It goes with its worker, but waits for replaced ones, of which another may hang.
                if timeout(MASTER_GRACE, master.exited()).await.is_err() {
                    master.signal(Signal::KILL);
                }
            }
            Finding::OldWorker(pid) => {
                tracing::error!(
                    worker = pid,
                    "a worker of HAProxy that was replaced hangs: it is asked and does not answer, and may hold connections and ports; it is ended"
                );
                self.end_worker(&master, pid);
            }
            Finding::Master(why) => {
                tracing::error!(
                    why = %why,
                    "the master of HAProxy is not reached, and what it runs serves on; another one takes over"
                );
                return self.replace(master).await;
            }
        }
        Ok(master)
    }

    fn end_worker(&self, master: &MasterProcess, pid: u32) {
        if let Some(worker) = master.pid().and_then(|it| find::worker_of(it, pid)) {
            worker.signal(Signal::KILL);
        }
    }

    async fn replace(
        &mut self,
        master: MasterProcess,
    ) -> Result<MasterProcess, (MasterProcess, StopOrder)> {
        let settings = self.shared.settings.clone();
        // Whoever removed the sockets may have removed their folder.
        let _ = std::fs::create_dir_all(settings.run().folder());
        self.retiring.retain_mut(|master| !master.has_ended());
        let others = std::slice::from_ref(&master);
        let started = tokio::select! {
            started = launch::launch(&settings, others) => started,
            Some(order) = self.orders.recv() => return Err((master, order)),
        };
        match started {
            Ok((new, processes)) => {
                tracing::info!(
                    master = processes.master,
                    "another master of HAProxy took over"
                );
                let running = HaproxyState::running(&processes);
                self.shared.state.send_replace(running);
                master.finish();
                self.retiring.push(master);
                Ok(new)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no other master of HAProxy can take over; the one that is not reached serves on"
                );
                Ok(master)
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

    /// Ends what runs. More orders may come meanwhile: the earliest deadline counts, and all are told the same.
    async fn stop(mut self, master: Option<MasterProcess>, order: StopOrder) {
        let was_down = master.is_none();
        let (until, told) = watch::channel(after(order.deadline));
        let mut callers = vec![order.done];
        let masters = std::mem::take(&mut self.retiring).into_iter().chain(master);
        let run = self.shared.settings.run();
        let mut ending = pin!(end_all(masters, run, told));
        let stopped = loop {
            tokio::select! {
                stopped = &mut ending => break stopped,
                Some(order) = self.orders.recv() => {
                    until.send_modify(|until| *until = after(order.deadline).min(*until));
                    callers.push(order.done);
                }
            }
        };
        let stopped = match stopped {
            _ if was_down => Stopped::WasDown,
            stopped => stopped,
        };
        self.shared.state.send_replace(HaproxyState::Stopped);
        self.orders.close();
        callers.extend(std::iter::from_fn(|| {
            Some(self.orders.try_recv().ok()?.done)
        }));
        for caller in callers {
            let _ = caller.send(stopped);
        }
    }
}
