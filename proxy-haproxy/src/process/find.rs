//! What runs already in a run path.

use std::{collections::BTreeMap, fs, io, path::Path};

use tokio::time::{Instant, sleep};

use super::{MasterProcess, ProcessSettings, settings::master_bind};
use crate::{
    master::{self, DEFAULT_ASK_DEADLINE, Processes},
    run_path::RunPath,
};

/// While a master re-executes itself its socket refuses connections, for as long as it reads its
/// configuration; a port in use makes that two seconds.
const RE_EXECUTION: std::time::Duration = std::time::Duration::from_secs(5);
const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

/// What runs already.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// A master that answers and was started as we would.
    pub(super) ours: Option<(MasterProcess, Processes)>,
    /// Other masters on the same socket: to be ended once one of ours serves.
    pub(super) others: Vec<MasterProcess>,
}

/// Masters of a run path, by their command lines.
pub(super) fn masters(run: &RunPath) -> Vec<MasterProcess> {
    let bind = master_bind(run);
    let pids = masters_on(&bind).into_keys();
    pids.filter_map(|pid| adopt(pid, &bind)).collect()
}

/// Looks for masters of this run path, by their socket and by their command lines.
pub(super) async fn find(settings: &ProcessSettings) -> Found {
    let mut found = Found::default();
    let arguments = settings.arguments();
    let socket = settings.master_socket();
    let bind = master_bind(settings.run());
    let masters = masters_on(&bind);
    let expected = masters.values().any(|line| line.ends_with(&arguments));
    let until = Instant::now() + RE_EXECUTION;
    let answer = loop {
        match master::processes(socket, DEFAULT_ASK_DEADLINE).await {
            Ok(processes) => break Some(processes),
            Err(_) if expected && Instant::now() < until => sleep(POLL_INTERVAL).await,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!(%error, "no master answers on the master socket");
                }
                break None;
            }
        }
    };
    if let Some(processes) = answer
        && let Some(process) = MasterProcess::adopt(processes.master)
        // Read after the process was taken hold of, so that it is about this process.
        && command_line(processes.master).is_some_and(|line| line.ends_with(&arguments))
    {
        found.ours = Some((process, processes));
    }
    let ours = found.ours.as_ref().and_then(|(process, _)| process.pid());
    let others = masters.into_keys().filter(|pid| Some(*pid) != ours);
    found.others = others.filter_map(|pid| adopt(pid, &bind)).collect();
    found
}

/// Takes hold of a process that was told to bind this master socket.
fn adopt(pid: u32, bind: &str) -> Option<MasterProcess> {
    let process = MasterProcess::adopt(pid)?;
    // Read after the process was taken hold of, so that it is about this process.
    command_line(pid)
        .is_some_and(|line| binds(&line, bind))
        .then_some(process)
}

/// Takes hold of a worker of a master; none where it is not one of its any more.
pub(super) fn worker_of(master: u32, pid: u32) -> Option<MasterProcess> {
    let process = MasterProcess::adopt(pid)?;
    // Read after the process was taken hold of, so that it is about this process.
    (parent(pid) == Some(master)).then_some(process)
}

/// Processes that were told to bind this master socket and whose parent was not. Those of a container within
/// this system are seen from here, with paths that mean other places.
fn masters_on(bind: &str) -> BTreeMap<u32, Vec<String>> {
    let mut all = BTreeMap::new();
    let own = namespaces("self");
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && let Some(line) = command_line(pid).filter(|line| binds(line, bind))
            && namespaces(&pid.to_string()) == own
        {
            all.insert(pid, line);
        }
    }
    let workers: Vec<u32> = all
        .keys()
        .copied()
        .filter(|pid| parent(*pid).is_some_and(|parent| all.contains_key(&parent)))
        .collect();
    all.retain(|pid, _| !workers.contains(pid));
    all
}

/// In how many namespaces of processes a process has a number: more for one in a container than for those
/// outside. None where the kernel does not say.
fn namespaces(process: &str) -> Option<usize> {
    let status = fs::read_to_string(Path::new("/proc").join(process).join("status")).ok()?;
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(numbers.split_whitespace().count())
}

fn binds(command_line: &[String], bind: &str) -> bool {
    let pairs = command_line.iter().zip(command_line.iter().skip(1));
    command_line.iter().any(|word| word == "-W")
        && pairs
            .into_iter()
            .any(|(flag, value)| flag == "-S" && value == bind)
}

fn command_line(pid: u32) -> Option<Vec<String>> {
    let bytes = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.split_terminator('\0').map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_is_known_by_its_socket() {
        let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let bind = "/r/haproxy-master.sock,mode,600";
        assert!(binds(
            &line(&format!("haproxy -W -db -S {bind} -f /c")),
            bind
        ));
        assert!(binds(
            &line(&format!("haproxy -sf 7 -x s -W -db -S {bind} -f /c")),
            bind
        ));
        assert!(!binds(
            &line(&format!("haproxy -W -S /x{bind} -f /c")),
            bind
        ));
        assert!(!binds(&line(&format!("tail -f {bind}")), bind));
    }

    #[test]
    fn this_process_has_a_command_line_and_a_parent() {
        let own = std::process::id();
        assert!(!command_line(own).unwrap().is_empty());
        assert!(parent(own).is_some());
        assert_eq!(namespaces(&own.to_string()), namespaces("self"));
        assert_eq!(namespaces("0"), None);
    }
}
