//! Where the servers of a service come from, and what they are asked before requests go there.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    destination::Destination,
    host::{Host, Port},
    name::ServiceName,
    options::is_default,
    service::Service,
};

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
    /// Whether HAProxy checks a server that has a host name.
    #[serde(skip_serializing_if = "is_default")]
    pub host_checks: HostChecks,
    /// Whether a client stays with the server that answered it first.
    #[serde(skip_serializing_if = "is_default")]
    pub session: Session,
    /// How many servers there are meant to be, where that was said.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<Replicas>,
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
    /// A server for each address of a name, which is `tasks.<name of the service>` where it names no other
    /// host, as Docker's DNS has it.
    Dns,
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

/// Whether HAProxy checks a server that has a host name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostChecks {
    /// It does not: requests find out.
    #[default]
    Off,
    /// It connects from time to time.
    On,
}

/// Whether a client stays with the server that answered it first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Session {
    /// Any server takes any request.
    #[default]
    Free,
    /// A cookie names the server, by its address. Servers are found as with [`Discovery::Dns`] where nothing
    /// else says how.
    Sticky,
}

/// How many servers a service is meant to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Replicas(u16);

/// Why a number is none of [`Replicas`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no whole number up to {MAX_REPLICAS}")]
#[non_exhaustive]
pub struct ReplicasError(String);

/// The most servers that `replicas` may speak of.
pub const MAX_REPLICAS: u16 = 1_000;

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

/// Why a text is no [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no type of sessions")]
#[non_exhaustive]
pub struct SessionError;

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
            Self::Dns => "DNS",
            Self::Catalog => "catalog",
        }
    }
}

impl FromStr for Discovery {
    type Err = DiscoveryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "host" => Ok(Self::Host),
            "dns" => Ok(Self::Dns),
            "catalog" => Ok(Self::Catalog),
            _ => Err(DiscoveryError),
        }
    }
}

// === impl Session ===

impl Session {
    /// What `sessionType` says; nothing where it is the default.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Free => "",
            Self::Sticky => "sticky-server",
        }
    }
}

impl FromStr for Session {
    type Err = SessionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sticky-server" => Ok(Self::Sticky),
            _ => Err(SessionError),
        }
    }
}

// === impl Replicas ===

impl Replicas {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Replicas {
    type Error = ReplicasError;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        match number {
            0..=MAX_REPLICAS => Ok(Self(number)),
            more => Err(ReplicasError(more.to_string())),
        }
    }
}

impl From<Replicas> for u16 {
    fn from(replicas: Replicas) -> Self {
        replicas.0
    }
}

impl FromStr for Replicas {
    type Err = ReplicasError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: u16 = text.parse().map_err(|_| ReplicasError(text.to_owned()))?;
        Self::try_from(number)
    }
}

// === impl UpstreamOptions ===

impl UpstreamOptions {
    /// Whether each address of a name is a server.
    #[must_use]
    pub fn spreads_over_dns(&self) -> bool {
        match self.discovery {
            Discovery::Dns => true,
            Discovery::Host => self.session == Session::Sticky,
            Discovery::Catalog => false,
        }
    }

    /// The name that has the addresses of all servers of a service, where each is one.
    pub(crate) fn tasks_of(&self, service: &ServiceName) -> Option<Host> {
        // One that is too long for a name is looked up as it is.
        let name = || format!("tasks.{service}").parse().ok();
        self.spreads_over_dns().then(name).flatten()
    }
}

impl Service {
    /// What is looked up in the catalog for one of its destinations, where its servers come from there.
    #[must_use]
    pub fn catalog_key(&self, destination: &Destination) -> Option<CatalogKey> {
        let upstream = &self.options().upstream;
        let port = destination.port();
        if upstream.discovery != Discovery::Catalog && port.is_some() {
            return None;
        }
        let mut service = match destination.outbound_hostname() {
            Some(host) => host.to_string(),
            None => self.name().to_string(),
        };
        if let Some(color) = self.color() {
            service.push('-');
            service.push_str(color.as_str());
        }
        Some(CatalogKey {
            service,
            checks: upstream.checks,
            port,
        })
    }
}
