//! Certificates that callers gave: on disk before they are acknowledged, and stamped, so that replicas that
//! tell each other theirs in any order end with the same. Of two for one name the later stamp stays.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proxy_core::{InstanceId, Stamp};
use proxy_haproxy::{Certificate, CertificateName, CertificateProbe, last_certificates};
use secrecy::{ExposeSecret as _, zeroize::Zeroizing};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout},
};

mod read;

use super::{Certificates, Held, JudgeError, MAX_CERTIFICATES};
use crate::{
    chain::chain,
    patience::Patience,
    store::{JournalError, replace_file},
};
use read::{in_place_of, read_all};

/// The folder below `STATE_PATH`.
const FOLDER: &str = "certificates";

/// How long a write may wait for others: each takes as long as the disk.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a call may wait for another that is about the same name: that one has HAProxy check the whole
/// configuration and show it.
const LANE_DEADLINE: Duration = Duration::from_secs(60);

/// How far a stamp that is told may lie beyond what any clock says and all that is kept: a replica with a bug must not
/// win for ever.
const FAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The most bytes of certificates in one answer to another replica; it asks for the rest.
const MAX_TOLD_BYTES: usize = 4 * 1024 * 1024;

/// What was written under a name: a certificate, or that there is none any more.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) stamp: Stamp,
    pub(super) certificate: Option<Certificate>,
}

/// The same as it is written to disk and, sealed, told to other replicas. It holds a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    name: String,
    stamp: Stamp,
    /// None: it was removed.
    #[serde(serialize_with = "write_pem", deserialize_with = "read_pem")]
    pem: Option<Zeroizing<String>>,
}

/// What was written, and is to be told to other replicas.
pub(crate) struct Written {
    pub(crate) entry: Entry,
    /// Why a crash may undo it here, where it may: [`KeepError::Doubtful`].
    pub(crate) doubt: Option<KeepError>,
}

/// Why a certificate is not kept. Nothing was changed, unless it is doubtful.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error("there are {MAX_CERTIFICATES} certificates already")]
    Full,
    #[error("{0}")]
    Judged(#[from] JudgeError),
    #[error("it cannot be written down")]
    Disk(#[source] proxy_core::BoxError),
    /// It is as was asked for, on disk too.
    #[error("whether it stays so after a crash of this machine is not known")]
    Doubtful(#[source] JournalError),
    #[error("others are written, and it takes too long; try again")]
    Busy,
}

/// The right to write a name.
pub(crate) type Lane = OwnedMutexGuard<()>;

impl Certificates {
    /// Reads what callers gave in earlier runs, and what was shown in the last one.
    pub(crate) async fn restore(&self) {
        let (folder, state) = (self.folder(), self.settings.state_path.clone());
        let configs = self.settings.configs_path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let given = Patience::with("STATE_PATH", &state).read(|| {
                CertificateProbe::clear(&state);
                read_all(&folder)
            });
            let last = Patience::with("CONFIGS_PATH", &configs);
            (given, last.read(|| last_certificates(&configs)))
        });
        let ((entries, mut refused), last) = read.await.unwrap_or_default();
        let mut kept = BTreeMap::new();
        let mut files = Vec::new();
        for entry in entries {
            let stamp = entry.stamp.clone();
            match entry.read() {
                Ok((name, certificate)) => {
                    let file = certificate.as_ref().map(|it| it.file(name.clone()));
                    files.extend(file);
                    kept.insert(name, Kept { stamp, certificate });
                }
                Err((name, why)) => {
                    refused.insert(name, why);
                }
            }
        }
        let names: Vec<_> = files.iter().map(|file| file.name().clone()).collect();
        let mut unfit = BTreeMap::new();
        for (name, judged) in names.into_iter().zip(self.judge(files).await) {
            match judged {
                Ok(()) => {}
                // It was good once and stays what other replicas are told; here it is not shown.
                Err(error @ JudgeError::Refused(_)) => {
                    unfit.insert(name, error.to_string());
                }
                // Nobody says that it is bad, and without it a port that speaks TLS would speak none.
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(%name, error, "a certificate that was good when it was given could not be checked; it is shown");
                }
            }
        }
        let in_its_place = in_place_of(&mut refused, &self.folder(), &kept, &last);
        for (name, why) in &refused {
            tracing::error!(name, why, "a certificate that was given cannot be read");
        }
        let mut held = self.held();
        (held.unreadable, held.last) = (refused, last);
        held.in_its_place = in_its_place;
        (held.kept, held.unfit) = (kept, unfit);
        self.clock.saw(held.latest());
        held.forget();
        self.settle(&mut held);
    }

    /// What the other replicas' clocks say at this moment, and what they stamp by.
    pub(super) fn compare_clocks(&self, clocks: &[u64], stamps: impl IntoIterator<Item = u64>) {
        self.clock.compare(clocks);
        // By a clock that is right what was stamped before may turn out to be ahead.
        let latest = self.held().latest();
        self.clock.saw(latest);
        for stamps in stamps {
            self.clock.was_told(stamps);
        }
    }

    /// What another replica is told of this one's clock, and of what it stamps by.
    pub(super) fn clock(&self) -> (u64, Option<u64>) {
        (self.clock.own(), self.clock.told())
    }

    /// Whether a stamp lies so far ahead that it would win for ever.
    pub(super) fn is_far(&self, stamp: &Stamp) -> bool {
        let far = u64::try_from(FAR.as_millis()).unwrap_or(u64::MAX);
        stamp.counter > self.clock.latest().saturating_add(far)
    }

    /// Whether a certificate would be shown.
    pub(crate) async fn check(
        &self,
        name: &CertificateName,
        certificate: &Certificate,
    ) -> Result<(), KeepError> {
        if !self.has_room(name) {
            return Err(KeepError::Full);
        }
        let judged = self.probe(vec![certificate.file(name.clone())]).await;
        judged.map_err(KeepError::from)
    }

    /// Keeps a certificate that was found good, or the fact that there is none any more. What a crash may undo here is
    /// kept as well, and other replicas are to be told of it.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        name: CertificateName,
        certificate: Option<Certificate>,
        writer: &InstanceId,
    ) -> Result<Written, KeepError> {
        if certificate.is_some() && !self.has_room(&name) {
            return Err(KeepError::Full);
        }
        let (writer, named) = (writer.clone(), name);
        let kept = self.writing(move |this| {
            let next = this.held().latest().saturating_add(1);
            let counter = next.max(this.clock.stamps());
            let stamp = Stamp::new(counter, writer);
            let kept = Kept { stamp, certificate };
            let written = this.write_now(named.clone(), kept.clone());
            Written::of(&named, &kept, written)
        });
        kept.await
    }

    /// Whether a write of a name is known, or a later one.
    pub(super) fn is_known(&self, name: &CertificateName, stamp: &Stamp) -> bool {
        let held = self.held();
        held.kept.get(name).is_some_and(|kept| kept.stamp >= *stamp)
    }

    /// When each name was written last, as far as another replica need not tell it.
    pub(crate) fn stamps(&self) -> BTreeMap<String, Stamp> {
        let mut stamps: BTreeMap<_, _> = {
            let held = self.held();
            let stamps = held.kept.iter();
            stamps
                .map(|(name, kept)| (name.to_string(), kept.stamp.clone()))
                .collect()
        };
        for (name, refused) in self.refusals.stamps(Instant::now()) {
            if stamps.get(&name).is_none_or(|kept| *kept < refused) {
                stamps.insert(name, refused);
            }
        }
        stamps
    }

    /// What is later here than these stamps say, as much as fits.
    pub(crate) fn later_than(&self, stamps: &BTreeMap<String, Stamp>) -> Vec<Entry> {
        let held = self.held();
        let mut bytes = 0;
        let later = held
            .kept
            .iter()
            .filter(|(name, kept)| stamps.get(name.as_str()).is_none_or(|it| *it < kept.stamp));
        let entries = later.map(|(name, kept)| Entry::new(name, kept));
        entries
            .take_while(|entry| {
                bytes += entry.pem.as_ref().map_or(0, |pem| pem.len());
                bytes <= MAX_TOLD_BYTES
            })
            .collect()
    }

    /// Whether a caller gave a certificate of this name.
    pub(crate) fn is_kept(&self, name: &CertificateName) -> bool {
        let held = self.held();
        let kept = held.kept.get(name);
        kept.is_some_and(|kept| kept.certificate.is_some()) || held.in_its_place.contains_key(name)
    }

    /// The file that is shown under a name where nothing is given.
    pub(crate) fn file_of(&self, name: &CertificateName) -> Option<PathBuf> {
        let held = self.held();
        held.found.get(name).map(|found| found.path.clone())
    }

    /// What a certificate that is given under a name would take the place of.
    pub(crate) fn under(&self, name: &CertificateName) -> Option<Certificate> {
        let held = self.held();
        let given = held.kept.get(name).and_then(|it| it.certificate.as_ref());
        let file = || held.found.get(name).map(|found| &found.certificate);
        given.or_else(file).cloned()
    }

    /// Whether a name was given or taken away ever, as far as is remembered.
    pub(crate) fn was_given(&self, name: &CertificateName) -> bool {
        let held = self.held();
        held.kept.contains_key(name) || held.in_its_place.contains_key(name)
    }

    fn has_room(&self, name: &CertificateName) -> bool {
        let held = self.held();
        let is_there = |kept: &&Kept| kept.certificate.is_some();
        let count = held.kept.values().filter(is_there).count() + held.found.len();
        held.kept.get(name).is_some_and(|kept| is_there(&kept)) || count < MAX_CERTIFICATES
    }

    /// Writes something that may be older than what is there. Whether it was later.
    pub(super) async fn write(
        self: &Arc<Self>,
        name: CertificateName,
        kept: Kept,
    ) -> Result<bool, KeepError> {
        let writing = self.writing(move |this| {
            if this.is_known(&name, &kept.stamp) {
                return Ok(false);
            }
            if kept.certificate.is_some() && !this.has_room(&name) {
                return Err(KeepError::Full);
            }
            this.write_now(name, kept).map(|()| true)
        });
        writing.await
    }

    /// Has its turn to write. Once begun it is done, whoever waits for it: disk and memory stay one.
    async fn writing<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, KeepError> + Send + 'static,
    ) -> Result<T, KeepError> {
        let turn = timeout(WRITE_DEADLINE, Arc::clone(&self.writes).lock_owned()).await;
        let turn = turn.map_err(|_| KeepError::Busy)?;
        let this = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&this)
        });
        let done = done.await;
        done.unwrap_or_else(|error| Err(KeepError::Disk(error.into())))
    }

    /// Disk first.
    fn write_now(&self, name: CertificateName, kept: Kept) -> Result<(), KeepError> {
        let folder = self.folder();
        let text = serde_json::to_vec(&Entry::new(&name, &kept));
        let text = text.map_err(|error| KeepError::Disk(error.into()))?;
        let text = Zeroizing::new(text);
        let path = path(&folder, name.as_str());
        make(&folder).map_err(|error| KeepError::Disk(error.into()))?;
        let written = replace_file(&path, &text).map_err(KeepError::from);
        self.take_in(name, kept, written)
    }

    /// Has memory say what the file says, which it does as well where that may be lost.
    fn take_in(
        &self,
        name: CertificateName,
        kept: Kept,
        written: Result<(), KeepError>,
    ) -> Result<(), KeepError> {
        if !matches!(written, Ok(()) | Err(KeepError::Doubtful(_))) {
            return written;
        }
        let folder = self.folder();
        let path = path(&folder, name.as_str());
        self.clock.saw(kept.stamp.counter);
        let forgotten = {
            let mut held = self.held();
            held.unfit.remove(&name);
            held.unreadable.remove(&path.display().to_string());
            held.unreadable.remove(name.as_str());
            held.in_its_place.remove(&name);
            // What it clashed with before may be mended since.
            held.choice.try_name_again(&name, Instant::now());
            held.kept.insert(name, kept);
            self.settle(&mut held);
            held.forget()
        };
        for name in forgotten {
            // One that is left is forgotten at the next start.
            let _ = fs::remove_file(self::path(&folder, name.as_str()));
        }
        written
    }

    /// Lets writes of one name pass one after another, from the first check to what is shown.
    pub(crate) async fn lane(&self, name: &CertificateName) -> Result<Lane, KeepError> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let number = hasher.finish() % self.lanes.len() as u64;
        let lane = usize::try_from(number)
            .ok()
            .and_then(|it| self.lanes.get(it));
        let lane = lane.ok_or(KeepError::Busy)?;
        let lane = timeout(LANE_DEADLINE, Arc::clone(lane).lock_owned()).await;
        lane.map_err(|_| KeepError::Busy)
    }

    fn folder(&self) -> PathBuf {
        self.settings.state_path.join(FOLDER)
    }
}

// === impl Held ===

impl Held {
    /// The greatest counter of what is kept.
    fn latest(&self) -> u64 {
        let counters = self.kept.values().map(|kept| kept.stamp.counter);
        counters.max().unwrap_or_default()
    }

    /// Forgets the oldest removals past as many as there may be certificates. A replica that was away since
    /// before may bring such a certificate back.
    fn forget(&mut self) -> Vec<CertificateName> {
        let removed = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.certificate.is_none());
        let mut removed: Vec<_> = removed
            .map(|(name, kept)| (kept.stamp.clone(), name.clone()))
            .collect();
        removed.sort_unstable();
        let past = removed.len().saturating_sub(MAX_CERTIFICATES);
        let oldest: Vec<_> = removed
            .into_iter()
            .take(past)
            .map(|(_, name)| name)
            .collect();
        for name in &oldest {
            self.kept.remove(name);
        }
        oldest
    }
}

// === impl Written ===

impl Written {
    fn of(
        name: &CertificateName,
        kept: &Kept,
        written: Result<(), KeepError>,
    ) -> Result<Self, KeepError> {
        let doubt = match written {
            Ok(()) => None,
            Err(doubt @ KeepError::Doubtful(_)) => Some(doubt),
            Err(error) => return Err(error),
        };
        let entry = Entry::new(name, kept);
        Ok(Self { entry, doubt })
    }
}

// === impl KeepError ===

impl From<JournalError> for KeepError {
    fn from(error: JournalError) -> Self {
        match error {
            error @ JournalError::Doubtful { .. } => Self::Doubtful(error),
            error => Self::Disk(error.into()),
        }
    }
}

// === impl Entry ===

impl Entry {
    fn new(name: &CertificateName, kept: &Kept) -> Self {
        let pem = kept.certificate.as_ref().map(Certificate::pem);
        Self {
            name: name.to_string(),
            stamp: kept.stamp.clone(),
            pem: pem.map(|pem| Zeroizing::new(pem.expose_secret().to_owned())),
        }
    }

    /// What it says that it is about.
    pub(super) fn called(&self) -> &str {
        &self.name
    }

    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// What it is about, where that is a name.
    pub(super) fn name(&self) -> Option<CertificateName> {
        self.name.parse().ok()
    }

    /// The name and the certificate, or the name and why it cannot be used.
    pub(super) fn read(self) -> Result<(CertificateName, Option<Certificate>), (String, String)> {
        let name = self.name.parse::<CertificateName>();
        let name = name.map_err(|error| (self.name.clone(), error.to_string()))?;
        let certificate = self.pem.map(|pem| Certificate::parse(&pem)).transpose();
        match certificate {
            Ok(certificate) => Ok((name, certificate)),
            Err(error) => Err((self.name, error.to_string())),
        }
    }
}

fn write_pem<S: Serializer>(pem: &Option<Zeroizing<String>>, to: S) -> Result<S::Ok, S::Error> {
    pem.as_ref().map(|pem| pem.as_str()).serialize(to)
}

fn read_pem<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    let pem = Option::<String>::deserialize(from)?;
    Ok(pem.map(Zeroizing::new))
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// For this user alone.
fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(test)]
pub(super) mod tests;
