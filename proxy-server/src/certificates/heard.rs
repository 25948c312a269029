//! Certificates that another replica tells: judged beside everything else, and taken in one by one. What is
//! refused is remembered, so that it is not asked for again and again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxy_core::Stamp;
use tokio::time::{Instant, timeout};

use super::{
    Certificates, Entry, JudgeError, KeepError, MAX_CERTIFICATES, choice::REFUSED_FOR, kept::Kept,
};
use crate::chain::chain;

/// How long it may take to judge what one replica tells. What is not judged by then is heard again.
const HEAR_DEADLINE: Duration = Duration::from_secs(60);

/// What is said of a stamp that is not believed.
const FAR_AHEAD: &str = "its stamp is a year or more ahead of what any replica's clock says; a replica has a bug, or its clock was wrong and is not compared with yet; it is asked for again";

/// What was refused, by name.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<String, Refusal>>);

#[derive(Clone, Debug)]
struct Refusal {
    stamp: Stamp,
    why: String,
    since: Instant,
}

// === impl Refusals ===

impl Refusals {
    /// Remembers one. Where there are too many the oldest goes.
    fn add(&self, name: String, stamp: Stamp, why: String, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now;
        all.insert(name, Refusal { stamp, why, since });
        if all.len() > MAX_CERTIFICATES {
            let oldest = all.iter().min_by_key(|(_, refusal)| refusal.since);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|name| all.remove(&name));
        }
    }

    /// Why a write was refused lately.
    fn why(&self, name: &str, stamp: &Stamp, now: Instant) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = all.get(name).filter(|it| now < it.since + REFUSED_FOR)?;
        (refusal.stamp == *stamp).then(|| refusal.why.clone())
    }

    /// What was refused lately and need not be told again.
    pub(super) fn stamps(&self, now: Instant) -> Vec<(String, Stamp)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = all.iter().filter(|(_, it)| now < it.since + REFUSED_FOR);
        lately
            .map(|(name, refusal)| (name.clone(), refusal.stamp.clone()))
            .collect()
    }
}

// === impl Certificates ===

impl Certificates {
    /// Takes in what another replica keeps, where it is later. Gives how much there was of it, and what of
    /// it cannot be used here.
    pub(crate) async fn hear(self: &Arc<Self>, entries: Vec<Entry>) -> (usize, Vec<String>) {
        let now = Instant::now();
        let (mut later, mut unused) = (Vec::new(), Vec::new());
        for entry in entries {
            let (called, stamp) = (entry.called().to_owned(), entry.stamp().clone());
            if let Some(why) = self.refusals.why(&called, &stamp, now) {
                unused.push(format!("{called}: {why}"));
                continue;
            }
            if self.is_far(&stamp) {
                // Not remembered: once clocks were compared it may be another matter.
                unused.push(format!("{called}: {FAR_AHEAD}"));
                continue;
            }
            match entry.read().map_err(|(_, why)| why) {
                Ok((name, _)) if self.is_known(&name, &stamp) => {}
                Ok((name, certificate)) => later.push((name, Kept { stamp, certificate })),
                Err(why) => {
                    unused.push(format!("{called}: {why}"));
                    self.refusals.add(called, stamp, why, now);
                }
            }
        }
        let files = later.iter().filter_map(|(name, kept)| {
            let certificate = kept.certificate.as_ref()?;
            Some(certificate.file(name.clone()))
        });
        let Ok(judged) = timeout(HEAR_DEADLINE, self.judge(files.collect())).await else {
            let why =
                format!("the checks took longer than {HEAR_DEADLINE:?}; it is asked for again");
            unused.extend(later.iter().map(|(name, _)| format!("{name}: {why}")));
            return (0, unused);
        };
        let mut judged = judged.into_iter();
        let mut taken = 0;
        for (name, kept) in later {
            let verdict = match &kept.certificate {
                Some(_) => judged.next().unwrap_or(Ok(())),
                // A removal needs no judge.
                None => Ok(()),
            };
            let (called, stamp) = (name.to_string(), kept.stamp.clone());
            let done = match verdict {
                Ok(()) => self.write(name, kept).await,
                Err(error) => Err(error.into()),
            };
            match done {
                Ok(true) => taken += 1,
                // Something later came meanwhile.
                Ok(false) => {}
                Err(error) => {
                    let why = chain(&error);
                    unused.push(format!("{called}: {why}"));
                    if let KeepError::Judged(JudgeError::Refused(_)) = error {
                        self.refusals.add(called, stamp, why, now);
                    }
                }
            }
        }
        (taken, unused)
    }
}

#[cfg(test)]
mod tests;
