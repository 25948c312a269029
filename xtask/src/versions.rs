//! The tests of `proxy-haproxy` on newer HAProxys than the machine's.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::tools::{RELEASES, haproxy_of};
use crate::workspace::Workspace;

/// Measurements, and what depends on no release.
const LEFT_OUT: [&str; 2] = ["cost::", "differential::"];

/// Runs the real tests on each release.
#[expect(clippy::print_stdout, reason = "what a task finds is its output")]
pub(crate) fn versions(workspace: &Workspace) -> Result<ExitCode> {
    let mut failed = Vec::new();
    for (suite, release) in RELEASES {
        let haproxy = haproxy_of(workspace, suite, release)
            .with_context(|| format!("HAProxy {release} of Debian's {suite} is not to be had"))?;
        println!("haproxy: {haproxy}");
        let mut command = Command::new(env!("CARGO"));
        command
            .args([
                "test",
                "-p",
                "proxy-haproxy",
                "--all-features",
                "--test",
                "real",
                "--",
            ])
            .args(LEFT_OUT.iter().flat_map(|name| ["--skip", name]))
            .env("HAPROXY_BIN", &haproxy.path)
            .current_dir(workspace.root());
        let status = command.status().context("cannot run cargo")?;
        if !status.success() {
            failed.push(release);
        }
    }
    println!(
        "{}",
        match failed.as_slice() {
            [] => "every release passed".to_owned(),
            failed => format!("failed on HAProxy {}", failed.join(" and ")),
        }
    );
    Ok(match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
