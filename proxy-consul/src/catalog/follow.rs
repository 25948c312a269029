//! Following many services of the catalog with two blocking queries.
//!
//! A blocking query per service would need a connection per service, and Consul refuses the 201st of
//! one client address. So two queries wait for any change at all, of registrations and of checks, and
//! then those services are read that somebody wants, a few at a time and in rounds that leave the
//! servers as much rest as they take. Nothing is asked while nothing changes.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use super::{Instance, Instances};
use crate::{
    client::Client,
    error::ClientError,
    pause::Pauses,
    request::{Operation, Response},
    watch::next_index,
};

/// How many services are read at once: a few of the client's requests under way, so that others have
/// theirs.
const READS_AT_ONCE: usize = 8;

/// The least pause between two rounds, in which changes gather.
const MIN_REST: Duration = Duration::from_millis(50);

/// All are read again after this, since a node that moves to another address wakes neither query.
const ROUND_AT_LEAST: Duration = Duration::from_secs(60);

/// What wakes for a change of any registration. Its answer is as long as the catalog has services.
const REGISTRATIONS: (&str, &[&str]) = ("/v1/catalog/services", &[]);

/// What wakes for a change of any check. No check has this name, so the answer is empty.
const CHECKS: (&str, &[&str]) = ("/v1/health/state/any", &["filter=CheckID==%22%22"]);

/// Follows the instances of services, in a task that ends when this is dropped.
///
/// What is known of a service stays known: while Consul is away, while a read fails, and where a read
/// comes back empty although Consul still names the service or names no service at all, as it does to
/// a token that lost its rights.
#[derive(Debug)]
pub struct Catalog {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What is known of the catalog at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogView {
    services: Instances,
    /// Why it may be out of date, where it may be.
    pub trouble: Option<Arc<str>>,
}

struct Shared {
    client: Client,
    view: watch::Sender<CatalogView>,
    wanted: Mutex<Wanted>,
    wake: Notify,
    /// Whether anything is wanted.
    active: watch::Sender<bool>,
}

#[derive(Default)]
struct Wanted {
    services: BTreeSet<Arc<str>>,
    /// Those of them that are to be read.
    due: BTreeSet<Arc<str>>,
}

// === impl Catalog ===

impl Catalog {
    /// Follows nothing yet. `known` is what was known of services before, as of an earlier run.
    ///
    /// Must be called on a tokio runtime.
    #[must_use]
    pub fn start(client: Client, known: CatalogView) -> Self {
        let shared = Arc::new(Shared {
            client,
            view: watch::Sender::new(CatalogView {
                trouble: None,
                ..known
            }),
            wanted: Mutex::default(),
            wake: Notify::new(),
            active: watch::Sender::new(false),
        });
        let task = tokio::spawn(run(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// What is known now.
    #[must_use]
    pub fn view(&self) -> CatalogView {
        self.shared.view.borrow().clone()
    }

    /// Tells of every change of what is known. The view that is there at first counts as seen.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<CatalogView> {
        self.shared.view.subscribe()
    }

    /// What is known of these services, after those of which nothing was known were read. What could
    /// not be read by the deadline is not in the view. They are not followed and nothing of them is
    /// kept. Cancel safe.
    pub async fn look_up(&self, services: &BTreeSet<Arc<str>>, deadline: Instant) -> CatalogView {
        let mut view = self.view();
        let new = services
            .iter()
            .filter(|name| !view.services.contains_key(*name));
        let reads = self.shared.reads(new.cloned().collect());
        let mut reads = std::pin::pin!(reads);
        while let Ok(Some((name, read))) = timeout_at(deadline, reads.next()).await {
            match read {
                Ok(instances) => drop(view.services.insert(name, instances.into())),
                Err(error) => tracing::debug!(%error, "a service of the catalog was not read"),
            }
        }
        view
    }

    /// Follows these services from now on, and forgets what is known of all others.
    pub fn follow(&self, services: BTreeSet<Arc<str>>) {
        let mut wanted = self.shared.wanted();
        if wanted.services == services {
            return;
        }
        self.shared.view.send_if_modified(|view| {
            let known = view.services.keys();
            let unwanted: Vec<_> = known.filter(|n| !services.contains(*n)).cloned().collect();
            for name in &unwanted {
                view.services.remove(name);
            }
            !unwanted.is_empty()
        });
        let new: Vec<_> = services.difference(&wanted.services).cloned().collect();
        wanted.due.extend(new);
        wanted.due.retain(|name| services.contains(name));
        let active = !services.is_empty();
        self.shared
            .active
            .send_if_modified(|was| std::mem::replace(was, active) != active);
        wanted.services = services;
        drop(wanted);
        self.shared.wake.notify_one();
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        // It only reads.
        self.task.abort();
    }
}

// === impl CatalogView ===

impl CatalogView {
    /// The instances of a service, whatever their health; none where nothing is known of it.
    #[must_use]
    pub fn instances(&self, service: &str) -> Option<&Arc<[Instance]>> {
        self.services.get(service)
    }

    /// Every service of which something is known.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<[Instance]>)> {
        self.services.iter().map(|(name, known)| (&**name, known))
    }
}

impl<N: Into<Arc<str>>> FromIterator<(N, Vec<Instance>)> for CatalogView {
    fn from_iter<I: IntoIterator<Item = (N, Vec<Instance>)>>(services: I) -> Self {
        let services = services.into_iter();
        Self {
            services: services.map(|(n, i)| (n.into(), Arc::from(i))).collect(),
            trouble: None,
        }
    }
}

// === impl Shared ===

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reads(
        &self,
        names: Vec<Arc<str>>,
    ) -> impl stream::Stream<Item = (Arc<str>, Result<Vec<Instance>, ClientError>)> + '_ {
        let reads = names.into_iter().map(move |name| async move {
            let read = self.client.instances(&name).await;
            (name, read)
        });
        stream::iter(reads).buffer_unordered(READS_AT_ONCE)
    }

    fn all_due(&self) {
        let mut wanted = self.wanted();
        wanted.due = wanted.services.clone();
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
                let known = self.view.borrow().services.get(&name).cloned();
                let lost = |known: &Arc<[Instance]>| !known.is_empty();
                let settled = match read {
                    Ok(read) if read.is_empty() && known.as_ref().is_some_and(lost) => self
                        .is_gone(&name, &mut names)
                        .await
                        .map(|gone| match gone {
                            true => Some(read),
                            false => None,
                        }),
                    read => read.map(Some),
                };
                match settled {
                    Ok(instances) => {
                        unread.remove(&name);
                        if let Some(instances) = instances {
                            self.learn(name, instances);
                        }
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

    /// Whether a service that had instances and has none is deregistered, and not only hidden.
    async fn is_gone(
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
        let gone = !names.is_empty() && !names.contains(&service.to_ascii_lowercase());
        if !gone {
            tracing::warn!(
                service,
                "Consul shows no instance of a service that it had, and does not say that it is gone; \
                 the last known ones stay"
            );
        }
        Ok(gone)
    }

    fn learn(&self, name: Arc<str>, instances: Vec<Instance>) {
        // Under the lock: what is no longer wanted was just forgotten.
        let wanted = self.wanted();
        if !wanted.services.contains(&name) {
            return;
        }
        self.view.send_if_modified(|view| {
            let same = view.services.get(&name).is_some_and(|k| **k == *instances);
            if !same {
                view.services.insert(name, instances.into());
            }
            !same
        });
    }

    fn trouble(&self, why: Option<Arc<str>>) {
        self.view.send_if_modified(|view| {
            let changed = view.trouble != why;
            view.trouble = why;
            changed
        });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.view.borrow().services.len();
        f.debug_struct("Shared")
            .field("services", &services)
            .finish_non_exhaustive()
    }
}

async fn run(shared: Arc<Shared>) {
    tokio::join!(
        gate(&shared, REGISTRATIONS),
        gate(&shared, CHECKS),
        rounds(&shared),
    );
}

/// Waits for any change of one kind, again and again. Without anything to follow nothing is asked.
async fn gate(shared: &Shared, (path, query): (&str, &[&str])) {
    let client = &shared.client;
    let mut pauses = Pauses::new(client.timeouts());
    let wait = client.timeouts().watch_wait;
    let mut active = shared.active.subscribe();
    let mut seen = 0;
    // It ends with the sender, which the same task holds.
    while active.wait_for(|active| *active).await.is_ok() {
        let wait_for = [
            format!("index={seen}"),
            format!("wait={}ms", wait.as_millis()),
        ];
        let query: Vec<&str> = query
            .iter()
            .copied()
            .chain(wait_for.iter().map(String::as_str))
            .collect();
        let path = client.path(path, &query);
        let index = |response: &Response| match response.status {
            200 => response.index.ok_or_else(|| "no X-Consul-Index".to_owned()),
            other => Err(format!("status {other} {}", response.excerpt())),
        };
        match client
            .wait_for(Operation::WatchCatalog, path, wait, index)
            .await
        {
            Ok(index) => {
                pauses.reset();
                if index != seen {
                    shared.all_due();
                    shared.wake.notify_one();
                }
                seen = next_index(seen, index);
            }
            Err(error) => {
                tracing::debug!(%error, "the watch of the catalog broke");
                sleep(pauses.next()).await;
            }
        }
    }
}

async fn rounds(shared: &Shared) {
    let mut pauses = Pauses::new(shared.client.timeouts());
    let mut all_at = Instant::now() + ROUND_AT_LEAST;
    loop {
        if tokio::time::timeout_at(all_at, shared.wake.notified())
            .await
            .is_err()
        {
            shared.all_due();
            all_at = Instant::now() + ROUND_AT_LEAST;
        }
        let begun = Instant::now();
        match shared.round().await {
            Ok(()) => {
                shared.trouble(None);
                pauses.reset();
                sleep(begun.elapsed().max(MIN_REST)).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the catalog was not read");
                shared.trouble(Some(error.to_string().into()));
                sleep(pauses.next()).await;
                shared.wake.notify_one();
            }
        }
    }
}
