//! The document of one service: how it is written into stores, logs, files and broadcasts.
//!
//! A document is JSON with a `version`. The raw text is kept beside the parsed service, so that a
//! replica passes on, unchanged, what a newer one wrote.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    condition::{HeaderMatch, UserAgent},
    domain::DomainPattern,
    host::{Host, Port},
    name::{AclName, Color, ServiceName},
    path::{PathError, PathKind, PathPattern},
    service::{Destination, DestinationSpec, Service, ServiceError},
};

/// The version of the documents that this crate writes, and the newest that it reads.
pub const DOCUMENT_VERSION: u32 = 1;

/// The largest document in bytes. A commit holds a document up to three times, and Consul takes
/// transactions of at most 512 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// One service as text, with what it says or why it cannot be read.
#[derive(Clone)]
pub struct Document {
    raw: Box<RawValue>,
    name: ServiceName,
    service: Result<Arc<Service>, DocumentError>,
}

/// Why a document gives no service. The service's last good version stays in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// A newer release wrote it; this one keeps its last version and never writes it back.
    #[error(
        "the document of {service} has version {version}; this release reads up to {DOCUMENT_VERSION}: update this replica"
    )]
    NewerVersion {
        /// The service.
        service: ServiceName,
        /// The version of the document.
        version: u32,
    },
    /// It is not what its version promises.
    #[error("the document of {service} is not valid: {problem}")]
    Invalid {
        /// The service.
        service: ServiceName,
        /// What is wrong, with its place.
        problem: String,
    },
}

/// Why a text is not even a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoDocument {
    /// It is not JSON with a name and a version.
    #[error("it is no service document: {0}")]
    NotJson(String),
    /// It is larger than [`MAX_DOCUMENT_BYTES`].
    #[error("the document is {0} bytes; at most {MAX_DOCUMENT_BYTES} are allowed")]
    TooLarge(usize),
}

/// What every version of a document says.
#[derive(Deserialize)]
struct Envelope {
    version: u32,
    name: ServiceName,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    version: u32,
    name: ServiceName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acl_name: Option<AclName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    color: Option<Color>,
    destinations: Vec<WireDestination>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireDestination {
    #[serde(default, skip_serializing_if = "is_zero")]
    index: u16,
    port: Port,
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
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePath {
    kind: PathKind,
    text: String,
}

// === impl Document ===

impl Document {
    /// The document of a service.
    ///
    /// # Errors
    /// When it would be larger than [`MAX_DOCUMENT_BYTES`].
    pub fn from_service(service: Arc<Service>) -> Result<Self, NoDocument> {
        let raw = serde_json::value::to_raw_value(&Wire::from(&*service))
            .map_err(|problem| NoDocument::NotJson(problem.to_string()))?;
        if raw.get().len() > MAX_DOCUMENT_BYTES {
            return Err(NoDocument::TooLarge(raw.get().len()));
        }
        Ok(Self {
            raw,
            name: service.name().clone(),
            service: Ok(service),
        })
    }

    /// Reads a document. One whose service cannot be read is a document all the same: its name and
    /// its text are known, and [`Document::service`] says what is wrong.
    ///
    /// # Errors
    /// When it is not JSON, has no name or version, or is too large.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoDocument> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(NoDocument::TooLarge(bytes.len()));
        }
        let raw: Box<RawValue> = serde_json::from_slice(bytes)
            .map_err(|problem| NoDocument::NotJson(problem.to_string()))?;
        Self::from_raw(raw)
    }

    fn from_raw(raw: Box<RawValue>) -> Result<Self, NoDocument> {
        if raw.get().len() > MAX_DOCUMENT_BYTES {
            return Err(NoDocument::TooLarge(raw.get().len()));
        }
        let envelope: Envelope = serde_json::from_str(raw.get())
            .map_err(|problem| NoDocument::NotJson(problem.to_string()))?;
        let name = envelope.name;
        let service = if envelope.version > DOCUMENT_VERSION {
            Err(DocumentError::NewerVersion {
                service: name.clone(),
                version: envelope.version,
            })
        } else {
            serde_json::from_str::<Wire>(raw.get())
                .map_err(|problem| problem.to_string())
                .and_then(|wire| Service::try_from(wire).map_err(|problem| problem.to_string()))
                .map(Arc::new)
                .map_err(|problem| DocumentError::Invalid {
                    service: name.clone(),
                    problem,
                })
        };
        Ok(Self { raw, name, service })
    }

    /// The service it is for.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// The JSON, byte for byte as it was read or made.
    #[must_use]
    pub fn raw(&self) -> &str {
        self.raw.get()
    }

    /// The service, where this release can read it.
    ///
    /// # Errors
    /// When a newer release wrote the document, or it is not valid.
    pub fn service(&self) -> Result<&Arc<Service>, &DocumentError> {
        self.service.as_ref()
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.raw.get() == other.raw.get()
    }
}

impl Eq for Document {}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw.get())
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::from_raw(Box::<RawValue>::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

// === impl Wire ===

impl From<&Service> for Wire {
    fn from(service: &Service) -> Self {
        let own = AclName::from(service.name());
        Self {
            version: DOCUMENT_VERSION,
            name: service.name().clone(),
            acl_name: Some(service.acl_name().clone()).filter(|acl| *acl != own),
            color: service.color().cloned(),
            destinations: service.destinations().iter().map(Into::into).collect(),
        }
    }
}

impl From<&Destination> for WireDestination {
    fn from(destination: &Destination) -> Self {
        let paths = |paths: &[PathPattern]| paths.iter().map(Into::into).collect();
        Self {
            index: destination.index(),
            port: destination.port(),
            outbound_hostname: destination.outbound_hostname().cloned(),
            domains: destination.domains().to_vec(),
            paths: paths(destination.paths()),
            entry_port: destination.entry_port(),
            excluded_paths: paths(destination.excluded_paths()),
            user_agents: destination.user_agents().to_vec(),
            headers: destination.headers().to_vec(),
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
        let mut specs = Vec::with_capacity(wire.destinations.len());
        for destination in wire.destinations {
            let mut spec = DestinationSpec::new(destination.port);
            spec.index = destination.index;
            spec.outbound_hostname = destination.outbound_hostname;
            spec.domains = destination.domains;
            spec.paths = paths(&destination.paths)?;
            spec.entry_port = destination.entry_port;
            spec.excluded_paths = paths(&destination.excluded_paths)?;
            spec.user_agents = destination.user_agents;
            spec.headers = destination.headers;
            specs.push(spec);
        }
        Ok(Self::new(wire.name, wire.acl_name, wire.color, specs)?)
    }
}

#[derive(Debug, thiserror::Error)]
enum WireError {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 looks like; it must be readable for ever.
    const V1: &str = r#"{"version":1,"name":"go-demo","aclName":"05-go","color":"blue","destinations":[{"index":1,"port":8080,"outboundHostname":"10.0.0.1","domains":["acme.com","*.acme.org","hdr_beg(host) acme"],"paths":[{"kind":"path_beg","text":"/demo"}],"entryPort":81,"excludedPaths":[{"kind":"path_beg","text":"/demo/x"}],"userAgents":["Mobile"],"headers":["x-version:3"]}]}"#;

    #[test]
    fn version_1_stays_readable_and_is_written_the_same() {
        let document = Document::parse(V1.as_bytes()).unwrap();
        let service = Arc::clone(document.service().unwrap());
        assert_eq!(service.acl_name().as_str(), "05-go");
        assert_eq!(Document::from_service(service).unwrap().raw(), V1);
    }

    #[test]
    fn a_newer_version_is_kept_as_it_is_and_not_understood() {
        let text = r#"{"version":2,"name":"a","wings":[1, 2]}"#;
        let document = Document::parse(text.as_bytes()).unwrap();
        assert!(matches!(
            document.service(),
            Err(DocumentError::NewerVersion { version: 2, .. })
        ));
        assert_eq!(serde_json::to_string(&document).unwrap(), text);
    }

    #[test]
    fn a_document_cannot_smuggle_what_a_parameter_cannot() {
        let evil = V1.replace("/demo", "/demo\\nserver x");
        let document = Document::parse(evil.as_bytes()).unwrap();
        assert!(matches!(
            document.service(),
            Err(DocumentError::Invalid { .. })
        ));
        assert!(Document::parse(b"{}").is_err());
        assert!(Document::parse(&[b' '; MAX_DOCUMENT_BYTES + 1]).is_err());
    }
}
