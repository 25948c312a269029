//! A certificate that was given, or that it was taken away, as it is written to disk and told to other replicas.

use proxy_core::Stamp;
use proxy_haproxy::{Certificate, CertificateName};
use secrecy::{ExposeSecret as _, zeroize::Zeroizing};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Kept;

/// What was written under a name, as it is on disk and, sealed, told to other replicas. It holds a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    name: String,
    stamp: Stamp,
    /// None: it was removed.
    #[serde(serialize_with = "write_pem", deserialize_with = "read_pem")]
    pem: Option<Zeroizing<String>>,
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(name: &CertificateName, kept: &Kept) -> Self {
        let pem = kept.certificate.as_ref().map(Certificate::pem);
        Self {
            name: name.to_string(),
            stamp: kept.stamp.clone(),
            pem: pem.map(|pem| Zeroizing::new(pem.expose_secret().to_owned())),
        }
    }

    /// About how many bytes it takes to tell.
    pub(super) fn bytes(&self) -> usize {
        self.pem.as_ref().map_or(0, |pem| pem.len())
    }

    /// What it says that it is about.
    pub(in crate::certificates) fn called(&self) -> &str {
        &self.name
    }

    pub(in crate::certificates) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// What it is about, where that is a name.
    pub(in crate::certificates) fn name(&self) -> Option<CertificateName> {
        self.name.parse().ok()
    }

    /// The name and the certificate, or the name and why it cannot be used.
    pub(in crate::certificates) fn read(
        self,
    ) -> Result<(CertificateName, Option<Certificate>), (String, String)> {
        let name = self.name.parse::<CertificateName>();
        let name = name.map_err(|error| (self.name.clone(), error.to_string()))?;
        let certificate = self.pem.map(|pem| Certificate::parse(&pem)).transpose();
        match certificate {
            Ok(certificate) => Ok((name, certificate)),
            Err(error) => Err((self.name, error.to_string())),
        }
    }
}

fn write_pem<S: Serializer>(pem: &Option<Zeroizing<String>>, to: S) -> Result<S::Ok, S::Error> {
    pem.as_ref().map(|pem| pem.as_str()).serialize(to)
}

fn read_pem<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    let pem = Option::<String>::deserialize(from)?;
    Ok(pem.map(Zeroizing::new))
}
