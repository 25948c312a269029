//! Starts a master and waits until it serves.

use std::{path::Path, process::Stdio};

use tokio::{process::Child, time::Instant};

use super::{MasterProcess, ProcessSettings, StartError, poll};
use crate::master::{self, DEFAULT_ASK_DEADLINE, Processes};

/// What HAProxy leaves in its own environment when it re-executes itself. Found in ours (we may run
/// below a HAProxy ourselves), it would take the new one for a reload.
const RE_EXECUTION_VARIABLES: [&str; 4] = [
    "HAPROXY_MWORKER_REEXEC",
    "HAPROXY_MWORKER_WAIT_ONLY",
    "HAPROXY_PROCESSES",
    "HAPROXY_LOAD_SUCCESS",
];

/// A child that does not serve yet; dropped, it is ended.
struct Launching(Option<Child>);

impl Drop for Launching {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.start_kill();
        }
    }
}

/// Whether a worker answers. Since 3.1 one is listed before it has read its configuration.
async fn serves(settings: &ProcessSettings, processes: &Processes) -> bool {
    let Some(worker) = processes.workers.last() else {
        return false;
    };
    let asked = master::is_stopping(settings.master_socket(), *worker, DEFAULT_ASK_DEADLINE).await;
    asked.is_ok_and(|stopping| !stopping)
}

/// Starts a master. It takes the listening sockets of `others` over and tells them to finish.
pub(super) async fn launch(
    settings: &ProcessSettings,
    others: &[MasterProcess],
) -> Result<(MasterProcess, Processes), StartError> {
    let mut command = settings.program().command();
    let others: Vec<String> = others
        .iter()
        .filter_map(|other| Some(other.pid()?.to_string()))
        .collect();
    if !others.is_empty() {
        // Without it they are asked for nothing, and both bind the ports until the others finish.
        if Path::new(settings.run().worker_socket()).exists() {
            command.arg("-x").arg(settings.run().worker_socket());
        }
        command.arg("-sf").args(others);
    }
    command
        .args(settings.arguments())
        .stdin(Stdio::null())
        // Standard output and error are ours: a pipe would break when we die and HAProxy does not.
        // A process group of its own: the terminal's Ctrl-C is for us.
        .process_group(0);
    for variable in RE_EXECUTION_VARIABLES {
        command.env_remove(variable);
    }
    let child = command.spawn().map_err(|source| StartError::Spawn {
        binary: settings.program().binary().to_path_buf(),
        source,
    })?;
    let pid = child.id();
    let mut launching = Launching(Some(child));
    let begun = Instant::now();
    loop {
        if let Some(child) = &mut launching.0
            && let Ok(Some(status)) = child.try_wait()
        {
            launching.0 = None;
            return Err(StartError::Exited { status });
        }
        // The socket may still be another master's.
        if let Ok(processes) =
            master::processes(settings.master_socket(), DEFAULT_ASK_DEADLINE).await
            && Some(processes.master) == pid
            && serves(settings, &processes).await
            && let Some(child) = launching.0.take()
        {
            return Ok((MasterProcess::Child(Box::new(child)), processes));
        }
        if begun.elapsed() >= settings.start_deadline() {
            if let Some(mut child) = launching.0.take() {
                let _ = child.kill().await;
            }
            return Err(StartError::NotReady {
                waited: settings.start_deadline(),
            });
        }
        poll::pause(begun).await;
    }
}
