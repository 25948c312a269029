//! What is known of where destinations are, for the renderer that writes addresses down.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

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
#[serde(from = "BTreeMap<Host, Saved>", into = "BTreeMap<Host, Saved>")]
pub struct AddressBook {
    // `Arc` compares what is in it only where it is not the same one.
    entries: Arc<BTreeMap<Host, Known>>,
    /// Of services whose servers come from a catalog. Whoever follows the catalog keeps them.
    slots: SlotBook,
    /// What templates see of them.
    instances: InstanceBook,
}

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    resolution: Resolution,
    /// Every address that DNS gave, where it gave several.
    all: Arc<[IpAddr]>,
}

/// The same as it is written down. Releases that know of one address read the others over.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Saved {
    Dns {
        last: Option<IpAddr>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        all: Vec<IpAddr>,
    },
    System {
        address: IpAddr,
    },
    Unknown,
}

/// The most addresses of one name that are kept: so many servers that share a name begin with one.
pub(crate) const MOST_ADDRESSES: usize = 64;

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
        let known = self.entries.get(host);
        known.map(|known| known.resolution).unwrap_or_default()
    }

    /// Every address that is known of a host: first the one of [`AddressBook::get`], then the others that DNS
    /// gave with it, 64 together at most.
    #[must_use]
    pub fn all(&self, host: &Host) -> Vec<IpAddr> {
        let Some(known) = self.entries.get(host) else {
            return Vec::new();
        };
        let first = known.resolution.address();
        let others = known.all.iter().copied();
        let others = others.filter(|other| Some(*other) != first);
        first
            .into_iter()
            .chain(others)
            .take(MOST_ADDRESSES)
            .collect()
    }

    /// Writes down what is known of a host, in place of what was. It may have one address.
    pub fn insert(&mut self, host: Host, resolution: Resolution) {
        self.insert_all(host, resolution, []);
    }

    /// The same with every address that DNS gave; 64 are kept.
    pub fn insert_all(
        &mut self,
        host: Host,
        resolution: Resolution,
        all: impl IntoIterator<Item = IpAddr>,
    ) {
        let all: Arc<[IpAddr]> = all.into_iter().take(MOST_ADDRESSES).collect();
        let all = if all.len() > 1 { all } else { Arc::default() };
        self.insert_known(host, Known { resolution, all });
    }

    fn insert_known(&mut self, host: Host, known: Known) {
        if self.entries.get(&host) != Some(&known) {
            Arc::make_mut(&mut self.entries).insert(host, known);
        }
    }

    /// Writes down what another book knows of this host, to the last address and in its order, so that the
    /// books stay equal: [`Resolution::Unknown`] where it is not in that one.
    #[cfg(feature = "names")]
    pub(crate) fn keep(&mut self, host: Host, other: &Self) {
        let known = other.entries.get(&host).cloned().unwrap_or_default();
        self.insert_known(host, known);
    }

    /// Writes down what another book knows of its hosts, in place of what was.
    pub fn learn(&mut self, other: &Self) {
        for (host, known) in other.entries.iter() {
            self.insert_known(host.clone(), known.clone());
        }
    }

    /// Forgets every host but these.
    pub fn retain(&mut self, keep: &BTreeSet<Host>) {
        if !self.entries.keys().all(|host| keep.contains(host)) {
            Arc::make_mut(&mut self.entries).retain(|host, _| keep.contains(host));
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
            .map(|(host, known)| (host, known.resolution))
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
        let mut book = Self::new();
        book.extend(entries);
        book
    }
}

impl From<BTreeMap<Host, Saved>> for AddressBook {
    fn from(saved: BTreeMap<Host, Saved>) -> Self {
        let mut book = Self::new();
        for (host, saved) in saved {
            match saved {
                Saved::Dns { last, all } => book.insert_all(host, Resolution::Dns { last }, all),
                Saved::System { address } => book.insert(host, Resolution::System { address }),
                Saved::Unknown => book.insert(host, Resolution::Unknown),
            }
        }
        book
    }
}

impl From<AddressBook> for BTreeMap<Host, Saved> {
    fn from(book: AddressBook) -> Self {
        let saved = |known: &Known| match known.resolution {
            Resolution::Dns { last } => Saved::Dns {
                last,
                all: known.all.to_vec(),
            },
            Resolution::System { address } => Saved::System { address },
            Resolution::Unknown => Saved::Unknown,
        };
        let entries = book.entries.iter();
        entries
            .map(|(host, known)| (host.clone(), saved(known)))
            .collect()
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

    #[test]
    fn every_address_of_a_name_is_kept_and_written_down() {
        let host: Host = "a".parse().unwrap();
        let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
        let at = |last| Resolution::Dns { last: Some(last) };
        let mut book = AddressBook::new();
        book.insert_all(host.clone(), at(ip(2)), [ip(1), ip(2), ip(3)]);
        assert_eq!(book.all(&host), [ip(2), ip(1), ip(3)]);
        let text = serde_json::to_string(&book).unwrap();
        let all = r#""all":["10.0.0.1","10.0.0.2","10.0.0.3"]"#;
        assert_eq!(
            text,
            format!(r#"{{"a":{{"dns":{{"last":"10.0.0.2",{all}}}}}}}"#)
        );
        assert_eq!(serde_json::from_str::<AddressBook>(&text).unwrap(), book);
        // What an older release wrote, and what it reads.
        let old =
            r#"{"a":{"dns":{"last":"10.0.0.2"}},"b":{"system":{"address":"::1"}},"c":"unknown"}"#;
        let read: AddressBook = serde_json::from_str(old).unwrap();
        assert_eq!(read.all(&host), [ip(2)]);
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
        let read: BTreeMap<Host, Resolution> = serde_json::from_str(&text).unwrap();
        assert_eq!(read[&host], at(ip(2)));

        let mut other = AddressBook::new();
        other.learn(&book);
        assert_eq!(other, book);
        other.insert(host.clone(), at(ip(4)));
        assert_eq!(other.all(&host), [ip(4)]);
        other.insert_all(host.clone(), at(ip(4)), (0..=255).map(ip));
        assert_eq!(other.all(&host).len(), MOST_ADDRESSES);
        other.retain(&BTreeSet::new());
        assert!(other.is_empty());
    }
}
