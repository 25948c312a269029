//! Whether HAProxy's processes still answer: one that hangs ends by itself never, and holds the ports.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::Path,
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{HaproxyState, Shared};
use crate::master;

/// So many questions in a row are not answered before something is held to hang. HAProxy answers within
/// milliseconds; on a machine without time to spare, clients are not answered for as long either.
const SILENT_LOOKS: u32 = 4;

/// So many refusals in a row before a master is held to be lost: one that replaces itself refuses for as long as it reads
/// its configuration.
const REFUSED_LOOKS: u32 = 12;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The worker that takes new connections hangs.
    Worker(u32),
    /// A worker that was replaced hangs. One that hung when it was replaced did not give its ports away, and the
    /// kernel goes on to give it its part of the connections.
    OldWorker(u32),
    /// The worker serves, and nobody reaches the master: reloads and changes would fail.
    Master(Unreachable),
}

/// Why a master is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// It hangs.
    Silent,
    /// Nobody listens on its socket.
    Refused,
    /// Its socket, or that of its worker, was removed.
    SocketGone,
}

/// How one question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Answer,
    Silence,
    Refusal,
    /// There is no socket.
    Gone,
    /// It ended, or too many ask at once: nothing is known.
    Nothing,
}

/// How often in a row each process was not heard.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    silent: BTreeMap<u32, u32>,
    master_silent: u32,
    master_refused: u32,
    gone: u32,
    /// Workers that were ended already. One that the kernel does not end is not asked again: each question would stay
    /// with the master, which lets about ten wait.
    ended: BTreeSet<u32>,
    /// Whether the worker is to have its socket, once that is known: an operator's template need not give it one.
    has_socket: Option<bool>,
}

// === impl Unreachable ===

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it is asked and does not answer",
            Self::Refused => "nobody listens on its socket",
            Self::SocketGone => "a socket of it is gone; somebody emptied RUN_PATH",
        })
    }
}

// === impl Liveness ===

impl Liveness {
    /// Looks from time to time until something is found. Cancel safe: a look that was broken off counts for nothing.
    pub(super) async fn until_found(&mut self, shared: &Shared) -> Finding {
        loop {
            sleep(shared.settings.look_interval).await;
            if let Some(finding) = self.look(shared).await {
                // What is done about it takes effect before it is found again.
                *self = Self {
                    ended: std::mem::take(&mut self.ended),
                    has_socket: self.has_socket,
                    ..Self::default()
                };
                if let Finding::Worker(pid) | Finding::OldWorker(pid) = finding {
                    self.ended.insert(pid);
                }
                return finding;
            }
        }
    }

    async fn look(&mut self, shared: &Shared) -> Option<Finding> {
        let HaproxyState::Running { worker_pids, .. } = shared.state.borrow().clone() else {
            return None;
        };
        let settings = &shared.settings;
        let deadline = settings.look_interval;
        let worker_socket = Path::new(settings.run().worker_socket());
        let (worker, processes) = tokio::join!(
            heard(worker_socket, "show info", deadline),
            master::processes(settings.master_socket(), deadline),
        );
        let master = match &processes {
            Ok(_) => Heard::Answer,
            Err(error) => unheard(error),
        };
        // After a reload that failed, 3.x lists the worker that serves among the old ones.
        let mut old = processes.map(|it| it.old).unwrap_or_default();
        old.retain(|pid| !worker_pids.contains(pid) && !self.ended.contains(pid));
        self.silent
            .retain(|pid, _| old.contains(pid) || worker_pids.contains(pid));
        let old = self.ask_old(settings.master_socket(), old, deadline).await;

        let either = match worker {
            Heard::Gone if self.wants_socket(shared).await => worker,
            _ => master,
        };
        self.gone = next(self.gone, either, Heard::Gone);
        self.master_silent = next(self.master_silent, master, Heard::Silence);
        self.master_refused = next(self.master_refused, master, Heard::Refusal);
        if let Some(pid) = worker_pids.first()
            && self.hangs(*pid, worker)
        {
            return Some(Finding::Worker(*pid));
        }
        let unreachable = |why| Some(Finding::Master(why));
        match old {
            Some(pid) => Some(Finding::OldWorker(pid)),
            None if self.gone >= SILENT_LOOKS => unreachable(Unreachable::SocketGone),
            None if self.master_silent >= SILENT_LOOKS => unreachable(Unreachable::Silent),
            None if self.master_refused >= REFUSED_LOOKS => unreachable(Unreachable::Refused),
            None => None,
        }
    }

    /// Asks workers that were replaced, through the master. One after another and no further than the first that is
    /// silent, which the next look begins with: a question that is not answered takes one of the few places of the
    /// master's socket for as long as the worker hangs. Gives one that hangs.
    async fn ask_old(
        &mut self,
        socket: &Path,
        mut old: Vec<u32>,
        deadline: Duration,
    ) -> Option<u32> {
        old.sort_by_key(|pid| Reverse(self.silent.get(pid).copied().unwrap_or_default()));
        for pid in old {
            let heard = match heard(socket, &format!("@!{pid} show info"), deadline).await {
                Heard::Refusal | Heard::Gone => Heard::Nothing,
                heard => heard,
            };
            if self.hangs(pid, heard) {
                return Some(pid);
            }
            if heard == Heard::Silence {
                break;
            }
        }
        None
    }

    /// Whether the worker was told to listen on its socket.
    async fn wants_socket(&mut self, shared: &Shared) -> bool {
        if let Some(known) = self.has_socket {
            return known;
        }
        let config = shared.settings.config().to_owned();
        let socket = shared.settings.run().worker_socket().to_owned();
        let read = move || Some(std::fs::read_to_string(config).ok()?.contains(&socket));
        let read = tokio::task::spawn_blocking(read);
        let read = timeout(shared.settings.look_interval, read).await;
        self.has_socket = read.ok().and_then(|read| read.ok()?);
        self.has_socket == Some(true)
    }

    fn hangs(&mut self, pid: u32, heard: Heard) -> bool {
        let count = self.silent.entry(pid).or_default();
        *count = next(*count, heard, Heard::Silence);
        *count >= SILENT_LOOKS
    }
}

fn next(count: u32, heard: Heard, counted: Heard) -> u32 {
    match heard {
        it if it == counted => count + 1,
        Heard::Nothing => count,
        _ => 0,
    }
}

async fn heard(socket: &Path, question: &str, deadline: Duration) -> Heard {
    match master::ask(socket, question, deadline).await {
        Ok(answer) if answer.trim().is_empty() => Heard::Nothing,
        Ok(_) => Heard::Answer,
        Err(error) => unheard(&error),
    }
}

fn unheard(error: &io::Error) -> Heard {
    match error.kind() {
        io::ErrorKind::TimedOut => Heard::Silence,
        io::ErrorKind::ConnectionRefused => Heard::Refusal,
        io::ErrorKind::NotFound => Heard::Gone,
        // So many wait at its socket already that no more may: that says nothing of who is asked for.
        _ => Heard::Nothing,
    }
}
