//! The answers that HAProxy gives itself, from the operator's files.

use std::fs;

use proxy_haproxy::{ErrorStatus, Extras};

use crate::settings::HaproxySettings;

/// The largest answer that HAProxy gives from a file: it must fit into a buffer with room to spare.
const MOST_ERROR_BYTES: usize = 15 * 1024;

/// What is added to every configuration, with the error files that there are. One that HAProxy could not
/// answer with is left out: it is no reason not to start.
pub(super) fn extras(settings: &HaproxySettings) -> Extras {
    let mut extras = settings.extras.clone();
    for status in ErrorStatus::all() {
        let path = settings.error_files.join(format!("{}.http", status.get()));
        match fs::read(&path) {
            Ok(answer) if !answer.starts_with(b"HTTP/") => {
                tracing::warn!(path = %path.display(), "no whole HTTP response; it is not used");
            }
            Ok(answer) if answer.len() > MOST_ERROR_BYTES => {
                tracing::warn!(path = %path.display(), "more than {MOST_ERROR_BYTES} bytes; it is not used");
            }
            Ok(_) => {
                extras.error_files.insert(status, path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "it cannot be read and is not used");
            }
        }
    }
    extras
}
