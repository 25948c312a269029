//! The versions that are served instead of newer ones which HAProxy does not take, kept on disk: a
//! replica that starts anew goes on serving them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use proxy_core::{Change, Document, RouteTable, Service, ServiceName};

use crate::{chain::chain, engine::Snapshot, keep::Keep, store::replace_file};

/// The name of the file in `STATE_PATH`.
const FILE: &str = "older-versions.json";

/// Writes down which services are served in an older version than the stored one.
#[derive(Debug)]
pub(crate) struct OlderVersions {
    path: PathBuf,
    known: BTreeMap<ServiceName, Arc<Service>>,
}

// === impl OlderVersions ===

impl OlderVersions {
    /// What an earlier run left in this folder. A file that cannot be read costs the services in it
    /// their older versions, and nothing else.
    pub(crate) fn read(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let documents: Vec<Document> = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|problem| {
                let file = path.display().to_string();
                tracing::error!(file, %problem, "older versions of quarantined services are lost");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        let known = documents.iter().filter_map(|document| {
            let service = document.service().ok()?;
            Some((document.name().clone(), Arc::clone(service)))
        });
        Self {
            known: known.collect(),
            path,
        }
    }

    /// The table that was served when this one was stored.
    pub(crate) fn served(&self, stored: &RouteTable) -> RouteTable {
        let mut served = stored.clone();
        for (name, older) in &self.known {
            if stored.get(name).is_some_and(|service| service != older) {
                served.apply(&Change::Put(Arc::clone(older)));
            }
        }
        served
    }

    fn write(&self) {
        let documents = self.known.values().cloned().map(Document::from_service);
        let documents: Vec<Document> = documents.filter_map(Result::ok).collect();
        let written = serde_json::to_vec(&documents)
            .map_err(|problem| problem.to_string())
            .and_then(|text| replace_file(&self.path, &text).map_err(|error| chain(&error)));
        if let Err(why) = written {
            tracing::warn!(
                why,
                "older versions of quarantined services could not be written down"
            );
        }
    }
}

impl Keep for OlderVersions {
    fn keep(&mut self, snapshot: &Snapshot) {
        // What the file says stands until this run has a table of its own.
        if !snapshot.is_loaded() || snapshot.failure.is_some() {
            return;
        }
        let older = older(snapshot);
        if older != self.known {
            self.known = older;
            self.write();
        }
    }
}

/// The services that are served in another version than the stored one.
fn older(snapshot: &Snapshot) -> BTreeMap<ServiceName, Arc<Service>> {
    let names = snapshot.quarantined.keys().chain(&snapshot.unjudged);
    let served = names.filter_map(|name| {
        let service = snapshot.served.get(name)?;
        Some((name.clone(), Arc::clone(service)))
    });
    served.collect()
}

#[cfg(test)]
mod tests {
    use proxy_core::{StoreCondition, StoreView, StoredTable, ViewSeq};

    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{engine::Quarantined, keep::follow, testing::put};

    fn table(changes: &[Change]) -> RouteTable {
        let mut table = RouteTable::new();
        changes.iter().for_each(|change| table.apply(change));
        table
    }

    fn versions(name: &str) -> [Change; 2] {
        [80, 81].map(|port| {
            let query = format!("serviceName={name}&servicePath=/a&port={port}");
            let params = proxy_core::Params::from_query(query).unwrap();
            let parsed = proxy_core::parse_reconfigure(&params).unwrap();
            Change::Put(parsed.value.service)
        })
    }

    #[tokio::test]
    async fn what_was_served_instead_of_a_stored_version_is_served_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let [older, newer] = versions("a");
        let [unproven, unjudged] = versions("c");
        let stored = table(&[newer, put("b"), unjudged]);
        let documents = stored.iter().cloned().map(Document::from_service);
        let documents = documents.map(|document| Arc::new(document.unwrap()));
        let view = StoreView::new(
            ViewSeq(2),
            None,
            StoredTable::from_documents(documents),
            StoreCondition::Live,
        );
        let mut snapshot = Snapshot::of(Arc::new(view));
        snapshot.served = table(&[older, put("b"), unproven]);
        let held = Quarantined {
            why: "bad".to_owned(),
            serves_older: true,
            is_tried: true,
        };
        snapshot.quarantined = BTreeMap::from([("a".parse().unwrap(), held)]);
        snapshot.unjudged = ["c".parse().unwrap()].into();
        let served = snapshot.served.clone();
        let (_sender, snapshots) = watch::channel(Arc::new(snapshot));
        let stop = CancellationToken::new();
        let versions = OlderVersions::read(folder.path());
        assert_eq!(versions.served(&stored), stored);
        let keeping = tokio::spawn(follow(versions, snapshots, stop.clone()));
        let written = folder.path().join(FILE);
        let there = async {
            while !written.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), there)
            .await
            .unwrap();
        stop.cancel();
        keeping.await.unwrap();
        let after = OlderVersions::read(folder.path());
        assert_eq!(after.served(&stored), served);
        // A service that is gone meanwhile stays gone.
        assert_eq!(after.served(&table(&[put("b")])), table(&[put("b")]));
    }
}
