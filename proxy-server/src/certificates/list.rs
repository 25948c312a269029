//! The file of a list of certificates (`CRT_LIST_PATH`).

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use proxy_haproxy::CertificateList;

/// The most bytes that are read.
const MAX_LIST_BYTES: u64 = 1024 * 1024;

/// Reads the file. Blocking file IO.
pub(crate) fn read_list(path: &Path) -> Result<CertificateList, String> {
    let mut text = String::new();
    // One byte more tells that it is too long.
    let read =
        File::open(path).and_then(|file| file.take(MAX_LIST_BYTES + 1).read_to_string(&mut text));
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    text.parse::<CertificateList>()
        .map_err(|error| error.to_string())
}

/// The same where it holds up nobody. None without a file.
pub(super) async fn look(path: Option<&PathBuf>) -> Option<Result<CertificateList, String>> {
    let path = path?.clone();
    let read = tokio::task::spawn_blocking(move || read_list(&path)).await;
    Some(read.unwrap_or_else(|error| Err(error.to_string())))
}
