//! A small disk of its own for a folder, which can be filled.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The file that fills it.
const FILL: &str = ".full";
const CHUNK: usize = 64 * 1024;

/// A tmpfs that is mounted on a folder. Dropping it unmounts it, also while it is in use.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

// === impl Disk ===

impl Disk {
    /// Mounts one of some size. Needs root.
    pub(super) fn mount(folder: &Path, mebibytes: u32) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(folder)
            .output()
            .context("mount cannot be run")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// Leaves not one byte free.
    pub(super) fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.folder.join(FILL))?;
        let zeros = vec![0; CHUNK];
        let mut chunk = zeros.as_slice();
        while !chunk.is_empty() {
            match file.write(chunk) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    chunk = chunk.get(..chunk.len() / 2).unwrap_or_default();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(super) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.folder.join(FILL))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still holds a file of it is about to be ended.
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).output();
        if !unmounted.is_ok_and(|output| output.status.success()) {
            eprintln!("xtask: {} is still mounted", self.folder.display());
        }
    }
}
