//! The programs that the tests and `up` run: HAProxy and a real Consul, found
//! on the machine or installed from its own package mirror.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::apt::Suite;
use crate::workspace::Workspace;

mod apt;
mod docker;
mod python;
mod releases;

pub(crate) use self::apt::is_root;
pub(crate) use self::docker::{bootstrap, docker_clients, engine};
pub(crate) use self::python::schemathesis;
pub(crate) use self::releases::{RELEASES, haproxy_of};

/// Where package managers put HAProxy although it is not on every `PATH`.
const SBIN: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// The package with a Consul that may be redistributed: later versions left Debian.
const CONSUL_SUITE: &str = "bullseye";

/// A program that is there and answered to its version flag.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    source: Source,
}

/// How a tool came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Named,
    Found,
    Installed,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Named => "named by the environment",
            Source::Found => "found",
            Source::Installed => "installed",
        };
        write!(f, "{} ({}, {source})", self.version, self.path.display())
    }
}

/// Both programs.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) haproxy: Tool,
    pub(crate) consul: Tool,
}

impl Tools {
    /// Finds both, or installs what is missing.
    ///
    /// # Errors
    /// When one is neither there nor can be installed; the text says what to do.
    pub(crate) fn get(workspace: &Workspace) -> Result<Self> {
        Ok(Self {
            haproxy: haproxy(workspace)?,
            consul: consul(workspace)?,
        })
    }
}

/// HAProxy: `$HAPROXY_BIN`, `PATH`, the `sbin` folders, else the machine's package.
pub(crate) fn haproxy(workspace: &Workspace) -> Result<Tool> {
    if let Some(tool) = named("HAPROXY_BIN", "-v")? {
        return Ok(tool);
    }
    let unpacked = workspace.tools().join("haproxy");
    let mut places = on_path("haproxy");
    places.extend(SBIN.iter().map(|dir| Path::new(dir).join("haproxy")));
    places.push(unpacked.join("usr/sbin/haproxy"));
    if let Some(tool) = first_that_runs(&places, "-v", Source::Found) {
        return Ok(tool);
    }
    say("haproxy is not installed: installing the machine's package");
    install_haproxy(workspace, &unpacked).context(
        "haproxy is missing and could not be installed: install it (on Debian `apt-get install haproxy`, as root) \
         or name a binary of version 2.6 or later in HAPROXY_BIN, then run this again",
    )
}

fn install_haproxy(workspace: &Workspace, unpacked: &Path) -> Result<Tool> {
    let target = if apt::is_root()? {
        apt::install("haproxy")?;
        Path::new(SBIN[0]).join("haproxy")
    } else {
        let package = apt::download("haproxy", &[Suite::Own], &workspace.tools().join("apt"))?;
        apt::unpack(&package, unpacked)?;
        unpacked.join("usr/sbin/haproxy")
    };
    probe(&target, "-v", Source::Installed)
}

/// A real Consul: `$CONSUL_BIN`, `PATH`, what an earlier run unpacked, else
/// Debian's package, unpacked below `target/tools` and installed nowhere.
pub(crate) fn consul(workspace: &Workspace) -> Result<Tool> {
    if let Some(tool) = named("CONSUL_BIN", "version")? {
        return Ok(tool);
    }
    let unpacked = workspace.tools().join("consul");
    let binary = unpacked.join("usr/bin/consul");
    let mut places = on_path("consul");
    places.push(binary.clone());
    if let Some(tool) = first_that_runs(&places, "version", Source::Found) {
        return Ok(tool);
    }
    say("consul is not installed: unpacking Debian's package below target/tools");
    fetch_consul(workspace, &unpacked)
        .and_then(|()| probe(&binary, "version", Source::Installed))
        .context(
            "a real Consul is missing and could not be fetched: put a `consul` binary of version 1.8 or later on PATH \
             or name it in CONSUL_BIN, then run this again",
        )
}

/// The load generator of `bench`. There is another way without it.
pub(crate) fn wrk() -> Option<Tool> {
    machines_own("wrk", "wrk")
}

/// What boots a Debian in a folder.
pub(crate) fn nspawn() -> Option<Tool> {
    machines_own("systemd-nspawn", "systemd-container")
}

/// A program that one can do without: from `PATH`, else of the machine's package where we may install.
fn machines_own(program: &str, package: &str) -> Option<Tool> {
    // Some know no flag that ends well, so that it is there must do.
    let found = || on_path(program).into_iter().find(|place| place.is_file());
    let tool = |path, source| Tool {
        path,
        version: program.to_owned(),
        source,
    };
    if let Some(path) = found() {
        return Some(tool(path, Source::Found));
    }
    if !apt::is_root().unwrap_or(false) || apt::install(package).is_err() {
        return None;
    }
    Some(tool(found()?, Source::Installed))
}

fn fetch_consul(workspace: &Workspace, unpacked: &Path) -> Result<()> {
    let scratch = workspace.tools().join("apt");
    let package = apt::download("consul", &[Suite::Named(CONSUL_SUITE)], &scratch)?;
    apt::unpack(&package, unpacked)
}

/// The tool that an environment variable names. One that is named and does not
/// run is an error: to look further would hide the mistake.
fn named(variable: &str, version_flag: &str) -> Result<Option<Tool>> {
    match std::env::var_os(variable) {
        Some(value) if !value.is_empty() => {
            let tool = probe(Path::new(&value), version_flag, Source::Named)
                .with_context(|| format!("{variable} names a program that does not run"))?;
            Ok(Some(tool))
        }
        _ => Ok(None),
    }
}

fn on_path(name: &str) -> Vec<PathBuf> {
    std::env::var_os("PATH").map_or_else(Vec::new, |path| {
        std::env::split_paths(&path)
            .map(|dir| dir.join(name))
            .collect()
    })
}

fn first_that_runs(places: &[PathBuf], version_flag: &str, source: Source) -> Option<Tool> {
    places
        .iter()
        .filter(|place| place.is_file())
        .find_map(|place| probe(place, version_flag, source).ok())
}

/// Runs the program's version flag: a file that is there may still be for
/// another machine or miss a library.
fn probe(path: &Path, version_flag: &str, source: Source) -> Result<Tool> {
    let output = Command::new(path)
        .arg(version_flag)
        .output()
        .with_context(|| format!("cannot run {}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim();
    if !output.status.success() || line.is_empty() {
        bail!(
            "{} {version_flag} ended with {}: {}",
            path.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(Tool {
        path: path.to_path_buf(),
        version: line.to_owned(),
        source,
    })
}

/// Progress goes to standard error: standard output is for results.
fn say(text: &str) {
    eprintln!("xtask: {text}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(dir: &Path, name: &str, body: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_program_that_fails_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let broken = script(dir.path(), "broken", "exit 3");
        let good = script(dir.path(), "good", "echo 'Tool version 7'");
        let absent = dir.path().join("absent");

        let tool = first_that_runs(&[absent, broken, good.clone()], "-v", Source::Found).unwrap();

        assert_eq!(tool.path, good);
        assert_eq!(tool.version, "Tool version 7");
    }

    #[test]
    fn what_went_wrong_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let broken = script(dir.path(), "broken", "echo 'no libfoo' >&2; exit 127");

        let error = probe(&broken, "-v", Source::Named).unwrap_err().to_string();

        assert!(error.contains("no libfoo"), "{error}");
        assert!(error.contains("127"), "{error}");
    }
}
