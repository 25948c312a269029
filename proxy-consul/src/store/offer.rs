//! A peer's word for a commit: a hint that saves the wait for the watch.

use proxy_core::{CommitRecord, OfferError, ViewSeq};

use tokio::time::timeout_at;

use super::{Shared, commit::told, read::Caught, step::Offered};

/// Why an offer was not settled.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("the store cannot be read: {0}")]
    Unread(String),
    #[error("the store does not hold revision {0}, which the peer announced")]
    NotThere(u64),
    #[error("the store gave no answer in time")]
    OutOfTime,
    #[error("the store is empty or is being filled again")]
    NotWhole,
}

impl Shared {
    pub(super) async fn offer(&self, record: CommitRecord) -> Result<ViewSeq, OfferError> {
        if let Offered::Held(seq) = self.with(|state| state.on_offer(&record)) {
            return Ok(seq);
        }
        let settled = timeout_at(self.deadline(), self.settle(&record)).await;
        settled.unwrap_or_else(|_| Err(OfferError::new(Unsettled::OutOfTime)))
    }

    async fn settle(&self, record: &CommitRecord) -> Result<ViewSeq, OfferError> {
        match self.catch_up(None).await {
            Ok(Caught::Up) => {}
            Ok(_) => return Err(OfferError::new(Unsettled::NotWhole)),
            Err(why) => return Err(OfferError::new(Unsettled::Unread(told(&why)))),
        }
        if let Offered::Held(seq) = self.with(|state| state.on_offer(record)) {
            return Ok(seq);
        }
        // The table was read whole, without the log: only the log tells whether it went through
        // this commit.
        match self.is_in_log(record).await {
            Ok(true) => Ok(self.view().seq),
            Ok(false) => Err(OfferError::new(Unsettled::NotThere(record.revision.number))),
            Err(why) => Err(OfferError::new(Unsettled::Unread(told(&why)))),
        }
    }
}
