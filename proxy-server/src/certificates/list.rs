//! The file of a list of certificates (`CRT_LIST_PATH`).

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use proxy_haproxy::CertificateList;

use crate::files::RepeatedRead;

/// The file as it is read again and again.
pub(crate) type Reading = RepeatedRead<Result<CertificateList, String>>;

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
pub(super) async fn look(
    reading: &mut Reading,
    path: Option<&PathBuf>,
) -> Option<Result<CertificateList, String>> {
    let path = path?.clone();
    let read = reading.read(move || read_list(&path)).await;
    Some(read.and_then(|read| read))
}
