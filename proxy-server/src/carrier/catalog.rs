//! Following the instances of services in Consul's catalog, each in a slot that it keeps.
//!
//! What is known survives restarts, so that a start without Consul serves what was served before. When the
//! slots of a service that is live change, the engine is told to render again; HAProxy is then told what
//! its servers are, and reloaded only where there are too few slots. Services with templates see their
//! instances whole, and any change of these is rendered again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxy_consul::{Catalog, CatalogView, Client, Health, Instance};
use proxy_core::{CatalogKey, Checks};
use proxy_haproxy::{AddressBook, CatalogInstance, InstanceBook, SlotBook, Slots};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::places::Places;
use crate::{chain::chain, store::replace_file};

/// The least time between two writes of what is known: instances may come and go all the time.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// Knows the instances of the table's services.
#[derive(Debug)]
pub(crate) struct CatalogFollower {
    catalog: Catalog,
    known: Mutex<Known>,
    moved: Notify,
    file: PathBuf,
}

/// What services have in the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    slots: SlotBook,
    /// Of those that have templates.
    instances: InstanceBook,
}

/// What the file holds.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    instances: BTreeMap<String, Vec<Instance>>,
    slots: Vec<(CatalogKey, Slots)>,
}

// === impl CatalogFollower ===

impl CatalogFollower {
    /// Begins with what the file of an earlier run says; one that cannot be read is begun anew.
    pub(crate) fn new(client: Client, file: PathBuf) -> Self {
        let text = std::fs::read(&file);
        let saved: Option<Saved> = text
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let saved = saved.unwrap_or_default();
        Self {
            catalog: Catalog::start(client, saved.instances.into_iter().collect()),
            known: Mutex::new(Known {
                slots: saved.slots.into_iter().collect(),
                instances: InstanceBook::default(),
            }),
            moved: Notify::new(),
            file,
        }
    }

    /// What these services have, after those that are new were read. They are not followed yet: the
    /// table may be refused.
    pub(super) async fn look_up(&self, places: &Places, deadline: Duration) -> Known {
        if places.keys.is_empty() {
            return Known::default();
        }
        let view = self.read(&places.keys, deadline).await;
        let mut known = self.known();
        known.fill(&places.keys, &places.templated, &view);
        known.clone()
    }

    /// The same, and forgets it.
    pub(super) async fn look_up_once(&self, places: &Places, deadline: Duration) -> Known {
        let view = self.read(&places.keys, deadline).await;
        let mut known = self.known().clone();
        known.fill(&places.keys, &places.templated, &view);
        known
    }

    async fn read(&self, keys: &BTreeSet<CatalogKey>, deadline: Duration) -> CatalogView {
        let until = Instant::now() + deadline;
        self.catalog.look_up(&names(keys), until).await
    }

    /// Follows these services from now on and forgets all others: the table with them is live.
    pub(super) fn want(&self, places: &Places) {
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
        let mut changes = self.catalog.changes();
        let mut save_at = None;
        loop {
            let due = async {
                match save_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = due => {
                    self.save().await;
                    save_at = None;
                    continue;
                }
                changed = changes.changed() => if changed.is_err() { break },
            }
            let view = changes.borrow_and_update().clone();
            if let Some(why) = &view.trouble {
                let why = &**why;
                tracing::warn!(
                    why,
                    "the catalog cannot be read; the last known instances are served"
                );
            }
            let changed = {
                let mut known = self.known();
                let keys = known.slots.iter().map(|(key, _)| key.clone()).collect();
                let templated = known.instances.iter().map(|(key, _)| key.clone());
                let templated = templated.collect();
                let before = known.clone();
                known.fill(&keys, &templated, &view);
                *known != before
            };
            if changed {
                self.moved.notify_one();
            }
            save_at = save_at.or_else(|| Some(Instant::now() + SAVE_AFTER));
        }
        self.save().await;
    }

    async fn save(&self) {
        let view = self.catalog.view();
        let instances = view.iter();
        let slots = self.known().slots.clone();
        let saved = Saved {
            instances: instances.map(|(n, i)| (n.to_owned(), i.to_vec())).collect(),
            slots: slots.iter().map(|(k, s)| (k.clone(), s.clone())).collect(),
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
    ) {
        for key in keys {
            let known = self.slots.get(key);
            let addresses = match (view.instances(&key.service), known) {
                (Some(instances), _) => addresses(key, instances),
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
fn addresses(key: &CatalogKey, instances: &[Instance]) -> BTreeSet<SocketAddr> {
    let of = |fits: fn(Health) -> bool| {
        let fitting = instances.iter().filter(move |i| fits(i.health));
        fitting.filter_map(|i| address(key, i)).collect()
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

fn address(key: &CatalogKey, instance: &Instance) -> Option<SocketAddr> {
    let port = key.port.map_or(instance.port, |port| port.get());
    match instance.address.parse::<IpAddr>() {
        Ok(ip) if port != 0 && !ip.is_unspecified() => Some(SocketAddr::new(ip, port)),
        _ => {
            let (service, id, address) = (&*key.service, &*instance.id, &*instance.address);
            tracing::warn!(
                service,
                id,
                address,
                port,
                "an instance of the catalog is left out: it needs an IP address and a port"
            );
            None
        }
    }
}
