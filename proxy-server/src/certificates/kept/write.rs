//! Writing what callers give and other replicas tell: one after another, on disk before memory has it.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proxy_core::{InstanceId, Stamp};
use proxy_haproxy::{Certificate, CertificateName};
use secrecy::zeroize::Zeroizing;
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout},
};

use super::{Entry, Kept};
use crate::{
    certificates::{Certificates, Held, JudgeError, MAX_CERTIFICATES},
    store::{JournalError, replace_file},
};

/// How long a write may wait for others: each takes as long as the disk.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a call may wait for another that is about the same name: that one has HAProxy check the whole
/// configuration and show it.
const LANE_DEADLINE: Duration = Duration::from_secs(60);

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

// === impl Certificates ===

impl Certificates {
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

    /// Writes something that may be older than what is there. Whether it was later.
    pub(in crate::certificates) async fn write(
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
    pub(super) fn take_in(
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
}

// === impl Held ===

impl Held {
    /// Forgets the oldest removals past as many as there may be certificates. A replica that was away since
    /// before may bring such a certificate back.
    pub(super) fn forget(&mut self) -> Vec<CertificateName> {
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
    pub(super) fn of(
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
