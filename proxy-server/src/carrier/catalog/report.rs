//! What is wrong with the catalog, for status and the log.

use std::collections::BTreeMap;

use super::CatalogFollower;

/// How many services a report names for each kind of trouble.
const MOST_NAMED: usize = 100;

/// What is wrong with the catalog, as far as it is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CatalogReport {
    /// Why it cannot be read now; the last known instances are served.
    pub(crate) trouble: Option<String>,
    /// Services with instances that Consul does not show any more and that are served on, and why.
    pub(crate) hidden: BTreeMap<String, String>,
    /// Services with instances that cannot be used, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    /// Services whose templates do not go with the instances that Consul shows and that are served with
    /// those before, and why.
    pub(crate) held: BTreeMap<String, String>,
}

// === impl CatalogReport ===

impl CatalogReport {
    /// Whether nothing is.
    pub(crate) fn is_well(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn log(&self) {
        if let Some(why) = &self.trouble {
            tracing::warn!(
                why,
                "the catalog cannot be read; the last known instances are served"
            );
        }
        for (service, why) in self.hidden.iter().chain(&self.left_out) {
            tracing::warn!(service, why, "a service of the catalog");
        }
    }
}

// === impl CatalogFollower ===

impl CatalogFollower {
    /// What is wrong with it now.
    pub(crate) fn report(&self) -> CatalogReport {
        let view = self.catalog.view();
        let slots = self.known().slots.clone();
        let hidden = view.hidden().take(MOST_NAMED);
        let mut left_out = BTreeMap::new();
        for (key, _) in slots.iter() {
            let instances = view.instances(&key.service);
            let mut instances = instances.into_iter().flat_map(|known| known.iter());
            let lost = instances.find(|instance| self.addresses.of(key, instance).is_none());
            if let Some(lost) = lost.filter(|_| left_out.len() < MOST_NAMED) {
                let (id, address, port) = (&lost.id, &lost.address, lost.port);
                let why = format!(
                    "the instance {id} at {address:?}, port {port}, is left out: it needs a port, and an address or a name that is known"
                );
                left_out.insert(key.service.to_string(), why);
            }
        }
        CatalogReport {
            trouble: view.trouble.as_deref().map(str::to_owned),
            hidden: hidden
                .map(|(s, why)| (s.to_owned(), why.to_owned()))
                .collect(),
            left_out,
            held: self.live_now().held.clone(),
        }
    }
}
