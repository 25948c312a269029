//! Taking in what another replica tells: its registers one by one, or all of them in place of these.

use std::{collections::BTreeMap, sync::Arc};

use proxy_core::{
    Merged, Named, RegisterError, RegisterSet, RouteStore, ServiceName, Stamp, StoredTable,
    Superseded, ViewSeq,
};

use super::{Held, JournalError, ReplicatedStore};
use crate::{chain::chain, keeper::save_superseded};

/// What became of registers that a replica told.
#[derive(Debug)]
pub(crate) struct HeardRegisters {
    /// The view that holds those that were taken in.
    pub(crate) view: ViewSeq,
    /// Why one of them was not.
    pub(crate) left_out: Option<RegisterError>,
}

/// Why registers that a replica told were not taken in. What is held is what it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HearError {
    /// They cannot be written down.
    #[error("what another replica told cannot be kept")]
    Disk(#[source] JournalError),
    /// The thread that writes was lost; this is a bug.
    #[error("what another replica told was lost on its way to the disk")]
    Lost(#[source] tokio::task::JoinError),
}

// === impl ReplicatedStore ===

impl ReplicatedStore {
    /// Takes in what another replica tells. Not lost when the caller hangs up.
    pub(crate) async fn hear(&self, told: Vec<Named>) -> Result<HeardRegisters, HearError> {
        let news = {
            let held = self.held.borrow();
            told.iter().any(|(name, register)| {
                let known = held.set.get(name);
                known.is_none_or(|known| register.beats(known))
            })
        };
        if !news {
            // Most of what is told was heard already; the disk need not know.
            let view = self.view().seq;
            return Ok(HeardRegisters {
                view,
                left_out: None,
            });
        }
        let clock = Arc::clone(&self.clock);
        let heard = self.write(move |writer, held| {
            let mut set = held.set.clone();
            let (mut taken, mut left_out) = (Vec::new(), None);
            let (now, latest) = (clock.now(), clock.latest());
            for (name, register) in told {
                match set.hear(&name, &register, now, latest) {
                    Ok(Merged::Taken) => taken.push((name, register)),
                    Ok(_) => {}
                    Err(problem) => {
                        let why = chain(&problem);
                        tracing::error!(why, "a register that another replica told is left out");
                        left_out.get_or_insert(problem);
                    }
                }
            }
            if !taken.is_empty() {
                let next = held.with(&taken, set);
                writer.journal.append(taken, &next.set)?;
                *held = next;
                clock.saw(held.latest());
            }
            let view = held.view.seq;
            Ok(HeardRegisters { view, left_out })
        });
        heard
            .await
            .map_err(HearError::Lost)?
            .map_err(HearError::Disk)
    }

    /// Waits until all that was written under these stamps is held, or something later. Gives the
    /// view that holds it. Cancel safe; the caller sets the deadline.
    pub(crate) async fn covering(&self, stamps: &BTreeMap<ServiceName, Stamp>) -> ViewSeq {
        let mut held = self.held.subscribe();
        if !held.borrow().set.covers(stamps) {
            self.wanted.notify_one();
        }
        let covered = held.wait_for(|held| held.set.covers(stamps)).await;
        // The sender lives as long as the store.
        covered.map_or(ViewSeq::default(), |held| held.view.seq)
    }

    /// Takes another replica's registers in place of these, and reports the table that gives way. What this run
    /// wrote in the last week stays: it was acknowledged, and a later removal of it is remembered there.
    pub(super) async fn take_over(
        &self,
        theirs: RegisterSet,
        why: String,
    ) -> Result<(), HearError> {
        let (folder, file) = (self.folder.clone(), self.superseded_file.clone());
        let instance = self.instance.clone();
        let clock = Arc::clone(&self.clock);
        let taken = self.write(move |writer, held| {
            let mut set = held.set.clone();
            set.replace(theirs);
            let first = clock.first_wrote();
            let is_late = |stamp: &Stamp| first.is_some_and(|first| stamp.counter >= first);
            let own = |stamp: &Stamp| stamp.replica == instance && is_late(stamp);
            for (name, register) in held.set.iter().filter(|(_, it)| own(&it.stamp)) {
                if let Err(problem) = set.merge(name, register) {
                    let why = chain(&problem);
                    tracing::error!(
                        why,
                        "a change of this run gives way to another replica's table"
                    );
                }
            }
            let mut stored = held.view.stored.clone();
            let documents = set.iter().filter_map(|(_, register)| register.document());
            let next = StoredTable::from_documents(documents.cloned());
            for (name, change) in next.changes_since(&stored) {
                match change.after {
                    Some(document) => stored.put(document),
                    None => stored.remove(&name),
                }
            }
            let mut superseded = held.view.superseded.clone();
            if let Some(revision) = held.view.revision
                && !held.view.stored.changes_since(&stored).is_empty()
            {
                let gives_way = Superseded::new(revision, held.view.stored.clone(), why);
                // On disk before it is gone.
                let Some(saved) = save_superseded(&folder, &gives_way) else {
                    let problem = "the table that gives way could not be saved first".to_owned();
                    return Err(JournalError::Encode { problem });
                };
                file.send_replace(Some(saved));
                superseded = Some(Arc::new(gives_way));
            }
            writer.journal.rewrite(&set)?;
            let mut view = held.next_view(&set, stored);
            view.superseded = superseded;
            *held = Held {
                view: Arc::new(view),
                set,
            };
            clock.saw(held.latest());
            Ok::<_, JournalError>(())
        });
        taken
            .await
            .map_err(HearError::Lost)?
            .map_err(HearError::Disk)
    }
}
