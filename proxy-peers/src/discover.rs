//! Who the peers are: the seam [`Discover`], a static list, and DNS.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::address::PeerAddress;

mod dns;
mod fixed;

pub use self::dns::{DEFAULT_DNS_DEADLINE, DnsDiscover, NameServers};
pub use self::fixed::{StaticDiscover, StaticListError};

/// A source of peers. Production asks DNS or knows a list; a test hands out what
/// it likes.
#[async_trait]
pub trait Discover: Send + Sync + fmt::Debug {
    /// Asks now. Bounded in time; cancel safe. A panic counts as [`DiscoverError::Panicked`].
    ///
    /// # Errors
    /// When there is no answer to rely on; the caller keeps the peers it knew.
    async fn discover(&self) -> Result<Answer, DiscoverError>;
}

/// The peers as the source sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    peers: BTreeSet<PeerAddress>,
    valid_for: Option<Duration>,
}

impl Answer {
    /// Peers that may change: ask again after this time.
    pub fn expiring(peers: BTreeSet<PeerAddress>, valid_for: Duration) -> Self {
        Self {
            peers,
            valid_for: Some(valid_for),
        }
    }

    /// Peers that never change.
    pub fn lasting(peers: BTreeSet<PeerAddress>) -> Self {
        Self {
            peers,
            valid_for: None,
        }
    }

    /// Every peer, the asking instance among them.
    pub fn peers(&self) -> &BTreeSet<PeerAddress> {
        &self.peers
    }

    /// How long the answer holds; nothing for an answer that never changes.
    pub fn valid_for(&self) -> Option<Duration> {
        self.valid_for
    }
}

/// Why the peers could not be asked for. All are worth another try later.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The name server says that there is no such name. The asking instance is a
    /// peer too, so this is never the truth for long.
    #[error("the name {name} does not exist")]
    NoSuchName {
        /// The name that was asked for.
        name: Arc<str>,
    },
    /// The name exists and has neither an A nor an AAAA record.
    #[error("the name {name} has no address")]
    NoAddress {
        /// The name that was asked for.
        name: Arc<str>,
    },
    /// No name server answered in time.
    #[error("no name server answered for {name} within {} ms", deadline.as_millis())]
    Silence {
        /// The name that was asked for.
        name: Arc<str>,
        /// How long was waited.
        deadline: Duration,
    },
    /// The name server answered with a failure, or with something that is no answer.
    #[error("the lookup of {name} failed")]
    Failed {
        /// The name that was asked for.
        name: Arc<str>,
        /// What the resolver says.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The source panicked. The peers are asked for again all the same.
    #[error("the source of the peers panicked")]
    Panicked,
    /// The system's own resolver settings cannot be used.
    #[error("the system's resolver settings cannot be read, so {name} was not asked for")]
    NoResolver {
        /// The name that was to be asked for.
        name: Arc<str>,
        /// Why not.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
}
