//! Whether HAProxy's processes still answer: one that hangs ends by itself never, and holds the ports.

use std::{collections::BTreeMap, fmt, io, path::Path, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::{HaproxyState, Shared};
use crate::master;

/// So many questions in a row are not answered before something is held to hang. HAProxy answers within
/// milliseconds; on a machine without time to spare, clients are not answered for as long either.
pub(super) const SILENT_LOOKS: u32 = 4;

/// The most old workers that are asked at a time; `mworker-max-reloads` keeps them below this.
const MOST_OLD: usize = 32;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The worker that takes new connections hangs.
    Worker(u32),
    /// Workers that were replaced hang. One that hung when it was replaced did not give its ports away, and the
    /// kernel goes on to give it its part of the connections.
    OldWorkers(Vec<u32>),
    /// The worker serves, and nobody reaches the master: reloads and changes would fail.
    Master(Unreachable),
}

/// Why a master is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// It hangs.
    Silent,
    /// Its socket, or that of its worker, was removed.
    SocketGone,
}

/// How one question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Answer,
    Silence,
    /// There is no socket.
    Gone,
    /// It replaces itself, or it ended: others see that.
    Nothing,
}

/// How often in a row each process was not heard.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    master: u32,
    gone: u32,
    silent: BTreeMap<u32, u32>,
}

// === impl Unreachable ===

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it is asked and does not answer",
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
                *self = Self::default();
                return finding;
            }
        }
    }

    async fn look(&mut self, shared: &Shared) -> Option<Finding> {
        let HaproxyState::Running { worker_pids, .. } = shared.state.borrow().clone() else {
            return None;
        };
        let deadline = shared.settings.look_interval;
        let settings = &shared.settings;
        let worker_socket = settings.run().worker_socket();
        let (worker, processes) = tokio::join!(
            heard(Path::new(worker_socket), "show info", deadline),
            master::processes(settings.master_socket(), deadline),
        );
        let master = match &processes {
            Ok(_) => Heard::Answer,
            Err(error) => silence(error),
        };
        let old = processes.map(|it| it.old).unwrap_or_default();
        let old = ask_old(settings.master_socket(), old, deadline).await;
        let mut silent: Vec<u32> = Vec::new();
        let current = worker_pids.first().map(|pid| (*pid, worker));
        for (pid, heard) in old.into_iter().chain(current) {
            let count = self.silent.entry(pid).or_default();
            *count = next(*count, heard, Heard::Silence);
            if *count >= SILENT_LOOKS {
                silent.push(pid);
            }
        }
        self.master = next(self.master, master, Heard::Silence);
        let either = match worker {
            Heard::Gone => worker,
            _ => master,
        };
        self.gone = next(self.gone, either, Heard::Gone);
        match silent.last() {
            Some(pid) if worker_pids.contains(pid) => Some(Finding::Worker(*pid)),
            Some(_) => Some(Finding::OldWorkers(silent)),
            None if self.gone >= SILENT_LOOKS => Some(Finding::Master(Unreachable::SocketGone)),
            None if self.master >= SILENT_LOOKS => Some(Finding::Master(Unreachable::Silent)),
            None => None,
        }
    }
}

/// Asks workers that were replaced, through the master.
async fn ask_old(socket: &Path, mut old: Vec<u32>, deadline: Duration) -> Vec<(u32, Heard)> {
    old.truncate(MOST_OLD);
    let mut asked = JoinSet::new();
    for pid in old {
        let socket = socket.to_owned();
        asked.spawn(async move {
            let question = format!("@!{pid} show info");
            (pid, heard(&socket, &question, deadline).await)
        });
    }
    asked.join_all().await
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
        Err(error) => silence(&error),
    }
}

fn silence(error: &io::Error) -> Heard {
    match error.kind() {
        // So many wait at its socket already that no more may.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Heard::Silence,
        io::ErrorKind::NotFound => Heard::Gone,
        _ => Heard::Nothing,
    }
}
