//! Where the servers of a service come from, and what they are asked before requests go there.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{host::Port, options::is_default};

/// Where the servers of a service come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct UpstreamOptions {
    /// How they are found.
    #[serde(skip_serializing_if = "is_default")]
    pub discovery: Discovery,
    /// Which of the catalog's instances become servers, and whether HAProxy checks them.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: Checks,
}

/// How the servers of a service are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Discovery {
    /// One server, which has the service's host name. A destination without a port has none, and its
    /// servers come from the catalog.
    #[default]
    Host,
    /// Its name, with `-` and its colour where it has one, is looked up in Consul's catalog.
    Catalog,
}

/// What is asked of the catalog's instances.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Checks {
    /// Those that pass their checks in Consul are servers, and HAProxy checks them as well.
    #[default]
    Both,
    /// All that are registered are servers, and HAProxy does not check them.
    Skipped,
}

/// What is looked up in the catalog for a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CatalogKey {
    /// The name in the catalog.
    pub service: String,
    /// What is asked of instances.
    pub checks: Checks,
    /// The port, where it is not the one that each instance is registered with.
    pub port: Option<Port>,
}

/// Whether this replica has a catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CatalogUse {
    /// It has none.
    #[default]
    Never,
    /// It has one, and uses it where `discoveryType=catalog` asks for it.
    WhenAsked,
    /// The same, and for destinations without a port.
    WithoutPort,
}

/// Why a text is no [`Discovery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no way in which servers are found")]
#[non_exhaustive]
pub struct DiscoveryError;

// === impl Discovery ===

impl Discovery {
    /// What `discoveryType` says; nothing where it is the default.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Host => "",
            Self::Catalog => "catalog",
        }
    }
}

impl FromStr for Discovery {
    type Err = DiscoveryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "host" => Ok(Self::Host),
            "catalog" => Ok(Self::Catalog),
            _ => Err(DiscoveryError),
        }
    }
}
