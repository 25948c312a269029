//! `cargo xtask tidy`: the rules of the house that a program can check.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

mod compatibility;
mod documents;
mod graph;
mod licences;
mod sources;

/// Folders that hold nothing of ours.
const NOT_OURS: [&str; 3] = ["target", ".git", "node_modules"];

/// A file of the workspace that can be read as text.
#[derive(Debug)]
struct TextFile {
    /// Below the root, with slashes.
    path: String,
    text: String,
}

/// Checks everything and names every problem.
pub(crate) fn tidy(workspace: &Workspace) -> Result<()> {
    let files = read_all(workspace.root())?;
    let metadata = workspace.metadata()?;
    let mut problems = Vec::new();
    problems.extend(graph::check(&metadata));
    problems.extend(licences::check(&metadata));
    problems.extend(licences::check_texts(workspace.root()));
    for file in &files {
        problems.extend(sources::check(file));
    }
    problems.extend(documents::check(&files, &metadata));
    problems.extend(compatibility::check(&files));
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    bail!("{} problems:\n  {}", problems.len(), problems.join("\n  "))
}

fn read_all(root: &Path) -> Result<Vec<TextFile>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if NOT_OURS.iter().any(|not_ours| name == *not_ours) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.extend(read(root, entry.path())?);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// A file that is no text is none of our business.
fn read(root: &Path, path: PathBuf) -> Result<Option<TextFile>> {
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let below = path.strip_prefix(root).unwrap_or(&path);
    Ok(String::from_utf8(bytes).ok().map(|text| TextFile {
        path: below.to_string_lossy().into_owned(),
        text,
    }))
}
