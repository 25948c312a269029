//! What is known of the names of destinations, for the renderer that writes addresses down.

use std::{collections::BTreeMap, net::IpAddr};

use proxy_core::Host;
use serde::{Deserialize, Serialize};

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
/// DNS serves what it served before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressBook {
    entries: BTreeMap<Host, Resolution>,
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
        self.entries.insert(host, resolution);
    }

    /// Every host of the book, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Host, Resolution)> {
        self.entries
            .iter()
            .map(|(host, resolution)| (host, *resolution))
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
            entries: entries.into_iter().collect(),
        }
    }
}

impl Extend<(Host, Resolution)> for AddressBook {
    fn extend<I: IntoIterator<Item = (Host, Resolution)>>(&mut self, entries: I) {
        self.entries.extend(entries);
    }
}
