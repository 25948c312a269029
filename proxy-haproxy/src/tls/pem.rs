//! PEM bundles: cleaned to what HAProxy takes over its command line as well as from a file.

use secrecy::{ExposeSecret as _, SecretString};

use super::certificate::CertificateError;

/// The largest bundle: a chain of ten certificates with long keys has a third of it.
pub const MAX_BUNDLE_BYTES: usize = 64 * 1024;

/// The most certificates of a chain, the first included.
const MAX_CHAIN: usize = 20;

/// The blocks of a bundle, each from its first to its last line.
pub(super) struct Bundle {
    pub(super) certificates: Vec<String>,
    pub(super) key: SecretString,
    /// Parameters of Diffie-Hellman, which HAProxy reads from the same file.
    dh: Option<String>,
}

// === impl Bundle ===

impl Bundle {
    /// Reads the blocks. What stands between them, and empty lines, are left out: an empty line ends
    /// what HAProxy's command line takes.
    pub(super) fn read(text: &str) -> Result<Self, CertificateError> {
        if text.len() > MAX_BUNDLE_BYTES {
            return Err(CertificateError::TooLarge { bytes: text.len() });
        }
        let (mut certificates, mut keys, mut dh) = (Vec::new(), Vec::new(), None);
        let mut lines = text.lines().map(str::trim);
        while let Some(first) = lines.next() {
            let Some(label) = label(first, "BEGIN") else {
                continue;
            };
            let mut block = format!("{first}\n");
            let mut closed = false;
            for line in lines.by_ref().filter(|line| !line.is_empty()) {
                block.push_str(line);
                block.push('\n');
                closed = self::label(line, "END") == Some(label);
                if closed {
                    break;
                }
            }
            let block = SecretString::from(block);
            if !closed {
                return Err(CertificateError::Cut {
                    label: label.chars().take(40).collect(),
                });
            }
            let is_encrypted = label == "ENCRYPTED PRIVATE KEY"
                || block.expose_secret().contains("Proc-Type: 4,ENCRYPTED");
            match label {
                _ if is_encrypted => return Err(CertificateError::EncryptedKey),
                "CERTIFICATE" | "X509 CERTIFICATE" => {
                    certificates.push(block.expose_secret().to_owned());
                }
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => keys.push(block),
                "DH PARAMETERS" => dh = Some(block.expose_secret().to_owned()),
                // What a key's curve is stands in the key too.
                _ => {}
            }
        }
        if certificates.len() > MAX_CHAIN {
            return Err(CertificateError::LongChain {
                count: certificates.len(),
            });
        }
        let several = keys.len();
        match (keys.pop(), several) {
            (None, _) => Err(CertificateError::NoKey),
            (Some(_), 2..) => Err(CertificateError::SeveralKeys),
            (Some(key), _) if !certificates.is_empty() => Ok(Self {
                certificates,
                key,
                dh,
            }),
            _ => Err(CertificateError::NoCertificate),
        }
    }

    /// One text again, with this certificate first.
    pub(super) fn into_pem(self, first: usize) -> SecretString {
        let mut certificates = self.certificates;
        if first < certificates.len() {
            let leaf = certificates.remove(first);
            certificates.insert(0, leaf);
        }
        let key = self.key.expose_secret();
        let dh = self.dh.as_deref().unwrap_or_default();
        // As large as it gets, so that no copy of the key is left behind in memory.
        let size = certificates.iter().map(String::len).sum::<usize>() + key.len() + dh.len();
        let mut pem = String::with_capacity(size);
        certificates.iter().for_each(|block| pem.push_str(block));
        pem.push_str(key);
        pem.push_str(dh);
        SecretString::from(pem)
    }
}

/// The blocks of certificates alone.
pub(super) fn certificates(text: &str) -> Result<Vec<String>, CertificateError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(first) = lines.next() {
        if !matches!(
            label(first, "BEGIN"),
            Some("CERTIFICATE" | "X509 CERTIFICATE")
        ) {
            continue;
        }
        let mut block = format!("{first}\n");
        let mut closed = false;
        for line in lines.by_ref().filter(|line| !line.is_empty()) {
            block.push_str(line);
            block.push('\n');
            closed = label(line, "END") == label(first, "BEGIN");
            if closed {
                break;
            }
        }
        if !closed {
            let label = "CERTIFICATE".to_owned();
            return Err(CertificateError::Cut { label });
        }
        blocks.push(block);
    }
    match blocks.is_empty() {
        true => Err(CertificateError::NoCertificate),
        false => Ok(blocks),
    }
}

fn label<'a>(line: &'a str, which: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("-----")?.strip_prefix(which)?;
    rest.strip_prefix(' ')?.strip_suffix("-----")
}
