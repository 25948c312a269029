//! Following many services of the catalog with two blocking queries.
//!
//! A blocking query per service would need a connection per service, and Consul refuses the 201st of
//! one client address. So two queries wait for any change at all, of registrations and of checks
//! ([`super::gate`]), and then those services are read that the change is about and somebody wants, a few
//! at a time and in rounds that leave the servers as much rest as they take. Nothing is asked while nothing
//! changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Instance, Instances,
    changes::{AllFailing, Registered, in_turn, meant, registered_anew},
    gate,
};
use crate::{client::Client, pause::Pauses};

mod rounds;

/// So few services are all read whatever changed: that is less than what is registered on every node.
const FEW: usize = 16;

/// The least pause between two rounds, in which changes gather.
pub(super) const MIN_REST: Duration = Duration::from_millis(50);

/// After this what is registered is looked at again, since a node that moves to another address wakes neither
/// query, and [`FEW`] services are read in turn: what no query told of is known after as many rounds as it
/// takes to read them all.
const ROUND_AT_LEAST: Duration = Duration::from_secs(60);

/// Follows the instances of services, in a task that ends when this is dropped.
///
/// What is known of a service stays known: while Consul is away, while a read fails, and where a read
/// shows less because the token lost a right ([`CatalogView::hidden`]).
#[derive(Debug)]
pub struct Catalog {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What is known of the catalog at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogView {
    pub(super) services: Instances,
    /// Why it may be out of date, where it may be.
    pub trouble: Option<Arc<str>>,
    hidden: imbl::OrdMap<Arc<str>, Arc<str>>,
}

pub(super) struct Shared {
    pub(super) client: Client,
    view: watch::Sender<CatalogView>,
    wanted: Mutex<Wanted>,
    wake: Notify,
    /// Whether anything is wanted.
    pub(super) active: watch::Sender<bool>,
    /// What is registered, as it was read last; held while it is read.
    registered: tokio::sync::Mutex<Option<Registered>>,
    /// Which service was the last to be read in turn.
    last_in_turn: Mutex<Option<Arc<str>>>,
    troubles: Mutex<BTreeMap<Part, Arc<str>>>,
}

/// What may fail by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Reads,
    Registrations,
    Checks,
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
                services: known.services,
                ..CatalogView::default()
            }),
            wanted: Mutex::default(),
            wake: Notify::new(),
            active: watch::Sender::new(false),
            registered: tokio::sync::Mutex::default(),
            last_in_turn: Mutex::default(),
            troubles: Mutex::default(),
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
                Ok(shown) => drop(view.services.insert(name, shown.instances.into())),
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
                view.hidden.remove(name);
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

    /// The services of which some instances are only the last known ones, since Consul does not show them
    /// and does not say that they are gone, or that cannot be asked for by their name; and why.
    pub fn hidden(&self) -> impl Iterator<Item = (&str, &str)> {
        self.hidden.iter().map(|(name, why)| (&**name, &**why))
    }
}

impl<N: Into<Arc<str>>> FromIterator<(N, Vec<Instance>)> for CatalogView {
    fn from_iter<I: IntoIterator<Item = (N, Vec<Instance>)>>(services: I) -> Self {
        let services = services.into_iter();
        Self {
            services: services.map(|(n, i)| (n.into(), Arc::from(i))).collect(),
            ..Self::default()
        }
    }
}

// === impl Shared ===

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all_due(&self) {
        let mut wanted = self.wanted();
        wanted.due = wanted.services.clone();
        drop(wanted);
        self.wake.notify_one();
    }

    /// Has those services read that a change is about.
    fn due(&self, changed: impl FnOnce(&BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>>) {
        let mut wanted = self.wanted();
        let changed = changed(&wanted.services);
        if !changed.is_empty() {
            wanted.due.extend(changed);
            self.wake.notify_one();
        }
    }

    /// Has those services read whose checks began or ceased to fail.
    pub(super) fn checked_anew(&self, before: &AllFailing, now: &AllFailing) {
        let known = self.view.borrow().services.clone();
        self.due(|wanted| meant((before, now), wanted, &known));
    }

    /// Has those services read that are registered otherwise than before. Of a few all are read.
    pub(super) async fn registered_anew(&self) {
        let mut last = self.registered.lock().await;
        if self.wanted().services.len() <= FEW {
            *last = None;
            return self.all_due();
        }
        match self.client.registered().await {
            Ok(now) => match last.replace(now) {
                Some(before) => {
                    let now = last.as_ref();
                    self.due(|wanted| {
                        now.map(|now| registered_anew(&before, now, wanted))
                            .unwrap_or_default()
                    });
                }
                None => self.all_due(),
            },
            Err(error) => {
                tracing::debug!(%error, "all services of the catalog are read instead");
                *last = None;
                self.all_due();
            }
        }
    }

    /// Has all read, whatever was registered before.
    pub(super) async fn begin_anew(&self) {
        *self.registered.lock().await = None;
        self.registered_anew().await;
    }

    /// What may have changed although nothing woke for it: a node that moved, a right of the token.
    async fn long_ago(&self) {
        let hidden: Vec<_> = self.view.borrow().hidden.keys().cloned().collect();
        self.registered_anew().await;
        let mut last = self
            .last_in_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.due(|wanted| {
            let turn = in_turn(wanted, last.as_ref(), FEW);
            *last = turn.last().cloned();
            let hidden = wanted.iter().filter(|name| hidden.contains(name)).cloned();
            hidden.chain(turn).collect()
        });
    }

    /// Says that a part of it fails, or does not.
    pub(super) fn trouble(&self, part: Part, why: Option<&dyn fmt::Display>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => troubles.insert(part, why.to_string().into()),
            None => troubles.remove(&part),
        };
        let first = troubles.values().next().cloned();
        self.view.send_if_modified(|view| {
            let changed = view.trouble != first;
            view.trouble = first;
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

/// Follows, and begins anew after a panic, which an [`Observer`](crate::Observer) or a
/// [`Transport`](crate::Transport) of somebody else's may bring.
async fn run(shared: Arc<Shared>) {
    let mut pauses = Pauses::new(shared.client.timeouts());
    let all = async || {
        tokio::join!(
            gate::registrations(&shared),
            gate::checks(&shared),
            rounds::rounds(&shared),
        )
    };
    while AssertUnwindSafe(all()).catch_unwind().await.is_err() {
        let why = "the task that follows the catalog panicked; it begins anew";
        tracing::error!(why);
        shared.trouble(Part::Reads, Some(&why));
        sleep(pauses.next()).await;
        // What was being read is due no more.
        shared.all_due();
    }
}
