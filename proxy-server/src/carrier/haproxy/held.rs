//! What a template of a service cannot be rendered with, or what HAProxy would not take of it, is not the
//! table's fault where it came from the catalog: the instances that were good are then shown on, so that
//! what somebody registers in Consul stops no change.

use proxy_core::{CatalogKey, RouteTable};
use proxy_haproxy::{AddressBook, InstanceBook, RenderedConfig};

use super::{HaproxyCarrier, written::Written};
use crate::carrier::CheckError;

/// More services whose instances changed than this are judged together: each costs a check.
const MAX_JUDGED_ALONE: usize = 8;

/// A configuration that HAProxy would take.
pub(super) struct Good {
    pub(super) config: RenderedConfig,
    pub(super) written: Written,
    /// What the templates of services saw.
    pub(super) instances: InstanceBook,
}

impl HaproxyCarrier {
    /// Renders a table and has it judged, with what is known of where everything is.
    pub(super) async fn check_with(
        &self,
        table: &RouteTable,
        book: &AddressBook,
    ) -> Result<Good, CheckError> {
        let config = self.render(table, book)?;
        let written = self.stage(&config).await?;
        for warning in self.judge(&written).await? {
            tracing::debug!(%warning, "HAProxy warns of the configuration");
        }
        let instances = book.instances().clone();
        Ok(Good {
            config,
            written,
            instances,
        })
    }

    /// The same where that was refused, with the instances that templates saw in what is live, as far as
    /// the newer ones are to blame; none where they are not.
    pub(super) async fn check_with_held_instances(
        &self,
        table: &RouteTable,
        book: AddressBook,
    ) -> Result<Option<Good>, CheckError> {
        let Some(held) = self.holding_back(&book) else {
            return Ok(None);
        };
        let mut good = match self.check_with(table, &held).await {
            Err(CheckError::Rejected { .. }) => return Ok(None),
            good => good?,
        };
        let mut to_blame = self.changed_instances(&book);
        if (2..=MAX_JUDGED_ALONE).contains(&to_blame.len()) {
            let mut blamed = Vec::new();
            for key in to_blame {
                let mut instances = good.instances.clone();
                if let Some(newer) = book.instances().get(&key) {
                    instances.insert(key.clone(), newer.clone());
                }
                let with_newer = held.clone().with_instances(instances);
                match self.check_with(table, &with_newer).await {
                    Ok(better) => good = better,
                    Err(CheckError::Rejected { .. }) => blamed.push(key),
                    Err(unable) => return Err(unable),
                }
            }
            to_blame = blamed;
        }
        for key in to_blame {
            tracing::error!(
                service = key.service,
                "the instances that the catalog shows now do not go with the template of the service; \
                 it is served with those before"
            );
        }
        Ok(Some(good))
    }

    /// What is known, with the instances that templates saw in what is live; none where these are the same.
    pub(super) fn holding_back(&self, book: &AddressBook) -> Option<AddressBook> {
        let changed = self.changed_instances(book);
        if changed.is_empty() {
            return None;
        }
        let live = self.shown().instances.clone();
        let mut instances = book.instances().clone();
        for key in changed {
            if let Some(seen) = live.get(&key) {
                instances.insert(key, seen.clone());
            }
        }
        Some(book.clone().with_instances(instances))
    }

    /// The services whose templates would see other instances than in what is live.
    fn changed_instances(&self, book: &AddressBook) -> Vec<CatalogKey> {
        let live = self.shown().instances.clone();
        let changed = |key: &&CatalogKey| {
            let seen = live.get(key);
            seen.is_some() && seen != book.instances().get(key)
        };
        let keys = book.instances().iter().map(|(key, _)| key);
        keys.filter(changed).cloned().collect()
    }
}
