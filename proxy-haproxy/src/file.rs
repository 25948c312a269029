//! Configurations on disk: for whoever lets HAProxy read one while the next is written.
//!
//! Every configuration is a folder of its own, a generation. One of them is current, through one
//! link, and changing that link is one rename: whoever reads sees the old generation or the new one
//! whole, also after a crash at any step.
//!
//! ```text
//! CONFIGS_PATH/haproxy.cfg            -> current/haproxy.cfg      for people
//! CONFIGS_PATH/current                -> generations/00000007-1f3a…  what HAProxy reads
//! CONFIGS_PATH/generations/00000007-…/haproxy.cfg, …
//! CONFIGS_PATH/generations/00000007-…/.previous   the name of the generation it replaced
//! CONFIGS_PATH/generations/.staged-…              not accepted yet
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{
    lock::{FolderLock, LockError},
    rendered::{Content, Digest, FileName, MAIN_FILE, RenderedConfig},
};

/// Generations on disk: the current one, the one to fall back to, and one more to look at.
pub const DEFAULT_KEPT_GENERATIONS: usize = 3;

const CURRENT: &str = "current";
const NEW_LINK: &str = ".new-link";
const GENERATIONS: &str = "generations";
const STAGED: &str = ".staged-";
const PREVIOUS: &str = ".previous";

/// The most bytes of a configuration that are read back.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// The folder of HAProxy's configuration. It is locked: one process writes it.
///
/// Every call does blocking file IO.
#[derive(Debug)]
pub struct ConfigDir {
    root: PathBuf,
    kept: usize,
    /// The files of the current generation, where this process wrote them.
    written: Option<Written>,
    _lock: FolderLock,
    #[cfg(test)]
    crash_at: Option<Step>,
}

/// A configuration on disk that is not current: HAProxy can check it. Dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    folder: tempfile::TempDir,
    digest: Digest,
    config: RenderedConfig,
    files: BTreeMap<String, Identity>,
}

/// A generation, and its files as they were written.
#[derive(Debug)]
struct Written {
    generation: String,
    config: RenderedConfig,
    files: BTreeMap<String, Identity>,
}

/// What changes when somebody else writes a file or puts another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// The current configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Active {
    /// The name of its folder.
    pub generation: String,
    /// What tells it from others.
    pub digest: Digest,
}

/// Why the folder of the configuration could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigDirError {
    /// Another process writes it.
    #[error("the configuration folder cannot be taken")]
    Lock(#[from] LockError),
    /// A file operation failed. What was current still is.
    #[error("{operation} {} failed; the configuration that was current still is", path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is nothing to go back to. What was current still is.
    #[error("there is no previous configuration in {}; the current one stays", .0.display())]
    NoPrevious(PathBuf),
}

/// The steps between which a crash can fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Noted,
    Renamed,
    Linked,
    Switched,
}

// === impl ConfigDir ===

impl ConfigDir {
    /// Opens the folder, creates what is missing and clears away what a crash left. A `haproxy.cfg`
    /// that is a file of someone else is kept as `haproxy.cfg.found`.
    ///
    /// # Errors
    /// When another process holds the folder, or it cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ConfigDirError> {
        let root = root.into();
        let generations = root.join(GENERATIONS);
        run("creating", &generations, |path| fs::create_dir_all(path))?;
        let this = Self {
            _lock: FolderLock::take(&root)?,
            root,
            kept: DEFAULT_KEPT_GENERATIONS,
            written: None,
            #[cfg(test)]
            crash_at: None,
        };
        for entry in run("listing", &generations, list)? {
            if entry.starts_with(STAGED) {
                run("removing", &generations.join(entry), |path| {
                    fs::remove_dir_all(path)
                })?;
            }
        }
        this.link_main_file()?;
        this.prune()?;
        Ok(this)
    }

    /// What HAProxy is to be started with: `CONFIGS_PATH/current/haproxy.cfg`. Files beside it are
    /// found by HAProxy's `default-path config`.
    #[must_use]
    pub fn main_path(&self) -> PathBuf {
        self.root.join(CURRENT).join(MAIN_FILE)
    }

    /// Writes a configuration beside the current one. A file that is the current one's byte for byte is
    /// linked to it.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it.
    pub fn stage(&self, config: &RenderedConfig) -> Result<Staged, ConfigDirError> {
        let generations = self.root.join(GENERATIONS);
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

    /// Makes a staged configuration the current one, durably.
    ///
    /// # Errors
    /// When a file operation fails; the configuration that was current still is.
    pub fn activate(&mut self, staged: Staged) -> Result<Active, ConfigDirError> {
        let Staged {
            folder,
            digest,
            config,
            files,
        } = staged;
        let generations = self.root.join(GENERATIONS);
        if let Some(current) = self.current_generation() {
            let note = folder.path().join(PREVIOUS);
            run("writing", &note, |path| write_durably(path, &current))?;
        }
        run("syncing", folder.path(), sync_folder)?;
        self.crash_point(Step::Noted)?;

        let short: String = digest.to_string().chars().take(12).collect();
        let generation = format!("{:08}-{short}", self.last_number()? + 1);
        run("naming", &generations.join(&generation), |path| {
            // From here on the folder is no temporary one.
            fs::rename(folder.keep(), path)
        })?;
        run("syncing", &generations, sync_folder)?;
        self.crash_point(Step::Renamed)?;

        self.switch_to(&generation)?;
        self.written = Some(Written {
            generation: generation.clone(),
            config,
            files,
        });
        // Old generations in the way of nothing are no reason to call this a failure.
        let _ = self.prune();
        Ok(Active { generation, digest })
    }

    /// Makes the configuration before the current one current again, durably.
    ///
    /// # Errors
    /// When there is none, or a file operation fails; the current one then stays.
    pub fn restore_previous(&mut self) -> Result<Active, ConfigDirError> {
        let no_previous = || ConfigDirError::NoPrevious(self.root.clone());
        let current = self.current_generation().ok_or_else(no_previous)?;
        let previous = self.previous_of(&current).ok_or_else(no_previous)?;
        self.written = None;
        self.switch_to(&previous)?;
        Ok(Active {
            digest: self.read(&previous)?.digest(),
            generation: previous,
        })
    }

    /// The current configuration, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn active(&self) -> Result<Option<Active>, ConfigDirError> {
        let Some(generation) = self.current_generation() else {
            return Ok(None);
        };
        Ok(Some(Active {
            digest: self.read(&generation)?.digest(),
            generation,
        }))
    }

    /// What the current configuration holds, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn active_config(&self) -> Result<Option<RenderedConfig>, ConfigDirError> {
        let generation = self.current_generation();
        generation.map(|name| self.read(&name)).transpose()
    }

    /// The text of the current `haproxy.cfg`, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn active_text(&self) -> Result<Option<String>, ConfigDirError> {
        let config = self.active_config()?;
        Ok(config.map(|config| config.main_text().to_owned()))
    }

    fn link_main_file(&self) -> Result<(), ConfigDirError> {
        let link = self.root.join(MAIN_FILE);
        let target = Path::new(CURRENT).join(MAIN_FILE);
        match fs::symlink_metadata(&link) {
            Ok(found)
                if found.is_symlink() && fs::read_link(&link).is_ok_and(|to| to == target) =>
            {
                return Ok(());
            }
            Ok(found) if !found.is_symlink() => {
                let kept = self.root.join(format!("{MAIN_FILE}.found"));
                run("moving away", &link, |path| fs::rename(path, kept))?;
            }
            _ => {}
        }
        self.replace_link(&target, &link)
    }

    fn switch_to(&self, generation: &str) -> Result<(), ConfigDirError> {
        let target = Path::new(GENERATIONS).join(generation);
        self.replace_link(&target, &self.root.join(CURRENT))?;
        self.crash_point(Step::Switched)
    }

    fn replace_link(&self, target: &Path, link: &Path) -> Result<(), ConfigDirError> {
        let new = self.root.join(NEW_LINK);
        run("linking", &new, |path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => symlink(target, path),
        })?;
        self.crash_point(Step::Linked)?;
        run("linking", link, |path| fs::rename(&new, path))?;
        run("syncing", &self.root, sync_folder)
    }

    fn current_generation(&self) -> Option<String> {
        let target = fs::read_link(self.root.join(CURRENT)).ok()?;
        self.existing(target.file_name()?.to_str()?)
    }

    fn previous_of(&self, generation: &str) -> Option<String> {
        let note = self.root.join(GENERATIONS).join(generation).join(PREVIOUS);
        self.existing(fs::read_to_string(note).ok()?.trim())
    }

    fn existing(&self, generation: &str) -> Option<String> {
        let name: FileName = generation.parse().ok()?;
        let main = self
            .root
            .join(GENERATIONS)
            .join(name.as_str())
            .join(MAIN_FILE);
        main.is_file().then(|| name.to_string())
    }

    fn read(&self, generation: &str) -> Result<RenderedConfig, ConfigDirError> {
        let folder = self.root.join(GENERATIONS).join(generation);
        let main = run("reading", &folder.join(MAIN_FILE), read_bounded)?;
        let mut config = RenderedConfig::new(main);
        for entry in run("listing", &folder, list)? {
            let name = entry.parse::<FileName>();
            if let Ok(name) = name
                && name.as_str() != MAIN_FILE
            {
                let content = run("reading", &folder.join(name.as_str()), read_bounded)?;
                config = config.with_file(name, content);
            }
        }
        Ok(config)
    }

    fn last_number(&self) -> Result<u64, ConfigDirError> {
        let entries = run("listing", &self.root.join(GENERATIONS), list)?;
        let numbers = entries
            .iter()
            .filter_map(|entry| entry.split('-').next()?.parse().ok());
        Ok(numbers.max().unwrap_or(0))
    }

    /// Removes every generation but the current one and those before it that are kept.
    fn prune(&self) -> Result<(), ConfigDirError> {
        let mut kept = Vec::new();
        let mut next = self.current_generation();
        while let Some(generation) = next.take().filter(|_| kept.len() < self.kept) {
            next = self
                .previous_of(&generation)
                .filter(|previous| !kept.contains(previous));
            kept.push(generation);
        }
        let generations = self.root.join(GENERATIONS);
        for entry in run("listing", &generations, list)? {
            if !entry.starts_with(STAGED) && !kept.contains(&entry) {
                run("removing", &generations.join(entry), |path| {
                    fs::remove_dir_all(path)
                })?;
            }
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "a test stops here"
    )]
    fn crash_point(&self, _step: Step) -> Result<(), ConfigDirError> {
        Ok(())
    }

    /// A test stops here, as a kill would.
    #[cfg(test)]
    fn crash_point(&self, step: Step) -> Result<(), ConfigDirError> {
        if self.crash_at == Some(step) {
            return Err(ConfigDirError::NoPrevious(self.root.clone()));
        }
        Ok(())
    }
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

// === impl Identity ===

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

fn run<T>(
    operation: &'static str,
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, ConfigDirError> {
    work(path).map_err(|source| ConfigDirError::Io {
        operation,
        path: path.to_path_buf(),
        source,
    })
}

fn write_durably(path: &Path, content: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The names in a folder, in order.
fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests;
