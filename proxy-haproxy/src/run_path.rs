//! The folder of HAProxy's sockets, shared by the renderer that names them and the supervisor that
//! talks through them.

use std::path::{Path, PathBuf};

/// HAProxy binds a socket under a temporary name that is longer than the one asked for, so a path
/// has at most this many bytes of the 108 of a socket address (measured on 2.6: 98 is refused).
pub const MAX_SOCKET_PATH_BYTES: usize = 97;

const MASTER_SOCKET: &str = "haproxy-master.sock";
const WORKER_SOCKET: &str = "haproxy.sock";

/// `RUN_PATH`: an absolute folder whose path is short enough for sockets and plain enough for every
/// place where HAProxy reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPath {
    folder: PathBuf,
    master: String,
    worker: String,
}

/// Why a path cannot hold HAProxy's sockets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunPathError {
    /// It depends on where the process was started.
    #[error("the run path {} is relative; give an absolute one", .0.display())]
    Relative(PathBuf),
    /// A socket in it would be longer than [`MAX_SOCKET_PATH_BYTES`].
    #[error(
        "the run path {} is too long: its socket would have {length} bytes, HAProxy binds at most \
         {MAX_SOCKET_PATH_BYTES}", path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// The bytes of the longest socket path in it.
        length: usize,
    },
    /// HAProxy ends a socket address at a comma and a word at a space, and expands `$`.
    #[error(
        "the run path {} holds {character:?}; use letters, digits, '/', '.', '_' and '-'",
        path.display()
    )]
    BadCharacter {
        /// The path.
        path: PathBuf,
        /// What does not fit.
        character: char,
    },
}

impl RunPath {
    /// Checks a path; the folder need not exist yet.
    ///
    /// # Errors
    /// When HAProxy could not bind or name a socket in it.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, RunPathError> {
        let path = path.as_ref().to_path_buf();
        if !path.is_absolute() {
            return Err(RunPathError::Relative(path));
        }
        let text = path.to_string_lossy();
        let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        if let Some(character) = text.chars().find(|c| !fits(c)) {
            return Err(RunPathError::BadCharacter { path, character });
        }
        let folder = text.trim_end_matches('/');
        let master = format!("{folder}/{MASTER_SOCKET}");
        let worker = format!("{folder}/{WORKER_SOCKET}");
        let length = master.len().max(worker.len());
        if length > MAX_SOCKET_PATH_BYTES {
            return Err(RunPathError::TooLong { path, length });
        }
        Ok(Self {
            folder: PathBuf::from(if folder.is_empty() { "/" } else { folder }),
            master,
            worker,
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket of the master process, which reloads.
    #[must_use]
    pub fn master_socket(&self) -> &str {
        &self.master
    }

    /// The socket of the worker: the runtime API.
    #[must_use]
    pub fn worker_socket(&self) -> &str {
        &self.worker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_fit_and_are_plain() {
        let run = RunPath::new("/var/run/proxy/").unwrap();
        assert_eq!(run.master_socket(), "/var/run/proxy/haproxy-master.sock");
        assert!(matches!(
            RunPath::new("run"),
            Err(RunPathError::Relative(_))
        ));
        for bad in ["/a b", "/a,b", "/a$b", "/a\nb", "/é"] {
            assert!(
                matches!(RunPath::new(bad), Err(RunPathError::BadCharacter { .. })),
                "{bad:?}"
            );
        }
        let longest = format!(
            "/{}",
            "x".repeat(MAX_SOCKET_PATH_BYTES - MASTER_SOCKET.len() - 2)
        );
        assert_eq!(RunPath::new(&longest).unwrap().master_socket().len(), 97);
        assert!(matches!(
            RunPath::new(longest + "x"),
            Err(RunPathError::TooLong { length: 98, .. })
        ));
    }
}
