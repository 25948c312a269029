//! Certificates that are renewed, come or go: found between two configurations, and told to the worker
//! that serves.
//!
//! Told is only what gives the same as a reload would. The first certificate of the list stays where it is,
//! since clients that ask for no known name get it; and none that changes shares a name with another, since
//! which of two is shown follows from the order in which HAProxy learned them.

use std::{collections::BTreeSet, fmt, path::Path};

use super::{CHANGING, Cli, READING, RuntimeError, connect, fail, unlike};
use crate::{
    rendered::{Content, RenderedConfig},
    tls::{CRT_LIST_FILE, Certificate},
};

/// More certificates than this at once are reloaded.
const MAX_CHANGES: usize = 20;

/// With more than this in the list, a reload takes less time than comparing their names.
const MAX_LISTED: usize = 200;

/// What fits into HAProxy's buffer of 16 KiB beside the command.
const MAX_PEM_BYTES: usize = 15_000;

/// A certificate that HAProxy is told.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateChange {
    /// What the configuration calls its file.
    pub file: String,
    step: Step,
}

#[derive(Clone, PartialEq, Eq)]
enum Step {
    Renewed(Told),
    Added(Told),
    Removed,
}

/// What is told, and what is to be seen of it afterwards.
#[derive(Clone, PartialEq, Eq)]
struct Told {
    content: Content,
    serial: String,
}

/// A configuration's certificates, in the order of its list.
struct Listed<'a> {
    files: Vec<(&'a str, &'a Content)>,
    /// What the list says of each: options, and the names that it is shown for.
    said: Vec<&'a str>,
}

/// The changes of certificates between two configurations, where HAProxy can be told of all of them.
pub(crate) fn certificates_between(
    old: &RenderedConfig,
    new: &RenderedConfig,
) -> Option<Vec<CertificateChange>> {
    let (old, new) = match (Listed::of(old), Listed::of(new)) {
        (None, None) => return Some(Vec::new()),
        (old, new) => (old?, new?),
    };
    if old.files == new.files && old.said == new.said {
        return Some(Vec::new());
    }
    // With names and options of their own it is not the certificates alone that say who gets which; what
    // can be told then is that one is renewed which nothing else is said of.
    let names = |of: &Listed<'_>| -> Vec<String> {
        of.files
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect()
    };
    let are_plain = |of: &Listed<'_>| of.said.iter().all(|said| said.is_empty());
    let same_lines = old.said == new.said && names(&old) == names(&new);
    if !(same_lines || are_plain(&old) && are_plain(&new)) {
        return None;
    }
    let is_kept = |files: &[(&str, &Content)], name: &str| files.iter().any(|(it, _)| *it == name);
    let order = |of: &Listed<'_>, other: &Listed<'_>| -> Vec<String> {
        let names = of.files.iter().map(|(name, _)| *name);
        let kept = names.filter(|name| is_kept(&other.files, name));
        kept.map(str::to_owned).collect()
    };
    let first = |of: &Listed<'_>| of.files.first().map(|(name, _)| (*name).to_owned());
    let too_many = old.files.len().max(new.files.len()) > MAX_LISTED;
    if too_many || first(&old) != first(&new) || order(&old, &new) != order(&new, &old) {
        return None;
    }
    let mut changes = Vec::new();
    let mut touched: Vec<(&str, &Content)> = Vec::new();
    for (name, content) in &new.files {
        let before = old.files.iter().find(|(it, _)| it == name);
        if before.is_some_and(|(_, before)| before == content) {
            continue;
        }
        let told = Told::new(content)?;
        touched.push((name, content));
        touched.extend(before.copied());
        changes.push(CertificateChange {
            file: (*name).to_owned(),
            step: match before {
                Some(_) => Step::Renewed(told),
                None => Step::Added(told),
            },
        });
    }
    for (name, content) in &old.files {
        if !is_kept(&new.files, name) {
            touched.push((name, content));
            changes.push(CertificateChange {
                file: (*name).to_owned(),
                step: Step::Removed,
            });
        }
    }
    if changes.len() > MAX_CHANGES {
        return None;
    }
    let all: Vec<_> = old.files.iter().chain(&new.files).copied().collect();
    let names = |content: &Content| Some(Certificate::parse(content.text()).ok()?.names().to_vec());
    for (file, content) in touched {
        let own: BTreeSet<String> = names(content)?.into_iter().collect();
        let others = all.iter().filter(|(other, _)| *other != file);
        for (_, other) in others {
            if names(other)?.iter().any(|name| own.contains(name)) {
                return None;
            }
        }
    }
    Some(changes)
}

/// Tells the worker that listens on a socket, which must be one of `workers`, its certificates.
pub(crate) async fn change_certificates(
    socket: &Path,
    workers: &[u32],
    changes: &[CertificateChange],
) -> Result<(), RuntimeError> {
    let Some(first) = changes.first() else {
        return Ok(());
    };
    let mut cli = connect(socket, workers, &first.to_string()).await?;
    for change in changes {
        let file = &change.file;
        match &change.step {
            Step::Renewed(told) => cli.load(change, told).await?,
            Step::Added(told) => {
                let new = format!("new ssl cert {file}\n");
                cli.say(change, &new, "New empty certificate store").await?;
                cli.load(change, told).await?;
                let add = format!("add ssl crt-list {CRT_LIST_FILE} {file}\n");
                cli.say(change, &add, "Success!").await?;
            }
            Step::Removed => {
                let out = format!("del ssl crt-list {CRT_LIST_FILE} {file}\n");
                cli.say(change, &out, "deleted in crtlist").await?;
                let gone = format!("del ssl cert {file}\n");
                cli.say(change, &gone, "deleted!").await?;
            }
        }
    }
    for change in changes {
        cli.expect_shown(change).await?;
    }
    Ok(())
}

// === impl Listed ===

impl<'a> Listed<'a> {
    /// None where the configuration has no list.
    fn of(config: &'a RenderedConfig) -> Option<Self> {
        let find = |name: &str| {
            let mut contents = config.contents();
            contents.find(|(it, _)| *it == name)
        };
        let (_, list) = find(CRT_LIST_FILE)?;
        let parted = |line: &'a str| line.split_once(' ').unwrap_or((line, ""));
        let (files, said): (Vec<_>, Vec<_>) = list.text().lines().map(parted).unzip();
        let files = files.into_iter().map(find);
        Some(Self {
            files: files.collect::<Option<_>>()?,
            said,
        })
    }
}

// === impl Told ===

impl Told {
    /// None where it cannot be told.
    fn new(content: &Content) -> Option<Self> {
        let pem = content.text();
        // An empty line would be taken for the end.
        let fits = pem.len() <= MAX_PEM_BYTES && pem.lines().all(|line| !line.is_empty());
        let certificate = Certificate::parse(pem).ok().filter(|_| fits)?;
        Some(Self {
            content: content.clone(),
            serial: certificate.serial().to_owned(),
        })
    }
}

impl Cli {
    /// Puts a certificate in the place of the one that a file held.
    async fn load(&mut self, change: &CertificateChange, told: &Told) -> Result<(), RuntimeError> {
        let file = &change.file;
        let pem = told.content.text();
        let set = secrecy::zeroize::Zeroizing::new(format!("set ssl cert {file} <<\n{pem}\n"));
        let answer = self.ask(&set).await;
        let answer = answer.map_err(fail(&change.to_string(), CHANGING))?;
        if !answer.contains("Transaction created") && !answer.contains("Transaction updated") {
            // It is not shown: of what it does not understand HAProxy repeats a part.
            return Err(unlike(&change.to_string(), CHANGING, "another answer"));
        }
        let commit = format!("commit ssl cert {file}\n");
        let committed = self.say(change, &commit, "Success!").await;
        if committed.is_err() {
            // One that is left half-way would be in the way of the next.
            let _ = self.ask(&format!("abort ssl cert {file}\n")).await;
        }
        committed
    }

    async fn say(
        &mut self,
        change: &CertificateChange,
        command: &str,
        wanted: &str,
    ) -> Result<(), RuntimeError> {
        let what = change.to_string();
        let answer = self.ask(command).await.map_err(fail(&what, CHANGING))?;
        match answer.contains(wanted) {
            true => Ok(()),
            false => Err(unlike(&what, CHANGING, &answer)),
        }
    }

    /// Looks up whether a certificate is the one that was told, and used.
    async fn expect_shown(&mut self, change: &CertificateChange) -> Result<(), RuntimeError> {
        let what = change.to_string();
        let question = format!("show ssl cert {}\n", change.file);
        let answer = self.ask(&question).await.map_err(fail(&what, READING))?;
        let is_right = match &change.step {
            Step::Renewed(told) | Step::Added(told) => {
                let serial = answer
                    .lines()
                    .find_map(|line| line.strip_prefix("Serial: "));
                let plain = |serial: &str| serial.trim_start_matches('0').to_ascii_lowercase();
                let is_same = serial.is_some_and(|it| plain(it.trim()) == plain(&told.serial));
                is_same && answer.contains("Status: Used")
            }
            Step::Removed => !answer.contains("Status: Used"),
        };
        match is_right {
            true => Ok(()),
            false => Err(unlike(&what, CHANGING, &answer)),
        }
    }
}

// === impl CertificateChange ===

impl fmt::Display for CertificateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate {}", self.file)
    }
}

impl fmt::Debug for CertificateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match &self.step {
            Step::Renewed(_) => "renewed",
            Step::Added(_) => "added",
            Step::Removed => "removed",
        };
        f.debug_tuple("CertificateChange")
            .field(&self.file)
            .field(&step)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::tls::{CertificateName, CertificateSet, TlsSettings, with_certificates};

    fn pem(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        format!("{}{}", certificate.pem(), key.serialize_pem())
    }

    fn config(files: &[(&str, &str)]) -> RenderedConfig {
        config_listed(files, "")
    }

    fn config_listed(files: &[(&str, &str)], list: &str) -> RenderedConfig {
        let files = files.iter().map(|(name, pem)| {
            let certificate = Certificate::parse(pem).unwrap();
            certificate.file(name.parse::<CertificateName>().unwrap())
        });
        let set = CertificateSet::listed(files, &[], &list.parse().unwrap());
        with_certificates(RenderedConfig::new("x"), &set, &TlsSettings::default())
    }

    fn told(old: &[(&str, &str)], new: &[(&str, &str)]) -> Option<String> {
        let changes = certificates_between(&config(old), &config(new))?;
        Some(format!("{changes:?}"))
    }

    #[test]
    fn only_what_gives_the_same_as_a_reload_is_told() {
        let (a, b, c) = (pem(&["a.com"]), pem(&["b.com"]), pem(&["c.com"]));
        let (renewed, clash) = (pem(&["b.com", "d.com"]), pem(&["c.com", "a.com"]));
        let before = [("a", &*a), ("b", &*b)];
        let step = |name: &str, step: &str| {
            format!("[CertificateChange(\"cert-{name}.pem\", \"{step}\")]")
        };
        assert_eq!(told(&before, &before).unwrap(), "[]");
        let with = |third| [("a", &*a), ("b", &*b), ("c", third)];
        assert_eq!(told(&before, &with(&c)).unwrap(), step("c", "added"));
        assert_eq!(told(&with(&c), &before).unwrap(), step("c", "removed"));
        let other = [("a", &*a), ("b", &*renewed)];
        assert_eq!(told(&before, &other).unwrap(), step("b", "renewed"));
        let first = [("a", &*renewed), ("b", &*c)];
        let same_first = [("a", &*a), ("b", &*c)];
        let text = told(&same_first, &first).unwrap();
        assert_eq!(
            text,
            step("a", "renewed"),
            "the first one is renewed in its place"
        );

        assert_eq!(told(&before, &with(&clash)), None, "a.com twice");
        assert_eq!(told(&with(&clash), &before), None, "a.com was there twice");
        assert_eq!(told(&before, &before[1..]), None, "another is the first");
        let shown_first = [("0", &*c), ("a", &*a), ("b", &*b)];
        assert_eq!(told(&before, &shown_first), None, "another is the first");
        assert_eq!(told(&[], &before), None, "there was no list");
    }

    #[test]
    fn in_a_list_that_says_more_only_a_renewal_is_told() {
        let (a, b, renewed) = (pem(&["a.com"]), pem(&["b.com"]), pem(&["b.com", "d.com"]));
        let list = "a [alpn h2]\nb b.com";
        let before = config_listed(&[("a", &a), ("b", &b)], list);
        let after = config_listed(&[("a", &a), ("b", &renewed)], list);
        let told = certificates_between(&before, &after);
        assert!(format!("{told:?}").contains("renewed"), "{told:?}");
        let other_names = config_listed(&[("a", &a), ("b", &b)], "a [alpn h2]\nb");
        assert_eq!(certificates_between(&before, &other_names), None);
        let more = config_listed(&[("a", &a), ("b", &b), ("c", &pem(&["c.com"]))], list);
        assert_eq!(certificates_between(&before, &more), None);
        assert_eq!(certificates_between(&more, &before), None);
    }

    #[test]
    fn no_key_is_shown() {
        let a = pem(&["a.com"]);
        let changes =
            certificates_between(&config(&[("0", &a)]), &config(&[("0", &pem(&["b.com"]))]));
        let text = format!("{changes:?}");
        assert!(
            text.contains("renewed") && !text.contains("PRIVATE"),
            "{text}"
        );
    }
}
