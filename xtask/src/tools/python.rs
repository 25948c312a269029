//! What `api` needs: schemathesis, in a virtual environment of its own below `target/tools`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{apt, on_path, say};
use crate::workspace::Workspace;

/// The package and all that it needs, each in one version: the same calls every time.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// Debian's package of what makes virtual environments.
const VENV: &str = "python3-venv";

/// The program, installed where it is missing.
///
/// # Errors
/// When this machine can have none, and why.
pub(crate) fn schemathesis(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.tools().join("schemathesis");
    let program = folder.join("bin/schemathesis");
    let installed = folder.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == REQUIREMENTS)
        && program.is_file()
    {
        return Ok(program);
    }
    say("schemathesis is not installed: installing it below target/tools");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    if let Err(why) = environment(&folder) {
        if !apt::is_root()? {
            bail!(
                "python3 with its module venv is missing ({why:#}), and only root may install {VENV}"
            );
        }
        apt::install(VENV)?;
        environment(&folder)?;
    }
    let list = folder.join("requirements.txt");
    std::fs::write(&list, REQUIREMENTS)
        .with_context(|| format!("cannot write {}", list.display()))?;
    let mut install = Command::new(folder.join("bin/pip"));
    install
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(&list);
    run(&mut install).context("schemathesis could not be installed")?;
    std::fs::write(&installed, REQUIREMENTS)
        .with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(program)
}

fn environment(folder: &std::path::Path) -> Result<()> {
    let python = on_path("python3").into_iter().find(|place| place.is_file());
    let python = python.context("python3 is not on PATH")?;
    run(Command::new(python).args(["-m", "venv"]).arg(folder))
}

fn run(command: &mut Command) -> Result<()> {
    let name = format!("{:?}", command.get_program());
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let [words, more] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        bail!(
            "{name} ended with {}: {}{}",
            output.status,
            words.trim(),
            more.trim()
        );
    }
    Ok(())
}
