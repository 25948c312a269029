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
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::{
    lock::FolderLock,
    rendered::{Digest, MAIN_FILE, RenderedConfig},
};

mod disk;
mod generations;
mod last;
mod staged;

pub use disk::ConfigDirError;
pub use last::last_certificates;
pub use staged::Staged;

pub(crate) use staged::write_files;

use disk::{list, run, sync_folder, write_durably};
use staged::Written;

/// Generations on disk: the current one, the one to fall back to, and one more to look at.
pub const DEFAULT_KEPT_GENERATIONS: usize = 3;

const CURRENT: &str = "current";
const NEW_LINK: &str = ".new-link";
const GENERATIONS: &str = "generations";
const STAGED: &str = ".staged-";
const PREVIOUS: &str = ".previous";

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

/// The current configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Active {
    /// The name of its folder.
    pub generation: String,
    /// What tells it from others.
    pub digest: Digest,
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
        // Nobody but people reads through it.
        let _ = self.link_main_file();
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

#[cfg(test)]
mod tests;
