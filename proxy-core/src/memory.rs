//! A store in memory, for tests and for those who keep nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use event_listener::Event;

use crate::{
    document::Document,
    name::InstanceId,
    revision::{CommitId, CommitRecord, Epoch, RecordedChange, Revision},
    store::{
        CommitError, Committed, HistoryError, OfferError, Outcome, RereadError, RouteStore,
        StoreCondition, StoreView, ViewSeq,
    },
    stored::StoredTable,
    table::Change,
};

/// A store that remembers as long as the process lives. Several engines may share one, as replicas
/// share a real store.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: Epoch,
    instance: InstanceId,
    state: Mutex<State>,
    moved: Event,
}

#[derive(Debug)]
struct State {
    view: Arc<StoreView>,
    log: Vec<Arc<CommitRecord>>,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(epoch: Epoch, instance: InstanceId) -> Self {
        let view = StoreView::new(
            ViewSeq(1),
            None,
            StoredTable::default(),
            StoreCondition::Live,
        );
        Self {
            epoch,
            instance,
            state: Mutex::new(State {
                view: Arc::new(view),
                log: Vec::new(),
            }),
            moved: Event::new(),
        }
    }

    /// Stores a document as it stands, as another release would that writes what this one cannot read.
    pub fn put_document(&self, document: Arc<Document>) {
        let mut state = self.state();
        let before = state.view.stored.document(document.name()).cloned();
        let change = RecordedChange::new(before, Some(Arc::clone(&document)));
        self.write(
            &mut state,
            BTreeMap::from([(document.name().clone(), change)]),
        );
        drop(state);
        self.moved.notify(usize::MAX);
    }

    fn write(
        &self,
        state: &mut State,
        services: BTreeMap<crate::ServiceName, RecordedChange>,
    ) -> Arc<CommitRecord> {
        let before = state.view.revision;
        let number = before.map_or(0, |revision| revision.number) + 1;
        // Unique within the store, which is all that an identity in memory needs.
        let id = CommitId::from_bytes(u128::from(number).to_be_bytes());
        let revision = Revision::new(self.epoch, number, id);
        let previous = before.map(|revision| revision.id);
        let record = CommitRecord::new(revision, previous, self.instance.clone(), 0, services);
        let mut stored = state.view.stored.clone();
        stored.apply(&record);
        let seq = state.view.seq.next();
        let view = StoreView::new(seq, Some(revision), stored, StoreCondition::Live);
        let record = Arc::new(record);
        state.view = Arc::new(view);
        state.log.push(Arc::clone(&record));
        record
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RouteStore for MemoryStore {
    fn view(&self) -> Arc<StoreView> {
        Arc::clone(&self.state().view)
    }

    async fn changed(&self, seen: ViewSeq) -> Arc<StoreView> {
        loop {
            let moved = self.moved.listen();
            let view = self.view();
            if view.seq > seen {
                return view;
            }
            moved.await;
        }
    }

    async fn commit(&self, base: &StoreView, changes: &[Change]) -> Result<Committed, CommitError> {
        if changes.is_empty() {
            return Err(CommitError::nothing());
        }
        let mut state = self.state();
        if base.revision != state.view.revision {
            return Err(CommitError::LostRace {
                view: Arc::clone(&state.view),
            });
        }
        let services = record_changes(&base.stored, changes)?;
        let record = self.write(&mut state, services);
        let committed = Committed::new(Arc::clone(&state.view), changes.len(), record);
        drop(state);
        self.moved.notify(usize::MAX);
        Ok(committed)
    }

    async fn confirm(&self, base: &StoreView, _: &[crate::ServiceName]) -> Result<(), CommitError> {
        self.view().confirm(base)
    }

    async fn offer(&self, _record: CommitRecord) -> Result<ViewSeq, OfferError> {
        // Whoever shares this store sees what it holds; a hint adds nothing.
        Ok(self.view().seq)
    }

    async fn outcome(&self, id: CommitId) -> Outcome {
        let state = self.state();
        let found = state.log.iter().find(|record| record.revision.id == id);
        found.map_or(Outcome::NotThere, |record| {
            Outcome::Committed(record.revision)
        })
    }

    async fn history(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<CommitRecord>>, HistoryError> {
        let state = self.state();
        let older = |record: &&Arc<CommitRecord>| before.is_none_or(|b| record.revision.number < b);
        Ok(state
            .log
            .iter()
            .rev()
            .filter(older)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn reread(&self) -> Result<ViewSeq, RereadError> {
        Ok(self.view().seq)
    }

    async fn accept(&self) -> Result<ViewSeq, CommitError> {
        Ok(self.view().seq)
    }
}

/// The recorded form of changes on top of what is stored. Of two changes of one service the later
/// counts.
///
/// # Errors
/// When a service makes a document that is too large. Nothing was changed.
pub fn record_changes(
    stored: &StoredTable,
    changes: &[Change],
) -> Result<BTreeMap<crate::ServiceName, RecordedChange>, CommitError> {
    let mut services = BTreeMap::new();
    for change in changes {
        let name = change.service_name().clone();
        let after = match change {
            Change::Put(service) => {
                let document = Document::from_service(Arc::clone(service));
                let document = document.map_err(|why| CommitError::Refused { why: why.into() })?;
                Some(Arc::new(document))
            }
            Change::Remove(_) => None,
        };
        let before = stored.document(&name).cloned();
        services.insert(name, RecordedChange::new(before, after));
    }
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Params, parse_reconfigure};

    fn put(name: &str) -> Change {
        let query = format!("serviceName={name}&servicePath=/{name}&port=80");
        let params = Params::from_query(query).unwrap();
        Change::Put(parse_reconfigure(&params).unwrap().value.service)
    }

    fn store() -> MemoryStore {
        MemoryStore::new(Epoch::from_bytes([1; 16]), "me".parse().unwrap())
    }

    #[tokio::test]
    async fn a_commit_of_nothing_is_refused_and_makes_no_revision() {
        let store = store();
        let base = store.view();
        let refused = store.commit(&base, &[]).await;
        assert!(
            matches!(refused, Err(CommitError::Refused { .. })),
            "{refused:?}"
        );
        assert_eq!(store.view().seq, base.seq);
        assert_eq!(store.view().revision, None);
        assert_eq!(store.commit(&base, &[put("a")]).await.unwrap().taken, 1);
    }

    #[test]
    fn nothing_comes_after_the_last_number() {
        let at = |number| {
            Revision::new(
                Epoch::from_bytes([1; 16]),
                number,
                CommitId::from_bytes([2; 16]),
            )
        };
        let record = |number| {
            let previous = Some(CommitId::from_bytes([2; 16]));
            let origin = "me".parse().unwrap();
            CommitRecord::new(at(number), previous, origin, 0, BTreeMap::new())
        };
        assert!(record(u64::MAX).follows(&at(u64::MAX - 1)));
        assert!(!record(0).follows(&at(u64::MAX)));
        assert!(!record(u64::MAX).follows(&at(u64::MAX)));
        assert_eq!(ViewSeq(u64::MAX).next(), ViewSeq(u64::MAX));
    }

    #[tokio::test]
    async fn the_loser_of_a_race_plans_again() {
        let store = store();
        let base = store.view();
        let won = store.commit(&base, &[put("a")]).await.unwrap();
        let Err(CommitError::LostRace { view }) = store.commit(&base, &[put("b")]).await else {
            panic!("the second commit on one base must lose");
        };
        assert_eq!(view.revision, won.view.revision);
        let second = store.commit(&view, &[put("b")]).await.unwrap();
        assert!(second.record.follows(&won.record.revision));
        assert_eq!(second.view.stored.table().len(), 2);
    }

    #[tokio::test]
    async fn the_history_is_told_from_its_end() {
        let store = store();
        for name in ["a", "b", "c"] {
            store.commit(&store.view(), &[put(name)]).await.unwrap();
        }
        let numbers = async |before, limit| -> Vec<u64> {
            let page = store.history(before, limit).await.unwrap();
            page.iter().map(|record| record.revision.number).collect()
        };
        assert_eq!(numbers(None, 2).await, [3, 2]);
        assert_eq!(numbers(Some(2), 5).await, [1]);
    }

    #[tokio::test]
    async fn a_waiter_wakes_for_a_newer_view() {
        let store = Arc::new(store());
        let base = store.view();
        let waiter = tokio::spawn({
            let (store, seen) = (Arc::clone(&store), base.seq);
            async move { store.changed(seen).await }
        });
        let committed = store.commit(&base, &[put("a")]).await.unwrap();
        assert_eq!(waiter.await.unwrap().revision, committed.view.revision);
        let id = committed.record.revision.id;
        assert_eq!(
            store.outcome(id).await,
            Outcome::Committed(committed.record.revision)
        );
    }

    #[test]
    fn a_record_survives_being_written_and_read() {
        let changes = record_changes(
            &StoredTable::default(),
            &[put("a"), Change::Remove("b".parse().unwrap())],
        )
        .unwrap();
        let revision = Revision::new(Epoch::from_bytes([1; 16]), 7, CommitId::from_bytes([2; 16]));
        let record = CommitRecord::new(revision, None, "me".parse().unwrap(), 5, changes);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<CommitRecord>(&text).unwrap(), record);
    }
}
