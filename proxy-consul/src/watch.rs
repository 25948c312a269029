//! Waiting for one key to change, by Consul's blocking queries.
//!
//! A blocking query is a read that the server answers late: when the index of the key has passed
//! the one that the asker saw, or after a while. This module keeps that index by Consul's own rules
//! (it never goes below 1, and one that went backwards starts anew).

use std::time::Duration;

use crate::{client::Client, error::ClientError, kv::KvEntry};

/// A watch on one key. Watch keys that exist: Consul wakes a watch on an absent key for every write
/// in the store.
#[derive(Clone, Debug)]
pub struct Watch {
    client: Client,
    key: String,
    seen: u64,
    wait: Duration,
}

// === impl Watch ===

impl Watch {
    /// A watch that has seen nothing yet.
    #[must_use]
    pub fn new(client: Client, key: impl Into<String>) -> Self {
        let wait = client.timeouts().watch_wait;
        Self {
            client,
            key: key.into(),
            seen: 0,
            wait,
        }
    }

    /// Says at which index the key was last seen, by a read or a write of one's own: the next step
    /// waits for what comes after.
    pub fn wait_after(&mut self, index: u64) {
        self.seen = index;
    }

    /// Begins anew: the next step answers at once.
    pub fn reset(&mut self) {
        self.seen = 0;
    }

    /// One step: what the key holds once it changed, or when the wait is over, in which case it may
    /// be what it was. The first step answers at once. Cancel safe.
    ///
    /// # Errors
    /// When no server could be asked, or the one that was asked froze: the next step goes to the next
    /// server. The index is kept. The caller pauses in between.
    pub async fn step(&mut self) -> Result<Option<KvEntry>, ClientError> {
        let (entry, index) = self.client.poll(&self.key, self.seen, self.wait).await?;
        self.seen = next_index(self.seen, index);
        Ok(entry)
    }
}

/// The index to wait for next. One that went backwards means that the store was restored: wait for
/// nothing, read at once.
pub(crate) fn next_index(seen: u64, got: u64) -> u64 {
    if got < seen { 0 } else { got.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_kept_by_consuls_rules() {
        assert_eq!(next_index(0, 7), 7);
        assert_eq!(next_index(7, 7), 7);
        assert_eq!(next_index(7, 9), 9);
        assert_eq!(next_index(9, 4), 0, "a restored store");
        assert_eq!(next_index(0, 0), 1, "0 would spin");
    }
}
