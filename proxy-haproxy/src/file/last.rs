//! The certificates of the configuration that is on disk: for whoever finds that newer ones are bad.

use std::{collections::BTreeMap, path::Path};

use secrecy::zeroize::Zeroizing;

use super::{
    CURRENT,
    disk::{list, read_bounded},
};
use crate::tls::{Certificate, CertificateName};

/// The certificates that the current configuration in `CONFIGS_PATH` shows, by name: those with which HAProxy ran
/// last. What cannot be read is left out. Does blocking file IO.
#[must_use]
pub fn last_certificates(configs_path: &Path) -> BTreeMap<CertificateName, Certificate> {
    let folder = configs_path.join(CURRENT);
    let mut found = BTreeMap::new();
    for entry in list(&folder).unwrap_or_default() {
        if let Some(name) = CertificateName::of_file(&entry)
            && let Ok(text) = read_bounded(&folder.join(&entry)).map(Zeroizing::new)
            && let Ok(certificate) = Certificate::parse(&text)
        {
            found.insert(name, certificate);
        }
    }
    found
}
