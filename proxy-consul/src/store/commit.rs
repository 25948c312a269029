//! Making a commit: one transaction, and the certainty of how it ended.

use std::{
    iter::successors,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proxy_core::{
    BoxError, Change, CommitError, CommitId, CommitRecord, Committed, InstanceId, Revision,
    StoreCondition, StoreView, record_changes,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Shared,
    chain::{Chain, services_after},
    fill::FillError,
    keys::{At, Head, Keys, LOG_KEPT},
    outcome::Mine,
    read::Caught,
};
use crate::{
    error::{ClientError, Sent},
    pause::Pauses,
    txn::{MAX_TXN_OPS, Txn, TxnError, TxnOutcome},
};

/// A commit that is ready to be sent.
#[derive(Debug)]
struct Draft {
    txn: Txn,
    record: Arc<CommitRecord>,
    taken: usize,
}

/// How a transaction on the head ended, for certain or not.
#[derive(Debug)]
pub(super) enum Sealed {
    /// It happened; the head has this index, where the answer told it.
    Done(Option<u64>),
    /// Another commit is in its place.
    Lost,
    /// It was refused and changed nothing.
    Refused(BoxError),
    /// It was never sent, and changed nothing.
    NotSent(BoxError),
    /// It cannot be told.
    Unknown(BoxError),
}

/// The store says nothing about its own refusal that helps; this says what it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the history of the store is at its last number")]
    LastNumber,
    #[error("the change is too large for one transaction of Consul")]
    TooLarge,
    #[error("Consul refused the transaction: {0}")]
    Txn(String),
    #[error(
        "Consul denied the transaction: {0}; the ACL token needs write access to all keys of this instance"
    )]
    Denied(String),
    #[error("the store is being filled again by {0}; try again in a moment")]
    Filling(InstanceId),
    #[error("{0}")]
    NotWhole(String),
    #[error("none of the Consul servers {addresses} gave a useful answer within {within:?}")]
    OutOfTime { addresses: String, within: Duration },
    #[error("the store changes faster than it can be read")]
    Restless,
}

impl Shared {
    pub(super) async fn commit(
        &self,
        base: &StoreView,
        changes: &[Change],
    ) -> Result<Committed, CommitError> {
        if changes.is_empty() {
            return Err(CommitError::nothing());
        }
        // One deadline for all of it: the turn, the looks at the store, the certainty.
        let deadline = self.deadline();
        let ready = async {
            let turn = self.turn.lock().await;
            Ok::<_, CommitError>((turn, self.ready().await?))
        };
        // Nothing is sent before this is over, so to give up is safe.
        let ready = timeout_at(deadline, ready).await;
        let (_turn, (chain, index)) = ready.map_err(|_| unavailable(self.out_of_time()))??;
        if !on(base, &chain) {
            return Err(CommitError::LostRace { view: self.view() });
        }
        let draft = self.draft(&chain, index, changes)?;
        let revision = draft.record.revision;
        match self
            .seal(&draft.txn, revision.number, revision.id, deadline)
            .await
        {
            Sealed::Done(index) => {
                self.with(|state| state.on_committed(&draft.record, index));
                Ok(Committed::new(self.view(), draft.taken, draft.record))
            }
            // The newer table must be in hand before the caller plans on it.
            Sealed::Lost => match timeout_at(self.deadline(), self.catch_up(None)).await {
                Ok(Ok(_)) => Err(CommitError::LostRace { view: self.view() }),
                Ok(Err(why)) => Err(why.of_commit()),
                Err(_) => Err(unavailable(self.out_of_time())),
            },
            Sealed::Refused(why) => Err(refused(why)),
            Sealed::NotSent(why) => Err(CommitError::Unavailable { why }),
            Sealed::Unknown(why) => {
                let id = revision.id;
                self.with(|state| state.on_unknown(id, chain.at));
                Err(CommitError::Unknown { id, why })
            }
        }
    }

    /// The chain with the index of its head, read from the store where it is not known. What a
    /// moment mends (a leader that is being chosen, a filling) is waited for, half the time at most;
    /// the other half is the commit's.
    async fn ready(&self) -> Result<(Chain, u64), CommitError> {
        let patience = Instant::now() + self.client.timeouts().settle / 2;
        let mut pauses = Pauses::new(self.client.timeouts());
        loop {
            let known = self.with(|state| state.chain().filter(|_| state.is_live()).cloned());
            if let Some((chain, index)) = known.and_then(|c| c.index.map(|index| (c, index))) {
                return Ok((chain, index));
            }
            let why = match self.catch_up(None).await {
                Ok(Caught::Up) => match &self.view().condition {
                    StoreCondition::Stale { why } => {
                        return Err(unavailable(Trouble::NotWhole(why.clone())));
                    }
                    _ => unavailable(Trouble::Restless),
                },
                Ok(Caught::Empty(head)) => {
                    let filled = self.fill_empty(head).await;
                    filled.map_err(|why| match why {
                        FillError::Refused(_) => refused(why),
                        FillError::Read(why) => why.of_commit(),
                        why => unavailable(why),
                    })?;
                    unavailable(Trouble::Restless)
                }
                Ok(Caught::Filling(head)) => {
                    let by = head.head.filling.map(|filling| filling.by);
                    let by = by.unwrap_or_else(|| self.instance.clone());
                    unavailable(Trouble::Filling(by))
                }
                Err(why) if why.may_mend() => unavailable(why),
                Err(why) => return Err(why.of_commit()),
            };
            let live = self.with(|state| state.is_live());
            let pause = if live { Duration::ZERO } else { pauses.next() };
            if Instant::now() + pause > patience {
                return Err(why);
            }
            sleep(pause).await;
        }
    }

    /// The longest prefix of the changes that fits one transaction.
    fn draft(&self, chain: &Chain, index: u64, changes: &[Change]) -> Result<Draft, CommitError> {
        let id = CommitId::from_bytes(super::random().map_err(unavailable)?);
        let number = chain.at.number.checked_add(1);
        let at = At {
            epoch: chain.at.epoch,
            number: number.ok_or_else(|| refused(Trouble::LastNumber))?,
            id,
        };
        let now = unix_ms();
        // Refuses what is no document before anything is sized.
        record_changes(&chain.stored, changes)?;
        let found = longest(changes.len(), |taken| {
            let services = record_changes(&chain.stored, changes.get(..taken)?).ok()?;
            let revision = Revision::new(at.epoch, at.number, at.id);
            let previous = chain.at.previous();
            let record =
                CommitRecord::new(revision, previous, self.instance.clone(), now, services);
            let head = Head::new(
                at,
                chain
                    .services
                    .map(|count| services_after(count, &record, &chain.stored)),
            );
            let txn = write(&self.keys, index, &head, &record).ok()?;
            let record = Arc::new(record);
            Some(Draft { txn, record, taken })
        });
        found.ok_or_else(|| refused(Trouble::TooLarge))
    }

    /// Sends a transaction whose first operation compares the head, until it is certain how it
    /// ended or the time is up. To send it again is safe: at most one of the copies can win.
    pub(super) async fn seal(
        &self,
        txn: &Txn,
        number: u64,
        id: CommitId,
        deadline: Instant,
    ) -> Sealed {
        let mut last = None;
        let sealed = timeout_at(deadline, self.try_to_seal(txn, number, id, &mut last)).await;
        sealed
            .unwrap_or_else(|_| Sealed::Unknown(last.unwrap_or_else(|| self.out_of_time().into())))
    }

    async fn try_to_seal(
        &self,
        txn: &Txn,
        number: u64,
        id: CommitId,
        last: &mut Option<BoxError>,
    ) -> Sealed {
        let mut pauses = Pauses::new(self.client.timeouts());
        let mut doubtful = Sent::No;
        loop {
            let why: BoxError = match self.client.txn(txn).await {
                Ok(answer) => {
                    doubtful = doubtful.max(answer.doubtful());
                    match answer.value {
                        TxnOutcome::Applied(entries) => {
                            let head = self.keys.head();
                            let head = entries.iter().find(|entry| entry.key == head);
                            return Sealed::Done(head.map(|entry| entry.modify_index));
                        }
                        TxnOutcome::Refused(problems) => {
                            let stale = problems.iter().any(|p| p.op == 0 && p.is_stale());
                            let denied = problems.iter().any(|p| p.is_denied());
                            let said: Vec<_> = problems.into_iter().map(|p| p.what).collect();
                            let said = said.join("; ");
                            let why = if denied {
                                Trouble::Denied(said)
                            } else {
                                Trouble::Txn(said)
                            };
                            if doubtful == Sent::No && (denied || !stale) {
                                return Sealed::Refused(why.into());
                            }
                            match self.whose(number, id).await {
                                Ok(Some(Mine::Yes)) => return Sealed::Done(None),
                                Ok(Some(Mine::No)) => return Sealed::Lost,
                                // Nothing is in its place, yet the head is another: it was restored.
                                Ok(None) if stale => return Sealed::Lost,
                                Ok(None) => why.into(),
                                Err(why) => why.into(),
                            }
                        }
                    }
                }
                Err(why) => {
                    doubtful = doubtful.max(why.sent());
                    let later = matches!(
                        why,
                        ClientError::AllFailed { .. } | ClientError::Busy { .. }
                    );
                    match (doubtful, later) {
                        (Sent::No, true) => return Sealed::NotSent(why.into()),
                        (Sent::No, false) => return Sealed::Refused(why.into()),
                        _ => why.into(),
                    }
                }
            };
            *last = Some(why);
            sleep(pauses.next()).await;
        }
    }

    /// When something that begins now has to be over.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.client.timeouts().settle
    }

    pub(super) fn out_of_time(&self) -> Trouble {
        let addresses = self
            .client
            .addresses()
            .iter()
            .map(|address| address.as_str());
        Trouble::OutOfTime {
            addresses: addresses.collect::<Vec<_>>().join(", "),
            within: self.client.timeouts().settle,
        }
    }
}

/// The transaction of one commit: the head, compared; the log entry; the documents; and the end of
/// the log that is no longer kept.
pub(super) fn write(
    keys: &Keys,
    index: u64,
    head: &Head,
    record: &CommitRecord,
) -> Result<Txn, TxnError> {
    let mut txn = Txn::new();
    txn.cas(&keys.head(), index, &head.bytes())?;
    if index == 0 {
        // The first of a new life. What an older life left in the log belongs to no chain any more.
        txn.delete_tree(&keys.log_folder())?;
    }
    let entry = serde_json::to_vec(record).map_err(|_| TxnError::Full)?;
    txn.set(&keys.log(head.revision), &entry)?;
    for (name, change) in &record.services {
        let key = keys.service(name);
        match &change.after {
            Some(document) => txn.set(&key, document.raw().as_bytes())?,
            None => txn.delete(&key)?,
        }
    }
    if let Some(old) = head.revision.checked_sub(LOG_KEPT).filter(|old| *old > 0) {
        txn.delete(&keys.log(old))?;
    }
    Ok(txn)
}

/// The result for the largest number up to `most` for which there is one.
pub(super) fn longest<T>(most: usize, build: impl Fn(usize) -> Option<T>) -> Option<T> {
    // Several changes of one service are one operation, so there may be more than operations; all
    // of them is the usual case.
    if let Some(all) = build(most) {
        return Some(all);
    }
    let (mut fits, mut too_many) = (0, most.min(4 * MAX_TXN_OPS));
    let mut best = None;
    while fits + 1 < too_many {
        let middle = fits.midpoint(too_many);
        match build(middle) {
            Some(found) => {
                best = Some(found);
                fits = middle;
            }
            None => too_many = middle,
        }
    }
    best
}

/// Whether a view stands where the chain stands.
fn on(base: &StoreView, chain: &Chain) -> bool {
    let revision = chain.at.revision();
    // Without a revision, only the same table is the same point.
    base.revision == revision && (revision.is_some() || base.stored == chain.stored)
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Why nothing was committed that Consul will not take: as it is, or from this token.
pub(super) fn refused(why: impl Into<BoxError>) -> CommitError {
    let why = why.into();
    let first: &(dyn std::error::Error + 'static) = &*why;
    match successors(Some(first), |error| error.source()).any(is_denial) {
        true => CommitError::Denied { why },
        false => CommitError::Refused { why },
    }
}

/// Whether this is what is said of a token without the right.
fn is_denial(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_a_commit = matches!(error.downcast_ref(), Some(Trouble::Denied(_)));
    let of_a_call = matches!(error.downcast_ref(), Some(ClientError::Denied { .. }));
    of_a_commit || of_a_call
}

pub(super) fn unavailable(why: impl Into<BoxError>) -> CommitError {
    CommitError::Unavailable { why: why.into() }
}

/// An error with its causes, on one line.
pub(super) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text.push_str(": ");
        text.push_str(&one.to_string());
        cause = one.source();
    }
    text
}
