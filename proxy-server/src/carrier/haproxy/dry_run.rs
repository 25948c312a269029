//! What a table would do to HAProxy, found out beside the engine's turns.
//!
//! It renders by itself: the engine's own renderer follows what is live, and must not be led away from
//! it or waited for.

use proxy_core::RouteTable;
use proxy_haproxy::{AddressBook, ApplyStep, RenderedConfig};

use super::{HaproxyCarrier, written::Written};
use crate::{
    carrier::{CheckError, DryRun},
    config_diff::ConfigDiff,
};

impl HaproxyCarrier {
    /// Renders a table and has it judged as a change would be, and leaves nothing behind.
    pub(super) async fn try_out(&self, table: &RouteTable) -> Result<DryRun, CheckError> {
        self.check_entry(table).await?;
        let book = self.look_up_once(table).await;
        match self.try_with(table, &book).await {
            Err(CheckError::Rejected { words }) => match self.holding_back(&book) {
                Some(held) => self.try_with(table, &held).await,
                None => Err(CheckError::Rejected { words }),
            },
            tried => tried,
        }
    }

    async fn try_with(&self, table: &RouteTable, book: &AddressBook) -> Result<DryRun, CheckError> {
        let showing = self.certificates.showing();
        let (config, written) = self.write_beside(table, book, &showing).await?;
        let warnings = self.judge(&written).await?;
        let step = match written {
            Written::Live => ApplyStep::None,
            Written::Good(_) | Written::Told(_) => ApplyStep::Runtime,
            Written::New(_) => ApplyStep::Reload,
        };
        drop(written);
        let rules = config.rules();
        let live = self.shown().config.clone();
        let live = live.unwrap_or_else(|| RenderedConfig::new(""));
        let diff = blocking(move || ConfigDiff::between(&live, &config)).await?;
        Ok(DryRun {
            step,
            warnings: warnings.iter().map(ToString::to_string).collect(),
            rules,
            diff,
        })
    }
}

/// Runs what takes a core for a while where it blocks nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CheckError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CheckError::Unable { why: error.into() })
}
