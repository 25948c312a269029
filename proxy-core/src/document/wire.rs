//! What a document of each version says, as JSON.

use serde::{Deserialize, Serialize};

use crate::{
    condition::{HeaderMatch, UserAgent},
    destination::{Destination, DestinationSpec},
    domain::DomainPattern,
    host::{Host, Port},
    name::{AclName, Color, ServiceName},
    options::{DestinationOptions, ServiceOptions, is_default},
    path::{PathError, PathKind, PathPattern},
    service::{Service, ServiceError},
};

/// Routes, hosts and ports.
const PLAIN: u32 = 1;
/// The same with options.
const WITH_OPTIONS: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wire {
    version: u32,
    name: ServiceName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acl_name: Option<AclName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    color: Option<Color>,
    destinations: Vec<WireDestination>,
    /// From version 2 on.
    #[serde(default, skip_serializing_if = "is_default")]
    options: ServiceOptions,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireDestination {
    #[serde(default, skip_serializing_if = "is_zero")]
    index: u16,
    /// Always there in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<Port>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outbound_hostname: Option<Host>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    domains: Vec<DomainPattern>,
    paths: Vec<WirePath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry_port: Option<Port>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    excluded_paths: Vec<WirePath>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    user_agents: Vec<UserAgent>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderMatch>,
    /// From version 2 on.
    #[serde(default, skip_serializing_if = "is_default")]
    options: DestinationOptions,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePath {
    kind: PathKind,
    text: String,
}

// === impl Wire ===

impl Wire {
    /// The least version that can say what this says.
    fn least_version(&self) -> u32 {
        let plain = |destination: &WireDestination| {
            destination.port.is_some() && is_default(&destination.options)
        };
        if is_default(&self.options) && self.destinations.iter().all(plain) {
            PLAIN
        } else {
            WITH_OPTIONS
        }
    }
}

impl From<&Service> for Wire {
    fn from(service: &Service) -> Self {
        let own = AclName::from(service.name());
        let destinations = service.destinations().iter();
        let destinations = destinations.filter(|destination| !destination.is_listed_again());
        let mut wire = Self {
            version: PLAIN,
            name: service.name().clone(),
            acl_name: Some(service.acl_name().clone()).filter(|acl| *acl != own),
            color: service.color().cloned(),
            destinations: destinations.map(Into::into).collect(),
            options: service.options().clone(),
        };
        wire.version = wire.least_version();
        wire
    }
}

impl From<&Destination> for WireDestination {
    fn from(destination: &Destination) -> Self {
        let paths = |paths: &[PathPattern]| paths.iter().map(Into::into).collect();
        Self {
            index: destination.index(),
            port: destination.spec.port,
            outbound_hostname: destination.outbound_hostname().cloned(),
            domains: destination.domains().to_vec(),
            paths: paths(destination.paths()),
            entry_port: destination.spec.entry_port,
            excluded_paths: paths(destination.excluded_paths()),
            user_agents: destination.user_agents().to_vec(),
            headers: destination.headers().to_vec(),
            options: destination.options().clone(),
        }
    }
}

impl From<&PathPattern> for WirePath {
    fn from(path: &PathPattern) -> Self {
        Self {
            kind: path.kind(),
            text: path.text().to_owned(),
        }
    }
}

impl TryFrom<Wire> for Service {
    type Error = WireError;

    fn try_from(wire: Wire) -> Result<Self, WireError> {
        // A replica of the release that its version speaks of could not read it.
        let least = wire.least_version();
        if wire.version < least {
            return Err(WireError::Version {
                version: wire.version,
                least,
            });
        }
        let mut specs = Vec::with_capacity(wire.destinations.len());
        for destination in wire.destinations {
            let mut spec = DestinationSpec::without_port();
            spec.port = destination.port;
            spec.index = destination.index;
            spec.outbound_hostname = destination.outbound_hostname;
            spec.domains = destination.domains;
            spec.paths = paths(&destination.paths)?;
            spec.entry_port = destination.entry_port;
            spec.excluded_paths = paths(&destination.excluded_paths)?;
            spec.user_agents = destination.user_agents;
            spec.headers = destination.headers;
            spec.options = destination.options;
            specs.push(spec);
        }
        let service = Self::new(wire.name, wire.acl_name, wire.color, specs)?;
        Ok(service.with_options(wire.options))
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("its version is {version}, and what it says needs {least}")]
    Version { version: u32, least: u32 },
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Service(#[from] ServiceError),
}

fn paths(wire: &[WirePath]) -> Result<Vec<PathPattern>, PathError> {
    let patterns = wire
        .iter()
        .map(|path| PathPattern::new(path.kind, &path.text));
    patterns.collect()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(index: &u16) -> bool {
    *index == 0
}
