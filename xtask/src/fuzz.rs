//! `cargo xtask fuzz`: bytes at random into whatever reads something from outside, for whoever changed a
//! parser, and before a release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::suite::child::{self, Ended};
use crate::workspace::Workspace;

/// What may be needed beyond the time that is asked for: the build, and the reading of the corpus.
const BUILD: Duration = Duration::from_secs(30 * 60);
/// Longer inputs find nothing that shorter ones do not.
const LONGEST_INPUT: &str = "-max_len=4096";
/// An input that takes this many seconds is a finding.
const SLOWEST_INPUT: &str = "-timeout=10";
/// More memory in MiB is a finding.
const MOST_MEMORY: &str = "-rss_limit_mb=2048";

/// How long, and what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For how long each target runs.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Only these targets, instead of all in `fuzz/fuzz_targets`.
    targets: Vec<String>,
}

/// Runs each target until its time is up or it finds something.
#[expect(clippy::print_stdout, reason = "what a task finds is its output")]
pub(crate) async fn fuzz(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let program = program(workspace)?;
    let folder = workspace.root().join("fuzz");
    let work = workspace.target()?.join("fuzz");
    let all = targets(&folder)?;
    let unknown = options.targets.iter().find(|name| !all.contains(name));
    if let Some(name) = unknown {
        bail!("there is no target {name}; there are: {}", all.join(", "));
    }
    let wanted = if options.targets.is_empty() {
        &all
    } else {
        &options.targets
    };
    let length = Duration::from_secs(options.minutes.saturating_mul(60));
    let mut found = Vec::new();
    for target in wanted {
        println!("{target}: {} minutes", options.minutes);
        let corpus = work.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let command = command(&program, &folder, &work, target, length);
        match child::run(command, length + BUILD).await? {
            Ended::Well => println!("{target}: nothing found"),
            Ended::Interrupted => return Ok(ExitCode::FAILURE),
            Ended::Badly(_) | Ended::OutOfTime => found.push(target.as_str()),
        }
    }
    if found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "found something: {}; the inputs are in {}; put the smallest into fuzz/corpus with its repair",
        found.join(", "),
        folder.join("artifacts").display()
    );
    Ok(ExitCode::FAILURE)
}

fn command(program: &Path, folder: &Path, work: &Path, target: &str, length: Duration) -> Command {
    let mut command = Command::new(program);
    command
        // There is no unsafe code for an address sanitizer to look at.
        .args(["run", "--sanitizer", "none", "--fuzz-dir"])
        .arg(folder)
        .arg("--target-dir")
        .arg(work.join("build"))
        .arg(target)
        // What is new goes into the first; the corpus that is kept is only read.
        .arg(work.join("corpus").join(target))
        .arg(folder.join("corpus").join(target))
        .arg("--")
        .arg(format!("-max_total_time={}", length.as_secs()))
        .args([
            LONGEST_INPUT,
            SLOWEST_INPUT,
            MOST_MEMORY,
            "-print_final_stats=1",
        ])
        // Coverage counters want flags that only a nightly compiler takes, or this one when told so.
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(folder);
    command
}

/// The names of the targets, in order.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let entries = fs::read_dir(&folder);
    let entries = entries.with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// cargo-fuzz, installed below the target folder where it is missing.
fn program(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.tools().join("cargo-fuzz");
    let program = root.join("bin/cargo-fuzz");
    if !program.is_file() {
        let mut install = workspace.cargo();
        install
            .args(["install", "cargo-fuzz", "--locked", "--root"])
            .arg(&root);
        let status = install.status().context("cannot run cargo install")?;
        if !status.success() {
            bail!("cargo-fuzz could not be installed: {status}");
        }
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_a_corpus() {
        let folder = Workspace::find().unwrap().root().join("fuzz");
        let targets = targets(&folder).unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            let corpus = fs::read_dir(folder.join("corpus").join(&target));
            assert!(
                corpus.is_ok_and(|mut files| files.next().is_some()),
                "{target}"
            );
        }
    }
}
