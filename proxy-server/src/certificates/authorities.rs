//! The file of those whose certificates clients may show (`CA_FILE`).

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use proxy_haproxy::ClientAuthorities;

use crate::{chain::chain, files::RepeatedRead};

/// The file as it is read again and again.
pub(crate) type Reading = RepeatedRead<Result<ClientAuthorities, String>>;

/// The most bytes that are read: the authorities that systems trust are a fifth of it.
const MAX_AUTHORITIES_BYTES: u64 = 1024 * 1024;

/// Reads the file. Blocking file IO.
pub(crate) fn read_authorities(path: &Path) -> Result<ClientAuthorities, String> {
    let mut text = String::new();
    let file = File::open(path);
    let read = file.and_then(|file| {
        let mut file = file.take(MAX_AUTHORITIES_BYTES + 1);
        file.read_to_string(&mut text)
    });
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_AUTHORITIES_BYTES {
        return Err(format!("it has more than {MAX_AUTHORITIES_BYTES} bytes"));
    }
    ClientAuthorities::parse(&text).map_err(|error| chain(&error))
}

/// The same where it holds up nobody. None without a file.
pub(super) async fn look(
    reading: &mut Reading,
    path: Option<&PathBuf>,
) -> Option<Result<ClientAuthorities, String>> {
    let path = path?.clone();
    let read = reading.read(move || read_authorities(&path)).await;
    Some(read.and_then(|read| read))
}
