//! What is known of the catalog, on disk: a start without Consul serves what was served before.

use std::{collections::BTreeMap, path::Path};

use proxy_consul::Instance;
use proxy_core::CatalogKey;
use proxy_haproxy::{AddressBook, CatalogInstance, Slots};
use serde::{Deserialize, Serialize};

use super::CatalogFollower;
use crate::{chain::chain, store::replace_file};

/// What the file holds.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) instances: BTreeMap<String, Vec<Instance>>,
    pub(super) slots: Vec<(CatalogKey, Slots)>,
    /// The last addresses of instances that are registered with a name.
    #[serde(default)]
    pub(super) names: AddressBook,
    /// What the templates of services saw when it last went live.
    #[serde(default)]
    pub(super) live: Vec<(CatalogKey, Vec<CatalogInstance>)>,
}

// === impl Saved ===

impl Saved {
    /// Nothing where the file cannot be read.
    pub(super) fn read(file: &Path) -> Self {
        let saved = std::fs::read(file).ok();
        let saved = saved.and_then(|text| serde_json::from_slice(&text).ok());
        saved.unwrap_or_default()
    }
}

// === impl CatalogFollower ===

impl CatalogFollower {
    /// Writes down what is known.
    pub(super) async fn save(&self) {
        let view = self.catalog.view();
        let instances = view.iter();
        let slots = self.known().slots.clone();
        let live = self.live();
        let saved = Saved {
            instances: instances.map(|(n, i)| (n.to_owned(), i.to_vec())).collect(),
            slots: slots.iter().map(|(k, s)| (k.clone(), s.clone())).collect(),
            // What nothing is known of is asked for anew by the next run.
            names: self.addresses.answered(),
            live: live.iter().map(|(k, i)| (k.clone(), i.to_vec())).collect(),
        };
        let Ok(text) = serde_json::to_vec(&saved) else {
            return;
        };
        let file = self.file.clone();
        let saved = tokio::task::spawn_blocking(move || replace_file(&file, &text)).await;
        if let Ok(Err(error)) = saved {
            let why = chain(&error);
            tracing::warn!(why, "the last known instances could not be saved");
        }
    }
}
