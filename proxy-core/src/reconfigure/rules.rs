//! What the settings of a replica say about the parameters it takes.

use crate::raw::RawConfig;

/// What is allowed in parameters, and what they are where they are absent. The defaults are those of a
/// proxy without settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReconfigureRules {
    /// Whether raw HAProxy text is taken.
    pub raw: RawConfig,
}

impl ReconfigureRules {
    /// Whether raw HAProxy text is taken.
    #[must_use]
    pub fn with_raw(self, raw: RawConfig) -> Self {
        Self { raw, ..self }
    }
}
