//! What a certificate says, read before it is taken.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    SignatureAlgorithm,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, time::ASN1Time,
};

use super::{
    pem::{Bundle, MAX_BUNDLE_BYTES},
    set::{CertificateFile, CertificateName},
    settings::ClientAuthorities,
};

/// The most names that are read of one certificate; public authorities allow 100.
const MAX_NAMES: usize = 1_000;

/// A certificate with its chain and its key. The key is never shown, and wiped from memory with the
/// last copy.
#[derive(Clone)]
pub struct Certificate(Arc<Parts>);

struct Parts {
    pem: Arc<SecretString>,
    names: Vec<String>,
    kind: KeyKind,
    issuer: String,
    serial: String,
    not_before: SystemTime,
    not_after: SystemTime,
    fingerprint: [u8; 32],
}

/// What kind of key a certificate has. HAProxy shows one of each kind for a name: that of ECDSA to clients that know
/// it, else that of RSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyKind {
    /// ECDSA.
    Ecdsa,
    /// RSA.
    Rsa,
    /// Another, which is shown where there is none of the others.
    Other,
}

/// Why a text is no certificate that could be shown to clients. It is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is too large to be one.
    #[error("it is {bytes} bytes; at most {MAX_BUNDLE_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A block has no end.
    #[error("the block {label:?} has no last line; the text was cut")]
    Cut {
        /// What it calls itself.
        label: String,
    },
    /// There is none.
    #[error("it holds no certificate (a block \"BEGIN CERTIFICATE\")")]
    NoCertificate,
    /// There is no key.
    #[error(
        "it holds no private key (a block \"BEGIN PRIVATE KEY\"); put certificate, chain and key into one text"
    )]
    NoKey,
    /// There is more than one key.
    #[error("it holds several private keys; give each certificate a file of its own")]
    SeveralKeys,
    /// The key wants a password.
    #[error(
        "its private key is encrypted and there is nobody to type the password; decrypt it first (openssl pkey)"
    )]
    EncryptedKey,
    /// The chain is too long.
    #[error("it holds {count} certificates, more than any chain has")]
    LongChain {
        /// How many there are.
        count: usize,
    },
    /// A certificate cannot be read.
    #[error("its certificate {number} cannot be read: {problem}")]
    Unreadable {
        /// Which of them, from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// The key cannot be read.
    #[error(
        "its private key cannot be read; RSA, ECDSA (P-256, P-384, P-521) and Ed25519 are known"
    )]
    UnreadableKey,
    /// Key and certificate are not of one pair.
    #[error("its private key belongs to none of its certificates")]
    OtherKey,
}

// === impl Certificate ===

impl Certificate {
    /// Reads a bundle: certificate, chain and key in one PEM text, in any order. One that has expired
    /// is a certificate all the same.
    ///
    /// # Errors
    /// When it is no certificate with its key; nothing of the text is repeated.
    pub fn parse(text: &str) -> Result<Self, CertificateError> {
        let bundle = Bundle::read(text)?;
        let key = PrivateKeyDer::from_pem_slice(bundle.key.expose_secret().as_bytes())
            .map_err(|_| CertificateError::UnreadableKey)?;
        let key = any_supported_type(&key).map_err(|_| CertificateError::UnreadableKey)?;
        let public = key.public_key().ok_or(CertificateError::UnreadableKey)?;
        let mut leaf = None;
        for (index, block) in bundle.certificates.iter().enumerate() {
            let unreadable = |problem: String| CertificateError::Unreadable {
                number: index + 1,
                problem,
            };
            let der = CertificateDer::from_pem_slice(block.as_bytes())
                .map_err(|error| unreadable(error.to_string()))?;
            let (rest, found) =
                X509Certificate::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
            if !rest.is_empty() {
                return Err(unreadable("something follows it".to_owned()));
            }
            if leaf.is_none() && found.public_key().raw == public.as_ref() {
                leaf = Some((index, Said::by(&found), Sha256::digest(&der).into()));
            }
        }
        let (index, said, fingerprint) = leaf.ok_or(CertificateError::OtherKey)?;
        Ok(Self(Arc::new(Parts {
            pem: Arc::new(bundle.into_pem(index)),
            names: said.names,
            kind: KeyKind::of(key.algorithm()),
            issuer: said.issuer,
            serial: said.serial,
            not_before: said.not_before,
            not_after: said.not_after,
            fingerprint,
        })))
    }

    /// The names that it is for, in lower case: DNS names and the common name, each once.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// What kind of key it has.
    #[must_use]
    pub fn key_kind(&self) -> KeyKind {
        self.0.kind
    }

    /// Who signed it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Its serial number in hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// From when it is good.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.0.not_before
    }

    /// Until when it is good.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }

    /// The SHA-256 of the certificate, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let bytes = self.0.fingerprint.iter();
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// Certificate, chain and key in one text, for whoever stores it.
    #[must_use]
    pub fn pem(&self) -> &SecretString {
        &self.0.pem
    }

    /// As HAProxy gets it.
    #[must_use]
    pub fn file(&self, name: CertificateName) -> CertificateFile {
        CertificateFile::new(name, Arc::clone(&self.0.pem))
    }
}

// === impl KeyKind ===

impl KeyKind {
    fn of(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::ECDSA => Self::Ecdsa,
            SignatureAlgorithm::RSA => Self::Rsa,
            _ => Self::Other,
        }
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        // The chain and the key may differ where the certificate is the same.
        self.0.pem.expose_secret() == other.0.pem.expose_secret()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.0.names)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

impl ClientAuthorities {
    /// Reads the certificates of a PEM text; what stands between them is left out.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn parse(text: &str) -> Result<Self, CertificateError> {
        let blocks = super::pem::certificates(text)?;
        for (index, block) in blocks.iter().enumerate() {
            let unreadable = |problem: String| CertificateError::Unreadable {
                number: index + 1,
                problem,
            };
            let der = CertificateDer::from_pem_slice(block.as_bytes())
                .map_err(|error| unreadable(error.to_string()))?;
            X509Certificate::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
        }
        Ok(Self::known(blocks.concat().into()))
    }
}

/// What a certificate says of itself.
struct Said {
    names: Vec<String>,
    issuer: String,
    serial: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

// === impl Said ===

impl Said {
    fn by(certificate: &X509Certificate<'_>) -> Self {
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let alternatives = alternatives
            .iter()
            .flat_map(|found| &found.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(*name),
                _ => None,
            });
        let common = certificate.subject().iter_common_name();
        let common = common.filter_map(|name| name.as_str().ok());
        let mut names: Vec<String> = Vec::new();
        for name in alternatives.chain(common).take(MAX_NAMES) {
            let name = printable(name).to_ascii_lowercase();
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        let validity = certificate.validity();
        Self {
            names,
            issuer: printable(&certificate.issuer().to_string()),
            serial: certificate.raw_serial_as_string().replace(':', ""),
            not_before: time(&validity.not_before),
            not_after: time(&validity.not_after),
        }
    }
}

/// Somebody else's text, as it may stand in a log.
fn printable(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(300).collect()
}

/// Before 1970 is 1970: long over either way.
fn time(at: &ASN1Time) -> SystemTime {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests;
