//! Certificates in files: those of `CERTS_PATH`, and the secrets whose names begin with `cert-` or `cert_`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use proxy_haproxy::{Certificate, CertificateList, CertificateName, MAX_BUNDLE_BYTES};

use super::{Certificates, JudgeError, Last, MAX_CERTIFICATES};

/// A certificate that a file holds.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) certificate: Certificate,
    pub(super) path: PathBuf,
}

/// What was read of the folders, so that a file is read once and judged once.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    files: BTreeMap<PathBuf, Read>,
    /// The folders as they were when they held something.
    folders: Folders,
}

#[derive(Clone, Debug)]
struct Read {
    identity: Identity,
    /// The certificate, or why there is none.
    now: Result<Certificate, String>,
    /// The last good one of this file, where it is bad now.
    before: Option<Certificate>,
}

/// What changes when somebody writes a file or puts another in its place. That of no file is the default: what could
/// not be looked at is looked at again the next time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// Folders by path: device and inode.
type Folders = BTreeMap<PathBuf, (u64, u64)>;

/// The certificates that were found, and the files that hold none, by path.
type Outcome = (BTreeMap<CertificateName, Found>, BTreeMap<String, String>);

/// A file as it was listed and, where it is not known yet, read.
struct Listed {
    path: PathBuf,
    identity: Identity,
    read: Option<Result<Certificate, String>>,
}

// === impl Scanned ===

impl Scanned {
    /// Looks again at the folders, or at what a list names where there is one.
    ///
    /// What was shown in the last run stands in for a file that is bad when it is read for the first time.
    pub(super) async fn again(
        &mut self,
        all: &Certificates,
        named: &CertificateList,
        last: &Last,
    ) -> Outcome {
        let (certs, secrets) = (&all.settings.certs_path, &all.settings.secrets_path);
        let folders = [
            (secrets.clone(), Which::Secrets),
            (certs.clone(), Which::All),
        ];
        let known: BTreeMap<_, _> = self
            .files
            .iter()
            .map(|(path, read)| (path.clone(), read.identity))
            .collect();
        let files = named.entries().iter();
        let files: Vec<PathBuf> = files.map(|entry| certs.join(entry.path())).collect();
        let is_named = all.settings.crt_list.is_some();
        let mut places = self.folders.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let listing = match is_named {
                true => look_at(files, &known, BTreeMap::new()),
                false => list(&folders, &known, &mut places),
            };
            (listing, places)
        });
        let ((listed, mut refused), places) = listed.await.unwrap_or_default();
        self.folders = places;
        let files = std::mem::take(&mut self.files);
        self.files = self.judged(all, listed, files, last).await;

        let mut found = BTreeMap::new();
        for (path, read) in &self.files {
            let shown = path.display().to_string();
            let name = file_name(path).parse::<CertificateName>();
            let certificate = match (&read.now, &read.before) {
                (Ok(certificate), _) => Some(certificate),
                (Err(why), Some(before)) => {
                    let why = format!("{why}; the version before is shown");
                    refused.insert(shown.clone(), why);
                    Some(before)
                }
                (Err(why), None) => {
                    refused.insert(shown.clone(), why.clone());
                    None
                }
            };
            match (name, certificate) {
                (Ok(name), Some(certificate)) => {
                    let certificate = certificate.clone();
                    let path = path.clone();
                    // Of a secret and a file of one name the file counts.
                    let is_file = path.starts_with(certs);
                    if is_file || !found.contains_key(&name) {
                        found.insert(name, Found { certificate, path });
                    }
                }
                (Err(why), Some(_)) => {
                    refused.insert(shown, format!("its name cannot be used: {why}"));
                }
                (_, None) => {}
            }
        }
        (found, refused)
    }

    /// What each file holds now. What is new is shown to HAProxy, and so is what stands in for it.
    async fn judged(
        &self,
        all: &Certificates,
        listed: Vec<Listed>,
        mut known: BTreeMap<PathBuf, Read>,
        last: &Last,
    ) -> BTreeMap<PathBuf, Read> {
        let mut files = BTreeMap::new();
        let mut fresh = Vec::new();
        let mut bad = BTreeSet::new();
        for Listed {
            path,
            identity,
            read,
        } in listed
        {
            let old = known.remove(&path);
            match (read, old) {
                (None, Some(old)) => {
                    files.insert(path, old);
                }
                (Some(now), old) => {
                    let before = match old {
                        Some(old) => old.now.ok().or(old.before),
                        None => file_name(&path)
                            .parse()
                            .ok()
                            .and_then(|name| last.get(&name).cloned()),
                    };
                    match &now {
                        Ok(certificate) => fresh.push((path.clone(), certificate.clone())),
                        Err(_) => {
                            bad.insert(path.clone());
                        }
                    }
                    let read = Read {
                        identity,
                        now,
                        before,
                    };
                    files.insert(path, read);
                }
                (None, None) => {}
            }
        }
        for (path, judged) in all.judge_each(fresh).await {
            let Some(read) = files.get_mut(&path) else {
                continue;
            };
            match judged {
                Ok(()) => read.before = None,
                Err(error @ JudgeError::Unable(_)) => {
                    // Looked at again the next time.
                    read.identity = Identity::default();
                    read.now = Err(error.to_string());
                }
                Err(error) => {
                    if read.now.as_ref().ok() == read.before.as_ref() {
                        read.before = None;
                    }
                    read.now = Err(error.to_string());
                    bad.insert(path);
                }
            }
        }
        // HAProxy may be another than the one that took them.
        let before = bad.into_iter().filter_map(|path| {
            let before = files.get(&path)?.before.clone()?;
            Some((path, before))
        });
        for (path, judged) in all.judge_each(before.collect()).await {
            if let (Some(read), Err(JudgeError::Refused(_))) = (files.get_mut(&path), judged) {
                read.before = None;
            }
        }
        files
    }
}

// === impl Certificates ===

impl Certificates {
    /// Whether HAProxy would show each of these.
    async fn judge_each(
        &self,
        certificates: Vec<(PathBuf, Certificate)>,
    ) -> Vec<(PathBuf, Result<(), JudgeError>)> {
        let name = |number: usize| format!("{number}.pem").parse().ok();
        let numbered = certificates.into_iter().enumerate();
        let named = numbered.filter_map(|(number, (path, certificate))| {
            Some((path, certificate.file(name(number)?)))
        });
        let (paths, files): (Vec<_>, Vec<_>) = named.unzip();
        let judged = self.judge(files).await;
        paths.into_iter().zip(judged).collect()
    }
}

/// Which files of a folder are certificates.
#[derive(Clone, Copy)]
enum Which {
    All,
    /// Those whose names say so.
    Secrets,
}

type Listing = (Vec<Listed>, BTreeMap<String, String>);

fn file_name(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}

/// The files of the folders, and what cannot be read at all. A folder that is not there holds none.
fn list(
    folders: &[(PathBuf, Which)],
    known: &BTreeMap<PathBuf, Identity>,
    places: &mut Folders,
) -> Listing {
    let (mut all, mut refused) = (Vec::new(), BTreeMap::new());
    for (folder, which) in folders {
        let mut paths = match files(folder, *which).and_then(|paths| placed(folder, paths, places))
        {
            Ok(paths) => paths,
            // One whose files are shown may be away for a moment only, as while it is mounted anew.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && !known.keys().any(|path| path.starts_with(folder)) =>
            {
                continue;
            }
            Err(error) => {
                refused.insert(folder.display().to_string(), error.to_string());
                // What it held is held on, since nothing says that it is gone.
                let mut held = known.keys().filter(|path| path.starts_with(folder));
                held.by_ref().cloned().collect()
            }
        };
        paths.sort_unstable();
        all.extend(paths);
    }
    look_at(all, known, refused)
}

/// The same files, of a folder that may be empty: where it is another than the one that held some it is what stands
/// in the place of one that is not mounted.
fn placed(folder: &Path, paths: Vec<PathBuf>, places: &mut Folders) -> io::Result<Vec<PathBuf>> {
    let found = fs::metadata(folder)?;
    let place = (found.dev(), found.ino());
    if !paths.is_empty() {
        places.insert(folder.to_owned(), place);
    } else if places.get(folder).is_some_and(|before| *before != place) {
        return Err(io::Error::other(
            "it is empty and another folder than before, as where one is not mounted; what it held is shown on",
        ));
    }
    Ok(paths)
}

/// Looks at files, and reads those that are not known as they are.
fn look_at(
    paths: Vec<PathBuf>,
    known: &BTreeMap<PathBuf, Identity>,
    mut refused: BTreeMap<String, String>,
) -> Listing {
    let mut listed = Vec::new();
    for path in paths {
        if listed.len() == MAX_CERTIFICATES {
            let why = format!("there are more than {MAX_CERTIFICATES} certificates");
            refused.insert(path.display().to_string(), why);
            break;
        }
        let same = known.get(&path);
        match Identity::of(&path) {
            Ok(None) => {}
            Ok(Some(identity)) if same == Some(&identity) => listed.push(Listed {
                path,
                identity,
                read: None,
            }),
            Ok(Some(identity)) => {
                let (identity, read) = match read(&path) {
                    Ok(read) => (identity, read),
                    // The file may be as good as ever: rights, or what the system lacks, change nothing of it.
                    Err(error) => (
                        Identity::default(),
                        Err(format!("it cannot be read: {error}")),
                    ),
                };
                let read = Some(read);
                listed.push(Listed {
                    path,
                    identity,
                    read,
                });
            }
            Err(error) => {
                refused.insert(path.display().to_string(), error.to_string());
                listed.push(match same.copied() {
                    Some(identity) => Listed {
                        path,
                        identity,
                        read: None,
                    },
                    None => Listed {
                        path,
                        identity: Identity::default(),
                        read: Some(Err(error.to_string())),
                    },
                });
            }
        }
    }
    (listed, refused)
}

fn files(folder: &Path, which: Which) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = file_name(&path);
        let is_meant = match which {
            // Editors and orchestrators keep their own behind a dot.
            Which::All => !name.starts_with('.'),
            Which::Secrets => name.starts_with("cert-") || name.starts_with("cert_"),
        };
        if is_meant {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// The certificate of a file, or why it holds none.
fn read(path: &Path) -> io::Result<Result<Certificate, String>> {
    let mut text = secrecy::zeroize::Zeroizing::new(Vec::new());
    let most = u64::try_from(MAX_BUNDLE_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(most + 1).read_to_end(&mut text)?;
    let Ok(text) = std::str::from_utf8(&text) else {
        return Ok(Err("it is no text".to_owned()));
    };
    Ok(Certificate::parse(text).map_err(|error| error.to_string()))
}

// === impl Identity ===

impl Identity {
    /// None of what is no file.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let found = fs::metadata(path)?;
        Ok(found.is_file().then(|| Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }))
    }
}

#[cfg(test)]
mod tests;
