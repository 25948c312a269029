//! A table in a journal: a base with all documents, and a log of commits.

use std::{path::Path, sync::Arc};

use proxy_core::{CommitRecord, Document, Revision, StoredTable};
use serde::{Deserialize, Serialize};

use super::journal::{FORMAT, Journal, JournalError};

/// A table on disk.
#[derive(Debug)]
pub(crate) struct TableJournal {
    journal: Journal,
}

#[derive(Serialize, Deserialize)]
struct Base {
    format: u32,
    revision: Option<Revision>,
    documents: Vec<Arc<Document>>,
}

// === impl TableJournal ===

impl TableJournal {
    /// Opens or creates the journal `<folder>/<name>.*` and reads what it holds.
    pub(crate) fn open(
        folder: &Path,
        name: &str,
    ) -> Result<(Self, Option<Revision>, StoredTable), JournalError> {
        let (journal, base, records) = Journal::open::<Base, CommitRecord>(folder, name)?;
        let (mut revision, mut stored) = match base {
            Some(base) => (base.revision, StoredTable::from_documents(base.documents)),
            None => (None, StoredTable::default()),
        };
        for record in records {
            // A crash may leave a log that the base already holds, or that belongs to a history
            // which the base replaced: only what goes on from here counts.
            if record.previous == revision.map(|held| held.id) {
                stored.apply(&record);
                revision = Some(record.revision);
            }
        }
        Ok((Self { journal }, revision, stored))
    }

    /// Appends a commit; once this returns it is on disk. After an error it is not in the journal.
    pub(crate) fn append(&mut self, record: &CommitRecord) -> Result<(), JournalError> {
        self.journal.append(record)
    }

    /// Whether the log has outgrown the table.
    pub(crate) fn wants_rewrite(&self, services: usize) -> bool {
        self.journal.wants_rewrite(services)
    }

    /// Replaces everything by this table, in one step.
    pub(crate) fn rewrite(
        &mut self,
        revision: Option<Revision>,
        stored: &StoredTable,
    ) -> Result<(), JournalError> {
        self.journal.rewrite(&Base {
            format: FORMAT,
            revision,
            documents: stored.documents().cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests;
