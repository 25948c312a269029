//! Debian packages: the machine's own sources read, one package downloaded with
//! private lists, unpacked without being installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where apt keeps its sources.
const SOURCES_LIST: &str = "/etc/apt/sources.list";
const SOURCES_PARTS: &str = "/etc/apt/sources.list.d";

/// Debian's own keys; signs a suite older than the machine's too.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Suites of Debian itself that may stand in a source instead of the release's name.
const DEBIAN_SUITES: [&str; 4] = ["stable", "oldstable", "testing", "unstable"];

/// A dead mirror ends the task instead of hanging it.
const NETWORK: [&str; 6] = [
    "-o",
    "Acquire::http::Timeout=30",
    "-o",
    "Acquire::https::Timeout=30",
    "-o",
    "Acquire::Retries=2",
];

/// One enabled source of binary packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    uri: String,
    suites: Vec<String>,
    signed_by: Option<String>,
}

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
    let sources = read_sources(Path::new(SOURCES_LIST), Path::new(SOURCES_PARTS))?;
    let codename = codename(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let mirror = mirrors(&sources, &codename)
        .first()
        .map(|mirror| mirror.uri.clone());
    Ok((codename, mirror))
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

    let sources = read_sources(Path::new(SOURCES_LIST), Path::new(SOURCES_PARTS))?;
    let codename = codename(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let mirrors = mirrors(&sources, &codename);
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
    let sources = read_sources(Path::new(SOURCES_LIST), Path::new(SOURCES_PARTS))?;
    let codename = codename(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let mut failures = vec![format!("{suite} could not be downloaded")];
    for mirror in mirrors(&sources, &codename) {
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
    fs::write(&list, source_line(mirror, suite, Path::new(DEBIAN_KEYRING)))
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

/// Reads both forms in which apt keeps its sources.
fn read_sources(list: &Path, parts: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    if list.is_file() {
        sources.extend(parse_lines(&fs::read_to_string(list)?));
    }
    if parts.is_dir() {
        let mut files = fs::read_dir(parts)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => sources.extend(parse_lines(&fs::read_to_string(&file)?)),
                Some("sources") => sources.extend(parse_stanzas(&fs::read_to_string(&file)?)),
                _ => {}
            }
        }
    }
    Ok(sources)
}

/// The one-line form: `deb [options] uri suite components`.
fn parse_lines(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next().unwrap_or_default().trim();
            let rest = line.strip_prefix("deb")?;
            let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
            let (options, rest) = match rest.strip_prefix('[') {
                Some(rest) => rest.split_once(']')?,
                None => ("", rest),
            };
            let mut words = rest.split_whitespace();
            Some(Source {
                uri: words.next()?.to_owned(),
                suites: vec![words.next()?.to_owned()],
                signed_by: options
                    .split_whitespace()
                    .find_map(|option| option.strip_prefix("signed-by="))
                    .map(str::to_owned),
            })
        })
        .collect()
}

/// The deb822 form: stanzas of `Name: value`, continued by indented lines.
fn parse_stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(stanza(&std::mem::take(&mut fields)));
        } else if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn stanza(fields: &[(String, String)]) -> Vec<Source> {
    let field = |name: &str| {
        fields
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    let off = ["no", "false", "off", "0"].contains(&field("enabled"));
    if off || !field("types").split_whitespace().any(|kind| kind == "deb") {
        return Vec::new();
    }
    // A key may stand in the field itself, over several lines; only a path is of use here.
    let signed_by = Some(field("signed-by"))
        .filter(|value| value.starts_with('/') && !value.contains('\n'))
        .map(str::to_owned);
    field("uris")
        .split_whitespace()
        .map(|uri| Source {
            uri: uri.to_owned(),
            suites: field("suites")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            signed_by: signed_by.clone(),
        })
        .collect()
}

/// The sources that serve Debian itself: their suite is the release's own name.
/// Other vendors' sources and the security archive call theirs otherwise.
fn mirrors<'a>(sources: &'a [Source], codename: &str) -> Vec<&'a Source> {
    sources
        .iter()
        .filter(|source| !source.uri.starts_with("cdrom:"))
        .filter(|source| {
            source
                .suites
                .iter()
                .any(|suite| suite == codename || DEBIAN_SUITES.contains(&suite.as_str()))
        })
        .collect()
}

fn codename(os_release: &str) -> String {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map_or_else(String::new, |name| name.trim_matches('"').to_owned())
}

fn source_line(mirror: &Source, suite: &str, keyring: &Path) -> String {
    let keys = mirror.signed_by.clone().or_else(|| {
        keyring
            .is_file()
            .then(|| keyring.to_string_lossy().into_owned())
    });
    let option = keys.map_or_else(String::new, |keys| format!("[signed-by={keys}] "));
    format!("deb {option}{} {suite} main\n", mirror.uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suites: &[&str], signed_by: Option<&str>) -> Source {
        Source {
            uri: uri.to_owned(),
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            signed_by: signed_by.map(str::to_owned),
        }
    }

    #[test]
    fn stanzas_are_read_and_comments_are_not() {
        let text = "Types: deb\n# http://old.example/debian\nURIs: http://one.example/debian\n  http://two.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /keys/debian.gpg\n\n\
                    Types: deb-src\nURIs: http://src.example/debian\nSuites: bookworm\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\n";

        let suites = &["bookworm", "bookworm-updates"];
        let keys = Some("/keys/debian.gpg");
        assert_eq!(
            parse_stanzas(text),
            [
                source("http://one.example/debian", suites, keys),
                source("http://two.example/debian", suites, keys),
            ]
        );
    }

    #[test]
    fn a_key_inside_a_stanza_is_not_taken_for_a_path() {
        let text = "Types: deb\nURIs: http://one.example\nSuites: bookworm\nSigned-By:\n -----BEGIN PGP-----\n .\n abc\n";
        assert_eq!(
            parse_stanzas(text),
            [source("http://one.example", &["bookworm"], None)]
        );
    }

    #[test]
    fn lines_are_read_and_comments_are_not() {
        let text = "# deb http://old.example/debian bookworm main\n\
                    deb-src http://src.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/keys/a.gpg] http://one.example/debian bookworm main # note\n\
                    deb http://two.example/debian bookworm-security main\n";
        assert_eq!(
            parse_lines(text),
            [
                source(
                    "http://one.example/debian",
                    &["bookworm"],
                    Some("/keys/a.gpg")
                ),
                source("http://two.example/debian", &["bookworm-security"], None),
            ]
        );
    }

    #[test]
    fn other_vendors_are_no_debian_mirror() {
        let sources = [
            source("http://vendor.example/apt", &["nodistro"], None),
            source("http://security.example", &["bookworm-security"], None),
            source("http://debian.example", &["bookworm"], None),
            source("cdrom:[Debian]/", &["bookworm"], None),
        ];
        let found = mirrors(&sources, "bookworm");
        assert_eq!(
            found
                .iter()
                .map(|source| source.uri.as_str())
                .collect::<Vec<_>>(),
            ["http://debian.example"]
        );
    }

    #[test]
    fn the_release_names_itself() {
        assert_eq!(
            codename("NAME=\"Debian\"\nVERSION_CODENAME=bookworm\n"),
            "bookworm"
        );
        assert_eq!(codename("NAME=other\n"), "");
    }

    #[test]
    fn the_private_line_keeps_the_key() {
        let with = source("http://d.example/debian", &["bookworm"], Some("/k.gpg"));
        let without = source("http://d.example/debian", &["bookworm"], None);
        let nowhere = Path::new("/nowhere.gpg");
        assert_eq!(
            source_line(&with, "bullseye", nowhere),
            "deb [signed-by=/k.gpg] http://d.example/debian bullseye main\n"
        );
        assert_eq!(
            source_line(&without, "bullseye", nowhere),
            "deb http://d.example/debian bullseye main\n"
        );
    }
}
