//! What is there before and after: processes, open files, listening sockets, mounts, folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use testkit::haproxy::processes_of;
use tokio::time::{Instant, sleep};

use super::stage::Stage;

/// How long the system may take to take back what was closed.
const SETTLE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// The state of a listening socket in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// What this process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// The command lines of all that it started and that runs.
    processes: Vec<String>,
    /// How many files it has open, sockets too.
    files: usize,
}

// === impl Held ===

impl Held {
    pub(super) fn now() -> Self {
        let own = std::process::id();
        let parents: BTreeMap<u32, u32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
                let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
                Some((pid, parent.parse().ok()?))
            })
            .collect();
        let mut ours = BTreeSet::from([own]);
        loop {
            let more: Vec<_> = parents
                .iter()
                .filter(|(pid, parent)| ours.contains(parent) && !ours.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                break;
            }
            ours.extend(more);
        }
        ours.remove(&own);
        let line = |pid: u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ")
        };
        Self {
            processes: ours.into_iter().map(line).collect(),
            files: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }
}

/// Asks every replica to end, ends the rest, and says what is left of it, beside what was there
/// before.
pub(super) async fn end(mut stage: Stage, before: &Held) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for (number, replica) in stage.topology.replicas.iter_mut().enumerate() {
        let here = |what: String| format!("replica {}, asked to end: {what}", number + 1);
        match replica.terminate().await {
            Ok(status) if status.success() => {}
            Ok(status) => left.push(here(status.to_string())),
            Err(why) => left.push(here(why.to_string())),
        }
        let processes = processes_in(replica.home());
        if !processes.is_empty() {
            left.push(here(format!("it left processes: {processes:?}")));
        }
        let sockets = named(&replica.home().join("run"), |name| name.ends_with(".sock"));
        if !sockets.is_empty() {
            left.push(here(format!("it left sockets: {sockets:?}")));
        }
    }
    let homes: Vec<PathBuf> = stage
        .topology
        .replicas
        .iter()
        .map(|r| r.home().to_owned())
        .collect();
    let hosts: Vec<IpAddr> = stage
        .topology
        .replicas
        .iter()
        .map(|r| r.api().ip())
        .collect();
    let hosts: Vec<IpAddr> = hosts.into_iter().chain(stage.peer_hosts()).collect();
    drop(stage);
    let end = Instant::now() + SETTLE;
    loop {
        let mut still = Vec::new();
        for home in &homes {
            if home.exists() {
                still.push(format!("the folder {}", home.display()));
            }
            if is_mounted(home) {
                still.push(format!("a mount below {}", home.display()));
            }
            let processes = processes_in(home);
            if !processes.is_empty() {
                still.push(format!("processes of {}: {processes:?}", home.display()));
            }
        }
        still.extend(listening(&hosts).map(|at| format!("a socket that listens on {at}")));
        let now = Held::now();
        if now != *before {
            still.push(format!("before: {before:?}; after: {now:?}"));
        }
        if still.is_empty() || Instant::now() > end {
            left.extend(still.into_iter().map(|what| format!("left behind: {what}")));
            return Ok(left);
        }
        sleep(LOOK).await;
    }
}

/// Processes that name a folder or were started in it. A replica is, and what it starts with it,
/// whoever is their parent by now.
fn processes_in(folder: &Path) -> BTreeSet<u32> {
    let named = processes_of(folder).into_iter().map(|it| it.pid);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let within = entries.filter_map(|entry| {
        // Of a folder that is gone it says so behind the name; a zombie has none.
        let at = fs::read_link(entry.path().join("cwd")).ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        at.starts_with(folder).then_some(pid).or_else(|| {
            let gone = format!("{} (deleted)", folder.display());
            (at.as_os_str() == gone.as_str()).then_some(pid)
        })
    });
    named.chain(within).collect()
}

fn named(folder: &Path, which: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| which(name)).collect()
}

fn is_mounted(folder: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.contains(&folder.display().to_string())
}

/// Which of these addresses somebody listens on.
fn listening(hosts: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let found: BTreeSet<IpAddr> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (address, _) = fields.next()?.split_once(':')?;
            let listens = fields.nth(1)? == LISTENS;
            let bits = u32::from_str_radix(address, 16).ok()?;
            let host = IpAddr::V4(Ipv4Addr::from(bits.to_le_bytes()));
            (listens && hosts.contains(&host)).then_some(host)
        })
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_known_by_where_it_was_started() {
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            Command::new("sleep")
                .arg("61.8")
                .current_dir(folder.path())
                .spawn()
        };
        let mut child = start().unwrap();
        let path = folder.path().to_owned();
        let there = processes_in(&path);
        folder.close().unwrap();
        let gone = processes_in(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(there, BTreeSet::from([child.id()]));
        assert_eq!(gone, there);
        assert_eq!(processes_in(&path), BTreeSet::new());
    }

    #[test]
    fn what_is_held_is_seen() {
        let host = Ipv4Addr::new(127, 80, 1, 1);
        let at = |hosts: &[IpAddr]| listening(hosts).count();
        assert_eq!(at(&[host.into()]), 0);
        let _listener = TcpListener::bind((host, 0)).unwrap();
        assert_eq!(at(&[host.into()]), 1);

        let before = Held::now().processes;
        let mut child = Command::new("sleep")
            .arg("61.7")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let during = Held::now().processes;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            during.iter().any(|line| line.contains("61.7")),
            "{during:?}"
        );
        assert!(
            !before.iter().any(|line| line.contains("61.7")),
            "{before:?}"
        );
    }
}
