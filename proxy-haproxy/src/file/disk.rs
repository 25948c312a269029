//! File operations that say what they were doing when they failed: for the folder of configurations.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::lock::LockError;

/// The most bytes of a configuration that are read back.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Why the folder of the configuration could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigDirError {
    /// Another process writes it.
    #[error("the configuration folder cannot be taken")]
    Lock(#[from] LockError),
    /// A file operation failed. What was current still is.
    #[error("{operation} {} failed; the configuration that was current still is", path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is nothing to go back to. What was current still is.
    #[error("there is no previous configuration in {}; the current one stays", .0.display())]
    NoPrevious(PathBuf),
}

/// What changes when somebody else writes a file or puts another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

// === impl Identity ===

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

pub(super) fn run<T>(
    operation: &'static str,
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, ConfigDirError> {
    work(path).map_err(|source| ConfigDirError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    })
}

/// So that this user alone reads it: HAProxy runs as the same one, and there are password hashes in its
/// configuration and keys beside it.
pub(super) fn write_durably(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The names in a folder, in order.
pub(super) fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
