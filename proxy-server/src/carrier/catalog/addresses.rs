//! Where instances of the catalog are: most are registered with an address, some with a name.
//!
//! A slot holds an address, since HAProxy is told of it while it runs. So names are looked up here, again and
//! again, and one that is not answered keeps the address that it had.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxy_consul::{CatalogView, Instance};
use proxy_core::{CatalogKey, Host};
use proxy_haproxy::{AddressBook, NameResolver};

/// The most names that are followed: each is a question to DNS, again and again.
const MOST_NAMES: usize = 1_000;

/// Which names are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Those that were never asked for: a change waits for the answers.
    New,
    /// All, and what is known of any other is forgotten.
    All,
}

/// Knows the addresses of instances.
#[derive(Debug)]
pub(super) struct Addresses {
    resolver: NameResolver,
    book: Mutex<AddressBook>,
}

// === impl Addresses ===

impl Addresses {
    pub(super) fn new(resolver: NameResolver, book: AddressBook) -> Self {
        Self {
            resolver,
            book: Mutex::new(book),
        }
    }

    /// What is known of names.
    pub(super) fn book(&self) -> AddressBook {
        self.known().clone()
    }

    /// The same without names of which nothing is known.
    pub(super) fn answered(&self) -> AddressBook {
        let book = self.known();
        let known = book.iter().filter(|(_, known)| known.address().is_some());
        known.map(|(host, known)| (host.clone(), known)).collect()
    }

    /// Where an instance is; none where it has no port, or no address that is known.
    pub(super) fn of(&self, key: &CatalogKey, instance: &Instance) -> Option<SocketAddr> {
        let port = key.port.map_or(instance.port, |port| port.get());
        let ip = match instance.address.parse::<IpAddr>() {
            Ok(ip) => ip,
            Err(_) => self.known().get(&name(instance)?).address()?,
        };
        (port != 0 && !ip.is_unspecified()).then(|| SocketAddr::new(ip, port))
    }

    /// Looks up names of these services' instances. One that is not answered keeps the address that it
    /// had. Whether one has another address than before.
    pub(super) async fn look_up<'a>(
        &self,
        services: impl Iterator<Item = &'a str>,
        view: &CatalogView,
        asked: Asked,
        deadline: Duration,
    ) -> bool {
        let instances = services.filter_map(|service| view.instances(service));
        let names = instances.flat_map(|instances| instances.iter().filter_map(name));
        let mut names: BTreeSet<Host> = names.collect();
        if asked == Asked::All {
            self.known().retain(&names);
        }
        let before = self.book();
        if asked == Asked::New {
            names.retain(|name| !before.contains(name));
        }
        let names: BTreeSet<Host> = names.into_iter().take(MOST_NAMES).collect();
        if names.is_empty() {
            return false;
        }
        let found = self.resolver.resolve_all(&names, deadline, &before).await;
        let mut book = self.known();
        let mut moved = false;
        for name in names {
            let now = found.get(&name);
            moved |= now.address().is_some() && book.get(&name).address() != now.address();
            // That it was asked for is written down too.
            if now.address().is_some() || !book.contains(&name) {
                book.insert(name, now);
            }
        }
        moved
    }

    fn known(&self) -> MutexGuard<'_, AddressBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name that an instance has in place of an address.
pub(super) fn name(instance: &Instance) -> Option<Host> {
    let host: Host = instance.address.parse().ok()?;
    matches!(host, Host::Name(_)).then_some(host)
}
