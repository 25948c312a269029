//! Where things lie: the workspace's root and the folders the tasks write to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace, as every task sees it.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
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
}
