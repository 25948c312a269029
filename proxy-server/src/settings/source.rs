//! Where settings come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::VarError,
    ffi::{OsStr, OsString},
    fmt, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::patience::{Patience, Say};

/// Hands out settings by name. The seam that keeps the process environment out of tests.
pub trait SettingsSource: fmt::Debug {
    /// The value of a setting, where this source has it and it is not empty.
    ///
    /// # Errors
    /// When the source has it and it cannot be read: that must not pass as "not set", or a secret
    /// with wrong rights would open the API.
    fn get(&self, name: &str) -> Result<Option<String>, String>;

    /// Every setting whose name begins so, by the whole name; empty ones are left out. Only sources that
    /// know their names have any.
    fn beginning_with(&self, prefix: &str) -> BTreeMap<String, Result<String, String>> {
        let _ = prefix;
        BTreeMap::new()
    }
}

/// The environment of the process.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProcessEnv;

/// Secret files: `<folder>/dfp_<name in lower case>`. The folder is listed once, with the first setting: few of the
/// settings are secret files, and each that is none would cost a look.
#[derive(Debug)]
pub struct SecretFiles {
    folder: PathBuf,
    /// The names in the folder. None where it cannot be listed: its files may be read all the same.
    listed: OnceLock<Option<BTreeSet<OsString>>>,
}

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
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err("the variable is not UTF-8".to_owned()),
        }
    }

    fn beginning_with(&self, prefix: &str) -> BTreeMap<String, Result<String, String>> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, value)| name.starts_with(prefix) && !value.is_empty())
            .map(|(name, value)| {
                let value = value.into_string();
                (
                    name,
                    value.map_err(|_| "the variable is not UTF-8".to_owned()),
                )
            })
            .collect()
    }
}

// === impl SecretFiles ===

impl SecretFiles {
    /// The secrets of a folder, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            listed: OnceLock::new(),
        }
    }

    /// Whether there may be such a file.
    fn may_have(&self, file: &str) -> bool {
        let listed = self.listed.get_or_init(|| {
            let listed = self.patiently(&self.folder, || {
                let files = fs::read_dir(&self.folder)?.map(|file| Ok(file?.file_name()));
                files.collect::<io::Result<_>>()
            });
            match listed {
                Ok(listed) => Some(listed),
                Err(error) if error.kind() == ErrorKind::NotFound => Some(BTreeSet::new()),
                Err(_) => None,
            }
        });
        let listed = listed.as_ref();
        listed.is_none_or(|listed| listed.contains(OsStr::new(file)))
    }

    fn patiently<T>(&self, path: &Path, read: impl FnOnce() -> T) -> T {
        let patience = Patience {
            setting: "SECRETS_PATH",
            path,
            say: Say::StandardError,
        };
        patience.read(read)
    }
}

impl SettingsSource for SecretFiles {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        let file = format!("dfp_{}", name.to_lowercase());
        if !self.may_have(&file) {
            return Ok(None);
        }
        let file = self.folder.join(file);
        let text = match self.patiently(&file, || fs::read_to_string(&file)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(format!(
                    "the secret file {} cannot be read: {error}",
                    file.display()
                ));
            }
        };
        // Editors and `echo` end a file in a newline that is no part of the secret.
        match text.trim_end_matches(['\n', '\r']) {
            "" => Err(format!("the secret file {} is empty", file.display())),
            text => Ok(Some(text.to_owned())),
        }
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
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.0.get(name).filter(|value| !value.is_empty()).cloned())
    }

    fn beginning_with(&self, prefix: &str) -> BTreeMap<String, Result<String, String>> {
        let given = self.0.iter();
        given
            .filter(|(name, value)| name.starts_with(prefix) && !value.is_empty())
            .map(|(name, value)| (name.clone(), Ok(value.clone())))
            .collect()
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
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        for source in &self.0 {
            if let Some(value) = source.get(name)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn beginning_with(&self, prefix: &str) -> BTreeMap<String, Result<String, String>> {
        let mut all = BTreeMap::new();
        for source in self.0.iter().rev() {
            all.extend(source.beginning_with(prefix));
        }
        all
    }
}
