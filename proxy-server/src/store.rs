//! Stores of the server's own: the registers of replicas without Consul, and the journals that they
//! and the keeper of the last good table write.

mod journal;
mod lock;
mod replicated;
mod table;

pub(crate) use journal::{JournalError, replace_file};
pub(crate) use lock::{OpenError, StateLock};
pub(crate) use replicated::{
    CALL_DEADLINE, Exchange, MAX_DIGEST_BYTES, Others, RegisterAnswer, RegisterCall,
    ReplicatedStore, answer,
};
pub(crate) use table::TableJournal;
