//! Looking back at the log, reading everything once more, and taking an empty store for the truth.

use std::sync::Arc;

use proxy_core::{
    BoxError, CommitError, CommitRecord, Document, HistoryError, RereadError, StoreCondition,
    ViewSeq,
};
use tokio::time::timeout_at;

use super::{
    Shared,
    commit::{refused, told, unavailable},
    fill::{FillError, Filled},
    keys::LOG_PAGE,
    read::{Caught, ReadError},
    step::{History, Step},
};

/// Why the store was not read again.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("the store is empty or is being filled again")]
    NotWhole,
}

impl Shared {
    pub(super) async fn history(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, HistoryError> {
        let told = timeout_at(self.deadline(), self.look_back(before, limit)).await;
        let told = told.map_err(|_| BoxError::from(self.out_of_time()));
        let told = told.and_then(|told| told.map_err(BoxError::from));
        told.map_err(|why| HistoryError::Unavailable { why })
    }

    /// Commits from the log, newest first. An entry that is no longer there, or is left over from
    /// another life of the store, is where the history that is kept begins.
    async fn look_back(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, ReadError> {
        let Some(at) = self.with(|state| state.chain().map(|chain| chain.at)) else {
            return Ok(Vec::new());
        };
        let mut records: Vec<Arc<CommitRecord>> = Vec::new();
        let newest = before.map_or(at.number, |before| before.saturating_sub(1));
        let mut to = newest.min(at.number);
        while to > 0 && records.len() < limit {
            let left = u64::try_from(limit - records.len()).unwrap_or(LOG_PAGE);
            let from = to.saturating_sub(left.min(LOG_PAGE) - 1).max(1);
            let page = match self.read_log(from, to).await? {
                Some(page) => page,
                // Some of it is gone, or cannot be read: what follows that is still told.
                None => self.read_log_singly(from, to).await?,
            };
            let whole = page.len() as u64 == to + 1 - from;
            let mine = page
                .into_iter()
                .rev()
                .take_while(|record| record.revision.epoch == at.epoch)
                .map(Arc::new);
            let known = records.len();
            records.extend(mine);
            if !whole || records.len() - known != usize::try_from(to + 1 - from).unwrap_or(0) {
                break;
            }
            to = from - 1;
        }
        Ok(records)
    }

    pub(super) async fn reread(&self) -> Result<ViewSeq, RereadError> {
        let step = Step::ReadAll(History::Mine);
        match timeout_at(self.deadline(), self.catch_up_from(step)).await {
            Ok(Ok(Caught::Up)) => Ok(self.view().seq),
            Ok(Ok(_)) => Err(RereadError::new(Unread::NotWhole)),
            Ok(Err(why)) => Err(RereadError::new(why)),
            Err(_) => Err(RereadError::new(self.out_of_time())),
        }
    }

    pub(super) async fn accept(&self) -> Result<ViewSeq, CommitError> {
        let deadline = self.deadline();
        let wiped = matches!(self.view().condition, StoreCondition::Wiped { .. });
        let ready = async {
            let turn = self.turn.lock().await;
            Ok::<_, CommitError>((turn, self.catch_up(None).await.map_err(unavailable)?))
        };
        let ready = timeout_at(deadline, ready).await;
        let (_turn, caught) = ready.map_err(|_| unavailable(self.out_of_time()))??;
        let Caught::Empty(blank) = caught else {
            return match wiped {
                // Somebody filled it meanwhile: what was to be accepted is not so any more.
                true => Err(CommitError::LostRace { view: self.view() }),
                false => Ok(self.view().seq),
            };
        };
        if !wiped {
            return Ok(self.view().seq);
        }
        let before = self.view();
        let filled = self.fill_with_nothing(blank).await;
        let filled = filled.map_err(|why| match why {
            FillError::Refused(why) => refused(why),
            FillError::Unknown { id, why } => CommitError::Unknown { id, why },
            why => unavailable(why),
        })?;
        // It is in the store: that it cannot be read now is no reason to say that nothing was changed.
        let unread = match timeout_at(self.deadline(), self.catch_up(None)).await {
            Ok(Ok(Caught::Up)) => None,
            Ok(Ok(_)) => Some(Unread::NotWhole.to_string()),
            Ok(Err(why)) => Some(told(&why)),
            Err(_) => Some(told(&self.out_of_time())),
        };
        if let Some(why) = unread {
            tracing::warn!(
                why,
                "an empty store was accepted, here or by another replica, or filled by one, and cannot be read since"
            );
        }
        let after = self.view();
        let still_there = |it: &Arc<Document>| after.stored.document(it.name()).is_some();
        match filled {
            // Another replica filled it in that moment. One that accepted as well did the same.
            Filled::Elsewhere if before.stored.documents().all(still_there) => {
                Err(CommitError::LostRace { view: after })
            }
            _ => Ok(after.seq),
        }
    }
}
