//! Certificates that callers gave: on disk before they are acknowledged, and stamped, so that replicas that
//! tell each other theirs in any order end with the same. Of two for one name the later stamp stays.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use proxy_core::Stamp;
use proxy_haproxy::{Certificate, CertificateName, CertificateProbe, last_certificates};
use tokio::time::Instant;

mod entry;
mod read;
mod write;

use super::{Certificates, Held, JudgeError, MAX_CERTIFICATES};
use crate::{chain::chain, patience::Patience};
use read::{in_place_of, read_all};

pub(crate) use entry::Entry;
pub(crate) use write::{KeepError, Lane, Written};

/// The folder below `STATE_PATH`.
const FOLDER: &str = "certificates";

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

// === impl Certificates ===

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
            let stamp = entry.stamp().clone();
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
                bytes += entry.bytes();
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
}

#[cfg(test)]
pub(super) mod tests;
