//! Certificates as HAProxy gets them: named files, in the order of its list.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};

use super::list::CertificateList;
use crate::rendered::{FileName, SECRET_SUFFIX};

/// The longest name of a certificate: with what stands around it, it is still a file name.
const MAX_NAME_BYTES: usize = 150;

/// What the names of their files in a configuration begin with.
const FILE_PREFIX: &str = "cert-";

/// What a certificate is called: a plain file name (letters, digits, `.`, `_` and `-`), so that it can
/// never lead out of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateName(FileName);

/// Why a text is no [`CertificateName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no name of a certificate: 1 to {MAX_NAME_BYTES} letters, digits, '.', '_' and '-', \
     beginning with a letter, a digit or '_'"
)]
pub struct CertificateNameError;

/// A certificate with its chain and its key, as one PEM text under a name.
#[derive(Clone)]
pub struct CertificateFile {
    name: CertificateName,
    pem: Arc<SecretString>,
    /// What stands behind it in HAProxy's list.
    listed_as: Arc<str>,
}

/// Certificates in the order of HAProxy's list. The first is shown to clients that ask for a name which
/// no certificate has, or for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateSet {
    files: Arc<[CertificateFile]>,
}

/// Names of files, with `*` for any characters and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

/// Why a text is no [`Glob`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds something else than letters, digits, '.', '_', '-', '*' and '?'")]
pub struct GlobError;

// === impl CertificateName ===

impl CertificateName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What its file is called in a configuration. It always ends alike, since HAProxy looks for
    /// `name.key`, `name.ocsp` and others beside `name`.
    pub(crate) fn file_name(&self) -> FileName {
        FileName::known(&format!("{FILE_PREFIX}{}{SECRET_SUFFIX}", self.0))
    }

    /// The name whose file in a configuration is called so.
    #[cfg(feature = "run")]
    pub(crate) fn of_file(file_name: &str) -> Option<Self> {
        let name = file_name.strip_prefix(FILE_PREFIX)?;
        name.strip_suffix(SECRET_SUFFIX)?.parse().ok()
    }
}

impl FromStr for CertificateName {
    type Err = CertificateNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(name) if text.len() <= MAX_NAME_BYTES => Ok(Self(name)),
            _ => Err(CertificateNameError),
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl CertificateFile ===

impl CertificateFile {
    /// A file of this name. HAProxy judges what is in it.
    #[must_use]
    pub fn new(name: CertificateName, pem: Arc<SecretString>) -> Self {
        Self {
            name,
            pem,
            listed_as: Arc::default(),
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &CertificateName {
        &self.name
    }

    /// What stands behind it in HAProxy's list.
    pub(super) fn listed_as(&self) -> &str {
        &self.listed_as
    }

    pub(crate) fn shared_pem(&self) -> Arc<SecretString> {
        Arc::clone(&self.pem)
    }
}

impl PartialEq for CertificateFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.listed_as) == (&other.name, &other.listed_as)
            && self.pem.expose_secret() == other.pem.expose_secret()
    }
}

impl Eq for CertificateFile {}

impl fmt::Debug for CertificateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateFile").field(&self.name).finish()
    }
}

// === impl CertificateSet ===

impl CertificateSet {
    /// These files, of a name the last: what matches a preferred pattern first, in the order of the
    /// patterns, and else by name.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = CertificateFile>, preferred: &[Glob]) -> Self {
        let by_name: BTreeMap<_, _> = files
            .into_iter()
            .map(|file| (file.name.clone(), file))
            .collect();
        let rank = |file: &CertificateFile| {
            let mut patterns = preferred.iter();
            let first = patterns.position(|pattern| pattern.matches(file.name.as_str()));
            first.unwrap_or(preferred.len())
        };
        let mut files: Vec<_> = by_name.into_values().collect();
        files.sort_by_key(rank);
        Self {
            files: files.into(),
        }
    }

    /// The same where somebody keeps a list: what stands there comes first, in its order and as it says.
    #[must_use]
    pub fn listed(
        files: impl IntoIterator<Item = CertificateFile>,
        preferred: &[Glob],
        list: &CertificateList,
    ) -> Self {
        let mut files = Self::new(files, preferred).files.to_vec();
        for file in &mut files {
            if let Some((_, rest)) = list.place_of(&file.name) {
                file.listed_as = rest.into();
            }
        }
        let place = |file: &CertificateFile| list.place_of(&file.name).map(|(place, _)| place);
        files.sort_by_key(|file| place(file).unwrap_or(usize::MAX));
        Self {
            files: files.into(),
        }
    }

    /// The files, in order.
    #[must_use]
    pub fn files(&self) -> &[CertificateFile] {
        &self.files
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

// === impl Glob ===

impl Glob {
    /// Whether a name fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        fits(self.0.as_bytes(), name.as_bytes())
    }
}

/// The usual two pointers: back to the last star where it does not fit, so never more than the product
/// of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star = None;
    while read < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || name.get(read) == Some(wanted) => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    read = taken + 1;
                }
                None => return false,
            },
        }
    }
    let rest = pattern.get(at..).unwrap_or_default();
    rest.iter().all(|byte| *byte == b'*')
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |c: char| c.is_ascii_alphanumeric() || "._-*?".contains(c);
        if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.chars().all(known) {
            return Err(GlobError);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, pem: &str) -> CertificateFile {
        CertificateFile::new(name.parse().unwrap(), Arc::new(pem.into()))
    }

    #[test]
    fn a_glob_is_held_to_the_whole_name() {
        for (pattern, name, fit) in [
            ("acme.pem", "acme.pem", true),
            ("acme.pem", "acme.pem2", false),
            ("acme*", "acme.com.pem", true),
            ("*.pem", "a.pem.old", false),
            ("*.pem", "a.pem.pem", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*", "x", true),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            assert_eq!(glob.matches(name), fit, "{pattern} {name}");
        }
        for bad in ["", "a b", "a/*", "[a]"] {
            assert!(bad.parse::<Glob>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_preferred_patterns_and_then_by_name() {
        let names = ["b.pem", "z-acme.pem", "a.pem", "wild.pem", "acme.pem"];
        let preferred = ["wild*", "*acme*"].map(|glob| glob.parse().unwrap());
        let set = CertificateSet::new(names.map(|name| file(name, "x")), &preferred);
        let order: Vec<_> = set.files().iter().map(|f| f.name().as_str()).collect();
        let wanted = ["wild.pem", "acme.pem", "z-acme.pem", "a.pem", "b.pem"];
        assert_eq!(order, wanted);
        let again = CertificateSet::new([file("a", "1"), file("a", "2")], &[]);
        assert_eq!(again, CertificateSet::new([file("a", "2")], &[]));
        assert_ne!(again, CertificateSet::new([file("a", "1")], &[]));
    }

    #[test]
    fn what_a_list_names_stands_first_and_as_the_list_says() {
        let files = ["a", "b", "c", "d"].map(|name| file(name, "x"));
        let list: CertificateList = "c [alpn h2]\n/x/a a.com\ngone".parse().unwrap();
        let set = CertificateSet::listed(files.clone(), &["d".parse().unwrap()], &list);
        let order: Vec<_> = set
            .files()
            .iter()
            .map(|file| (file.name().as_str(), file.listed_as()))
            .collect();
        assert_eq!(
            order,
            [("c", "[alpn h2]"), ("a", "a.com"), ("d", ""), ("b", "")]
        );
        let other: CertificateList = "c [alpn http/1.1]\na a.com".parse().unwrap();
        assert_ne!(
            set,
            CertificateSet::listed(files, &["d".parse().unwrap()], &other)
        );
    }

    #[test]
    fn a_name_leads_nowhere_else_and_a_key_is_not_shown() {
        for bad in [
            "",
            "..",
            "a/b",
            ".x",
            "-x",
            "a b",
            "*.pem",
            &"a".repeat(151),
        ] {
            assert!(bad.parse::<CertificateName>().is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", file("a.pem", "geheim")).contains("geheim"));
        let name: CertificateName = "a.pem".parse().unwrap();
        assert_eq!(name.file_name().as_str(), "cert-a.pem.pem");
        #[cfg(feature = "run")]
        assert_eq!(CertificateName::of_file("cert-a.pem.pem"), Some(name));
    }
}
