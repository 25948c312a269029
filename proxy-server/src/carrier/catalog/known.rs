//! What services have in the catalog: addresses in slots, and instances whole for templates.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use proxy_consul::{CatalogView, Health, Instance};
use proxy_core::{CatalogKey, Checks};
use proxy_haproxy::{AddressBook, CatalogInstance, InstanceBook, SlotBook, Slots};

use super::addresses::Addresses;
use crate::carrier::places::{Destinations, Places};

/// What services have in the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::carrier) struct Known {
    pub(super) slots: SlotBook,
    /// Of those that have templates.
    pub(super) instances: InstanceBook,
    /// Whose servers the slots are in what is live.
    pub(super) destinations: Arc<Destinations>,
}

// === impl Known ===

impl Known {
    /// Adds it to what is known of names.
    pub(in crate::carrier) fn beside(self, names: AddressBook) -> AddressBook {
        names.with_slots(self.slots).with_instances(self.instances)
    }

    /// Puts the instances that a view shows into the slots of a table's services. Where another set of
    /// instances than before is a destination's, as with another colour, they come into the same slots: its
    /// servers are the same, and none goes from one address to the next.
    pub(super) fn fill_for(&mut self, table: &Places, view: &CatalogView, addresses: &Addresses) {
        let mut before = BTreeMap::new();
        for (destination, key) in &*table.destinations {
            let live = self.destinations.get(destination);
            let known = live.and_then(|live| self.slots.get(live));
            if let (None, Some(slots)) = (self.slots.get(key), known) {
                before.entry(key.clone()).or_insert_with(|| slots.clone());
            }
        }
        self.fill(&table.keys, &table.templated, &before, view, addresses);
    }

    /// Puts the instances that a view shows into the slots that are there already.
    pub(super) fn fill_again(&mut self, view: &CatalogView, addresses: &Addresses) {
        let keys = self.slots.iter().map(|(key, _)| key.clone()).collect();
        let templated = self.instances.iter().map(|(key, _)| key.clone());
        let templated = templated.collect();
        self.fill(&keys, &templated, &BTreeMap::new(), view, addresses);
    }

    /// Puts the instances that a view shows into their slots, which begin with those of other instances where
    /// their servers had others before. A service of which it shows nothing keeps what it has.
    fn fill(
        &mut self,
        keys: &BTreeSet<CatalogKey>,
        templated: &BTreeSet<CatalogKey>,
        before: &BTreeMap<CatalogKey, Slots>,
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
            let known = known.or_else(|| before.get(key)).cloned();
            let filled = known.unwrap_or_default().filled_with(&addresses);
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
pub(super) fn usable(
    key: &CatalogKey,
    instances: &[Instance],
    places: &Addresses,
) -> BTreeSet<SocketAddr> {
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
