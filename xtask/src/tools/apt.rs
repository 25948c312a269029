//! Debian packages: one downloaded with private lists, unpacked without being installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

mod sources;

use self::sources::{Release, SOURCES_LIST, SOURCES_PARTS, Source};

/// A dead mirror ends the task instead of hanging it.
const NETWORK: [&str; 6] = [
    "-o",
    "Acquire::http::Timeout=30",
    "-o",
    "Acquire::https::Timeout=30",
    "-o",
    "Acquire::Retries=2",
];

/// Which suite of the mirror to look in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Suite {
    /// The release that the machine runs.
    Own,
    /// Another one, by name.
    Named(&'static str),
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> Result<bool> {
    Ok(run(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Installs a package for the whole machine.
pub(super) fn install(package: &str) -> Result<()> {
    run(apt_get(&[]).args(NETWORK).arg("update"))?;
    run(apt_get(&[])
        .args(NETWORK)
        .args(["install", "-y", "--no-install-recommends", package]))?;
    Ok(())
}

/// The release that the machine runs, and a mirror of it.
pub(super) fn own_release() -> Result<(String, Option<String>)> {
    let Release { codename, mirrors } = Release::own()?;
    let mirror = mirrors.into_iter().next();
    Ok((codename, mirror.map(|mirror| mirror.uri)))
}

/// Downloads one package into `scratch` and says where it lies: from the
/// machine's own lists, else, as those may be empty or lack it, from each of
/// `suites` on the machine's mirror, through private lists.
pub(super) fn download(package: &str, suites: &[Suite], scratch: &Path) -> Result<PathBuf> {
    let folder = scratch.join(package);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut failures = match fetch(package, &[], &folder) {
        Ok(path) => return Ok(path),
        Err(error) => vec![format!("the machine's own lists: {error:#}")],
    };

    let Release { codename, mirrors } = Release::own()?;
    if mirrors.is_empty() {
        failures.push(format!(
            "no Debian mirror stands in the machine's apt sources ({SOURCES_LIST}, {SOURCES_PARTS})"
        ));
    }
    for suite in suites {
        let suite = match suite {
            Suite::Own => codename.as_str(),
            Suite::Named(name) => name,
        };
        for mirror in &mirrors {
            match download_from(mirror, package, suite, &folder) {
                Ok(path) => return Ok(path),
                Err(error) => failures.push(format!("{suite} on {}: {error:#}", mirror.uri)),
            }
        }
    }
    bail!("{package} could not be downloaded: {}", failures.join("; "))
}

/// Downloads packages of one suite of the machine's mirror, in their order.
pub(super) fn download_all(packages: &[&str], suite: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut failures = vec![format!("{suite} could not be downloaded")];
    for mirror in &Release::own()?.mirrors {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let fetched = lists_of(mirror, suite, folder).and_then(|options| {
            let each = packages.iter().map(|package| {
                let own = folder.join(package);
                fs::create_dir_all(&own)
                    .with_context(|| format!("cannot make {}", own.display()))?;
                fetch(package, &options, &own)
            });
            each.collect::<Result<Vec<_>>>()
        });
        match fetched {
            Ok(fetched) => return Ok(fetched),
            Err(error) => failures.push(format!("{}: {error:#}", mirror.uri)),
        }
    }
    bail!(failures.join("; "))
}

fn download_from(mirror: &Source, package: &str, suite: &str, folder: &Path) -> Result<PathBuf> {
    fetch(package, &lists_of(mirror, suite, folder)?, folder)
}

/// Reads the lists of a suite into a folder, and gives what has apt use these alone.
fn lists_of(mirror: &Source, suite: &str, folder: &Path) -> Result<Vec<String>> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("cannot find {}", folder.display()))?;
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part))
            .with_context(|| format!("cannot make {part} in {}", folder.display()))?;
    }
    let list = folder.join("sources.list");
    fs::write(&list, mirror.line(suite))
        .with_context(|| format!("cannot write {}", list.display()))?;
    let options = [
        format!("Dir::Etc::sourcelist={}", list.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", folder.join("lists").display()),
        format!("Dir::Cache={}", folder.join("cache").display()),
        "Acquire::Languages=none".to_owned(),
        // A source index is not needed, and apt has no right to warn about it.
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "APT::Update::Error-Mode=any".to_owned(),
    ];
    if let Err(error) = run(apt_get(&options).args(NETWORK).arg("update")) {
        let text = format!("{error:#}");
        if text.contains("NO_PUBKEY") || text.contains("EXPKEYSIG") || text.contains("KEYEXPIRED") {
            return Err(error.context(format!(
                "the machine does not hold a valid key of the suite {suite}: install debian-archive-keyring"
            )));
        }
        return Err(error);
    }
    Ok(options.into())
}

/// `apt-get download` writes into its working folder under a name that carries
/// the version; the folder is emptied of older ones first.
fn fetch(package: &str, options: &[String], folder: &Path) -> Result<PathBuf> {
    for old in packages_in(folder)? {
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    run(apt_get(options)
        .args(NETWORK)
        .args(["download", package])
        .current_dir(folder))?;
    packages_in(folder)?
        .pop()
        .with_context(|| format!("apt-get download {package} left no package"))
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Unpacks a package below `into`, whole or not at all: an interrupted run
/// leaves no half of a binary behind that a later one would find.
pub(super) fn unpack(package: &Path, into: &Path) -> Result<()> {
    let staging = into.with_extension("unpacking");
    for folder in [&staging, &into.to_path_buf()] {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
    }
    fs::create_dir_all(&staging).with_context(|| format!("cannot make {}", staging.display()))?;
    run(Command::new("dpkg-deb")
        .arg("-x")
        .arg(package)
        .arg(&staging))?;
    fs::rename(&staging, into).with_context(|| format!("cannot make {}", into.display()))
}

fn apt_get(options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
    for option in options {
        command.arg("-o").arg(option);
    }
    command
}

fn run(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
