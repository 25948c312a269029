//! One reload, from the order to its confirmation.

use std::{collections::BTreeSet, path::Path, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{HaproxyState, Shared, handover::Handover, poll};
use crate::{
    master::{self, DEFAULT_ASK_DEADLINE, Processes},
    reload::{ReloadError, Reloaded},
    run_path::RunPath,
};

/// An old worker stops accepting within milliseconds of the new one's start. One that does not say
/// so (it hangs, or it is busy) is not waited for longer: the new one serves.
const STOPPING_LIMIT: Duration = Duration::from_secs(2);

/// Makes HAProxy read its configuration. The caller sets the deadline.
pub(super) async fn reload(shared: &Shared, begun: Instant) -> Result<Reloaded, ReloadError> {
    let mut state = shared.state.subscribe();
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            HaproxyState::Running { master_pid, .. } => {
                let told = tell(shared.settings.run(), master_pid);
                // The supervisor sees a master die; its next state says how to go on.
                let died = state.wait_for(|state| !state.is_running(master_pid));
                tokio::select! {
                    told = told => match told {
                        Ok(processes) => return Ok(loaded(shared, &processes, begun)),
                        Err(detail) => return Err(ReloadError::Refused { detail }),
                    },
                    _ = died => {}
                }
            }
            // A start from now on reads what is on disk now.
            HaproxyState::Down { .. } => {
                shared.start_now.notify_one();
                return match started(shared, &mut state).await {
                    Ok(processes) => Ok(loaded(shared, &processes, begun)),
                    Err(why) => Err(ReloadError::Down {
                        why,
                        waited: begun.elapsed(),
                    }),
                };
            }
            // It may have read its configuration already: wait, then reload.
            HaproxyState::Starting => {
                let _ = state.changed().await;
            }
            HaproxyState::Stopped => {
                return Err(ReloadError::Down {
                    why: "it was shut down".to_owned(),
                    waited: begun.elapsed(),
                });
            }
        }
    }
}

/// Waits for the end of a start that has not begun yet; says why it failed.
async fn started(
    shared: &Shared,
    state: &mut watch::Receiver<HaproxyState>,
) -> Result<Processes, String> {
    loop {
        if state.changed().await.is_err() {
            return Err("it is no longer supervised".to_owned());
        }
        match &*state.borrow_and_update() {
            HaproxyState::Starting => {}
            HaproxyState::Running { .. } => break,
            HaproxyState::Down { why, .. } => return Err(why.to_string()),
            HaproxyState::Stopped => return Err("it was shut down".to_owned()),
        }
    }
    master::processes(shared.settings.master_socket(), DEFAULT_ASK_DEADLINE)
        .await
        .map_err(|error| format!("it started and does not answer: {error}"))
}

fn loaded(shared: &Shared, processes: &Processes, begun: Instant) -> Reloaded {
    // The supervisor may know better by now: the master died, or it is being ended.
    shared.state.send_if_modified(|state| {
        let is_known = state.is_running(processes.master);
        if is_known {
            *state = HaproxyState::running(processes);
        }
        is_known
    });
    Reloaded {
        master_pid: processes.master,
        worker_pid: processes.workers.first().copied().unwrap_or_default(),
        old_workers: processes.old.len(),
        took: begun.elapsed(),
    }
}

/// Tells a master to reload and finds out what came of it: what runs then, or that it refused and
/// what it says. Goes on for as long as the master does not tell, and for ever when it dies.
async fn tell(run: &RunPath, master_pid: u32) -> Result<Processes, Option<String>> {
    let socket = Path::new(run.master_socket());
    let before = poll::processes_when(socket, |processes| processes.master == master_pid).await;
    let handover = Handover::begin(run.worker_socket().as_ref()).await;
    // 2.6 hangs up without a word while it re-executes itself; 3.x answers once it has loaded.
    let answer = master::ask(socket, "reload", Duration::MAX)
        .await
        .unwrap_or_default();
    if let Some((_, detail)) = answer.split_once("Success=0") {
        return Err(Some(detail.trim_start_matches("\n--").trim().to_owned()));
    }
    let known: BTreeSet<u32> = before.all_workers().collect();
    tokio::select! {
        worker = handover.done(&known) => Ok(Processes {
            master: master_pid,
            workers: vec![worker],
            old: known.iter().copied().collect(),
            ..Processes::default()
        }),
        told = told_by_master(socket, &before, &known) => told,
    }
}

/// What came of a reload, as a master tells it once it is back.
async fn told_by_master(
    socket: &Path,
    before: &Processes,
    known: &BTreeSet<u32>,
) -> Result<Processes, Option<String>> {
    let is_new = |processes: &Processes| processes.workers.iter().any(|pid| !known.contains(pid));
    let after = poll::processes_when(socket, |processes| {
        processes.master == before.master && (processes.failed > before.failed || is_new(processes))
    })
    .await;
    if !is_new(&after) {
        return Err(None);
    }
    // The new worker serves, and for some milliseconds so does the old one.
    let stopping = async {
        let begun = Instant::now();
        for worker in known {
            while matches!(
                master::is_stopping(socket, *worker, DEFAULT_ASK_DEADLINE).await,
                Ok(false)
            ) {
                poll::pause(begun).await;
            }
        }
    };
    if timeout(STOPPING_LIMIT, stopping).await.is_err() {
        tracing::warn!("an old worker of HAProxy still accepts connections after a reload");
    }
    Ok(after)
}
