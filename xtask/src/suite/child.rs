//! One child process with a time limit, ended with all that it started.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

/// What a child has to end in when it is asked to; then it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Badly(ExitStatus),
    OutOfTime,
    Interrupted,
}

/// Runs a command in a process group of its own, so that what it started can be
/// ended with it: a test that hangs has children too.
pub(crate) async fn run(mut command: Command, limit: Duration) -> Result<Ended> {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let name = format!("{:?}", command.get_program());
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let ended = tokio::select! {
        status = child.wait() => {
            let status = status.with_context(|| format!("cannot wait for {name}"))?;
            return Ok(if status.success() { Ended::Well } else { Ended::Badly(status) });
        }
        () = sleep(limit) => Ended::OutOfTime,
        _ = interrupt.recv() => Ended::Interrupted,
        _ = terminate.recv() => Ended::Interrupted,
    };
    end(&mut child).await;
    Ok(ended)
}

async fn end(child: &mut Child) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw);
    let Some(group) = group else {
        return;
    };
    // Each call fails only where the group is gone already.
    let _gone = killpg(group, Signal::SIGTERM);
    if timeout(GRACE, child.wait()).await.is_err() {
        let _gone = killpg(group, Signal::SIGKILL);
        let _ended = child.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn the_end_is_told_apart() {
        let limit = Duration::from_secs(20);
        assert_eq!(run(shell("exit 0"), limit).await.unwrap(), Ended::Well);
        let badly = run(shell("exit 7"), limit).await.unwrap();
        assert!(matches!(badly, Ended::Badly(status) if status.code() == Some(7)));
        assert!(run(Command::new("/no/such/program"), limit).await.is_err());
    }

    #[tokio::test]
    async fn what_hangs_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("grandchild");
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        let start = Instant::now();

        let ended = run(shell(&script), Duration::from_millis(500))
            .await
            .unwrap();

        assert_eq!(ended, Ended::OutOfTime);
        assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
        let grandchild: i32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let gone = async {
            // A zombie that init has not reaped yet still has an id, and no command line.
            let line = format!("/proc/{grandchild}/cmdline");
            while std::fs::read(&line).is_ok_and(|line| !line.is_empty()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(GRACE, gone).await.expect("the grandchild lives on");
    }
}
