//! The table as it was: commits of the log, taken back one by one from what is known now.

use std::sync::Arc;

use proxy_core::{CommitRecord, HistoryError, Revision, RouteStore, StoreView, StoredTable};

/// Commits that are read at a time.
const PAGE: usize = 64;

/// Why a table of the past cannot be told. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PastError {
    /// There was no such commit yet.
    #[error("there is no revision {asked}; the newest is {newest}")]
    Unknown { asked: u64, newest: u64 },
    /// It was, and is no longer kept.
    #[error("revision {asked} is no longer kept; the oldest is {oldest}")]
    Gone { asked: u64, oldest: u64 },
    /// The store went on in another life while its log was read.
    #[error("the store began another history while its log was read; try again")]
    Moved,
    /// The log cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// The table after the commit with this number, from the view that is known now.
pub(crate) async fn table_at(
    store: &dyn RouteStore,
    view: &StoreView,
    asked: u64,
) -> Result<StoredTable, PastError> {
    let newest = view.revision.map_or(0, |revision| revision.number);
    let Some(now) = view.revision.filter(|_| (1..=newest).contains(&asked)) else {
        return Err(PastError::Unknown { asked, newest });
    };
    let mut stored = view.stored.clone();
    let mut at = now;
    while at.number > asked {
        let page = store.history(Some(at.number + 1), PAGE).await?;
        let before = at.number;
        for record in &page {
            if at.number == asked {
                break;
            }
            at = step_back(&mut stored, at, record)?;
        }
        if at.number == before {
            // The log ends here, so this table is the oldest that can be told.
            let oldest = at.number;
            return Err(PastError::Gone { asked, oldest });
        }
    }
    Ok(stored)
}

/// Takes the commit back that made this point, and gives the point before it.
fn step_back(
    stored: &mut StoredTable,
    at: Revision,
    record: &Arc<CommitRecord>,
) -> Result<Revision, PastError> {
    let (Some(previous), true) = (at.number.checked_sub(1), record.revision == at) else {
        return Err(PastError::Moved);
    };
    stored.revert(record);
    // The first commit of a life has none before it, and nothing is asked of its identity.
    let id = record.previous.unwrap_or(at.id);
    Ok(Revision::new(at.epoch, previous, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{put, store};

    async fn with_commits() -> Arc<proxy_core::MemoryStore> {
        let store = store();
        for n in 0..PAGE * 2 + 3 {
            let change = match n % 3 {
                2 => proxy_core::Change::Remove(format!("s{}", n - 2).parse().unwrap()),
                _ => put(&format!("s{n}")),
            };
            store.commit(&store.view(), &[change]).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn every_revision_can_be_told() {
        let store = store();
        let mut known = Vec::new();
        for n in 0..PAGE * 2 + 3 {
            let change = match n % 3 {
                2 => proxy_core::Change::Remove(format!("s{}", n - 2).parse().unwrap()),
                _ => put(&format!("s{n}")),
            };
            let committed = store.commit(&store.view(), &[change]).await.unwrap();
            known.push(committed.view.stored.clone());
        }
        let view = store.view();
        for (n, stored) in known.iter().enumerate() {
            let told = table_at(&*store, &view, n as u64 + 1).await.unwrap();
            assert_eq!(told, *stored, "revision {}", n + 1);
        }
    }

    #[tokio::test]
    async fn what_never_was_is_not_told() {
        let store = with_commits().await;
        let (view, newest) = (store.view(), (PAGE * 2 + 3) as u64);
        for asked in [0, newest + 1, u64::MAX] {
            let error = table_at(&*store, &view, asked).await.unwrap_err();
            assert!(matches!(error, PastError::Unknown { newest: n, .. } if n == newest));
        }
        let empty = crate::testing::store();
        let error = table_at(&*empty, &empty.view(), 1).await.unwrap_err();
        assert!(matches!(error, PastError::Unknown { newest: 0, .. }));
    }
}
