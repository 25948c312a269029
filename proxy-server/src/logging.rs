//! Log lines, set up once by the binary.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Logs to the standard error from now on, as the settings say. HAProxy's access log goes to the
/// standard output, so that the two can be told apart.
///
/// # Errors
/// When the filter is none, or something logs already.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that nobody reads any more (a pipe whose reader died) must not end the server.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let started = match settings.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|why| anyhow::anyhow!("{why}"))
}
