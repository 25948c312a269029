//! The catalog's instances as templates of services see them: more than an address each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proxy_core::CatalogKey;
use serde::{Deserialize, Serialize};

/// One instance of a service in the catalog, as a template sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CatalogInstance {
    /// Its node.
    pub node: String,
    /// Its id, unique on the node.
    pub id: String,
    /// Where it listens: an address, seldom a name.
    pub host: String,
    /// The port: the destination's, else the one that it is registered with, which may be 0.
    pub port: u16,
    /// Its tags.
    pub tags: Vec<String>,
    /// What else was registered with it.
    pub meta: BTreeMap<String, String>,
    /// Whether it passes its checks and is not in maintenance.
    pub healthy: bool,
}

/// The instances of the services whose templates see them. A copy costs nothing until one of the two
/// changes, and neither does the comparison with a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceBook {
    entries: Arc<BTreeMap<CatalogKey, Arc<[CatalogInstance]>>>,
}

// === impl InstanceBook ===

impl InstanceBook {
    /// The instances of a service; none where nothing is known of it.
    #[must_use]
    pub fn get(&self, key: &CatalogKey) -> Option<&Arc<[CatalogInstance]>> {
        self.entries.get(key)
    }

    /// Puts instances in place of what was there.
    pub fn insert(&mut self, key: CatalogKey, instances: Arc<[CatalogInstance]>) {
        if self.entries.get(&key) != Some(&instances) {
            Arc::make_mut(&mut self.entries).insert(key, instances);
        }
    }

    /// Forgets every service but these.
    pub fn retain(&mut self, keep: &BTreeSet<CatalogKey>) {
        if !self.entries.keys().all(|key| keep.contains(key)) {
            Arc::make_mut(&mut self.entries).retain(|key, _| keep.contains(key));
        }
    }

    /// Every service with its instances, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&CatalogKey, &Arc<[CatalogInstance]>)> {
        self.entries.iter()
    }
}

impl FromIterator<(CatalogKey, Arc<[CatalogInstance]>)> for InstanceBook {
    fn from_iter<I: IntoIterator<Item = (CatalogKey, Arc<[CatalogInstance]>)>>(entries: I) -> Self {
        Self {
            entries: Arc::new(entries.into_iter().collect()),
        }
    }
}
