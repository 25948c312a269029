//! A peer's word for a commit: a hint that saves the wait for the watch.

use proxy_core::{CommitRecord, OfferError, ViewSeq};

use super::{Shared, commit::told, read::Caught, step::Offered};

/// Why an offer was not settled.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("the store cannot be read: {0}")]
    Unread(String),
    #[error("the store does not hold revision {0}, which the peer announced")]
    NotThere(u64),
    #[error("the store is empty or is being filled again")]
    NotWhole,
}

impl Shared {
    pub(super) async fn offer(&self, record: CommitRecord) -> Result<ViewSeq, OfferError> {
        if let Offered::Held(seq) = self.with(|state| state.on_offer(&record)) {
            return Ok(seq);
        }
        match self.catch_up(None).await {
            Ok(Caught::Up) => {}
            Ok(_) => return Err(OfferError::new(Unsettled::NotWhole)),
            Err(why) => return Err(OfferError::new(Unsettled::Unread(told(&why)))),
        }
        if let Offered::Held(seq) = self.with(|state| state.on_offer(&record)) {
            return Ok(seq);
        }
        // The table was read whole, without the log: only the log tells whether it went through
        // this commit.
        match self.is_in_log(&record).await {
            Ok(true) => Ok(self.view().seq),
            Ok(false) => Err(OfferError::new(Unsettled::NotThere(record.revision.number))),
            Err(why) => Err(OfferError::new(Unsettled::Unread(told(&why)))),
        }
    }
}
