//! Where things lie, and what cargo knows of the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The libraries that are published, in the order in which they depend on each other.
pub(crate) const LIBRARIES: [&str; 4] =
    ["proxy-core", "proxy-consul", "proxy-haproxy", "proxy-peers"];

/// The workspace, as every task sees it.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

/// How a program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    /// As it is deployed: what is measured.
    Release,
}

impl Workspace {
    /// Finds the workspace that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .with_context(|| format!("{} has no parent folder", manifest.display()))?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for programs that we had to fetch. It does not follow
    /// `CARGO_TARGET_DIR`, since the tests look for a Consul below it.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target").join("tools")
    }

    /// The folder of what is built.
    pub(crate) fn target(&self) -> Result<PathBuf> {
        let metadata = self.metadata()?;
        let target = metadata.get("target_directory").and_then(Value::as_str);
        target
            .map(PathBuf::from)
            .context("cargo metadata names no target directory")
    }

    /// The cargo that runs us.
    pub(crate) fn cargo(&self) -> Command {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        // Set for us by `cargo run`; to our children it would be a lie.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// What `cargo metadata` says, with the dependencies of dependencies.
    pub(crate) fn metadata(&self) -> Result<Value> {
        let output = self
            .cargo()
            .args(["metadata", "--format-version=1", "--all-features"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata ended with {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("cargo metadata answered no JSON")
    }

    /// The server to break or to measure: the one that `PROXY_SERVER_BIN` names, else this tree's.
    pub(crate) fn server(&self, profile: Profile) -> Result<PathBuf> {
        match std::env::var_os("PROXY_SERVER_BIN") {
            Some(server) => Ok(PathBuf::from(server)),
            None => self.build("proxy-server", profile),
        }
    }

    /// Builds a package's program and says where it is.
    pub(crate) fn build(&self, package: &str, profile: Profile) -> Result<PathBuf> {
        self.build_all(&[package], profile)?
            .pop()
            .with_context(|| format!("cargo build -p {package} made no program"))
    }

    /// Builds packages in one go, so that they share what they depend on, and says where their programs are.
    pub(crate) fn build_all(&self, packages: &[&str], profile: Profile) -> Result<Vec<PathBuf>> {
        let profile = match profile {
            Profile::Dev => "dev",
            Profile::Release => "release",
        };
        let output = self
            .cargo()
            .args([
                "build",
                "--message-format=json-render-diagnostics",
                "--profile",
                profile,
            ])
            .args(packages.iter().flat_map(|package| ["-p", package]))
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo build")?;
        if !output.status.success() {
            bail!(
                "cargo build of {} ended with {}",
                packages.join(", "),
                output.status
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
            .collect())
    }
}
