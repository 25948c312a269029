//! Documents against what they talk of: paths exist, and each crate says how it is tested.

use std::collections::BTreeSet;

use serde_json::Value;

use super::TextFile;

/// Documents that the root must have, with what each must name.
const ROOT: [(&str, &[&str]); 5] = [
    ("README.md", &["cargo xtask up", "cargo xtask test"]),
    ("ARCHITECTURE.md", &[]),
    ("LEXICON.md", &[]),
    ("CONTRIBUTING.md", &["cargo xtask test"]),
    ("CHANGELOG.md", &[]),
];

/// The document whose paths must exist.
const MAP: &str = "ARCHITECTURE.md";

/// Crates that only serve the others' tests and tasks need no README.
const NO_README: [&str; 4] = ["xtask", "testkit", "system-tests", "fuzz-targets"];

pub(super) fn check(files: &[TextFile], metadata: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let text = |path: &str| {
        let found = files.iter().find(|file| file.path == path);
        found.map(|file| file.text.as_str())
    };
    for (path, words) in ROOT {
        match text(path) {
            None => problems.push(format!("{path}: is missing")),
            Some(text) => problems.extend(
                words
                    .iter()
                    .filter(|word| !text.contains(**word))
                    .map(|word| format!("{path}: does not name `{word}`")),
            ),
        }
    }
    for (name, folder) in crates(metadata) {
        let path = format!("{folder}/README.md");
        let command = format!("cargo test -p {name}");
        match text(&path) {
            None => problems.push(format!("{path}: is missing")),
            Some(text) if !text.contains(&command) => {
                problems.push(format!("{path}: does not name `{command}`"));
            }
            Some(_) => {}
        }
    }
    if let Some(map) = text(MAP) {
        let known = known_paths(files);
        problems.extend(
            named_paths(map)
                .filter(|path| !exists(&known, path.trim_end_matches('/')))
                .map(|path| format!("{MAP}: names `{path}`, which does not exist")),
        );
    }
    problems
}

/// The crates that somebody reads about, with their folders.
fn crates(metadata: &Value) -> Vec<(&str, String)> {
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["source"].is_null())
        .filter_map(|package| {
            let name = package["name"].as_str()?;
            let manifest = package["manifest_path"].as_str()?;
            let folder = manifest.strip_suffix("/Cargo.toml")?.strip_prefix(root)?;
            (!NO_README.contains(&name)).then(|| (name, folder.trim_matches('/').to_owned()))
        })
        .collect()
}

/// Every file, and every folder that holds one.
fn known_paths(files: &[TextFile]) -> BTreeSet<&str> {
    let mut known = BTreeSet::new();
    for file in files {
        known.insert(file.path.as_str());
        for (at, _) in file.path.match_indices('/') {
            known.extend(file.path.get(..at));
        }
    }
    known
}

/// A bare file name is one that some folder holds: `lib.rs` is in every crate.
fn exists(known: &BTreeSet<&str>, path: &str) -> bool {
    known.contains(path)
        || (!path.contains('/')
            && known
                .iter()
                .any(|known| known.rsplit('/').next() == Some(path)))
}

/// What stands in backticks and reads as a path of this repository.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| {
        let plain =
            |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
        let ours = ["proxy-", "xtask", "tests/", "fuzz/", ".ci/", ".cargo/"]
            .iter()
            .any(|head| word.starts_with(head));
        let file = [".rs", ".toml", ".md", ".cfg", ".j2"]
            .iter()
            .any(|tail| word.ends_with(tail));
        word.chars().all(plain)
            && ((ours && word.contains('/')) || (file && !word.starts_with(['/', '.'])))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn metadata() -> Value {
        json!({"workspace_root": "/x", "packages": [
            {"name": "proxy-core", "source": null, "manifest_path": "/x/proxy-core/Cargo.toml"},
            {"name": "testkit", "source": null, "manifest_path": "/x/tests/testkit/Cargo.toml"},
            {"name": "serde", "source": "registry", "manifest_path": "/y/Cargo.toml"},
        ]})
    }

    fn complete() -> Vec<TextFile> {
        vec![
            file("README.md", "cargo xtask up, cargo xtask test"),
            file(
                "ARCHITECTURE.md",
                "`proxy-core/src/lib.rs`, `proxy-core/src/`, `lib.rs`, `a/b`, `GET /x`, `/cfg/x.cfg`",
            ),
            file("LEXICON.md", ""),
            file("CONTRIBUTING.md", "cargo xtask test"),
            file("CHANGELOG.md", ""),
            file("proxy-core/README.md", "cargo test -p proxy-core"),
            file("proxy-core/src/lib.rs", "//! Core."),
        ]
    }

    #[test]
    fn what_is_complete_passes() {
        assert_eq!(check(&complete(), &metadata()), Vec::<String>::new());
    }

    #[test]
    fn a_path_that_went_away_is_named() {
        let mut files = complete();
        files[1] = file(
            "ARCHITECTURE.md",
            "see `proxy-core/src/old.rs`, `proxy-gone/` and `DEPLOY.md`",
        );
        let problems = check(&files, &metadata());
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut files = complete();
        files.retain(|file| file.path != "proxy-core/README.md" && file.path != "LEXICON.md");
        files[0] = file("README.md", "cargo xtask test");
        assert_eq!(
            check(&files, &metadata()),
            [
                "README.md: does not name `cargo xtask up`",
                "LEXICON.md: is missing",
                "proxy-core/README.md: is missing",
            ]
        );
    }
}
