//! Following the instances of services in Consul's catalog, each in a slot that it keeps.
//!
//! What is known survives restarts, so that a start without Consul serves what was served before. When the
//! slots of a service that is live change, the engine is told to render again; HAProxy is then told what
//! its servers are, and reloaded only where there are too few slots. Services with templates see their
//! instances whole, and any change of these is rendered again.

mod addresses;
mod file;
mod known;
mod report;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxy_consul::{Catalog, CatalogView, Client};
use proxy_core::CatalogKey;
use proxy_haproxy::{InstanceBook, NameResolver};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

pub(crate) use self::report::CatalogReport;

use self::{
    addresses::{Addresses, Asked},
    file::Saved,
    known::Known,
};
use super::{haproxy::held::Held, places::Places};

/// The least time between two writes of what is known: instances may come and go all the time.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// How often the names of instances that have no address are looked up.
const NAMES_EVERY: Duration = Duration::from_secs(5);
/// The least pause between two times: a name that nobody knows is asked for with every change.
const NAMES_REST: Duration = Duration::from_secs(1);
/// How long that may take.
const NAMES_ROUND: Duration = Duration::from_secs(5);

/// How long the answer to a change waits to hear whether anything is registered. It was just read for the change itself.
const UNREGISTERED_DEADLINE: Duration = Duration::from_secs(1);

/// Knows the instances of the table's services.
#[derive(Debug)]
pub(crate) struct CatalogFollower {
    catalog: Catalog,
    known: Mutex<Known>,
    addresses: Addresses,
    live: Mutex<Live>,
    moved: Notify,
    /// There is something that a later start needs to know.
    unsaved: Notify,
    file: PathBuf,
}

/// What the templates of services see in what is live.
#[derive(Debug, Default)]
struct Live {
    instances: InstanceBook,
    /// The services of which they do not see what the catalog shows.
    held: Held,
}

// === impl CatalogFollower ===

impl CatalogFollower {
    /// Begins with what the file of an earlier run says; one that cannot be read is begun anew.
    pub(crate) fn new(client: Client, file: PathBuf, resolver: NameResolver) -> Self {
        let saved = Saved::read(&file);
        let live = saved.live.into_iter();
        Self {
            catalog: Catalog::start(client, saved.instances.into_iter().collect()),
            known: Mutex::new(Known {
                slots: saved.slots.into_iter().collect(),
                ..Known::default()
            }),
            addresses: Addresses::new(resolver, saved.names),
            live: Mutex::new(Live {
                instances: live.map(|(key, seen)| (key, seen.into())).collect(),
                held: Held::default(),
            }),
            moved: Notify::new(),
            unsaved: Notify::new(),
            file,
        }
    }

    /// What the templates of services saw when it last went live, in this run or an earlier one.
    pub(super) fn live(&self) -> InstanceBook {
        self.live_now().instances.clone()
    }

    /// What these services have, after those that are new were read. They are not followed yet: the
    /// table may be refused.
    pub(super) async fn look_up(&self, places: &Places, deadline: Duration) -> Known {
        if places.keys.is_empty() {
            return Known::default();
        }
        let view = self.read(&places.keys, deadline).await;
        let mut known = self.known();
        known.fill_for(places, &view, &self.addresses);
        known.clone()
    }

    /// The same, and forgets it.
    pub(super) async fn look_up_once(&self, places: &Places, deadline: Duration) -> Known {
        let view = self.read(&places.keys, deadline).await;
        let mut known = self.known().clone();
        known.fill_for(places, &view, &self.addresses);
        known
    }

    /// Those of these of which nothing is registered, as far as that is known or can be read by now.
    pub(crate) async fn unregistered<'a>(
        &self,
        keys: &'a BTreeSet<CatalogKey>,
    ) -> Vec<&'a CatalogKey> {
        let until = Instant::now() + UNREGISTERED_DEADLINE;
        let view = self.catalog.look_up(&names(keys), until).await;
        let is_empty =
            |key: &&CatalogKey| view.instances(&key.service).is_some_and(|i| i.is_empty());
        keys.iter().filter(is_empty).collect()
    }

    async fn read(&self, keys: &BTreeSet<CatalogKey>, deadline: Duration) -> CatalogView {
        let until = Instant::now() + deadline;
        let names = names(keys);
        let view = self.catalog.look_up(&names, until).await;
        let left = until.saturating_duration_since(Instant::now());
        let services = names.iter().map(|name| &**name);
        self.addresses
            .look_up(services, &view, Asked::New, left)
            .await;
        view
    }

    /// Follows these services from now on and forgets all others: the table with them is live, and its
    /// templates see these instances, which are not what the catalog shows of the services that are held.
    pub(super) fn want(&self, places: &Places, mut instances: InstanceBook, held: Held) {
        instances.retain(&places.templated);
        let mut live = self.live_now();
        for (service, why) in &held {
            if live.held.get(service) != Some(why) {
                tracing::error!(
                    service,
                    why,
                    "the instances that the catalog shows now do not go with the template of the service; \
                     it is served with those before"
                );
            }
        }
        for service in live
            .held
            .keys()
            .filter(|service| !held.contains_key(*service))
        {
            tracing::info!(
                service,
                "the service is served with what the catalog shows again"
            );
        }
        live.held = held;
        if live.instances != instances {
            live.instances = instances;
            self.unsaved.notify_one();
        }
        drop(live);
        let mut known = self.known();
        known.slots.retain(&places.keys);
        known.instances.retain(&places.templated);
        known.destinations = Arc::clone(&places.destinations);
        drop(known);
        self.catalog.follow(names(&places.keys));
    }

    /// Has the instances judged again that a search did not come to.
    pub(super) fn look_again(&self) {
        self.moved.notify_one();
    }

    /// Waits until the slots of a service that is followed have changed, or what its templates see.
    /// Cancel safe.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Follows the catalog until the token is cancelled.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(self.follow_instances(&stop), self.follow_names(&stop));
        self.save().await;
    }

    async fn follow_instances(&self, stop: &CancellationToken) {
        let mut changes = self.catalog.changes();
        let mut said = CatalogReport::default();
        let mut save_at = None;
        loop {
            let due = async {
                match save_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = due => {
                    self.save().await;
                    save_at = None;
                    continue;
                }
                () = self.unsaved.notified() => {
                    save_at = save_at.or_else(|| Some(Instant::now() + SAVE_AFTER));
                    continue;
                }
                changed = changes.changed() => if changed.is_err() { return },
            }
            let view = changes.borrow_and_update().clone();
            self.fill_all(&view);
            save_at = save_at.or_else(|| Some(Instant::now() + SAVE_AFTER));
            let report = self.report();
            if report != said {
                report.log();
                said = report;
            }
        }
    }

    /// Looks up the names of instances: of new ones at once, of all again and again. DNS that is silent holds
    /// up nothing else.
    async fn follow_names(&self, stop: &CancellationToken) {
        let mut changes = self.catalog.changes();
        let mut all_at = Instant::now() + NAMES_EVERY;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(all_at) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
            let view = changes.borrow_and_update().clone();
            let keys: BTreeSet<CatalogKey> = self
                .known()
                .slots
                .iter()
                .map(|(key, _)| key.clone())
                .collect();
            if Instant::now() < all_at && !self.has_unknown(&keys, &view) {
                continue;
            }
            all_at = Instant::now() + NAMES_EVERY;
            let services = keys.iter().map(|key| &*key.service);
            let round = self
                .addresses
                .look_up(services, &view, Asked::All, NAMES_ROUND);
            if round.await {
                self.fill_all(&self.catalog.view());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(NAMES_REST) => {}
            }
        }
    }

    /// Puts what is known into the slots of all that is followed, and tells the engine where they changed.
    fn fill_all(&self, view: &CatalogView) {
        let mut known = self.known();
        let before = known.clone();
        known.fill_again(view, &self.addresses);
        if *known != before {
            self.moved.notify_one();
        }
    }

    /// Whether an instance has a name that was never looked up.
    fn has_unknown(&self, keys: &BTreeSet<CatalogKey>, view: &CatalogView) -> bool {
        let book = self.addresses.book();
        let instances = keys.iter().filter_map(|key| view.instances(&key.service));
        let mut names = instances.flat_map(|all| all.iter().filter_map(addresses::name));
        names.any(|name| book.get(&name).address().is_none())
    }

    fn live_now(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(keys: &BTreeSet<CatalogKey>) -> BTreeSet<Arc<str>> {
    keys.iter().map(|key| Arc::from(&*key.service)).collect()
}

#[cfg(test)]
mod tests;
