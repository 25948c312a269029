//! Where settings come from.

use std::{collections::BTreeMap, fmt, path::PathBuf};

/// Hands out settings by name. The seam that keeps the process environment out of tests.
pub trait SettingsSource: fmt::Debug {
    /// The value of a setting, where this source has it and it is not empty.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of the process.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProcessEnv;

/// Secret files: `<folder>/dfp_<name in lower case>`.
#[derive(Debug)]
pub struct SecretFiles(PathBuf);

/// Settings by name, for flags and tests.
#[derive(Clone, Default)]
pub struct MapSource(BTreeMap<String, String>);

/// Several sources; the first that has a setting wins.
#[derive(Debug)]
pub struct Layered(Vec<Box<dyn SettingsSource>>);

// === impl ProcessEnv ===

impl ProcessEnv {
    /// The environment of the process.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Default for ProcessEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl SettingsSource for ProcessEnv {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

// === impl SecretFiles ===

impl SecretFiles {
    /// The secrets of a folder, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }
}

impl SettingsSource for SecretFiles {
    fn get(&self, name: &str) -> Option<String> {
        let file = self.0.join(format!("dfp_{}", name.to_lowercase()));
        let text = std::fs::read_to_string(file).ok()?;
        // Editors and `echo` end a file in a newline that is no part of the secret.
        let text = text.trim_end_matches(['\n', '\r']);
        (!text.is_empty()).then(|| text.to_owned())
    }
}

// === impl MapSource ===

impl MapSource {
    /// Settings by name.
    pub fn new<K: Into<String>, V: Into<String>>(values: impl IntoIterator<Item = (K, V)>) -> Self {
        let pairs = values.into_iter().map(|(k, v)| (k.into(), v.into()));
        Self(pairs.collect())
    }
}

impl SettingsSource for MapSource {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }
}

impl fmt::Debug for MapSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

// === impl Layered ===

impl Layered {
    /// Sources, strongest first.
    #[must_use]
    pub fn new(sources: Vec<Box<dyn SettingsSource>>) -> Self {
        Self(sources)
    }
}

impl SettingsSource for Layered {
    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find_map(|source| source.get(name))
    }
}
