//! `export`: the whole table as one file, which `import` takes.

use std::sync::Arc;

use axum::{Json, extract::State};
use proxy_core::{Document, Revision};
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
}

// === impl Export ===

impl Export {
    pub(crate) fn new(revision: Option<Revision>, stored: &proxy_core::StoredTable) -> Self {
        Self {
            format: EXPORT_FORMAT,
            revision,
            services: stored.documents().cloned().collect(),
        }
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
