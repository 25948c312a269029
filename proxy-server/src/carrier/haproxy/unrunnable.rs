//! A HAProxy that cannot be run, in the words of the setting that names it.

use std::error::Error;

use proxy_haproxy::{StartError, ValidateError};

/// The program is not there, or is none: the crate that tried it knows its path, and not where that comes from.
#[derive(Debug, thiserror::Error)]
#[error("HAProxy cannot be asked; does HAPROXY_BIN name its program?")]
pub(super) struct Unrunnable(#[source] Box<dyn Error + Send + Sync>);

impl Unrunnable {
    /// An error of a start, told so where the program could not be run.
    pub(super) fn start(error: StartError) -> Box<dyn Error + Send + Sync> {
        match error {
            StartError::Spawn { .. } => Self(error.into()).into(),
            error => error.into(),
        }
    }

    /// An error of a check, told so where the program could not be run.
    pub(super) fn check(error: ValidateError) -> Box<dyn Error + Send + Sync> {
        match error {
            ValidateError::Run { .. } => Self(error.into()).into(),
            error => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use proxy_haproxy::{Validate as _, Validator};

    use super::*;
    use crate::chain::chain;

    #[tokio::test]
    async fn the_setting_is_named_where_the_program_is_not_there() {
        let validator = Validator::new(Path::new("/nonexistent/haproxy").to_path_buf());
        let error = validator.validate(Path::new("/dev/null")).await;
        let words = chain(&*Unrunnable::check(error.unwrap_err()));
        assert!(words.contains("does HAPROXY_BIN name"), "{words}");
        assert!(
            words.contains("/nonexistent/haproxy cannot be run"),
            "{words}"
        );
        let late = Unrunnable::check(ValidateError::Deadline(Duration::ZERO));
        assert!(!chain(&*late).contains("HAPROXY_BIN"));
    }
}
