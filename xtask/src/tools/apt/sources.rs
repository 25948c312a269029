//! The machine's own sources of packages, as apt keeps them, and which of them are mirrors of Debian.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// Where apt keeps its sources.
pub(super) const SOURCES_LIST: &str = "/etc/apt/sources.list";
pub(super) const SOURCES_PARTS: &str = "/etc/apt/sources.list.d";

/// Debian's own keys; signs a suite older than the machine's too.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Suites of Debian itself that may stand in a source instead of the release's name.
const DEBIAN_SUITES: [&str; 4] = ["stable", "oldstable", "testing", "unstable"];

/// One enabled source of binary packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) uri: String,
    suites: Vec<String>,
    signed_by: Option<String>,
}

/// What the machine runs.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) codename: String,
    /// Where Debian is served from, of the machine's sources.
    pub(super) mirrors: Vec<Source>,
}

// === impl Source ===

impl Source {
    /// The line that has apt use one suite of it alone.
    pub(super) fn line(&self, suite: &str) -> String {
        source_line(self, suite, Path::new(DEBIAN_KEYRING))
    }
}

// === impl Release ===

impl Release {
    /// Reads which release the machine runs, and its sources.
    pub(super) fn own() -> Result<Self> {
        let sources = read_sources(Path::new(SOURCES_LIST), Path::new(SOURCES_PARTS))?;
        let codename = codename(&fs::read_to_string("/etc/os-release").unwrap_or_default());
        let mirrors = mirrors(&sources, &codename).into_iter().cloned().collect();
        Ok(Self { codename, mirrors })
    }
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
