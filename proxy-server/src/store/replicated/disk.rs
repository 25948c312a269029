//! The registers in a journal, and when this replica was last alive and last heard of another.

use std::{path::Path, sync::Arc};

use proxy_core::{InstanceId, Named, Register, RegisterError, RegisterSet, Stamp, Written};
use serde::{Deserialize, Serialize};

use crate::store::{
    TableJournal,
    journal::{FORMAT, Journal, JournalError, replace_file},
};

/// The name of the journal in `STATE_PATH`.
const REGISTERS: &str = "registers";
/// The file of [`Marks`].
const MARKS: &str = "registers.seen";
/// The journal of a single replica of before there were registers.
const TABLE: &str = "table";

/// Registers on disk.
#[derive(Debug)]
pub(super) struct RegisterJournal {
    journal: Journal,
    /// Which base the lines of the log belong to. A crash between a new base and the emptying of the
    /// log leaves lines of the base before: what those hold and the base does not was dropped.
    generation: u64,
    /// A new base was tried and may or may not be there: no line can be told to belong to it.
    unsure: bool,
}

#[derive(Serialize, Deserialize)]
struct Base {
    format: u32,
    generation: u64,
    registers: Vec<Named>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    generation: u64,
    registers: Vec<Named>,
}

/// What was found on disk.
pub(super) struct Opened {
    pub(super) journal: RegisterJournal,
    pub(super) set: RegisterSet,
    /// None where this folder never held registers or a table.
    pub(super) marks: Option<Marks>,
}

/// When this replica was there. Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// It ran.
    pub(super) alive_unix_ms: u64,
    /// It held what another replica held, or knew that there is no other.
    pub(super) heard_unix_ms: u64,
    /// It began with nothing, and has not heard one that knows the table.
    #[serde(default)]
    pub(super) new: bool,
}

// === impl RegisterJournal ===

impl RegisterJournal {
    /// Opens or creates the journal. Where there is none, it begins with the table that a single
    /// replica of an earlier release kept: each service stamped with that table's revision.
    pub(super) fn open(
        folder: &Path,
        instance: &InstanceId,
        now_unix_ms: u64,
    ) -> Result<Opened, JournalError> {
        let (journal, base, lines) = Journal::open::<Base, Line>(folder, REGISTERS)?;
        let mut set = RegisterSet::default();
        let Some(base) = base else {
            let held = earlier_table(folder, instance)?;
            merge_all(&mut set, &held, folder)?;
            let mut journal = Self {
                journal,
                generation: 0,
                unsure: false,
            };
            journal.rewrite(&set)?;
            let now = Marks {
                alive_unix_ms: now_unix_ms,
                heard_unix_ms: now_unix_ms,
                new: false,
            };
            let marks = (!set.is_empty()).then_some(now);
            return Ok(Opened {
                journal,
                set,
                marks,
            });
        };
        merge_all(&mut set, &base.registers, folder)?;
        for line in lines {
            if line.generation == base.generation {
                merge_all(&mut set, &line.registers, folder)?;
            }
        }
        let journal = Self {
            journal,
            generation: base.generation,
            unsure: false,
        };
        // Without a readable mark nobody knows how long ago it was; today is the harmless answer,
        // since it takes nothing away.
        let marks = Marks::read(folder).unwrap_or(Marks {
            alive_unix_ms: now_unix_ms,
            heard_unix_ms: now_unix_ms,
            new: false,
        });
        Ok(Opened {
            journal,
            set,
            marks: Some(marks),
        })
    }

    /// Writes down what was merged into the set; `set` is what it made. Once this returns it is on
    /// disk.
    pub(super) fn append(
        &mut self,
        registers: Vec<Named>,
        set: &RegisterSet,
    ) -> Result<(), JournalError> {
        if self.unsure {
            return self.rewrite(set);
        }
        if self.journal.is_lost() {
            tracing::warn!(
                "the files of this replica in STATE_PATH were removed or replaced while it runs; all that it holds is written there again"
            );
            return self.rewrite(set);
        }
        self.journal.append(&Line {
            generation: self.generation,
            registers,
        })?;
        if self.journal.wants_rewrite(set.len()) {
            // It is on disk; a fold that fails is tried again after the next.
            if let Err(error) = self.rewrite(set) {
                let why = crate::chain::chain(&error);
                tracing::warn!(why, "the log of the registers could not be folded");
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn log(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Replaces everything by this set, in one step.
    pub(super) fn rewrite(&mut self, set: &RegisterSet) -> Result<(), JournalError> {
        self.generation += 1;
        self.unsure = true;
        let registers = set.iter();
        self.journal.rewrite(&Base {
            format: FORMAT,
            generation: self.generation,
            registers: registers
                .map(|(name, register)| (name.clone(), Arc::clone(register)))
                .collect(),
        })?;
        self.unsure = false;
        Ok(())
    }
}

// === impl Marks ===

impl Marks {
    fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read(folder.join(MARKS)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn save(self, folder: &Path) {
        let Ok(text) = serde_json::to_vec(&self) else {
            return;
        };
        if let Err(error) = replace_file(&folder.join(MARKS), &text) {
            let why = crate::chain::chain(&error);
            tracing::warn!(why, "when this replica was last seen could not be noted");
        }
    }
}

fn merge_all(
    set: &mut RegisterSet,
    registers: &[Named],
    folder: &Path,
) -> Result<(), JournalError> {
    for (name, register) in registers {
        set.merge(name, register)
            .map_err(|problem: RegisterError| JournalError::Corrupt {
                path: folder.join(REGISTERS),
                problem: problem.to_string(),
            })?;
    }
    Ok(())
}

/// The services that a single replica of an earlier release kept.
fn earlier_table(folder: &Path, instance: &InstanceId) -> Result<Vec<Named>, JournalError> {
    let is_there = |end: &str| folder.join(format!("{TABLE}.{end}")).exists();
    if !is_there("base") && !is_there("log") {
        return Ok(Vec::new());
    }
    let (_, revision, stored) = TableJournal::open(folder, TABLE)?;
    let counter = revision.map_or(1, |revision| revision.number);
    let documents = stored.documents().map(|document| {
        let stamp = Stamp::new(counter, instance.clone());
        let register = Register::new(stamp, Written::Document(Arc::clone(document)));
        (document.name().clone(), Arc::new(register))
    });
    Ok(documents.collect())
}
