//! The certificates that HAProxy shows: where they come from, and which of them are good.
//!
//! They are no part of the table: keys do not belong into a store that others read. Each is read and shown
//! to HAProxy alone before it is put among the others, and shown to clients once HAProxy takes the whole
//! configuration with it, so that a bad one hurts nobody else; what is bad is named, and the version before is
//! shown on.

mod authorities;
mod choice;
mod exchange;
mod folder;
mod follow;
mod heard;
mod kept;
mod list;
mod presented;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use proxy_haproxy::{
    Certificate, CertificateFile, CertificateList, CertificateName, CertificateProbe,
    CertificateSet, ClientAuthorities, Glob,
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{carrier::CheckError, chain::chain, clock::Clock, metrics::Metrics};
use choice::{Choice, with_before};
use folder::{Found, Scanned};
use heard::Refusals;
use kept::Kept;

pub(crate) use authorities::read_authorities;
pub(crate) use choice::{Fruitless, Showing, Step, find_culprits};
#[cfg(any(test, fuzzing))]
pub(crate) use exchange::opened;
pub(crate) use exchange::{CERTIFICATES_PATH, CertificateExchange, Telling};
pub(crate) use follow::follow;
pub(crate) use kept::{Entry, KeepError, Lane, Written};
pub(crate) use list::read_list;
pub(crate) use presented::{Fit, Presented, fits};

/// The most certificates of a replica. Each is a label of a metric, and read at every start.
pub(crate) const MAX_CERTIFICATES: usize = 1_000;

/// Less than this to its end, and a certificate is warned of. Authorities that renew by themselves do so a
/// month before the end.
pub(crate) const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Checks of certificates at once: each writes keys to disk and takes a core.
const PROBES_AT_ONCE: usize = 4;

/// How long a check may wait for others. Those take milliseconds, or hang and are ended.
const PROBE_WAIT: Duration = Duration::from_secs(30);

/// How long who asks for a look at the files waits for one that is under way: it has files to read, which take ten seconds
/// at most, and certificates to check.
const LOOK_WAIT: Duration = Duration::from_secs(15);

/// Names are written beside each other in so many lanes.
const LANES: usize = 64;

/// What a replica needs to know of its certificates.
#[derive(Debug)]
pub(crate) struct CertificatesSettings {
    /// The folder of certificates that operators fill.
    pub(crate) certs_path: PathBuf,
    /// The folder of secrets, of which `cert-*` and `cert_*` are certificates.
    pub(crate) secrets_path: PathBuf,
    /// The folder of what outlives the process: the certificates that callers gave.
    pub(crate) state_path: PathBuf,
    /// The folder of configurations, of which the current one has what was shown last.
    pub(crate) configs_path: PathBuf,
    /// The file of a list of certificates that takes the place of the folders.
    pub(crate) crt_list: Option<PathBuf>,
    /// What stands first in HAProxy's list.
    pub(crate) preferred: Vec<Glob>,
    /// The file of those whose certificates clients may show.
    pub(crate) client_authorities: Option<PathBuf>,
}

/// The certificates of this replica.
#[derive(Debug)]
pub(crate) struct Certificates {
    settings: CertificatesSettings,
    probe: CertificateProbe,
    metrics: Arc<Metrics>,
    held: Mutex<Held>,
    /// What was read of the folders; held while they are read again.
    scanned: tokio::sync::Mutex<Scanned>,
    /// Held while something is written.
    writes: Arc<tokio::sync::Mutex<()>>,
    /// Each held while a call is about a name of its own.
    lanes: [Arc<tokio::sync::Mutex<()>>; LANES],
    /// Checks of certificates that run or write what they check.
    probes: Semaphore,
    refusals: Refusals,
    /// What is stamped goes by it.
    clock: Clock,
    /// Counts the sets.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Held {
    found: BTreeMap<CertificateName, Found>,
    /// What callers gave. Of a name it counts before a file.
    kept: BTreeMap<CertificateName, Kept>,
    /// Those of them that HAProxy does not show any more, and why.
    unfit: BTreeMap<CertificateName, String>,
    /// What is no certificate that could be shown, by path, and why.
    refused: BTreeMap<String, String>,
    /// What was given and cannot be read any more.
    unreadable: BTreeMap<String, String>,
    /// What was shown of that in the last run.
    in_its_place: Last,
    /// Those whose certificates clients may show.
    authorities: Option<ClientAuthorities>,
    /// The list that an operator keeps; empty where there is none.
    list: CertificateList,
    /// What of what is shown the list leaves out, and what is to be said of it.
    left_out: BTreeMap<CertificateName, String>,
    /// What was shown in the last run, until the folders were read in this one.
    last: Last,
    choice: Choice,
}

/// Certificates that were shown, by name.
type Last = BTreeMap<CertificateName, Certificate>;

/// A certificate that is shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: CertificateName,
    pub(crate) certificate: Certificate,
    /// The folder or the call that it comes from.
    pub(crate) source: Source,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file of a folder.
    File(PathBuf),
    /// A call to this replica or to another.
    Call,
}

/// The files were not looked at. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the files of certificates are still being looked at since before ({LOOK_WAIT:?}): the disk may hang, or many are new"
)]
pub(crate) struct StillLooking;

/// Why certificates are not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JudgeError {
    /// HAProxy would not show it.
    #[error("{0}")]
    Refused(String),
    /// HAProxy could not be asked.
    #[error("{0}")]
    Unable(String),
}

// === impl Certificates ===

impl Certificates {
    /// None yet: see [`Certificates::scan`].
    pub(crate) fn new(
        settings: CertificatesSettings,
        probe: CertificateProbe,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            settings,
            probe,
            metrics,
            held: Mutex::default(),
            scanned: tokio::sync::Mutex::default(),
            writes: Arc::default(),
            lanes: std::array::from_fn(|_| Arc::default()),
            probes: Semaphore::new(PROBES_AT_ONCE),
            refusals: Refusals::default(),
            clock: Clock::default(),
            version: watch::Sender::new(0),
        }
    }

    /// Which it is that is to be shown: another number for each.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What HAProxy is to show.
    pub(crate) fn set(&self) -> CertificateSet {
        self.held().choice.set()
    }

    /// Every certificate that is shown, by name.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let held = self.held();
        held.choice.taken().certificates.values().cloned().collect()
    }

    /// What is no certificate that could be shown, by file or name, and why.
    pub(crate) fn refused(&self) -> BTreeMap<String, String> {
        let held = self.held();
        let unfit = held.unfit.iter();
        let unfit = unfit.map(|(name, why)| (name.to_string(), why.clone()));
        let files = held.refused.iter().chain(&held.unreadable);
        let files = files.map(|(path, why)| (path.clone(), why.clone()));
        let named = files.chain(unfit);
        named.chain(held.choice.refused()).collect()
    }

    /// The certificates that the list shows for less than they are for, and what is to be said of each.
    pub(crate) fn left_out(&self) -> BTreeMap<CertificateName, String> {
        self.held().left_out.clone()
    }

    /// The certificates that are at their end, or nearly, by name.
    pub(crate) fn expiring(&self, now: SystemTime) -> Vec<Shown> {
        let soon = now + EXPIRES_SOON;
        let mut shown = self.shown();
        shown.retain(|one| one.certificate.not_after() < soon);
        shown
    }

    /// Whether clients are asked for certificates.
    pub(crate) fn asks_clients(&self) -> bool {
        self.settings.client_authorities.is_some()
    }

    /// Reads the folders again. What does not answer in time stays as it was. Whether another set is to be shown.
    pub(crate) async fn scan(&self) -> bool {
        let mut scanned = self.scanned.lock().await;
        self.look(&mut scanned).await
    }

    /// The same for somebody who waits.
    ///
    /// # Errors
    /// When another look is under way and takes long.
    pub(crate) async fn scan_soon(&self) -> Result<bool, StillLooking> {
        let scanned = timeout(LOOK_WAIT, self.scanned.lock()).await;
        let mut scanned = scanned.map_err(|_| StillLooking)?;
        Ok(self.look(&mut scanned).await)
    }

    async fn look(&self, scanned: &mut Scanned) -> bool {
        let list = self.held().list.clone();
        let file = self.settings.client_authorities.as_ref();
        let (listed, authorities) = tokio::join!(
            list::look(&mut scanned.list, self.settings.crt_list.as_ref()),
            authorities::look(&mut scanned.authorities, file),
        );
        let (list, unlisted) = match listed {
            Some(Ok(list)) => (list, None),
            Some(Err(why)) => {
                let is_there = list != CertificateList::default();
                (list, Some(with_before(&why, is_there)))
            }
            None => (list, None),
        };
        let last = self.held().last.clone();
        let (found, mut refused) = scanned.again(self, &list, &last).await;
        if let (Some(why), Some(file)) = (unlisted, &self.settings.crt_list) {
            refused.insert(file.display().to_string(), why);
        }
        let mut held = self.held();
        match (authorities, file) {
            (Some(Ok(authorities)), _) => held.authorities = Some(authorities),
            (Some(Err(why)), Some(file)) => {
                let why = with_before(&why, held.authorities.is_some());
                refused.insert(file.display().to_string(), why);
            }
            _ => {}
        }
        for (path, why) in &refused {
            if held.refused.get(path) != Some(why) {
                tracing::warn!(path, why, "a file of certificates is not used");
            }
        }
        (held.found, held.refused, held.list) = (found, refused, list);
        let is_another = self.settle(&mut held);
        held.choice.recall(last);
        held.last = Last::new();
        is_another
    }

    /// Brings what is to be shown up to what is held.
    fn settle(&self, held: &mut Held) -> bool {
        let wanted = held.wanted();
        let is_another = held.choice.want(wanted);
        if is_another {
            self.version.send_modify(|version| *version += 1);
        }
        is_another
    }

    /// Whether HAProxy would show each of these.
    async fn judge(&self, files: Vec<CertificateFile>) -> Vec<Result<(), JudgeError>> {
        let count = files.len();
        if self.probe(files.clone()).await.is_ok() {
            return vec![Ok(()); count];
        }
        let alone = stream::iter(files).map(|file| self.probe(vec![file]));
        alone.buffered(PROBES_AT_ONCE).collect().await
    }

    /// Whether HAProxy would show all of these together.
    async fn probe(&self, files: Vec<CertificateFile>) -> Result<(), JudgeError> {
        let place = timeout(PROBE_WAIT, self.probes.acquire()).await;
        let Ok(Ok(_place)) = place else {
            let why = "too many other certificates are checked; try again";
            return Err(JudgeError::Unable(why.to_owned()));
        };
        let probed = self.probe.probe(files).await;
        probed.map_err(|error| match error.is_refusal() {
            true => JudgeError::Refused(chain(&error)),
            false => JudgeError::Unable(chain(&error)),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As while the files are looked at.
    #[cfg(test)]
    pub(crate) async fn looking(&self) -> impl Drop {
        self.scanned.lock().await
    }
}

// === impl JudgeError ===

impl From<CheckError> for JudgeError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Rejected { .. } => Self::Refused(error.to_string()),
            error => Self::Unable(chain(&error)),
        }
    }
}

// === impl Held ===

impl Held {
    /// What is good by itself.
    fn wanted(&self) -> Showing {
        let found = self.found.iter().map(|(name, found)| Shown {
            name: name.clone(),
            certificate: found.certificate.clone(),
            source: Source::File(found.path.clone()),
        });
        let kept = self.kept.iter().filter_map(|(name, kept)| {
            let is_fit = !self.unfit.contains_key(name);
            let certificate = kept.certificate.clone().filter(|_| is_fit)?;
            Some(Shown {
                name: name.clone(),
                certificate,
                source: Source::Call,
            })
        });
        let in_its_place = self.in_its_place.iter().map(|(name, certificate)| Shown {
            name: name.clone(),
            certificate: certificate.clone(),
            source: Source::Call,
        });
        // Of a name what was given counts before a file, and a file before what stands in for something that
        // cannot be read: that may be a removal.
        let by_name = in_its_place.chain(found).chain(kept);
        Showing {
            certificates: by_name.map(|shown| (shown.name.clone(), shown)).collect(),
            authorities: self.authorities.clone(),
            list: self.list.clone(),
        }
    }
}

// === impl Source ===

impl Source {
    /// In one word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Call => "call",
        }
    }

    /// The folder, where it comes from one.
    pub(crate) fn folder(&self) -> Option<String> {
        match self {
            Self::File(path) => Some(path.parent()?.display().to_string()),
            Self::Call => None,
        }
    }
}

#[cfg(test)]
mod tests;
