//! What is known of where destinations are, for the renderer that writes addresses down.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use proxy_core::Host;
use serde::{Deserialize, Serialize};

use crate::{instances::InstanceBook, slots::SlotBook};

/// How one name becomes an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resolution {
    /// DNS answers for the name as it is, so HAProxy's own resolvers follow it. `last` is the
    /// address to begin with, through a DNS server that is silent at the moment.
    Dns {
        /// The last address that was known.
        last: Option<IpAddr>,
    },
    /// Only this system knows the name (hosts file, search domain): rendered as its address, and
    /// followed by resolving again and rendering again.
    System {
        /// The last address that was known.
        address: IpAddr,
    },
    /// Nothing was ever known. HAProxy asks for the name until it appears.
    #[default]
    Unknown,
}

/// The last known resolution of every name. It is kept over restarts, so that a start with silent
/// DNS serves what it served before. A copy costs nothing until one of the two changes, and neither does
/// the comparison of a book with its copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressBook {
    // `Arc` compares what is in it only where it is not the same one.
    entries: Arc<BTreeMap<Host, Resolution>>,
    /// Of services whose servers come from a catalog. Whoever follows the catalog keeps them.
    #[serde(skip)]
    slots: SlotBook,
    /// What templates see of them.
    #[serde(skip)]
    instances: InstanceBook,
}

// === impl Resolution ===

impl Resolution {
    /// The last known address, however it was found.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Dns { last } => last,
            Self::System { address } => Some(address),
            Self::Unknown => None,
        }
    }
}

// === impl AddressBook ===

impl AddressBook {
    /// A book that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known of a host: [`Resolution::Unknown`] where it is not in the book.
    #[must_use]
    pub fn get(&self, host: &Host) -> Resolution {
        self.entries.get(host).copied().unwrap_or_default()
    }

    /// Writes down what is known of a host, in place of what was.
    pub fn insert(&mut self, host: Host, resolution: Resolution) {
        if self.entries.get(&host) != Some(&resolution) {
            Arc::make_mut(&mut self.entries).insert(host, resolution);
        }
    }

    /// Whether the book knows of a host, be it that nothing is known of it.
    #[must_use]
    pub fn contains(&self, host: &Host) -> bool {
        self.entries.contains_key(host)
    }

    /// Every host of the book, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Host, Resolution)> {
        self.entries
            .iter()
            .map(|(host, resolution)| (host, *resolution))
    }

    /// The same with the slots of services whose servers come from a catalog.
    #[must_use]
    pub fn with_slots(self, slots: SlotBook) -> Self {
        Self { slots, ..self }
    }

    /// The slots of services whose servers come from a catalog.
    #[must_use]
    pub fn slots(&self) -> &SlotBook {
        &self.slots
    }

    /// The same with the instances that templates see.
    #[must_use]
    pub fn with_instances(self, instances: InstanceBook) -> Self {
        Self { instances, ..self }
    }

    /// The instances that templates see.
    #[must_use]
    pub fn instances(&self) -> &InstanceBook {
        &self.instances
    }

    /// How many hosts the book knows of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the book knows of no host.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<(Host, Resolution)> for AddressBook {
    fn from_iter<I: IntoIterator<Item = (Host, Resolution)>>(entries: I) -> Self {
        Self {
            entries: Arc::new(entries.into_iter().collect()),
            slots: SlotBook::default(),
            instances: InstanceBook::default(),
        }
    }
}

impl Extend<(Host, Resolution)> for AddressBook {
    fn extend<I: IntoIterator<Item = (Host, Resolution)>>(&mut self, entries: I) {
        for (host, resolution) in entries {
            self.insert(host, resolution);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was() {
        let host: Host = "a".parse().unwrap();
        let mut book = AddressBook::new();
        book.insert(host.clone(), Resolution::Unknown);
        let copy = book.clone();
        book.insert(host.clone(), Resolution::Unknown);
        assert!(Arc::ptr_eq(&book.entries, &copy.entries), "nothing changed");
        let last = Some(IpAddr::from([10, 0, 0, 1]));
        book.insert(host.clone(), Resolution::Dns { last });
        assert_eq!(copy.get(&host), Resolution::Unknown);
        assert_eq!(book.get(&host), Resolution::Dns { last });
        assert!(book.contains(&host) && book != copy);
    }
}
