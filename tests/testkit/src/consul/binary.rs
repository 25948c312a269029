//! Finds the real Consul.

use std::path::{Path, PathBuf};

/// There is no Consul here.
#[derive(Debug, thiserror::Error)]
#[error(
    "no consul was found (asked: $CONSUL_BIN, PATH, {}); `cargo xtask test` installs one, or set CONSUL_BIN",
    .looked_at.display()
)]
#[non_exhaustive]
pub struct ConsulMissing {
    /// Where `xtask` would have put it.
    pub looked_at: PathBuf,
}

/// The path of a `consul` program: `CONSUL_BIN`, else one on PATH, else the one that `xtask`
/// unpacked below `target/tools`.
///
/// # Errors
/// When there is none; the error says what to do.
pub fn consul_binary() -> Result<PathBuf, ConsulMissing> {
    if let Some(path) = std::env::var_os("CONSUL_BIN").map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(ConsulMissing { looked_at: path })
        };
    }
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|folder| folder.join("consul"))
            .find(|file| file.is_file())
    });
    let unpacked =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/consul/usr/bin/consul");
    match on_path {
        Some(found) => Ok(found),
        None if unpacked.is_file() => Ok(unpacked),
        None => Err(ConsulMissing {
            looked_at: unpacked,
        }),
    }
}
