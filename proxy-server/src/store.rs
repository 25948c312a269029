//! Stores of the server's own: the embedded one, and the journal it shares with the keeper of the
//! last good table.

mod embedded;
mod journal;

pub(crate) use embedded::{EmbeddedStore, StateLock};
pub(crate) use journal::{Journal, JournalError, replace_file};
