//! A place for `cargo package` that was never used. Cargo unpacks and builds a package of one name,
//! version and place once, and a workspace packs the same version many times, so that at one place a
//! library would be built against its neighbour of another day.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

/// A new path to the folder of what is built, for one run.
pub(super) fn new_place(target: &Path) -> Result<PathBuf> {
    let places = target.join("packed");
    // What earlier runs left: links, and nothing behind them.
    for entry in fs::read_dir(&places).into_iter().flatten().flatten() {
        fs::remove_file(entry.path())
            .with_context(|| format!("cannot remove {}", entry.path().display()))?;
    }
    fs::create_dir_all(&places).with_context(|| format!("cannot make {}", places.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let place = places.join(now.unwrap_or_default().as_nanos().to_string());
    symlink("..", &place).with_context(|| format!("cannot make {}", place.display()))?;
    Ok(place)
}

/// Forgets the unpacked packages of these names that came from a folder and not from a registry.
pub(super) fn forget(names: &[&str]) -> Result<()> {
    match home() {
        Some(home) => forget_below(&home.join("registry/src"), names),
        None => Ok(()),
    }
}

fn home() -> Option<PathBuf> {
    let own = env::var_os("CARGO_HOME").map(PathBuf::from);
    own.or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

fn forget_below(sources: &Path, names: &[&str]) -> Result<()> {
    for source in folders(sources) {
        // A registry's folder begins with its host's name; a folder's own has none.
        let is_local = |name: &str| name.starts_with('-');
        if !file_name(&source).is_some_and(is_local) {
            continue;
        }
        for package in folders(&source) {
            let is_ours = |of: &str| {
                let version = names
                    .iter()
                    .find_map(|name| of.strip_prefix(name)?.strip_prefix('-'));
                version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
            };
            if file_name(&package).is_some_and(is_ours) {
                fs::remove_dir_all(&package)
                    .with_context(|| format!("cannot remove {}", package.display()))?;
            }
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// The folders in a folder; none where it cannot be read.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_a_place_of_its_own() {
        let target = tempfile::tempdir().unwrap();
        fs::write(target.path().join("built"), "").unwrap();
        let first = new_place(target.path()).unwrap();
        assert!(first.join("built").is_file());
        let second = new_place(target.path()).unwrap();
        assert!(first != second && second.join("built").is_file());
        assert!(!first.exists() && target.path().join("built").is_file());
    }

    #[test]
    fn only_what_was_packed_here_is_forgotten() {
        let sources = tempfile::tempdir().unwrap();
        let kept = [
            "registry.example-1/proxy-core-0.1.0",
            "-2/serde-1.0.0",
            "-2/proxy-core-extra-1.0.0",
        ];
        let gone = ["-2/proxy-core-0.1.0", "-3/proxy-core-0.2.0"];
        for path in kept.iter().chain(&gone) {
            fs::create_dir_all(sources.path().join(path)).unwrap();
        }
        forget_below(sources.path(), &["proxy-core"]).unwrap();
        assert!(kept.iter().all(|path| sources.path().join(path).is_dir()));
        assert!(gone.iter().all(|path| !sources.path().join(path).exists()));
    }
}
