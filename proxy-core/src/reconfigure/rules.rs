//! What the settings of a replica say about the parameters it takes.

use crate::{
    mode::ReqMode,
    raw::RawConfig,
    upstream::{CatalogUse, HostChecks},
    users::UserRules,
};

/// What is allowed in parameters, and what they are where they are absent. The defaults are those of a
/// proxy without settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReconfigureRules {
    /// Whether raw HAProxy text is taken.
    pub raw: RawConfig,
    /// What the connections of a destination carry that does not say it.
    pub default_mode: ReqMode,
    /// Whether servers may come from a catalog.
    pub catalog: CatalogUse,
    /// Whom a service may name without a password.
    pub users: UserRules,
    /// Whether HAProxy checks servers with a host name where nothing says so.
    pub host_checks: HostChecks,
}

impl ReconfigureRules {
    /// Whether raw HAProxy text is taken.
    #[must_use]
    pub fn with_raw(self, raw: RawConfig) -> Self {
        Self { raw, ..self }
    }

    /// What the connections of a destination carry that does not say it (`DEFAULT_REQ_MODE`).
    #[must_use]
    pub fn with_default_mode(self, default_mode: ReqMode) -> Self {
        Self {
            default_mode,
            ..self
        }
    }

    /// Whether servers may come from a catalog.
    #[must_use]
    pub fn with_catalog(self, catalog: CatalogUse) -> Self {
        Self { catalog, ..self }
    }

    /// Whom a service may name without a password.
    #[must_use]
    pub fn with_users(self, users: UserRules) -> Self {
        Self { users, ..self }
    }

    /// Whether HAProxy checks servers with a host name where nothing says so (`CHECK_RESOLVERS`).
    #[must_use]
    pub fn with_host_checks(self, host_checks: HostChecks) -> Self {
        Self {
            host_checks,
            ..self
        }
    }
}
