//! HAProxys of newer Debian releases, each with the libraries that it was built for: unpacked below
//! `target/tools` and installed nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Source, Tool, apt, probe};
use crate::workspace::Workspace;

/// The suites, and the release of HAProxy that each has.
pub(crate) const RELEASES: [(&str, &str); 2] = [("trixie", "3.0"), ("sid", "3.2")];

/// HAProxy, and what it needs of its release to run on another.
const PACKAGES: [&str; 13] = [
    "haproxy",
    "libc6",
    "libcrypt1",
    "libgcc-s1",
    "libjemalloc2",
    "liblua5.4-0",
    "libopentracing-c-wrapper0t64",
    "libopentracing1",
    "libpcre2-8-0",
    "libssl3t64",
    "libstdc++6",
    "libzstd1",
    "zlib1g",
];

/// The HAProxy of a suite.
///
/// # Errors
/// When it cannot be fetched, does not run, or is of another release.
pub(crate) fn haproxy_of(workspace: &Workspace, suite: &str, release: &str) -> Result<Tool> {
    let home = workspace.tools().join(format!("haproxy-{suite}"));
    let binary = home.join("haproxy");
    if !binary.is_file() {
        super::say(&format!(
            "unpacking the HAProxy of {suite} below target/tools"
        ));
        let fetched = apt::download_all(&PACKAGES, suite, &home.join("apt"))?;
        for (name, package) in PACKAGES.iter().zip(&fetched) {
            apt::unpack(package, &home.join("packages").join(name))?;
        }
        write_starter(&home.join("packages"), &binary)?;
    }
    let tool = probe(&binary, "-v", Source::Found)?;
    ensure!(
        tool.version.contains(&format!("version {release}.")),
        "the HAProxy of {suite} is {} and not a {release}",
        tool.version
    );
    Ok(tool)
}

/// A program that starts HAProxy with its own loader and libraries. It calls itself by its own path, so that
/// a master that starts itself again starts this.
fn write_starter(packages: &Path, binary: &Path) -> Result<()> {
    let mut folders = Vec::new();
    for name in PACKAGES {
        for below in ["usr/lib", "lib"] {
            folders.extend(folders_in(&packages.join(name).join(below)));
        }
    }
    let loader = folders
        .iter()
        .flat_map(|folder| files_in(folder))
        .find(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("ld-linux") && packages.join("libc6").join("usr") < *file
        })
        .context("libc6 has no loader")?;
    let folders: Vec<_> = folders.iter().map(|it| it.display().to_string()).collect();
    let text = format!(
        "#!/bin/sh\nexec {} --argv0 {} --library-path {} {} \"$@\"\n",
        loader.display(),
        binary.display(),
        folders.join(":"),
        packages.join("haproxy/usr/sbin/haproxy").display()
    );
    fs::write(binary, text).with_context(|| format!("cannot write {}", binary.display()))?;
    fs::set_permissions(binary, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} a program", binary.display()))
}

/// The folders of a folder, and itself; none where it is not there.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let inside = entries(folder).into_iter().filter(|path| path.is_dir());
    let own = folder.is_dir().then(|| folder.to_owned());
    own.into_iter().chain(inside).collect()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let all = entries(folder).into_iter();
    all.filter(|path| path.is_file()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
