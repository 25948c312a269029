//! The keys of the store and what they hold: the wire format, beside its codec.
//!
//! | key | value |
//! |---|---|
//! | `<instance>/head` | [`Head`]: the point in history, and how many services there are |
//! | `<instance>/log/<revision>` | one `CommitRecord` |
//! | `<instance>/services/<name>` | the service's `Document` |

use std::{collections::BTreeMap, sync::Arc};

use proxy_core::{
    CommitId, CommitRecord, Document, Epoch, InstanceId, NoDocument, Revision, ServiceName,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{kv::KvEntry, txn::MAX_TXN_OPS};

/// How many commits the log keeps: history, rollback, and how far behind a follower may be before
/// it reads everything.
pub(crate) const LOG_KEPT: u64 = 1_000;

/// So many documents are parsed by all threads; fewer are done before others have begun.
const MANY: usize = 1_000;

/// How many log entries are read at once.
pub(crate) const LOG_PAGE: u64 = MAX_TXN_OPS as u64;

/// Where the keys of one instance are.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    instance: Arc<str>,
    folder: Arc<str>,
}

/// A point in history. Number 0 is a store that was made and holds no commit yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) epoch: Epoch,
    pub(crate) number: u64,
    pub(crate) id: CommitId,
}

/// What the head says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) epoch: Epoch,
    pub(crate) revision: u64,
    pub(crate) id: CommitId,
    /// How many services the table has. Consul leaves out of a list, without a word, what a token
    /// may not read; the number tells a short list from a small table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) services: Option<u64>,
    /// There while the store is being filled by several commits; the last of them takes it away,
    /// and until then nobody takes the store's table for whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filling: Option<Filling>,
}

/// Who fills the store, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filling {
    pub(crate) from: Source,
    pub(crate) by: InstanceId,
}

/// What a store is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// The table of a replica, after the store was wiped.
    Replica,
    /// The keys of Docker Flow Proxy of 2016.
    Legacy,
}

/// A head that was read, with the index to compare it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadSeen {
    pub(crate) head: Head,
    pub(crate) index: u64,
}

/// Everything but the log, read at one moment.
#[derive(Clone, Debug)]
pub(crate) struct AllRead {
    pub(crate) head: Option<HeadSeen>,
    /// How many documents the store showed, readable or not.
    pub(crate) shown: u64,
    /// Those that are documents at all.
    pub(crate) documents: Vec<Arc<Document>>,
    /// Those that are not, and why.
    pub(crate) unreadable: BTreeMap<ServiceName, NoDocument>,
}

// === impl Keys ===

impl Keys {
    pub(crate) fn new(instance: &str) -> Self {
        Self {
            instance: instance.into(),
            folder: format!("{instance}/").into(),
        }
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn head(&self) -> String {
        format!("{}head", self.folder)
    }

    pub(crate) fn log_folder(&self) -> String {
        format!("{}log/", self.folder)
    }

    pub(crate) fn log(&self, number: u64) -> String {
        format!("{}log/{number}", self.folder)
    }

    pub(crate) fn services_folder(&self) -> String {
        format!("{}services/", self.folder)
    }

    pub(crate) fn service(&self, name: &ServiceName) -> String {
        format!("{}services/{name}", self.folder)
    }

    /// What was read of a store: its head, and documents from the entries below the services'
    /// folder. An entry that is no document, or the document of another name, is unreadable.
    pub(crate) fn all(&self, head: Option<HeadSeen>, entries: &[KvEntry]) -> AllRead {
        let folder = self.services_folder();
        let mut all = AllRead {
            head,
            shown: 0,
            documents: Vec::new(),
            unreadable: BTreeMap::new(),
        };
        let parse = |entry: &KvEntry| Document::parse(&entry.value);
        let parsed: Vec<_> = match entries.len() < MANY {
            true => entries.iter().map(parse).collect(),
            false => entries.par_iter().map(parse).collect(),
        };
        for (entry, document) in entries.iter().zip(parsed) {
            let Some(name) = entry.key.strip_prefix(&folder) else {
                continue;
            };
            all.shown += 1;
            let problem = match document {
                Ok(document) if document.name().as_str() == name => {
                    all.documents.push(Arc::new(document));
                    continue;
                }
                Ok(document) => {
                    let other = document.name();
                    NoDocument::NotJson(format!("it is the document of {other}"))
                }
                Err(problem) => problem,
            };
            match name.parse() {
                // The view names it.
                Ok(name) => drop(all.unreadable.insert(name, problem)),
                Err(_) => tracing::warn!(entry.key, %problem, "no document, and no service's key"),
            }
        }
        all
    }
}

// === impl At ===

impl At {
    /// The point as others know it; none before the first commit.
    pub(crate) fn revision(self) -> Option<Revision> {
        (self.number > 0).then(|| Revision::new(self.epoch, self.number, self.id))
    }

    /// The identity that the next commit names as the one before it.
    pub(crate) fn previous(self) -> Option<CommitId> {
        (self.number > 0).then_some(self.id)
    }

    /// Whether a record comes directly after this point.
    pub(crate) fn is_before(self, record: &CommitRecord) -> bool {
        record.revision.epoch == self.epoch
            && self.number.checked_add(1) == Some(record.revision.number)
            && record.previous == self.previous()
    }
}

impl From<Revision> for At {
    fn from(revision: Revision) -> Self {
        Self {
            epoch: revision.epoch,
            number: revision.number,
            id: revision.id,
        }
    }
}

// === impl Head ===

impl Head {
    pub(crate) fn new(at: At, services: Option<u64>) -> Self {
        Self {
            epoch: at.epoch,
            revision: at.number,
            id: at.id,
            services,
            filling: None,
        }
    }

    pub(crate) fn at(&self) -> At {
        At {
            epoch: self.epoch,
            number: self.revision,
            id: self.id,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        // Numbers, ids and names cannot fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl HeadSeen {
    pub(crate) fn parse(entry: &KvEntry) -> Result<Self, serde_json::Error> {
        Ok(Self {
            head: serde_json::from_slice(&entry.value)?,
            index: entry.modify_index,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_every_day_is_small_and_stays_readable() {
        let at = At {
            epoch: Epoch::from_bytes([1; 16]),
            number: 7,
            id: CommitId::from_bytes([2; 16]),
        };
        let text = r#"{"epoch":"01010101010101010101010101010101","revision":7,"id":"02020202020202020202020202020202","services":3}"#;
        assert_eq!(Head::new(at, Some(3)).bytes(), text.as_bytes());
        let plain = text.replace(r#","services":3"#, "");
        assert_eq!(
            serde_json::from_str::<Head>(&plain).unwrap(),
            Head::new(at, None)
        );
        let filling = text.replace('}', r#","filling":{"from":"replica","by":"r1"}}"#);
        let head: Head = serde_json::from_str(&filling).unwrap();
        assert_eq!(head.filling.as_ref().unwrap().by.as_str(), "r1");
        assert_eq!(head.bytes(), filling.as_bytes());
    }
}
