//! What this replica knows of the store, and what follows from each thing it learns. Pure: no
//! clock, no network; the same news in any order end in the same table.
//!
//! # How news are ordered
//! The table moves along a chain of commits, each naming the one before it. What is read from the
//! store can be older than what is known by the time it arrives, as commits and peers' offers
//! arrive meanwhile. So each read carries a [`Mark`] of when it began, and one rule decides: a
//! consistent read shows at least what was known when it began. Where it seems to show less, and
//! nothing was learned meanwhile, the store itself went back: it was restored, and it wins. Where
//! something was learned meanwhile, the read is merely late, and is done again.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use proxy_core::{
    CommitId, CommitRecord, Revision, StoreCondition, StoreTrouble, StoreView, StoredTable,
    Superseded,
};

use super::{
    chain::{Chain, advance},
    keys::{AllRead, At, HeadSeen, LOG_KEPT, LOG_PAGE},
    step::{History, Mark, Offered, Step},
};

/// How many identities of commits are remembered, to answer what became of one.
const REMEMBERED: usize = LOG_KEPT as usize;

/// How many commits of unknown end are remembered. Each took a caller seconds to wait for.
const UNKNOWN_KEPT: usize = 256;

/// What this replica knows.
#[derive(Debug)]
pub(crate) struct State {
    view: Arc<StoreView>,
    chain: Option<Chain>,
    /// Counts every move of the chain.
    moves: u64,
    remembered: VecDeque<Revision>,
    /// Commits of this replica whose end is not known, and what they stood on.
    unknown: VecDeque<(CommitId, At)>,
}

// === impl State ===

impl State {
    /// The state of a replica that holds a table from before, or none.
    pub(crate) fn new(held: Option<(Revision, StoredTable)>) -> Self {
        let mut state = Self {
            view: Arc::new(StoreView::starting()),
            chain: None,
            moves: 0,
            remembered: VecDeque::new(),
            unknown: VecDeque::new(),
        };
        if let Some((revision, stored)) = held {
            state.chain = Some(Chain {
                at: revision.into(),
                index: None,
                services: None,
                stored,
            });
            let why = "the store was not read since the start".to_owned();
            state.stale(StoreTrouble::Unavailable(why));
        }
        state
    }

    pub(crate) fn view(&self) -> Arc<StoreView> {
        Arc::clone(&self.view)
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.moves)
    }

    pub(crate) fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.view.condition == StoreCondition::Live
    }

    /// The revision of a commit that this replica saw, by its identity.
    pub(crate) fn remembers(&self, id: CommitId) -> Option<Revision> {
        self.remembered.iter().rev().find(|r| r.id == id).copied()
    }

    /// A commit of this replica may or may not have been made.
    pub(crate) fn on_unknown(&mut self, id: CommitId, base: At) {
        if self.unknown.len() == UNKNOWN_KEPT {
            self.unknown.pop_front();
        }
        self.unknown.push_back((id, base));
    }

    /// What a commit of this replica stood on.
    pub(crate) fn base_of(&self, id: CommitId) -> Option<At> {
        let found = self.unknown.iter().find(|(known, _)| *known == id);
        found.map(|(_, base)| *base)
    }

    /// A watch shows the head. Watches may show a past that the store has left behind, so what is
    /// not an advance is read again.
    pub(crate) fn on_watch(&mut self, head: Option<HeadSeen>) -> Step {
        match (&self.chain, head) {
            (Some(chain), Some(seen)) if seen.head.filling.is_none() => {
                let (mine, at) = (chain.at, seen.head.at());
                if at == mine {
                    return self.arrived(&seen);
                }
                match advance(mine, at) {
                    Some(gap) if gap <= LOG_KEPT => read_log(mine, seen),
                    _ => Step::ReadHead,
                }
            }
            _ => Step::ReadHead,
        }
    }

    /// A consistent read shows the head, or that there is none to see.
    pub(crate) fn on_head(&mut self, mark: Mark, head: Option<HeadSeen>) -> Step {
        // A head that is hidden and one that is not there look alike; reading all tells them apart.
        let Some(seen) = head else {
            return Step::ReadAll(History::Mine);
        };
        if seen.head.filling.is_some() {
            return Step::Filling(seen);
        }
        let Some(chain) = &self.chain else {
            return Step::ReadAll(History::Mine);
        };
        let (mine, at) = (chain.at, seen.head.at());
        if at == mine {
            return self.arrived(&seen);
        }
        if chain.was_wiped(&seen.head) {
            let late = mark.0 != self.moves;
            return if late {
                Step::ReadHead
            } else {
                Step::Empty(Some(seen))
            };
        }
        match advance(mine, at) {
            Some(gap) if gap <= LOG_KEPT => read_log(mine, seen),
            Some(_) => Step::ReadAll(History::Mine),
            None if mark.0 != self.moves => Step::ReadHead,
            None => Step::ReadAll(History::Another),
        }
    }

    /// Entries of the log were read; none where they are not all there.
    pub(crate) fn on_log(&mut self, head: HeadSeen, records: Option<Vec<CommitRecord>>) -> Step {
        let Some(records) = records else {
            return Step::ReadAll(History::Mine);
        };
        let Some(mut chain) = self.chain.clone() else {
            return Step::ReadAll(History::Mine);
        };
        let before = chain.at;
        for record in &records {
            // What arrived by another way meanwhile is not applied twice.
            if record.revision.epoch == chain.at.epoch && record.revision.number <= chain.at.number
            {
                continue;
            }
            if !chain.at.is_before(record) {
                self.move_to_if(chain, before);
                return Step::ReadAll(History::Another);
            }
            chain.apply(record);
            self.remember(record.revision);
        }
        let at = chain.at;
        self.move_to_if(chain, before);
        if at == head.head.at() {
            return self.arrived(&head);
        }
        match advance(at, head.head.at()) {
            Some(_) if at != before => read_log(at, head),
            _ => Step::ReadHead,
        }
    }

    /// Everything was read.
    pub(crate) fn on_all(&mut self, mark: Mark, all: AllRead, history: History) -> Step {
        let Some(seen) = all.head else {
            let late = mark.0 != self.moves;
            return if late {
                Step::ReadHead
            } else {
                Step::Empty(None)
            };
        };
        if seen.head.filling.is_some() {
            return Step::Filling(seen);
        }
        let at = seen.head.at();
        let complete = seen.head.services == Some(all.shown);
        let Some(mine) = self.chain.clone() else {
            let mut stored = StoredTable::from_documents(all.documents.iter().cloned());
            if !all.unreadable.is_empty() {
                stored = stored.reread(all.documents, all.unreadable, &BTreeSet::new());
            }
            self.adopt(&seen, stored, None);
            return Step::Done;
        };
        let same = history == History::Mine && at.epoch == mine.at.epoch;
        let on_the_chain = at == mine.at || (same && at.number > mine.at.number);
        if !on_the_chain && mark.0 != self.moves {
            return Step::ReadHead;
        }
        if mine.was_wiped(&seen.head) {
            return Step::Empty(Some(seen));
        }
        // A store that says how many services it has, and shows as many, has lost none: what it
        // does not show was removed. Otherwise nothing is taken as removed.
        let held = mine.stored.documents().map(|document| document.name());
        let removed: BTreeSet<_> = held
            .filter(|name| complete && !all.unreadable.contains_key(*name))
            .cloned()
            .collect();
        let stored = mine.stored.reread(all.documents, all.unreadable, &removed);
        let superseded = (!on_the_chain && !stored.changes_since(&mine.stored).is_empty())
            .then(|| mine.at.revision())
            .flatten()
            .map(|revision| {
                let why = format!("the store was found at {}, another history", told(at));
                Arc::new(Superseded::new(revision, mine.stored.clone(), why))
            });
        self.adopt(&seen, stored, superseded);
        Step::Done
    }

    /// A peer says that a commit was made.
    pub(crate) fn on_offer(&mut self, record: &CommitRecord) -> Offered {
        let Some(mut chain) = self.chain.clone() else {
            return Offered::Settle;
        };
        let known = chain.at.revision() == Some(record.revision)
            || self.remembers(record.revision.id) == Some(record.revision);
        if known {
            return Offered::Held(self.view.seq);
        }
        if !chain.at.is_before(record) {
            return Offered::Settle;
        }
        let before = chain.at;
        chain.apply(record);
        self.remember(record.revision);
        self.move_to_if(chain, before);
        Offered::Held(self.view.seq)
    }

    /// A commit of this replica was made; the head has this index, where it is known.
    pub(crate) fn on_committed(&mut self, record: &CommitRecord, index: Option<u64>) {
        let Some(mut chain) = self.chain.clone() else {
            return;
        };
        if chain.at == At::from(record.revision) {
            if let (Some(index), Some(chain)) = (index, self.chain.as_mut()) {
                chain.index = Some(index);
            }
        } else if chain.at.is_before(record) {
            let before = chain.at;
            chain.apply(record);
            chain.index = index;
            self.remember(record.revision);
            self.move_to_if(chain, before);
        }
        // Otherwise the follower is already beyond it.
    }

    /// This replica filled the store, or made it: the table is as it was, in a new life, or gave way
    /// to an empty store that was accepted. It is taken
    /// only if nothing was learned since the filling began at `base`; otherwise the store is read.
    pub(crate) fn on_filled(
        &mut self,
        base: Option<At>,
        at: At,
        index: u64,
        services: u64,
        stored: StoredTable,
    ) {
        if self.chain.as_ref().map(|chain| chain.at) != base {
            return;
        }
        let before = self.chain.replace(Chain {
            at,
            index: Some(index),
            services: Some(services),
            stored,
        });
        let superseded = before.and_then(|before| self.gave_way(&before));
        self.moves += 1;
        if let Some(revision) = at.revision() {
            self.remember(revision);
        }
        self.publish(StoreCondition::Live, superseded);
    }

    /// The table before, where a service of it is not in the one that took its place.
    fn gave_way(&self, before: &Chain) -> Option<Arc<Superseded>> {
        let now = self.chain.as_ref()?;
        let lost = |name: &_| now.stored.document(name).is_none();
        before
            .stored
            .documents()
            .any(|document| lost(document.name()))
            .then_some(())?;
        let why = "it was accepted that the store is empty".to_owned();
        Some(Arc::new(Superseded::new(
            before.at.revision()?,
            before.stored.clone(),
            why,
        )))
    }

    /// The store cannot be followed now.
    pub(crate) fn stale(&mut self, trouble: StoreTrouble) {
        let condition = match &self.chain {
            Some(_) => StoreCondition::Stale {
                why: trouble.to_string(),
            },
            None => StoreCondition::Starting {
                trouble: Some(trouble),
            },
        };
        self.publish(condition, None);
    }

    /// The store is empty and is not filled from here.
    pub(crate) fn wiped(&mut self, why: String) {
        self.publish(StoreCondition::Wiped { why }, None);
    }

    /// The head that was seen is where the table stands.
    fn arrived(&mut self, seen: &HeadSeen) -> Step {
        if let Some(chain) = self.chain.as_mut() {
            chain.index = Some(seen.index);
            chain.services = seen.head.services;
        }
        let condition = self.condition();
        self.publish(condition, None);
        // What a read did not show once may show now: the rights came back, or the key.
        let short = !self.is_live() || self.chain.as_ref().is_some_and(Chain::misses);
        if short {
            Step::ReadAll(History::Mine)
        } else {
            Step::Done
        }
    }

    fn adopt(&mut self, seen: &HeadSeen, stored: StoredTable, superseded: Option<Arc<Superseded>>) {
        let at = seen.head.at();
        let moved = self.chain.as_ref().is_none_or(|chain| chain.at != at);
        self.chain = Some(Chain {
            at,
            index: Some(seen.index),
            services: seen.head.services,
            stored,
        });
        if moved {
            self.moves += 1;
            if let Some(revision) = at.revision() {
                self.remember(revision);
            }
        }
        let condition = self.condition();
        self.publish(condition, superseded);
    }

    /// Live, unless the store has services of which not even the names are known here.
    fn condition(&self) -> StoreCondition {
        let Some(chain) = &self.chain else {
            return StoreCondition::STARTING;
        };
        let known = chain.stored.known() as u64;
        match chain.services {
            Some(services) if services > known => StoreCondition::Stale {
                why: format!(
                    "the store has {services} services and shows {known}: may the ACL token read all of them?"
                ),
            },
            _ => StoreCondition::Live,
        }
    }

    fn remember(&mut self, revision: Revision) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(revision);
    }

    /// Takes a chain that was moved on from `before`, if it was moved.
    fn move_to_if(&mut self, chain: Chain, before: At) {
        if chain.at == before {
            return;
        }
        self.chain = Some(chain);
        self.moves += 1;
        let condition = self.view.condition.clone();
        self.publish(condition, None);
    }

    fn publish(&mut self, condition: StoreCondition, superseded: Option<Arc<Superseded>>) {
        let (revision, stored) = match &self.chain {
            Some(chain) => (chain.at.revision(), chain.stored.clone()),
            None => (None, StoredTable::default()),
        };
        let old = &self.view;
        let same = superseded.is_none()
            && old.revision == revision
            && old.condition == condition
            && old.stored == stored;
        if same {
            return;
        }
        let superseded = superseded.or_else(|| old.superseded.clone());
        let mut view = StoreView::new(old.seq.next(), revision, stored, condition);
        view.superseded = superseded;
        self.view = Arc::new(view);
    }
}

fn read_log(mine: At, head: HeadSeen) -> Step {
    let from = mine.number + 1;
    let to = head.head.revision.min(mine.number.saturating_add(LOG_PAGE));
    Step::ReadLog { from, to, head }
}

fn told(at: At) -> String {
    at.revision().map_or_else(
        || "its beginning".to_owned(),
        |revision| format!("revision {revision} of epoch {}", revision.epoch),
    )
}

#[cfg(test)]
mod tests;
