//! Reading what is due, in rounds: a few services at a time, and as long a rest after a round as it took.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout_at};

use super::{MIN_REST, Part, ROUND_AT_LEAST, Shared, Wanted};
use crate::{
    catalog::{Shown, rights::Settled},
    error::ClientError,
    pause::Pauses,
};

/// How many services are read at once: a few of the client's requests under way, so that others have
/// theirs.
const READS_AT_ONCE: usize = 8;

// === impl Shared ===

impl Shared {
    /// Reads services, a few at once.
    pub(super) fn reads(
        &self,
        names: Vec<Arc<str>>,
    ) -> impl stream::Stream<Item = (Arc<str>, Result<Shown, ClientError>)> + '_ {
        let reads = names.into_iter().map(move |name| async move {
            let read = self.client.look_at(&name).await;
            (name, read)
        });
        stream::iter(reads).buffer_unordered(READS_AT_ONCE)
    }

    /// Reads what is due. What could not be read stays due.
    async fn round(&self) -> Result<(), ClientError> {
        let due = std::mem::take(&mut self.wanted().due);
        let mut names: Option<BTreeSet<String>> = None;
        let mut worst = None;
        let mut failed = 0;
        let mut unread = due.clone();
        {
            let mut reads = std::pin::pin!(self.reads(due.into_iter().collect()));
            while let Some((name, read)) = reads.next().await {
                let settled = match read {
                    Ok(shown) => self.settle(&name, shown, &mut names).await,
                    // No try helps, and it says nothing of the others.
                    Err(error @ ClientError::Key { .. }) => Ok(Settled {
                        instances: Vec::new(),
                        hidden: Some(error.to_string()),
                    }),
                    Err(error) => Err(error),
                };
                match settled {
                    Ok(settled) => {
                        unread.remove(&name);
                        self.learn(name, settled);
                    }
                    Err(error) => {
                        failed += 1;
                        worst = Some(error);
                    }
                }
                // Nobody answers: the rest would say the same, each after its deadline.
                if failed == READS_AT_ONCE {
                    break;
                }
            }
        }
        let mut wanted = self.wanted();
        let Wanted { services, due } = &mut *wanted;
        due.extend(unread.into_iter().filter(|name| services.contains(name)));
        worst.map_or(Ok(()), Err)
    }

    /// Holds what was read of a service to what was known of it.
    async fn settle(
        &self,
        name: &str,
        shown: Shown,
        names: &mut Option<BTreeSet<String>>,
    ) -> Result<Settled, ClientError> {
        let known = self.view.borrow().services.get(name).cloned();
        let known = known.as_deref().unwrap_or_default();
        let lost_all = shown.instances.is_empty() && !known.is_empty();
        if lost_all && !self.is_unnamed(name, names).await? {
            let why = "Consul shows no instance of it, and does not say that it is gone; the last known ones are kept";
            return Ok(Settled {
                instances: known.to_vec(),
                hidden: Some(why.to_owned()),
            });
        }
        self.client.settle(name, shown, known).await
    }

    /// Whether Consul names services, and not this one.
    async fn is_unnamed(
        &self,
        service: &str,
        names: &mut Option<BTreeSet<String>>,
    ) -> Result<bool, ClientError> {
        let names = match names {
            Some(names) => names,
            None => {
                let all = self.client.service_names().await?.into_iter();
                // Consul compares them so.
                names.insert(all.map(|name| name.to_ascii_lowercase()).collect())
            }
        };
        Ok(!names.is_empty() && !names.contains(&service.to_ascii_lowercase()))
    }

    fn learn(&self, name: Arc<str>, settled: Settled) {
        // Under the lock: what is no longer wanted was just forgotten.
        let wanted = self.wanted();
        if !wanted.services.contains(&name) {
            return;
        }
        let Settled { instances, hidden } = settled;
        let hidden: Option<Arc<str>> = hidden.map(Into::into);
        self.view.send_if_modified(|view| {
            let same = view.services.get(&name).is_some_and(|k| **k == *instances)
                && view.hidden.get(&name) == hidden.as_ref();
            if same {
                return false;
            }
            match hidden {
                Some(why) => view.hidden.insert(Arc::clone(&name), why),
                None => view.hidden.remove(&name),
            };
            view.services.insert(name, instances.into());
            true
        });
    }
}

/// Reads what is due whenever something is, until it is dropped.
pub(super) async fn rounds(shared: &Shared) {
    let mut pauses = Pauses::new(shared.client.timeouts());
    let mut all_at = Instant::now() + ROUND_AT_LEAST;
    loop {
        if timeout_at(all_at, shared.wake.notified()).await.is_err() {
            shared.long_ago().await;
            all_at = Instant::now() + ROUND_AT_LEAST;
        }
        let begun = Instant::now();
        match shared.round().await {
            Ok(()) => {
                shared.trouble(Part::Reads, None);
                pauses.reset();
                sleep(begun.elapsed().max(MIN_REST)).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the catalog was not read");
                shared.trouble(Part::Reads, Some(&error));
                sleep(pauses.next()).await;
                shared.wake.notify_one();
            }
        }
    }
}
