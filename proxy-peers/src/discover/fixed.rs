//! A list of peers that an operator wrote down.

use std::collections::BTreeSet;
use std::str::FromStr;

use async_trait::async_trait;

use super::{Answer, Discover, DiscoverError};
use crate::address::{AddressError, PeerAddress};

/// Peers that are known from the start and never change.
///
/// ```
/// use proxy_peers::StaticDiscover;
///
/// let peers: StaticDiscover = "proxy-1:8080, proxy-2:8080".parse()?;
/// # let _ = peers;
/// # Ok::<(), proxy_peers::StaticListError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticDiscover {
    peers: BTreeSet<PeerAddress>,
}

/// A list with entries that are no addresses: every one of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct StaticListError {
    problems: Vec<AddressError>,
}

impl StaticDiscover {
    /// These peers.
    pub fn new(peers: impl IntoIterator<Item = PeerAddress>) -> Self {
        Self {
            peers: peers.into_iter().collect(),
        }
    }
}

impl FromStr for StaticDiscover {
    type Err = StaticListError;

    /// Entries are parted by commas; white space and empty entries do not count.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut peers = BTreeSet::new();
        let mut problems = Vec::new();
        let entries = text.split(',').map(str::trim);
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match entry.parse() {
                Ok(peer) => {
                    peers.insert(peer);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(Self { peers })
        } else {
            Err(StaticListError { problems })
        }
    }
}

#[async_trait]
impl Discover for StaticDiscover {
    async fn discover(&self) -> Result<Answer, DiscoverError> {
        Ok(Answer::lasting(self.peers.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_read_with_its_white_space_and_doubles() {
        let list: StaticDiscover = " b:2,\n a:1,, b:2 ,".parse().unwrap();

        let answer = list.discover().await.unwrap();

        let texts: Vec<_> = answer.peers().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a:1", "b:2"]);
        assert_eq!(answer.valid_for(), None);
    }

    #[test]
    fn every_bad_entry_is_named() {
        let error = "a:1,b,c:99999".parse::<StaticDiscover>().unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("\"b\"") && text.contains("\"c:99999\""),
            "{text}"
        );
    }
}
