//! The Docker client as a program, each call with a deadline.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// How long the engine may take for what it only looks up or notes. Busy machines are slow.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// A client that reaches an engine on this machine.
#[derive(Debug, Clone)]
pub(super) struct Docker {
    program: PathBuf,
    socket: PathBuf,
}

impl Docker {
    pub(super) fn new(program: PathBuf, socket: PathBuf) -> Self {
        Self { program, socket }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What a call says, within [`CALL_DEADLINE`].
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_within(CALL_DEADLINE, arguments).await
    }

    /// What a call says.
    pub(super) async fn run_within(&self, limit: Duration, arguments: &[&str]) -> Result<String> {
        let output = self.output(limit, arguments).await?;
        said(&output).with_context(|| format!("`docker {}` failed", arguments.join(" ")))
    }

    /// What a call says that reads names and numbers from its environment.
    pub(super) async fn run_with(
        &self,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Result<String> {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        let output = ended(command, CALL_DEADLINE, arguments).await?;
        said(&output).with_context(|| format!("`docker {}` failed", arguments.join(" ")))
    }

    async fn output(&self, limit: Duration, arguments: &[&str]) -> Result<Output> {
        ended(self.command(arguments), limit, arguments).await
    }

    /// What a call says on both of its outputs, errors last: a container's log keeps them apart.
    pub(super) async fn both(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(CALL_DEADLINE, arguments).await?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let text =
            said(&output).with_context(|| format!("`docker {}` failed", arguments.join(" ")))?;
        Ok(text + &errors)
    }

    /// What a call says, as JSON.
    pub(super) async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(arguments).await?;
        serde_json::from_str(&text)
            .with_context(|| format!("`docker {}` said no JSON", arguments.join(" ")))
    }

    /// Whether a call ends well.
    pub(super) async fn holds(&self, arguments: &[&str]) -> bool {
        self.run(arguments).await.is_ok()
    }

    /// The words of a call that lists, one per line or blank.
    pub(super) async fn words(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let text = self.run(arguments).await?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("-H")
            .arg(format!("unix://{}", self.socket.display()))
            .args(arguments)
            // Whatever else the caller's environment says of an engine is not for this one.
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            // The classic builder: the other is a plugin that Debian does not ship.
            .env("DOCKER_BUILDKIT", "0")
            .kill_on_drop(true);
        command
    }
}

async fn ended(mut command: Command, limit: Duration, arguments: &[&str]) -> Result<Output> {
    command.stdin(Stdio::null());
    match timeout(limit, command.output()).await {
        Ok(output) => output.context("the Docker client cannot be run"),
        Err(_) => bail!(
            "`docker {}` did not end within {} s and was killed",
            arguments.join(" "),
            limit.as_secs()
        ),
    }
}

fn said(output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let words = if errors.trim().is_empty() {
        String::from_utf8_lossy(&output.stdout)
    } else {
        errors
    };
    bail!("{}: {}", output.status, last_lines(&words));
}

/// A build says much before it says what went wrong.
fn last_lines(text: &str) -> String {
    const SHOWN: usize = 15;
    let lines: Vec<_> = text.trim().lines().collect();
    let from = lines.len().saturating_sub(SHOWN);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn client(folder: &Path, body: &str) -> Docker {
        let program = folder.join("docker");
        std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Docker::new(program, "/s".into())
    }

    #[tokio::test]
    async fn a_call_that_fails_says_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let docker = client(folder.path(), "echo 'no such service' >&2; exit 3");
        let error = format!("{:#}", docker.run(&["service", "ps"]).await.unwrap_err());
        assert!(error.contains("`docker service ps`"), "{error}");
        assert!(error.contains("no such service"), "{error}");
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let docker = client(folder.path(), "exec sleep 60");
        let limit = Duration::from_millis(200);
        let error = docker.run_within(limit, &["ps"]).await.unwrap_err();
        assert!(error.to_string().contains("was killed"), "{error:#}");
    }

    #[tokio::test]
    async fn it_asks_the_engine_that_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let docker = client(folder.path(), "echo \"$@\"");
        let words = docker.words(&["ps", "-q"]).await.unwrap();
        assert_eq!(words, ["-H", "unix:///s", "ps", "-q"]);
    }
}
