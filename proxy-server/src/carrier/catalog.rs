//! Following the instances of services in Consul's catalog, each in a slot that it keeps.
//!
//! What is known survives restarts, so that a start without Consul serves what was served before. When the
//! slots of a service that is live change, the engine is told to render again; HAProxy is then told what
//! its servers are, and reloaded only where there are too few slots. Services with templates see their
//! instances whole, and any change of these is rendered again.

mod addresses;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxy_consul::{Catalog, CatalogView, Client, Health, Instance};
use proxy_core::{CatalogKey, Checks};
use proxy_haproxy::{AddressBook, CatalogInstance, InstanceBook, NameResolver, SlotBook, Slots};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use self::addresses::{Addresses, Asked};
use super::{haproxy::held::Held, places::Places};
use crate::{chain::chain, store::replace_file};

/// The least time between two writes of what is known: instances may come and go all the time.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// How often the names of instances that have no address are looked up.
const NAMES_EVERY: Duration = Duration::from_secs(5);
/// The least pause between two times: a name that nobody knows is asked for with every change.
const NAMES_REST: Duration = Duration::from_secs(1);
/// How long that may take.
const NAMES_ROUND: Duration = Duration::from_secs(5);
/// How many services a report names for each kind of trouble.
const MOST_NAMED: usize = 100;

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

/// What services have in the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    slots: SlotBook,
    /// Of those that have templates.
    instances: InstanceBook,
}

/// What the templates of services see in what is live.
#[derive(Debug, Default)]
struct Live {
    instances: InstanceBook,
    /// The services of which they do not see what the catalog shows.
    held: Held,
}

/// What is wrong with the catalog, as far as it is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CatalogReport {
    /// Why it cannot be read now; the last known instances are served.
    pub(crate) trouble: Option<String>,
    /// Services with instances that Consul does not show any more and that are served on, and why.
    pub(crate) hidden: BTreeMap<String, String>,
    /// Services with instances that cannot be used, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    /// Services whose templates do not go with the instances that Consul shows and that are served with
    /// those before, and why.
    pub(crate) held: BTreeMap<String, String>,
}

/// What the file holds.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    instances: BTreeMap<String, Vec<Instance>>,
    slots: Vec<(CatalogKey, Slots)>,
    /// The last addresses of instances that are registered with a name.
    #[serde(default)]
    names: AddressBook,
    /// What the templates of services saw when it last went live.
    #[serde(default)]
    live: Vec<(CatalogKey, Vec<CatalogInstance>)>,
}

// === impl CatalogReport ===

impl CatalogReport {
    /// Whether nothing is.
    pub(crate) fn is_well(&self) -> bool {
        *self == Self::default()
    }

    fn log(&self) {
        if let Some(why) = &self.trouble {
            tracing::warn!(
                why,
                "the catalog cannot be read; the last known instances are served"
            );
        }
        for (service, why) in self.hidden.iter().chain(&self.left_out) {
            tracing::warn!(service, why, "a service of the catalog");
        }
    }
}

// === impl CatalogFollower ===

impl CatalogFollower {
    /// Begins with what the file of an earlier run says; one that cannot be read is begun anew.
    pub(crate) fn new(client: Client, file: PathBuf, resolver: NameResolver) -> Self {
        let text = std::fs::read(&file);
        let saved: Option<Saved> = text
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let saved = saved.unwrap_or_default();
        let live = saved.live.into_iter();
        Self {
            catalog: Catalog::start(client, saved.instances.into_iter().collect()),
            known: Mutex::new(Known {
                slots: saved.slots.into_iter().collect(),
                instances: InstanceBook::default(),
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
        known.fill(&places.keys, &places.templated, &view, &self.addresses);
        known.clone()
    }

    /// The same, and forgets it.
    pub(super) async fn look_up_once(&self, places: &Places, deadline: Duration) -> Known {
        let view = self.read(&places.keys, deadline).await;
        let mut known = self.known().clone();
        known.fill(&places.keys, &places.templated, &view, &self.addresses);
        known
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

    /// What is wrong with it now.
    pub(crate) fn report(&self) -> CatalogReport {
        let view = self.catalog.view();
        let slots = self.known().slots.clone();
        let hidden = view.hidden().take(MOST_NAMED);
        let mut left_out = BTreeMap::new();
        for (key, _) in slots.iter() {
            let instances = view.instances(&key.service);
            let mut instances = instances.into_iter().flat_map(|known| known.iter());
            let lost = instances.find(|instance| self.addresses.of(key, instance).is_none());
            if let Some(lost) = lost.filter(|_| left_out.len() < MOST_NAMED) {
                let (id, address, port) = (&lost.id, &lost.address, lost.port);
                let why = format!(
                    "the instance {id} at {address:?}, port {port}, is left out: it needs a port, and an address or a name that is known"
                );
                left_out.insert(key.service.to_string(), why);
            }
        }
        CatalogReport {
            trouble: view.trouble.as_deref().map(str::to_owned),
            hidden: hidden
                .map(|(s, why)| (s.to_owned(), why.to_owned()))
                .collect(),
            left_out,
            held: self.live_now().held.clone(),
        }
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
        drop(known);
        self.catalog.follow(names(&places.keys));
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
        let keys = known.slots.iter().map(|(key, _)| key.clone()).collect();
        let templated = known.instances.iter().map(|(key, _)| key.clone());
        let templated = templated.collect();
        let before = known.clone();
        known.fill(&keys, &templated, view, &self.addresses);
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

    async fn save(&self) {
        let view = self.catalog.view();
        let instances = view.iter();
        let slots = self.known().slots.clone();
        let live = self.live();
        let saved = Saved {
            instances: instances.map(|(n, i)| (n.to_owned(), i.to_vec())).collect(),
            slots: slots.iter().map(|(k, s)| (k.clone(), s.clone())).collect(),
            // What nothing is known of is asked for anew by the next run.
            names: self.addresses.answered(),
            live: live.iter().map(|(k, i)| (k.clone(), i.to_vec())).collect(),
        };
        let Ok(text) = serde_json::to_vec(&saved) else {
            return;
        };
        let file = self.file.clone();
        let saved = tokio::task::spawn_blocking(move || replace_file(&file, &text)).await;
        if let Ok(Err(error)) = saved {
            let why = chain(&error);
            tracing::warn!(why, "the last known instances could not be saved");
        }
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

// === impl Known ===

impl Known {
    /// Adds it to what is known of names.
    pub(super) fn beside(self, names: AddressBook) -> AddressBook {
        names.with_slots(self.slots).with_instances(self.instances)
    }

    /// Puts the instances that a view shows into their slots. A service of which it shows nothing keeps
    /// what it has.
    fn fill(
        &mut self,
        keys: &BTreeSet<CatalogKey>,
        templated: &BTreeSet<CatalogKey>,
        view: &CatalogView,
        places: &Addresses,
    ) {
        for key in keys {
            let known = self.slots.get(key);
            let addresses = match (view.instances(&key.service), known) {
                (Some(instances), _) => usable(key, instances, places),
                (None, Some(_)) => continue,
                (None, None) => BTreeSet::new(),
            };
            let filled = known.cloned().unwrap_or_default().filled_with(&addresses);
            self.slots.insert(key.clone(), filled);
        }
        for key in templated {
            let shown = view.instances(&key.service);
            if shown.is_some() || self.instances.get(key).is_none() {
                let shown = shown.map(|shown| &**shown).unwrap_or_default();
                let seen = shown.iter().map(|instance| seen(key, instance));
                self.instances.insert(key.clone(), seen.collect());
            }
        }
    }
}

/// What a template sees of an instance.
fn seen(key: &CatalogKey, instance: &Instance) -> CatalogInstance {
    let mut seen = CatalogInstance::default();
    seen.node.clone_from(&instance.node);
    seen.id.clone_from(&instance.id);
    seen.host.clone_from(&instance.address);
    seen.port = key.port.map_or(instance.port, |port| port.get());
    seen.tags.clone_from(&instance.tags);
    seen.meta.clone_from(&instance.meta);
    seen.healthy = instance.health == Health::Passing;
    seen
}

/// Where requests may go. Where no instance passes its checks, all that are not in maintenance are taken
/// and HAProxy's own checks decide: that none is well is more often said of the checks than of the
/// instances, and a backend without servers answers nobody.
fn usable(key: &CatalogKey, instances: &[Instance], places: &Addresses) -> BTreeSet<SocketAddr> {
    let of = |fits: fn(Health) -> bool| {
        let fitting = instances.iter().filter(move |i| fits(i.health));
        fitting.filter_map(|i| places.of(key, i)).collect()
    };
    let passing: BTreeSet<_> = match key.checks {
        Checks::Skipped => BTreeSet::new(),
        _ => of(|health| health == Health::Passing),
    };
    if passing.is_empty() {
        of(|health| health != Health::Maintenance)
    } else {
        passing
    }
}

#[cfg(test)]
mod tests;
