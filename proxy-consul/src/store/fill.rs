//! Making a store that is new, and filling again one that was wiped.
//!
//! A table may need several commits. Until the last of them the head carries a mark, and nobody
//! takes the store's table for whole: a replica that holds a table keeps serving it, one that holds
//! none waits. Two replicas that begin at the same moment compare the same head, so one of them
//! wins and the other follows. Should the winner die midway, the head stands still, and after
//! `fill_takeover` another replica goes on: what the store holds already stays, and what only its
//! own table has is added. So no half of a table is ever served, and nothing that a living replica
//! holds is lost.

use std::{collections::BTreeSet, sync::Arc};

use proxy_core::{
    BoxError, CommitId, CommitRecord, Document, Epoch, RecordedChange, Revision, StoreTrouble,
    StoredTable,
};

use super::{
    OnEmptyStore, Shared,
    commit::{Sealed, longest, told, unix_ms, write},
    keys::{AllRead, At, Filling, Head, HeadSeen, Source},
    random,
    read::ReadError,
};
use crate::{legacy::read_legacy, txn::Txn};

/// Why a store was not filled.
#[derive(Debug, thiserror::Error)]
pub(super) enum FillError {
    /// It could not be read.
    #[error("the empty store could not be read")]
    Read(#[from] ReadError),
    /// No server, or nobody knows; it is tried again.
    #[error("the store is empty and could not be filled; it is tried again")]
    NotNow(#[source] BoxError),
    /// The last commit of it may or may not be in the store.
    #[error("whether the empty store was filled is not known; it is tried again")]
    Unknown {
        id: CommitId,
        #[source]
        why: BoxError,
    },
    /// The store refuses; the table is served on.
    #[error("the store is empty and refuses to be filled; the table of before is served on")]
    Refused(#[source] BoxError),
    /// This replica was told not to.
    #[error(
        "the store is empty and ON_EMPTY_STORE=hold; the table of before is served on, and nothing can be changed until the store is restored"
    )]
    Held,
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
}

/// How a filling ended. Either way the store has to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// By what was sent from here.
    Here,
    /// Another replica was first, and what is in the store is its.
    Elsewhere,
}

/// A filling under way.
struct Fill {
    /// Where the store stands.
    at: At,
    /// The index of its head; 0 when there is none.
    index: u64,
    /// How many services it holds.
    services: u64,
    /// What it is to hold in the end.
    target: StoredTable,
    /// What it lacks.
    rest: Vec<Arc<Document>>,
    source: Source,
    /// Whether a mark has to be taken away in the end.
    marked: bool,
    /// Where the held table stood.
    base: Option<At>,
}

impl Shared {
    /// Makes the head of an empty store and puts into it what is held here. The caller has the turn.
    /// `blank` is a head without any commit, where there is one.
    ///
    pub(super) async fn fill_empty(&self, blank: Option<HeadSeen>) -> Result<Filled, FillError> {
        let held = self.with(|state| state.chain().cloned());
        let holds = held
            .as_ref()
            .is_some_and(|held| held.stored.documents().next().is_some());
        if holds && self.on_empty == OnEmptyStore::Hold {
            let why = FillError::Held;
            self.with(|state| state.wiped(why.to_string()));
            return Err(why);
        }
        let leftovers = self.read_leftovers().await?;
        let (at, index) = match blank {
            Some(seen) => (seen.head.at(), seen.index),
            None => (new_life()?, 0),
        };
        let base = held.as_ref().map(|chain| chain.at);
        let (table, source) = match held {
            Some(chain) => (chain.stored, Source::Replica),
            // What the old layout holds is for a store that is new, not for one that lost its head.
            None if leftovers.shown == 0 => (self.read_old().await?, Source::Legacy),
            None => (StoredTable::default(), Source::Replica),
        };
        let mut fill = Fill::new(at, index, table, leftovers);
        (fill.base, fill.source) = (base, source);
        self.fill(fill).await
    }

    /// Makes the head of an empty store and lets it stay as it is, with whatever documents it shows.
    /// The head stands at the first commit and not before it, so that replicas that hold a table
    /// take it for a history and not for a loss. The caller has the turn.
    pub(super) async fn fill_with_nothing(
        &self,
        blank: Option<HeadSeen>,
    ) -> Result<Filled, FillError> {
        let leftovers = self.read_leftovers().await?;
        let (at, index) = match blank {
            Some(seen) => (seen.head.at(), seen.index),
            None => (new_life()?, 0),
        };
        let mut fill = Fill::new(at, index, StoredTable::default(), leftovers);
        fill.base = self.with(|state| state.chain().map(|chain| chain.at));
        fill.marked = true;
        let held = fill.base;
        let filled = self.fill(fill).await;
        if let (Err(FillError::Unknown { id, .. }), Some(held)) = (&filled, held) {
            // While the held table is held against an empty store, it may still arrive.
            self.with(|state| state.on_unknown(*id, held));
        }
        filled
    }

    /// Goes on with a filling that another replica, or this one, left midway. The caller has the
    /// turn.
    pub(super) async fn fill_on(&self, seen: HeadSeen) -> Result<Filled, FillError> {
        let source = seen
            .head
            .filling
            .as_ref()
            .map_or(Source::Replica, |filling| filling.from);
        let held = self.with(|state| state.chain().cloned());
        let base = held.as_ref().map(|chain| chain.at);
        let mut table = held.map(|chain| chain.stored).unwrap_or_default();
        if source == Source::Legacy {
            let old = self.read_old().await?;
            for document in old.documents() {
                if table.document(document.name()).is_none() {
                    table.put(Arc::clone(document));
                }
            }
        }
        let leftovers = self.read_leftovers().await?;
        let mut fill = Fill::new(seen.head.at(), seen.index, table, leftovers);
        (fill.base, fill.source, fill.marked) = (base, source, true);
        self.fill(fill).await
    }

    /// The table in the layout of Docker Flow Proxy of 2016.
    async fn read_old(&self) -> Result<StoredTable, FillError> {
        let old = read_legacy(&self.client, self.keys.instance())
            .await
            .map_err(ReadError::from)?;
        for problem in &old.problems {
            tracing::warn!(%problem, "a service stays behind");
        }
        let documents = old.services.into_iter().filter_map(|service| {
            let name = service.name().clone();
            let document = Document::from_service(service);
            if let Err(problem) = &document {
                tracing::warn!(service = %name, %problem, "a service stays behind");
            }
            document.ok().map(Arc::new)
        });
        Ok(StoredTable::from_documents(documents))
    }

    async fn fill(&self, mut fill: Fill) -> Result<Filled, FillError> {
        if fill.rest.is_empty() && fill.index == 0 && !fill.marked {
            let head = Head::new(fill.at, Some(fill.services));
            let mut txn = Txn::new();
            // What an older life left in the log belongs to no chain any more.
            let fits = txn
                .cas(&self.keys.head(), 0, &head.bytes())
                .and_then(|()| txn.delete_tree(&self.keys.log_folder()));
            debug_assert!(fits.is_ok(), "two operations fit");
            return match self.seal(&txn, 0, fill.at.id, self.deadline()).await {
                Sealed::Done(Some(index)) => {
                    self.filled(fill, index);
                    Ok(Filled::Here)
                }
                other => self.ended(other, fill.at.id),
            };
        }
        while !fill.rest.is_empty() || fill.marked {
            let next = At {
                number: fill.at.number + 1,
                id: CommitId::from_bytes(random()?),
                ..fill.at
            };
            let Some((txn, taken)) = self.fill_commit(&fill, next) else {
                let why = "a document is too large for one transaction of Consul".into();
                return self.ended(Sealed::Refused(why), next.id);
            };
            match self.seal(&txn, next.number, next.id, self.deadline()).await {
                Sealed::Done(Some(index)) => {
                    fill.index = index;
                    fill.at = next;
                    fill.services += taken as u64;
                    fill.rest.drain(..taken);
                    fill.marked = !fill.rest.is_empty();
                }
                other => return self.ended(other, next.id),
            }
        }
        let index = fill.index;
        self.filled(fill, index);
        Ok(Filled::Here)
    }

    /// The next commit of a filling, with as much as fits.
    fn fill_commit(&self, fill: &Fill, next: At) -> Option<(Txn, usize)> {
        let build = |taken: usize| {
            let part = fill.rest.get(..taken)?;
            let services = part
                .iter()
                .map(|document| {
                    let change = RecordedChange::new(None, Some(Arc::clone(document)));
                    (document.name().clone(), change)
                })
                .collect();
            let revision = Revision::new(next.epoch, next.number, next.id);
            let previous = fill.at.previous();
            let origin = self.instance.clone();
            let record = CommitRecord::new(revision, previous, origin, unix_ms(), services);
            let mut head = Head::new(next, Some(fill.services + taken as u64));
            head.filling = (taken < fill.rest.len()).then(|| Filling {
                from: fill.source,
                by: self.instance.clone(),
            });
            let txn = write(&self.keys, fill.index, &head, &record).ok()?;
            Some((txn, taken))
        };
        if fill.rest.is_empty() {
            return build(0);
        }
        longest(fill.rest.len(), build)
    }

    fn filled(&self, fill: Fill, index: u64) {
        tracing::info!(
            services = fill.services,
            revision = fill.at.number,
            "the store was filled"
        );
        self.with(|state| {
            state.on_filled(fill.base, fill.at, index, fill.services, fill.target);
        });
    }

    /// What a transaction that did not plainly succeed means for a filling.
    fn ended(&self, end: Sealed, id: CommitId) -> Result<Filled, FillError> {
        match end {
            // By a copy whose answer was lost.
            Sealed::Done(_) => Ok(Filled::Here),
            Sealed::Lost => Ok(Filled::Elsewhere),
            Sealed::NotSent(why) => Err(FillError::NotNow(why)),
            Sealed::Unknown(why) => Err(FillError::Unknown { id, why }),
            Sealed::Refused(why) => {
                let why = FillError::Refused(why);
                self.with(|state| state.wiped(told(&why)));
                Err(why)
            }
        }
    }
}

// === impl FillError ===

impl FillError {
    /// The same, for a view.
    pub(super) fn trouble(&self) -> StoreTrouble {
        match self {
            Self::Read(error) if error.is_denied() => StoreTrouble::Denied(told(self)),
            _ => StoreTrouble::Unavailable(told(self)),
        }
    }
}

// === impl Fill ===

impl Fill {
    /// What the store has stays as it is; what only the table has is added.
    fn new(at: At, index: u64, table: StoredTable, leftovers: AllRead) -> Self {
        let mut target = table;
        let mut there: BTreeSet<_> = leftovers.unreadable.into_keys().collect();
        for document in leftovers.documents {
            there.insert(document.name().clone());
            target.put(document);
        }
        let rest: Vec<_> = target
            .documents()
            .filter(|document| !there.contains(document.name()))
            .cloned()
            .collect();
        for document in &rest {
            // It is about to be in the store again: no longer missing.
            target.put(Arc::clone(document));
        }
        Self {
            at,
            index,
            services: leftovers.shown,
            target,
            rest,
            source: Source::Replica,
            marked: false,
            base: None,
        }
    }
}

/// The beginning of a new life of the store.
fn new_life() -> Result<At, getrandom::Error> {
    Ok(At {
        epoch: Epoch::from_bytes(random()?),
        number: 0,
        id: CommitId::from_bytes(random()?),
    })
}
