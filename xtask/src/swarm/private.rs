//! A Docker Engine of our own below `target/`: started, ended by its process id, removed without a trace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::docker::Docker;
use super::host::Host;
use super::say;
use crate::workspace::Workspace;

/// How long an engine may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long it may take to end: it ends every container, each with a grace of 10 s, at once.
const END_DEADLINE: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(100);

/// A socket's path has at most 108 bytes.
const MAX_SOCKET: usize = 100;

/// The engine that we started.
pub(super) struct Private {
    folder: PathBuf,
    child: Child,
    docker: Docker,
    host: Host,
}

// === impl Private ===

impl Private {
    pub(super) async fn start(
        workspace: &Workspace,
        dockerd: &Path,
        client: &Path,
    ) -> Result<Self> {
        let folder = workspace.root().join("target").join("swarm");
        end_earlier(&folder).await?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut socket = folder.join("docker.sock");
        if socket.as_os_str().len() > MAX_SOCKET {
            socket = std::env::temp_dir().join(format!("xtask-swarm-{}.sock", std::process::id()));
        }
        let host = Host::now().await?;
        host.keep(&host_file(&folder))?;
        let log = File::create(folder.join("dockerd.log"))?;
        let child = Command::new(dockerd)
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(pid_file(&folder))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for us: we end it in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", dockerd.display()))?;
        let mut private = Self {
            folder,
            child,
            docker: Docker::new(client.to_path_buf(), socket),
            host,
        };
        match private.until_it_answers().await {
            Ok(()) => Ok(private),
            Err(error) => {
                let words = private.last_words();
                if let Err(end) = private.end().await {
                    say(&format!("{end:#}"));
                }
                Err(error.context(format!(
                    "the engine does not start; its log ends with:\n{words}"
                )))
            }
        }
    }

    async fn until_it_answers(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.docker.holds(&["version"]).await {
            if let Some(status) = self.child.try_wait()? {
                bail!("dockerd ended with {status}");
            }
            if start.elapsed() > START_DEADLINE {
                bail!(
                    "dockerd does not answer after {} s",
                    START_DEADLINE.as_secs()
                );
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Ends the engine and removes all that it made.
    pub(super) async fn end(mut self) -> Result<()> {
        if let Some(id) = self.child.id() {
            let _gone = kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM);
        }
        if timeout(END_DEADLINE, self.child.wait()).await.is_err() {
            say("the engine does not end: it is killed");
            self.child.kill().await?;
        }
        let _gone = fs::remove_file(self.docker.socket());
        remove(&self.folder).await?;
        self.host.restore().await
    }

    fn last_words(&self) -> String {
        const SHOWN: usize = 10;
        let text = fs::read(self.folder.join("dockerd.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(SHOWN);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("dockerd.pid")
}

fn host_file(folder: &Path) -> PathBuf {
    folder.join("host.json")
}

/// An earlier run that was killed leaves an engine behind. It is known by its folder on its command line.
async fn end_earlier(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let id = fs::read_to_string(pid_file(folder)).unwrap_or_default();
    if let Ok(id) = id.trim().parse::<i32>() {
        let line = || fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let ours = |line: Vec<u8>| {
            let mark = folder.join("data").display().to_string();
            String::from_utf8_lossy(&line)
                .split('\0')
                .any(|word| word == mark)
        };
        if ours(line()) {
            say(&format!(
                "ending the engine of an earlier run (process {id})"
            ));
            kill(Pid::from_raw(id), Signal::SIGTERM)?;
            let start = Instant::now();
            while ours(line()) {
                if start.elapsed() > END_DEADLINE {
                    kill(Pid::from_raw(id), Signal::SIGKILL)?;
                    break;
                }
                sleep(LOOK).await;
            }
        }
    }
    let host = Host::kept(&host_file(folder));
    remove(folder).await?;
    match host {
        Some(host) => host.restore().await,
        None => Ok(()),
    }
}

/// Unmounts what is left below a folder, deepest first, and removes it.
async fn remove(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts_below(&mounts, &folder.display().to_string()) {
        let unmount = Command::new("umount").arg("--lazy").arg(&mount).output();
        timeout(END_DEADLINE, unmount)
            .await
            .with_context(|| format!("{mount} could not be unmounted in time"))??;
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn mounts_below(mounts: &str, folder: &str) -> Vec<String> {
    let below = format!("{folder}/");
    let mut found: Vec<_> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|place| place.starts_with(&below))
        .map(str::to_owned)
        .collect();
    found.sort_by_key(|place| std::cmp::Reverse(place.len()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_taken_away_deepest_first_and_no_others() {
        let mounts = "overlay /t/swarm/data rw 0 0\nnsfs /t/swarm/data/netns/a rw 0 0\next4 /t/swarmer rw 0 0\n";
        assert_eq!(
            mounts_below(mounts, "/t/swarm"),
            ["/t/swarm/data/netns/a", "/t/swarm/data"]
        );
    }

    #[tokio::test]
    async fn what_an_earlier_run_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("swarm");
        fs::create_dir_all(left.join("data/x")).unwrap();
        // A process of another command line, which is none of ours.
        fs::write(pid_file(&left), std::process::id().to_string()).unwrap();
        end_earlier(&left).await.unwrap();
        assert!(!left.exists());
    }
}
