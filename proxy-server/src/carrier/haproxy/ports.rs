//! Which ports HAProxy holds for services, and whether it can have others.

use std::{collections::BTreeSet, os::unix::net::UnixStream};

use proxy_core::{Port, RouteTable};
use proxy_haproxy::MAIN_FILE;

use super::HaproxyCarrier;
use crate::carrier::{CheckError, entry::bound_ports};

impl HaproxyCarrier {
    /// Whether HAProxy can have the ports that a table asks for. One at a time, and never while HAProxy
    /// is about to bind: what is tried here is in use for a moment.
    pub(super) async fn check_entry(&self, table: &RouteTable) -> Result<(), CheckError> {
        let _stage = self.stage.lock().await;
        self.entry.check(table, &self.held_ports())
    }

    /// The ports that HAProxy holds for services of the table that is served.
    fn held_ports(&self) -> BTreeSet<Port> {
        let shown = self.shown();
        if shown.config.is_some() {
            return shown.ports.clone();
        }
        drop(shown);
        // One of an earlier run may still serve, by what is on disk.
        let config = match UnixStream::connect(self.settings.run.master_socket()) {
            Ok(_) => std::fs::read_to_string(self.settings.configs_path.join(MAIN_FILE)),
            Err(_) => return BTreeSet::new(),
        };
        config.map(|text| bound_ports(&text)).unwrap_or_default()
    }
}
