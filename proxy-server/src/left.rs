//! The end of a HAProxy that a server left serving: `proxy-server --end-haproxy`.
//!
//! With `ON_END=leave` a server that ends leaves HAProxy to the next one. Where none is to come, as at
//! `systemctl stop`, somebody ends HAProxy in its place, with the patience that the server would have had.

use anyhow::Context as _;
use proxy_haproxy::{LeftHaproxy, RunPath, Stopped};

use crate::settings::LeftSettings;

/// Ends what was left serving, and says how it ended; nothing where nothing serves. It is given `DRAIN_DELAY`, so
/// that whoever saw the server end sends its traffic elsewhere, and is cut at `SHUTDOWN_TIMEOUT`.
///
/// # Errors
/// When a server runs there: nothing was ended.
pub async fn end_haproxy(settings: LeftSettings) -> anyhow::Result<Option<Stopped>> {
    let run = RunPath::new(&settings.run_path).context("RUN_PATH cannot be used")?;
    let left = LeftHaproxy::find(&run)
        .await
        .context("HAProxy is not ended, since a server runs that would start it again")?;
    let Some(left) = left else {
        return Ok(None);
    };
    let delay = settings.end.drain_delay;
    tokio::time::sleep(delay).await;
    let patience = settings.end.timeout.saturating_sub(delay);
    Ok(Some(left.end(patience).await))
}
