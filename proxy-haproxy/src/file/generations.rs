//! Which generations there are, which of them is current and which came before it.

use std::fs;

use super::{
    CURRENT, ConfigDir, GENERATIONS, PREVIOUS, STAGED,
    disk::{ConfigDirError, list, read_bounded, run},
};
use crate::rendered::{FileName, MAIN_FILE, RenderedConfig};

impl ConfigDir {
    pub(super) fn current_generation(&self) -> Option<String> {
        let target = fs::read_link(self.root.join(CURRENT)).ok()?;
        self.existing(target.file_name()?.to_str()?)
    }

    pub(super) fn previous_of(&self, generation: &str) -> Option<String> {
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

    pub(super) fn read(&self, generation: &str) -> Result<RenderedConfig, ConfigDirError> {
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

    pub(super) fn last_number(&self) -> Result<u64, ConfigDirError> {
        let entries = run("listing", &self.root.join(GENERATIONS), list)?;
        let numbers = entries
            .iter()
            .filter_map(|entry| entry.split('-').next()?.parse().ok());
        Ok(numbers.max().unwrap_or(0))
    }

    /// Removes every generation but the current one and those before it that are kept.
    pub(super) fn prune(&self) -> Result<(), ConfigDirError> {
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
}
