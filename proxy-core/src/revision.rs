//! Points in the history of the table, and the commits between them.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    document::Document,
    name::{InstanceId, ServiceName},
};

/// Why a text is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not 32 lower-case hexadecimal digits")]
pub struct IdError;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// An identifier from 16 random bytes. This crate draws none itself.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() != 32 || !text.bytes().all(lower_hex) {
                    return Err(IdError);
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| IdError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(from)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

random_id!(
    /// One life of a store. A store that was wiped and filled again has a new one, so that numbers
    /// of before and after are never compared.
    Epoch
);
random_id!(
    /// The identity of one commit, drawn by the replica that asked for it.
    CommitId
);

/// A point in the history of the table: which life of the store, which commit, and its identity.
///
/// Numbers are gapless within an epoch, beginning at 1. Two revisions with the same number and
/// different identities are different histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Revision {
    /// The life of the store.
    pub epoch: Epoch,
    /// The number of the commit in its epoch.
    #[serde(rename = "revision")]
    pub number: u64,
    /// The identity of the commit.
    pub id: CommitId,
}

/// One commit, whole: what the store's log holds and what replicas tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CommitRecord {
    /// The point that the commit made.
    pub revision: Revision,
    /// The identity of the commit before; none for the first of an epoch.
    pub previous: Option<CommitId>,
    /// The replica that asked for it.
    pub origin: InstanceId,
    /// When, in milliseconds since 1970 by the clock of the origin. For people; orders nothing.
    pub at_unix_ms: u64,
    /// What changed, by service.
    pub services: BTreeMap<ServiceName, RecordedChange>,
}

/// A service before and after a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedChange {
    /// Its document before; none where it was not there.
    pub before: Option<Arc<Document>>,
    /// Its document after; none where it was removed.
    pub after: Option<Arc<Document>>,
}

// === impl Revision ===

impl Revision {
    /// A point in history.
    #[must_use]
    pub fn new(epoch: Epoch, number: u64, id: CommitId) -> Self {
        Self { epoch, number, id }
    }

    /// Whether whoever stands here has `other` behind it: the same life of the store, and the same
    /// commit or a later one.
    #[must_use]
    pub fn reaches(&self, other: &Self) -> bool {
        self == other || (self.epoch == other.epoch && self.number > other.number)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.id)
    }
}

// === impl CommitRecord ===

impl CommitRecord {
    /// A record of a commit.
    #[must_use]
    pub fn new(
        revision: Revision,
        previous: Option<CommitId>,
        origin: InstanceId,
        at_unix_ms: u64,
        services: BTreeMap<ServiceName, RecordedChange>,
    ) -> Self {
        Self {
            revision,
            previous,
            origin,
            at_unix_ms,
            services,
        }
    }

    /// Whether this commit was made on top of `base`, and can be applied to it as it is.
    #[must_use]
    pub fn follows(&self, base: &Revision) -> bool {
        self.revision.epoch == base.epoch
            && base.number.checked_add(1) == Some(self.revision.number)
            && self.previous == Some(base.id)
    }
}

// === impl RecordedChange ===

impl RecordedChange {
    /// A change from one document to another.
    #[must_use]
    pub fn new(before: Option<Arc<Document>>, after: Option<Arc<Document>>) -> Self {
        Self { before, after }
    }
}
