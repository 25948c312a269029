//! The answers that HAProxy gives itself, from the operator's files.

use std::fs;

use proxy_haproxy::{ErrorAnswer, ErrorStatus, Extras};

use crate::{chain::chain, settings::HaproxySettings};

/// What is added to every configuration, with the error files that there are. One that HAProxy could not
/// answer with is left out: it is no reason not to start.
pub(super) fn extras(settings: &HaproxySettings) -> Extras {
    let mut extras = settings.extras.clone();
    for status in ErrorStatus::all() {
        let path = settings.error_files.join(format!("{}.http", status.get()));
        match fs::read_to_string(&path) {
            Ok(text) => match ErrorAnswer::new(&text) {
                Ok(answer) => {
                    extras.error_files.insert(status, answer);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), error = chain(&error), "it is not used");
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "it cannot be read and is not used");
            }
        }
    }
    extras
}
