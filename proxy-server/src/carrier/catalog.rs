//! Following the instances of services in Consul's catalog, each in a slot that it keeps.
//!
//! What is known survives restarts, so that a start without Consul serves what was served before. When the
//! slots of a service that is live change, the engine is told to render again; HAProxy is then told what
//! its servers are, and reloaded only where there are too few slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxy_consul::{Catalog, CatalogView, Client, Health, Instance};
use proxy_core::{CatalogKey, Checks};
use proxy_haproxy::{SlotBook, Slots};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{chain::chain, store::replace_file};

/// The least time between two writes of what is known: instances may come and go all the time.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// Knows the instances of the table's services.
#[derive(Debug)]
pub(crate) struct CatalogFollower {
    catalog: Catalog,
    slots: Mutex<SlotBook>,
    moved: Notify,
    file: PathBuf,
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
            slots: Mutex::new(saved.slots.into_iter().collect()),
            moved: Notify::new(),
            file,
        }
    }

    /// The slots of these services, after those that are new were read. They are not followed yet: the
    /// table may be refused.
    pub(crate) async fn look_up(
        &self,
        keys: &BTreeSet<CatalogKey>,
        deadline: Duration,
    ) -> SlotBook {
        if keys.is_empty() {
            return SlotBook::default();
        }
        let view = self.read(keys, deadline).await;
        let mut slots = self.slots();
        fill(&mut slots, keys, &view);
        slots.clone()
    }

    /// The same, and forgets it.
    pub(crate) async fn look_up_once(
        &self,
        keys: &BTreeSet<CatalogKey>,
        deadline: Duration,
    ) -> SlotBook {
        let view = self.read(keys, deadline).await;
        let mut slots = self.slots().clone();
        fill(&mut slots, keys, &view);
        slots
    }

    async fn read(&self, keys: &BTreeSet<CatalogKey>, deadline: Duration) -> CatalogView {
        let until = Instant::now() + deadline;
        self.catalog.look_up(&names(keys), until).await
    }

    /// Follows these services from now on and forgets all others: the table with them is live.
    pub(crate) fn want(&self, keys: &BTreeSet<CatalogKey>) {
        self.slots().retain(keys);
        self.catalog.follow(names(keys));
    }

    /// Waits until the slots of a service that is followed have changed. Cancel safe.
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
                let mut slots = self.slots();
                let keys = slots.iter().map(|(key, _)| key.clone()).collect();
                let before = slots.clone();
                fill(&mut slots, &keys, &view);
                *slots != before
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
        let slots = self.slots().clone();
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

    fn slots(&self) -> MutexGuard<'_, SlotBook> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(keys: &BTreeSet<CatalogKey>) -> BTreeSet<Arc<str>> {
    keys.iter().map(|key| Arc::from(&*key.service)).collect()
}

/// Puts the instances that a view shows into their slots. A service of which it shows nothing keeps what
/// it has.
fn fill(slots: &mut SlotBook, keys: &BTreeSet<CatalogKey>, view: &CatalogView) {
    for key in keys {
        let known = slots.get(key);
        let addresses = match (view.instances(&key.service), known) {
            (Some(instances), _) => addresses(key, instances),
            (None, Some(_)) => continue,
            (None, None) => BTreeSet::new(),
        };
        let filled = known.cloned().unwrap_or_default().filled_with(&addresses);
        slots.insert(key.clone(), filled);
    }
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
