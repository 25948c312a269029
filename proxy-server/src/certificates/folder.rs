//! Certificates in files: those of `CERTS_PATH`, and the secrets whose names begin with `cert-` or `cert_`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use proxy_haproxy::{Certificate, CertificateList, CertificateName};

mod look;

use super::{Certificates, JudgeError, Last, MAX_CERTIFICATES, authorities, list};
use crate::files::RepeatedRead;
use look::{
    Identity, Known, Listed, Listing, Place, Seen, Which, Whole, file_name, look_at, look_into,
    too_many, unanswered,
};

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
    secrets: Folder,
    certs: Folder,
    /// The files that a list names: these, as they are.
    named: RepeatedRead<(Vec<PathBuf>, Listing)>,
    /// The list itself.
    pub(super) list: list::Reading,
    pub(super) authorities: authorities::Reading,
}

/// A folder that is looked at again and again.
#[derive(Debug, Default)]
struct Folder {
    place: Place,
    reading: RepeatedRead<Seen>,
}

#[derive(Clone, Debug)]
struct Read {
    identity: Identity,
    /// The certificate, or why there is none.
    now: Result<Certificate, String>,
    /// The last good one of this file, where it is bad now.
    before: Option<Certificate>,
}

/// The certificates that were found, and the files that hold none, by path.
type Outcome = (BTreeMap<CertificateName, Found>, BTreeMap<String, String>);

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
        let certs = &all.settings.certs_path;
        let (listed, mut refused) = match all.settings.crt_list.is_some() {
            true => self.of_list(certs, named).await,
            false => self.in_folders(all, last).await,
        };
        // What is known goes nowhere where whoever waits for this hangs up.
        let files = self.files.clone();
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

    /// The files of both folders.
    async fn in_folders(&mut self, all: &Certificates, last: &Last) -> Listing {
        let secrets = (&all.settings.secrets_path, Which::Secrets);
        let certs = (&all.settings.certs_path, Which::All);
        let known = [secrets, certs].map(|(path, _)| self.known(|file| file.starts_with(path)));
        let [in_secrets, in_certs] = known;
        let seen = tokio::join!(
            self.secrets.look(secrets, in_secrets),
            self.certs.look(certs, in_certs),
        );
        let (mut files, mut refused) = (Vec::new(), BTreeMap::new());
        for (folder, Seen { found, whole, .. }) in [(secrets, seen.0), (certs, seen.1)] {
            let (listed, bad) = found;
            files.extend(listed);
            refused.extend(bad);
            if whole == Whole::Unlisted {
                let stand_ins = stand_ins(all, folder, last, &files);
                files.extend(stand_ins);
            }
        }
        refused.extend(files.get(MAX_CERTIFICATES).map(|it| too_many(&it.path)));
        files.truncate(MAX_CERTIFICATES);
        (files, refused)
    }

    /// The files that a list names.
    async fn of_list(&mut self, certs: &Path, named: &CertificateList) -> Listing {
        let entries = named.entries().iter();
        let paths: Vec<_> = entries.map(|entry| certs.join(entry.path())).collect();
        let known = self.known(|_| true);
        let why = loop {
            let (paths, known) = (paths.clone(), known.clone());
            let asked = paths.clone();
            let look = move || {
                let listing = look_at(&paths, &known, BTreeMap::new());
                (paths, listing)
            };
            match self.named.read(look).await {
                Ok((read, listing)) if read == asked => return listing,
                // It was under way since another list.
                Ok(_) => {}
                Err(why) => break why,
            }
        };
        let files = paths.into_iter().map(|path| {
            let known = known.get(&path).copied();
            let read = known.is_none().then(|| Err(why.clone()));
            let identity = known.unwrap_or_default();
            Listed {
                path,
                identity,
                read,
            }
        });
        let said = format!("of the files that the list names: {why}; what they held is shown on");
        (
            files.collect(),
            [(certs.display().to_string(), said)].into(),
        )
    }

    fn known(&self, is_meant: impl Fn(&Path) -> bool) -> Known {
        let files = self.files.iter().filter(|(path, _)| is_meant(path));
        files
            .map(|(path, read)| (path.clone(), read.identity))
            .collect()
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

// === impl Folder ===

impl Folder {
    /// What it holds now.
    async fn look(&mut self, (path, which): (&PathBuf, Which), known: Known) -> Seen {
        let (place, folder, files) = (self.place, path.clone(), known.clone());
        let look = move || look_into(&folder, which, &files, place);
        let seen = self.reading.read(look).await;
        let seen = seen.unwrap_or_else(|why| unanswered(path, known, place, &why));
        self.place = seen.place;
        seen
    }
}

/// What was shown last and may be of a folder that could not be read yet: nothing says that it is gone.
fn stand_ins(
    all: &Certificates,
    (folder, which): (&PathBuf, Which),
    last: &Last,
    files: &[Listed],
) -> Vec<Listed> {
    let is_listed = |name: &str| files.iter().any(|file| file_name(&file.path) == name);
    let names = last.keys().filter(|name| {
        which.has(name.as_str()) && !is_listed(name.as_str()) && !all.was_given(name)
    });
    let stand_ins = names.map(|name| Listed {
        path: folder.join(name.as_str()),
        identity: Identity::default(),
        read: Some(Err("its folder was not read yet".to_owned())),
    });
    stand_ins.collect()
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

#[cfg(test)]
mod tests;
