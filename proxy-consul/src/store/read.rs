//! Reading the store until what is known is what it holds.

use proxy_core::{CommitError, CommitRecord, StoreTrouble};

use super::{
    Shared,
    commit::{told, unavailable},
    keys::{AllRead, HeadSeen},
    step::Step,
};
use crate::{
    endpoints::Address,
    error::{ClientError, FailureKind},
    kv::KvEntry,
    txn::{Txn, TxnOutcome},
};

/// The most reads for one catching up. A log of 1,000 entries takes 16; more than this means that
/// the store changes faster than it is read.
const MAX_READS: usize = 64;

/// How a catching up ended.
#[derive(Debug)]
pub(super) enum Caught {
    /// What is known is what the store holds.
    Up,
    /// The store is new and empty.
    Empty(Option<HeadSeen>),
    /// The store is being filled.
    Filling(HeadSeen),
}

/// Why the store could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// No server answered usefully.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The token may not read it.
    #[error(
        "Consul at {address} does not show {key:?}, which is there: may the ACL token read it?"
    )]
    Hidden {
        /// Who was asked.
        address: Address,
        /// The key.
        key: String,
    },
    /// The head is not what this release understands.
    #[error("the key {key:?} cannot be read; is it another program's, or a newer release's?")]
    Head {
        /// The key.
        key: String,
        /// Why.
        #[source]
        problem: serde_json::Error,
    },
    /// The token may not even ask.
    #[error("Consul at {address} denied to read: {what}; check the rights of the ACL token")]
    Denied {
        /// Who was asked.
        address: Address,
        /// Its words.
        what: String,
    },
    /// A transaction that only reads was refused for another reason than a missing key.
    #[error("Consul at {address} refused to read: {what}")]
    Refused {
        /// Who was asked.
        address: Address,
        /// Its words.
        what: String,
    },
    /// The store changed again and again while it was read.
    #[error("the store changed {MAX_READS} times while it was read")]
    Restless,
}

impl ReadError {
    /// Whether a server is there and says that it cannot answer now, as while a leader is chosen.
    pub(super) fn may_mend(&self) -> bool {
        let Self::Client(ClientError::AllFailed { failures, .. }) = self else {
            return false;
        };
        let mends = |kind| matches!(kind, FailureKind::ServerError | FailureKind::RateLimited);
        failures.iter().any(|failure| mends(failure.error.kind))
    }

    /// Whether a server is there and says that the token may not read.
    pub(super) fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. } | Self::Client(ClientError::Denied { .. })
        )
    }

    /// The same, for a view.
    pub(super) fn trouble(&self) -> StoreTrouble {
        match self.is_denied() {
            true => StoreTrouble::Denied(told(self)),
            false => StoreTrouble::Unavailable(told(self)),
        }
    }

    /// Why nothing was committed.
    pub(super) fn of_commit(self) -> CommitError {
        match self.is_denied() {
            true => CommitError::Denied { why: self.into() },
            false => unavailable(self),
        }
    }
}

impl Shared {
    /// Reads until what is known is what the store holds. `hint` is a head that a watch showed.
    pub(super) async fn catch_up(
        &self,
        hint: Option<Option<HeadSeen>>,
    ) -> Result<Caught, ReadError> {
        let _alone = self.reading.lock().await;
        let step = match hint {
            Some(head) => self.with(|state| state.on_watch(head)),
            None => Step::ReadHead,
        };
        self.read_on(step).await
    }

    /// As [`Shared::catch_up`], beginning with this step.
    pub(super) async fn catch_up_from(&self, step: Step) -> Result<Caught, ReadError> {
        let _alone = self.reading.lock().await;
        self.read_on(step).await
    }

    async fn read_on(&self, mut step: Step) -> Result<Caught, ReadError> {
        for _ in 0..MAX_READS {
            step = match step {
                Step::Done => return Ok(Caught::Up),
                Step::Empty(head) => return Ok(Caught::Empty(head)),
                Step::Filling(head) => return Ok(Caught::Filling(head)),
                Step::ReadHead => {
                    let mark = self.with(|state| state.mark());
                    let head = self.read_head().await?;
                    self.with(|state| state.on_head(mark, head))
                }
                Step::ReadLog { from, to, head } => {
                    let records = self.read_log(from, to).await?;
                    self.with(|state| state.on_log(head, records))
                }
                Step::ReadAll(history) => {
                    let mark = self.with(|state| state.mark());
                    let all = self.read_all().await?;
                    self.with(|state| state.on_all(mark, all, history))
                }
            };
        }
        Err(ReadError::Restless)
    }

    /// The head from an entry that was read.
    pub(super) fn head_of(&self, entry: Option<KvEntry>) -> Result<Option<HeadSeen>, ReadError> {
        let head = entry.map(|entry| HeadSeen::parse(&entry)).transpose();
        head.map_err(|problem| ReadError::Head {
            key: self.keys.head(),
            problem,
        })
    }

    async fn read_head(&self) -> Result<Option<HeadSeen>, ReadError> {
        let entry = self.client.get(&self.keys.head()).await?;
        self.head_of(entry)
    }

    /// Entries of the log; none when they are not all there, or one cannot be read.
    pub(super) async fn read_log(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Option<Vec<CommitRecord>>, ReadError> {
        let mut txn = Txn::new();
        for number in from..=to {
            if txn.get(&self.keys.log(number)).is_err() {
                return Ok(None);
            }
        }
        let TxnOutcome::Applied(entries) = self.client.txn(&txn).await?.value else {
            return Ok(None);
        };
        if entries.len() as u64 != to + 1 - from {
            return Ok(None);
        }
        let mut records = Vec::with_capacity(entries.len());
        for entry in &entries {
            match serde_json::from_slice(&entry.value) {
                Ok(record) => records.push(record),
                Err(problem) => {
                    tracing::warn!(entry.key, %problem, "an entry of the log cannot be read");
                    return Ok(None);
                }
            }
        }
        Ok(Some(records))
    }

    /// The entries of the log from the last back to the first that is not there or cannot be read, in
    /// order.
    pub(super) async fn read_log_singly(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<CommitRecord>, ReadError> {
        let mut records = Vec::new();
        for number in (from..=to).rev() {
            let entry = self.client.get(&self.keys.log(number)).await?;
            match entry.map(|entry| serde_json::from_slice(&entry.value)) {
                Some(Ok(record)) => records.push(record),
                _ => break,
            }
        }
        records.reverse();
        Ok(records)
    }

    /// The head and all documents at one moment. A transaction says whether a key that it does not
    /// show is absent or hidden, which a plain read does not.
    async fn read_all(&self) -> Result<AllRead, ReadError> {
        let mut txn = Txn::new();
        let fits = txn
            .get(&self.keys.head())
            .and_then(|()| txn.get_tree(&self.keys.services_folder()));
        debug_assert!(fits.is_ok(), "two reads fit");
        let answer = self.client.txn(&txn).await?;
        match answer.value {
            TxnOutcome::Applied(entries) => {
                let key = self.keys.head();
                let Some(head) = entries.iter().find(|entry| entry.key == key) else {
                    let address = answer.address;
                    return Err(ReadError::Hidden { address, key });
                };
                let head = self.head_of(Some(head.clone()))?;
                Ok(self.keys.all(head, &entries))
            }
            TxnOutcome::Refused(problems) => match problems.into_iter().next() {
                Some(problem) if problem.is_missing() => Ok(self.keys.all(None, &[])),
                Some(problem) if problem.is_denied() => Err(ReadError::Denied {
                    address: answer.address,
                    what: problem.what,
                }),
                problem => Err(ReadError::Refused {
                    address: answer.address,
                    what: problem.map(|problem| problem.what).unwrap_or_default(),
                }),
            },
        }
    }

    /// The documents below the services' folder, for a store without a head.
    pub(super) async fn read_leftovers(&self) -> Result<AllRead, ReadError> {
        let entries = self.client.list(&self.keys.services_folder()).await?;
        Ok(self.keys.all(None, &entries))
    }
}
