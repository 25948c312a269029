//! Where a table's destinations are looked for: in DNS, or in the catalog.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proxy_core::{CatalogKey, Host, RouteTable, ServiceName};

/// What is looked up in the catalog for each destination: a service and the number of one of its own.
pub(super) type Destinations = BTreeMap<(ServiceName, u16), CatalogKey>;

/// Where a table's destinations are looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The hosts that need resolving.
    pub(super) hosts: BTreeSet<Host>,
    /// What is looked up in the catalog.
    pub(super) keys: BTreeSet<CatalogKey>,
    /// For whom.
    pub(super) destinations: Arc<Destinations>,
    /// Those of them whose services have templates, which see more of instances than addresses.
    pub(super) templated: BTreeSet<CatalogKey>,
}

// === impl Places ===

impl Places {
    pub(super) fn of(table: &RouteTable) -> Self {
        let mut places = Self::default();
        let mut destinations = Destinations::new();
        for service in table.iter() {
            for destination in service.destinations() {
                let host = service.host_of(destination);
                if let Some(key) = service.catalog_key(destination) {
                    if !service.options().templates.is_empty() {
                        places.templated.insert(key.clone());
                    }
                    let whose = (service.name().clone(), destination.index());
                    destinations.insert(whose, key.clone());
                    places.keys.insert(key);
                } else if host.ip().is_none() {
                    places.hosts.insert(host.clone());
                }
            }
        }
        places.destinations = Arc::new(destinations);
        places
    }
}
