//! The words of `compression`, for the settings and for backends.

use proxy_core::Compression;
use serde::Serialize;

/// What is compressed, and how, as templates see it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct CompressionLines {
    algos: Vec<String>,
    types: Vec<String>,
}

impl CompressionLines {
    pub(super) fn new(compression: &Compression) -> Self {
        let algos = compression.algos.iter().map(ToString::to_string).collect();
        let types = compression.types.iter().map(ToString::to_string).collect();
        Self { algos, types }
    }
}
