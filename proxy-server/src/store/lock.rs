//! The right to use a `STATE_PATH`, which one process at a time has.

use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// The right to use a `STATE_PATH`.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: Flock<std::fs::File>,
}

/// Why a store in `STATE_PATH` cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process uses the folder.
    #[error("{folder}: another proxy-server uses this STATE_PATH; give each its own")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The files cannot be used.
    #[error("the store in STATE_PATH cannot be opened")]
    Files {
        /// Which file, and why.
        #[source]
        source: proxy_core::BoxError,
    },
}

// === impl StateLock ===

impl StateLock {
    pub(crate) fn take(folder: &Path) -> Result<Self, OpenError> {
        let files = |source: std::io::Error| OpenError::Files {
            source: source.into(),
        };
        std::fs::create_dir_all(folder).map_err(files)?;
        let file = std::fs::File::create(folder.join("lock")).map_err(files)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err(_) => Err(OpenError::InUse {
                folder: folder.to_owned(),
            }),
        }
    }
}
