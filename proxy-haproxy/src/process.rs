//! The HAProxy that runs: started or taken over, watched, restarted, reloaded, ended.
//!
//! HAProxy runs as a master process with workers (`-W`), in the foreground (`-db`). It is no part of
//! this process: it has a process group of its own, it serves on when this process dies, and the
//! next one takes it over through its master socket. Exactly one master serves at any time.

use std::{
    fmt,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, Notify, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    lock::{FolderLock, LockError},
    master::{DEFAULT_ASK_DEADLINE, Processes},
    reload::{Reload, ReloadError, Reloaded},
    runtime::{self, CertificateChange, RuntimeError, ServerChange},
};

mod end;
mod find;
mod handover;
mod launch;
mod liveness;
mod master_process;
mod order;
mod poll;
mod settings;
mod supervise;

pub use end::LeftHaproxy;
use master_process::MasterProcess;
pub use settings::{
    DEFAULT_LOOK_INTERVAL, DEFAULT_RELOAD_DEADLINE, DEFAULT_RESTART_DELAY,
    DEFAULT_RESTART_DELAY_LIMIT, DEFAULT_START_DEADLINE, ProcessSettings,
};

/// A running HAProxy. Dropping it leaves HAProxy serving; [`Haproxy::shutdown`] ends it.
#[derive(Debug)]
pub struct Haproxy {
    shared: Arc<Shared>,
    start: Start,
    orders: mpsc::Sender<StopOrder>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    abort: tokio::task::AbortHandle,
    /// One reload or change of a map at a time: two reloads would take each other's worker for
    /// theirs, and a change would go to a worker that is being replaced.
    reloading: Mutex<()>,
    _lock: FolderLock,
}

/// What the handle and the supervisor both see.
#[derive(Debug)]
struct Shared {
    settings: ProcessSettings,
    state: watch::Sender<HaproxyState>,
    /// Ends the wait before the next start.
    start_now: Notify,
}

/// The order to end HAProxy.
#[derive(Debug)]
struct StopOrder {
    deadline: Duration,
    done: oneshot::Sender<Stopped>,
}

/// What HAProxy does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaproxyState {
    /// It was started and does not serve yet.
    Starting,
    /// It serves.
    Running {
        /// The master process.
        master_pid: u32,
        /// The workers that take new connections.
        worker_pids: Vec<u32>,
    },
    /// It is down; the next start is on its way.
    Down {
        /// Why.
        why: DownReason,
        /// Since when.
        since: SystemTime,
        /// Starts that failed since then.
        attempts: u32,
    },
    /// It was ended by [`Haproxy::shutdown`].
    Stopped,
}

/// Why HAProxy is down.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownReason {
    /// Its master ended. A worker that is killed takes the master with it (status 137). The status is
    /// known where this process started it.
    Exited(Option<ExitStatus>),
    /// A start failed.
    StartFailed(String),
}

/// Workers that finish the connections they have, within `hard-stop-after`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldWorkers {
    /// How many.
    pub count: usize,
    /// How long ago the oldest of them was started.
    pub oldest: Duration,
}

/// How HAProxy came to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// It was started, so it serves what was on disk then.
    Fresh,
    /// It ran already and was taken over. What it serves is what was on disk at its last reload.
    TakenOver,
}

/// How HAProxy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// Every connection was finished.
    Gracefully,
    /// Connections were left at the deadline, and were cut.
    AtDeadline,
    /// It did not run.
    WasDown,
}

/// Why HAProxy could not be started. None runs that was not running before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The run path cannot be made.
    #[error("the run path {} cannot be created", path.display())]
    RunPath {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process supervises the HAProxy of this run path.
    #[error("the run path cannot be taken")]
    Lock(#[from] LockError),
    /// The binary cannot be run.
    #[error("{} cannot be run; is it the program of an HAProxy that is installed?", binary.display())]
    Spawn {
        /// The binary.
        binary: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended at once. Its standard error says why.
    #[error(
        "HAProxy ended at once ({status}); its standard error says why: a wrong configuration, or a port in use"
    )]
    Exited {
        /// How it ended.
        status: ExitStatus,
    },
    /// It did not answer on its master socket, and was ended.
    #[error("HAProxy did not answer on its master socket within {waited:?} and was ended")]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
    },
}

// === impl Haproxy ===

impl Haproxy {
    /// Takes over the master that answers in the run path if its command line is ours, else starts
    /// one, and ends what ran there before once the new one serves.
    ///
    /// # Errors
    /// When HAProxy cannot be started, or another process supervises it. Once this succeeded, a
    /// HAProxy that dies is started again, and a start that fails is [`HaproxyState::Down`].
    pub async fn start(settings: ProcessSettings) -> Result<Self, StartError> {
        let folder = settings.run().folder().to_path_buf();
        std::fs::create_dir_all(&folder).map_err(|source| StartError::RunPath {
            path: folder.clone(),
            source,
        })?;
        let lock = FolderLock::take(&folder)?;
        let found = find::find(&settings).await;
        let (state, _) = watch::channel(HaproxyState::Starting);
        let shared = Arc::new(Shared {
            settings,
            state,
            start_now: Notify::new(),
        });
        let (start, process, processes) = match found.ours {
            Some((process, processes)) => (Start::TakenOver, process, processes),
            None => {
                let (process, processes) = launch::launch(&shared.settings, &found.others).await?;
                (Start::Fresh, process, processes)
            }
        };
        shared.state.send_replace(HaproxyState::running(&processes));
        let (orders, receiver) = mpsc::channel(1);
        let supervisor = supervise::Supervisor::new(Arc::clone(&shared), receiver, found.others);
        let task = tokio::spawn(supervisor.run(process));
        Ok(Self {
            shared,
            start,
            orders,
            abort: task.abort_handle(),
            supervisor: Mutex::new(Some(task)),
            reloading: Mutex::new(()),
            _lock: lock,
        })
    }

    /// How HAProxy came to run.
    #[must_use]
    pub fn started(&self) -> Start {
        self.start
    }

    /// What HAProxy does, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<HaproxyState> {
        self.shared.state.subscribe()
    }

    /// The workers that reloads have replaced and that finish their connections. For some milliseconds after a
    /// reload it waits for the master, which replaces itself.
    ///
    /// # Errors
    /// When the master does not answer within two seconds, or HAProxy is down.
    pub async fn old_workers(&self) -> std::io::Result<OldWorkers> {
        if !matches!(*self.shared.state.borrow(), HaproxyState::Running { .. }) {
            return Err(std::io::ErrorKind::NotConnected.into());
        }
        let socket = self.shared.settings.master_socket();
        let processes = timeout(DEFAULT_ASK_DEADLINE, poll::processes_when(socket, |_| true));
        let processes = processes.await?;
        Ok(OldWorkers {
            count: processes.old.len(),
            oldest: processes.oldest,
        })
    }

    /// What HAProxy counts, as the CSV of `show stat`, with a line of headings.
    ///
    /// # Errors
    /// When the worker does not answer, as at its start.
    pub async fn statistics(&self) -> std::io::Result<String> {
        runtime::statistics(self.shared.settings.run().worker_socket().as_ref()).await
    }

    /// Ends HAProxy: it finishes its connections until the deadline; what is left then is cut. Its
    /// processes are gone and its sockets removed when this returns, a few seconds after the
    /// deadline at the latest. A reload afterwards fails.
    ///
    /// Dropping the future ends the wait, not the shutdown; dropping `self` ends both. It may be called again
    /// meanwhile, to have it end sooner: the earliest deadline counts.
    pub async fn shutdown(&self, deadline: Duration) -> Stopped {
        let (done, stopped) = oneshot::channel();
        let _ = self.orders.send(StopOrder { deadline, done }).await;
        if let Some(task) = self.supervisor.lock().await.take() {
            let _ = task.await;
        }
        stopped.await.unwrap_or(Stopped::WasDown)
    }
}

#[async_trait]
impl Reload for Haproxy {
    async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let begun = Instant::now();
        let waited = self.shared.settings.reload_deadline();
        let one_at_a_time = async {
            let _turn = self.reloading.lock().await;
            order::reload(&self.shared, begun).await
        };
        match timeout(waited, one_at_a_time).await {
            Ok(outcome) => outcome,
            Err(_) => Err(match &*self.shared.state.borrow() {
                HaproxyState::Down { why, .. } => ReloadError::Down {
                    why: why.to_string(),
                    waited,
                },
                _ => ReloadError::Unconfirmed { waited },
            }),
        }
    }

    async fn change_map(&self, name: &str, old: &str, new: &str) -> Result<(), RuntimeError> {
        let _turn = self.reloading.lock().await;
        let (socket, workers) = self.shared.worker();
        runtime::change_map(socket.as_ref(), &workers, name, old, new).await
    }

    async fn change_servers(&self, changes: &[ServerChange]) -> Result<(), RuntimeError> {
        let _turn = self.reloading.lock().await;
        let (socket, workers) = self.shared.worker();
        runtime::change_servers(socket.as_ref(), &workers, changes).await
    }

    async fn change_certificates(&self, changes: &[CertificateChange]) -> Result<(), RuntimeError> {
        let _turn = self.reloading.lock().await;
        let (socket, workers) = self.shared.worker();
        runtime::change_certificates(socket.as_ref(), &workers, changes).await
    }
}

impl Shared {
    /// The socket of the worker that serves, and who may answer on it.
    fn worker(&self) -> (&str, Vec<u32>) {
        let workers = match &*self.state.borrow() {
            HaproxyState::Running { worker_pids, .. } => worker_pids.clone(),
            _ => Vec::new(),
        };
        (self.settings.run().worker_socket(), workers)
    }
}

impl Drop for Haproxy {
    /// Leaves HAProxy serving.
    fn drop(&mut self) {
        self.abort.abort();
    }
}

// === impl HaproxyState ===

impl HaproxyState {
    fn running(processes: &Processes) -> Self {
        Self::Running {
            master_pid: processes.master,
            worker_pids: processes.workers.clone(),
        }
    }

    fn is_running(&self, pid: u32) -> bool {
        matches!(self, Self::Running { master_pid, .. } if *master_pid == pid)
    }
}

// === impl DownReason ===

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(Some(status)) => write!(f, "it ended with {status}"),
            Self::Exited(None) => f.write_str("it ended"),
            Self::StartFailed(why) => write!(f, "its start failed: {why}"),
        }
    }
}
