//! The document of one service: how it is written into stores, logs, files and broadcasts.
//!
//! A document is JSON with a `version`. The raw text is kept beside the parsed service, so that a
//! replica passes on, unchanged, what a newer one wrote.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use self::wire::Wire;
use crate::{name::ServiceName, service::Service};

mod wire;

/// The newest version of documents that this crate reads. It writes each with the least version that can
/// say it, so that a replica of an older release reads all that it could serve.
pub const DOCUMENT_VERSION: u32 = 2;

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

    /// What it says, for people: without passwords, hashed or not.
    #[must_use]
    pub fn shown(&self) -> serde_json::Value {
        let mut shown = serde_json::from_str(self.raw.get()).unwrap_or_default();
        hide_passwords(&mut shown);
        shown
    }

    /// The service, where this release can read it.
    ///
    /// # Errors
    /// When a newer release wrote the document, or it is not valid.
    pub fn service(&self) -> Result<&Arc<Service>, &DocumentError> {
        self.service.as_ref()
    }
}

/// Passwords stand under this name, in whatever version and place.
const PASSWORD: &str = "password";

fn hide_passwords(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    PASSWORD => *value = "(hidden)".into(),
                    _ => hide_passwords(value),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(hide_passwords),
        _ => {}
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
        write!(f, "{}", self.shown())
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

    /// What version 2 looks like.
    const V2: &str = r#"{"version":2,"name":"a","destinations":[{"port":80,"paths":[{"kind":"path_beg","text":"/"}],"options":{"methods":{"denied":["PUT"]}}}],"options":{"headers":{"setRequest":["X-A b"]}}}"#;

    #[test]
    fn version_2_is_written_only_for_what_needs_it() {
        let document = Document::parse(V2.as_bytes()).unwrap();
        let service = Arc::clone(document.service().unwrap());
        assert_eq!(Document::from_service(service).unwrap().raw(), V2);

        // What version 1 can say is written as version 1, whatever it was read from.
        let plain = V1.replace("\"version\":1", "\"version\":2");
        let document = Document::parse(plain.as_bytes()).unwrap();
        let service = Arc::clone(document.service().unwrap());
        assert_eq!(Document::from_service(service).unwrap().raw(), V1);

        let mislabelled = V2.replace("\"version\":2", "\"version\":1");
        let document = Document::parse(mislabelled.as_bytes()).unwrap();
        assert!(matches!(
            document.service(),
            Err(DocumentError::Invalid { .. })
        ));
    }

    #[test]
    fn a_newer_version_is_kept_as_it_is_and_not_understood() {
        let text = r#"{"version":3,"name":"a","wings":[1, 2]}"#;
        let document = Document::parse(text.as_bytes()).unwrap();
        assert!(matches!(
            document.service(),
            Err(DocumentError::NewerVersion { version: 3, .. })
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
