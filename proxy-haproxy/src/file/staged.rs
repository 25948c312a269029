//! Configurations that are on disk and not current yet: for whoever has HAProxy check one first.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    ConfigDir, GENERATIONS, STAGED,
    disk::{ConfigDirError, Identity, run, write_durably},
};
use crate::rendered::{Content, Digest, MAIN_FILE, RenderedConfig};

/// A configuration on disk that is not current: HAProxy can check it. Dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    pub(super) folder: tempfile::TempDir,
    pub(super) digest: Digest,
    pub(super) config: RenderedConfig,
    pub(super) files: BTreeMap<String, Identity>,
}

/// A generation, and its files as they were written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) generation: String,
    pub(super) config: RenderedConfig,
    pub(super) files: BTreeMap<String, Identity>,
}

impl ConfigDir {
    /// Writes a configuration beside the current one. A file that is the current one's byte for byte is
    /// linked to it.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it.
    pub fn stage(&self, config: &RenderedConfig) -> Result<Staged, ConfigDirError> {
        let generations = self.root.join(GENERATIONS);
        // Somebody may have emptied the whole folder.
        run("creating", &generations, |path| fs::create_dir_all(path))?;
        let folder = run("creating a folder in", &generations, |path| {
            tempfile::Builder::new().prefix(STAGED).tempdir_in(path)
        })?;
        let mut files = BTreeMap::new();
        for (name, content) in config.contents() {
            let path = folder.path().join(name);
            let written = match self.link(name, content, &path) {
                Some(linked) => linked,
                None => run("writing", &path, |path| {
                    write_durably(path, content.text())?;
                    Identity::of(path)
                })?,
            };
            files.insert(name.to_owned(), written);
        }
        Ok(Staged {
            folder,
            digest: config.digest(),
            config: config.clone(),
            files,
        })
    }

    /// Gives a file of the current generation another name, where it holds what is wanted and nobody
    /// touched it since it was written.
    fn link(&self, name: &str, content: &Content, path: &Path) -> Option<Identity> {
        let written = self.written.as_ref()?;
        let mut same = written.config.contents();
        let same = same.any(|(known, old)| known == name && old == content);
        let identity = *written.files.get(name).filter(|_| same)?;
        let generation = self.root.join(GENERATIONS).join(&written.generation);
        fs::hard_link(generation.join(name), path).ok()?;
        if Identity::of(path).ok() == Some(identity) {
            return Some(identity);
        }
        fs::remove_file(path).ok()?;
        None
    }
}

/// Writes the files of a configuration into a folder where there is none of them, and gives the path of its
/// `haproxy.cfg`.
pub(crate) fn write_files(
    config: &RenderedConfig,
    folder: &Path,
) -> Result<PathBuf, ConfigDirError> {
    for (name, content) in config.contents() {
        run("writing", &folder.join(name), |path| {
            write_durably(path, content.text())
        })?;
    }
    Ok(folder.join(MAIN_FILE))
}

// === impl Staged ===

impl Staged {
    /// The path of its `haproxy.cfg`.
    #[must_use]
    pub fn main_path(&self) -> PathBuf {
        self.folder.path().join(MAIN_FILE)
    }

    /// What tells it from others.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What was written.
    #[must_use]
    pub fn config(&self) -> &RenderedConfig {
        &self.config
    }
}
