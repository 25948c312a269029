//! A rendered configuration: the files HAProxy reads, by name, for whoever writes or compares them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::routing::form::RoutingForm;

/// The name of HAProxy's main file in every configuration.
pub const MAIN_FILE: &str = "haproxy.cfg";

/// The name of the file that holds the routes, in a configuration of the form
/// [`RoutingForm::Map`].
pub const MAP_FILE: &str = "routing.map";

/// How the names of files end that hold keys. They are written so that nobody else reads them, and never
/// shown.
pub(crate) const SECRET_SUFFIX: &str = ".pem";

/// The longest file name, below every file system's limit.
const MAX_FILE_NAME_BYTES: usize = 200;

/// A plain file name: letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`. It is joined
/// to folders, so it can never lead out of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// Why a text is no [`FileName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no plain file name: 1 to {MAX_FILE_NAME_BYTES} letters, digits, '.', '_' and '-', \
     beginning with a letter, a digit or '_'"
)]
pub struct FileNameError(String);

/// Every file of one configuration. Same files, same [`Digest`]. A copy costs next to nothing, and so
/// does a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedConfig {
    main: Content,
    others: BTreeMap<FileName, Content>,
    rules: usize,
}

/// What stands in a file. It is hashed once, however often it is copied into another configuration.
#[derive(Clone)]
pub(crate) struct Content {
    text: Text,
    digest: Digest,
}

#[derive(Clone)]
enum Text {
    Plain(Arc<str>),
    /// Holds a key.
    Secret(
        #[cfg_attr(
            not(feature = "run"),
            expect(dead_code, reason = "only what is written to disk is read")
        )]
        Arc<SecretString>,
    ),
}

/// SHA-256 over the names of a configuration's files and the SHA-256 of each, shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

// === impl FileName ===

impl FileName {
    /// A name that is known to be one.
    pub(crate) fn known(name: &str) -> Self {
        debug_assert!(name.parse::<Self>().is_ok(), "{name}");
        Self(name.to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if begins && text.len() <= MAX_FILE_NAME_BYTES && text.chars().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(FileNameError(text.to_owned()))
        }
    }
}

impl AsRef<str> for FileName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl RenderedConfig ===

impl RenderedConfig {
    /// A configuration of one file. HAProxy wants a line break at the end, so it gets one.
    #[must_use]
    pub fn new(main: impl Into<String>) -> Self {
        let mut main = main.into();
        if !main.ends_with('\n') {
            main.push('\n');
        }
        let mut rules = 0;
        let mut takes_requests = true;
        for line in main.lines() {
            match line.trim_start() {
                "mode tcp" => takes_requests = false,
                // The last one of the map form asks the map.
                rule if rule.starts_with("use_backend %[") => {}
                rule if rule.starts_with("use_backend ") => rules += usize::from(takes_requests),
                // What is not indented begins a section.
                _ if !line.starts_with(char::is_whitespace) => takes_requests = true,
                _ => {}
            }
        }
        Self {
            main: Content::new(main),
            others: BTreeMap::new(),
            rules,
        }
    }

    /// The same with another file beside the main one. The main file itself is replaced by
    /// giving its name. A name that ends in `.pem` is that of a file with a key, which is never shown.
    #[must_use]
    pub fn with_file(mut self, name: FileName, content: impl Into<String>) -> Self {
        let content = content.into();
        if name.as_str() == MAIN_FILE {
            return Self {
                others: self.others,
                ..Self::new(content)
            };
        }
        if name.as_str().ends_with(SECRET_SUFFIX) {
            return self.with_secret(name, Arc::new(content.into()));
        }
        self.others.insert(name, Content::new(content));
        self
    }

    pub(crate) fn with_secret(mut self, name: FileName, content: Arc<SecretString>) -> Self {
        self.others.insert(name, Content::secret(content));
        self
    }

    pub(crate) fn with_map(self, map: String) -> Self {
        self.with_file(FileName(MAP_FILE.to_owned()), map)
    }

    /// The routes, in the form [`RoutingForm::Map`].
    #[must_use]
    pub fn map_text(&self) -> Option<&str> {
        let mut others = self.others.iter();
        let map = others.find(|(name, _)| name.as_str() == MAP_FILE);
        map.and_then(|(_, content)| content.shown())
    }

    /// How many rules every request is held against one after the other: each costs every request
    /// about 0.24 us (measured). In the form [`RoutingForm::Map`] these are the routes that no map
    /// holds: those with conditions, exclusions, and other comparisons than of the whole or the
    /// beginning of a path and the whole or the end of a domain.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// The form that its routes are in.
    #[must_use]
    pub fn form(&self) -> RoutingForm {
        match self.map_text() {
            Some(_) => RoutingForm::Map,
            None => RoutingForm::Acl,
        }
    }

    /// What stands in `haproxy.cfg`.
    #[must_use]
    pub fn main_text(&self) -> &str {
        self.main.shown().unwrap_or_default()
    }

    /// The same, shared.
    #[must_use]
    pub fn shared_main_text(&self) -> Arc<str> {
        match &self.main.text {
            Text::Plain(text) => Arc::clone(text),
            Text::Secret(_) => Arc::default(),
        }
    }

    /// Every file that holds no key, `haproxy.cfg` first.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.contents()
            .filter_map(|(name, content)| Some((name, content.shown()?)))
    }

    /// The names of the files that are not the same in another configuration, or not there, in order.
    #[must_use]
    pub fn differing_files<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let of = |config: &'a Self| config.contents().collect::<BTreeMap<_, _>>();
        let (own, others) = (of(self), of(other));
        let names = own.keys().chain(others.keys()).copied();
        names
            .filter(|name| own.get(name) != others.get(name))
            .collect()
    }

    pub(crate) fn contents(&self) -> impl Iterator<Item = (&str, &Content)> {
        let others = self.others.iter();
        std::iter::once((MAIN_FILE, &self.main))
            .chain(others.map(|(name, content)| (name.as_str(), content)))
    }

    /// What tells this configuration from every other.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for (name, content) in self.contents() {
            // The length first, so that no two sets of files run together to the same bytes.
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name.as_bytes());
            hash.update(content.digest.0);
        }
        Digest(hash.finalize().into())
    }
}

// === impl Content ===

impl Content {
    fn new(text: String) -> Self {
        Self {
            digest: Digest(Sha256::digest(text.as_bytes()).into()),
            text: Text::Plain(text.into()),
        }
    }

    fn secret(text: Arc<SecretString>) -> Self {
        Self {
            digest: Digest(Sha256::digest(text.expose_secret().as_bytes()).into()),
            text: Text::Secret(text),
        }
    }

    /// The text, where it holds no key.
    fn shown(&self) -> Option<&str> {
        match &self.text {
            Text::Plain(text) => Some(text),
            Text::Secret(_) => None,
        }
    }

    #[cfg(feature = "run")]
    pub(crate) fn text(&self) -> &str {
        match &self.text {
            Text::Plain(text) => text,
            Text::Secret(text) => text.expose_secret(),
        }
    }

    #[cfg(feature = "run")]
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.text, Text::Secret(_))
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Content {}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown() {
            Some(text) => text.fmt(f),
            None => f.write_str("(a key)"),
        }
    }
}

// === impl Digest ===

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_their_folder() {
        for good in ["routing.map", "crt-list.txt", "_x", "7"] {
            assert!(good.parse::<FileName>().is_ok(), "{good}");
        }
        for bad in [
            "", ".", "..", ".hidden", "-f", "a/b", "a\\b", "a b", "a\n", "é",
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_digest_tells_files_apart() {
        let map = |text| RenderedConfig::new("x").with_file("a.map".parse().unwrap(), text);
        assert_eq!(map("1").digest(), map("1").digest());
        assert_ne!(map("1").digest(), map("2").digest());
        assert_ne!(map("").digest(), RenderedConfig::new("x").digest());
        assert_eq!(map("1").digest().to_string().len(), 64);
    }

    #[test]
    fn the_main_file_ends_in_a_line_break() {
        assert_eq!(RenderedConfig::new("global").main_text(), "global\n");
        let replaced = RenderedConfig::new("a").with_file(MAIN_FILE.parse().unwrap(), "b");
        assert_eq!(replaced.main_text(), "b\n");
    }
}
