//! `export`: the whole table as one file, which `import` takes.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use proxy_core::{Document, Revision, ServiceName, StoredTable};
use serde::{Deserialize, Serialize};

use super::{Api, answer::Answered};

/// The version of the file.
pub(crate) const EXPORT_FORMAT: u32 = 1;

/// A table as a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Export {
    /// [`EXPORT_FORMAT`].
    pub(crate) format: u32,
    /// Where the table stood. An import does not read it.
    #[serde(default)]
    pub(crate) revision: Option<Revision>,
    /// The document of each service.
    pub(crate) services: Vec<Arc<Document>>,
    /// Services of which the file has not what the store has, or nothing at all, and why. Those that it has not
    /// are left alone by an import.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) degraded: BTreeMap<ServiceName, String>,
}

// === impl Export ===

impl Export {
    /// What an import takes: of a service whose document cannot be read, what is known of it from before.
    pub(crate) fn new(revision: Option<Revision>, stored: &StoredTable) -> Self {
        let readable = |document: &Arc<Document>| match document.service() {
            Ok(_) => Some(Arc::clone(document)),
            Err(_) => {
                let service = stored.service(document.name())?;
                Document::from_service(Arc::clone(service))
                    .ok()
                    .map(Arc::new)
            }
        };
        let told = stored.degraded().iter();
        let told = told.map(|(name, why)| (name.clone(), why.told(stored.service(name))));
        Self {
            format: EXPORT_FORMAT,
            revision,
            services: stored.documents().filter_map(readable).collect(),
            degraded: told.collect(),
        }
    }

    /// Services of which the file says that it has nothing although they are there.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &ServiceName> {
        let has = |name: &ServiceName| self.services.iter().any(|it| it.name() == name);
        self.degraded.keys().filter(move |name| !has(name))
    }
}

pub(super) async fn export(State(api): State<Api>) -> Result<Json<Export>, Answered> {
    let snapshot = api.engine.snapshot();
    if !snapshot.is_loaded() {
        // An empty file would be taken for an empty table.
        return Err(Answered::not_loaded(&snapshot));
    }
    let view = &snapshot.view;
    Ok(Json(Export::new(view.revision, &view.stored)))
}
