//! What two replicas do that differ: the one takes the other's table, or each tells the other what it lacks.

use std::collections::BTreeSet;

use proxy_core::{InstanceId, RegisterSet, RouteStore};
use proxy_peers::{Call, HeaderName, HeaderValue, Method, Outcome, PeerAddress, Repeat, Row};

use super::Exchange;
use crate::{
    announce::{REGISTERS_PATH, reason},
    chain::chain,
    store::{
        RegisterAnswer, RegisterCall,
        replicated::{Attendance, HearError, wire::PAGE_BYTES},
    },
};

/// How many pages are copied from one replica in a round.
const MOST_PAGES: usize = 256;

/// Why two replicas did not become equal. The next round tries again.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("the call cannot be made")]
    Call(#[source] proxy_core::BoxError),
    #[error("it does not answer: {0}")]
    NoAnswer(String),
    #[error("its answer cannot be read; is it a proxy of this version?")]
    Answer(#[source] serde_json::Error),
    #[error("it held something else by the time it was copied")]
    Moved,
    #[error(
        "{answered} answered there and {asked} did a moment ago: the address leads to several replicas, or it was started anew"
    )]
    Another {
        asked: InstanceId,
        answered: InstanceId,
    },
    #[error(transparent)]
    Hear(#[from] HearError),
}

// === impl Exchange ===

impl Exchange {
    /// Takes the table of one that knows better, where this replica was away for too long.
    pub(super) async fn give_way(&self, answers: &[(&PeerAddress, RegisterAnswer)]) {
        let mine = self.store.attendance();
        let held = self.store.view().revision;
        let best = answers.iter().max_by_key(|(_, answer)| answer.attendance);
        let Some((peer, best)) = best else { return };
        if !mine.gives_way_to(best.attendance) {
            return;
        }
        if best.revision == held {
            self.store.heard(best.attendance);
            return;
        }
        let why = format!(
            "this replica was away for longer than removals are remembered, and {peer} was not"
        );
        let taken = async {
            let theirs = self.copy(peer, &best.instance).await?;
            if theirs.revision() != best.revision {
                return Err(ExchangeError::Moved);
            }
            self.store.take_over(theirs, why).await?;
            Ok::<_, ExchangeError>(())
        };
        match taken.await {
            Ok(()) => {
                self.store.heard(best.attendance);
                tracing::warn!(%peer, "the table of another replica was taken in place of the own, which is older than removals are remembered");
            }
            Err(error) => {
                let why = chain(&error);
                tracing::warn!(%peer, why, "the table of another replica could not be copied; it is tried again");
            }
        }
    }

    /// All that another holds.
    async fn copy(
        &self,
        peer: &PeerAddress,
        instance: &InstanceId,
    ) -> Result<RegisterSet, ExchangeError> {
        let mut theirs = RegisterSet::default();
        for _ in 0..MOST_PAGES {
            let stamps = RegisterCall::Stamps(theirs.stamps());
            let page = self.ask(peer, instance, &stamps).await?;
            for (name, register) in &page.given {
                if let Err(problem) = theirs.merge(name, register) {
                    let why = chain(&problem);
                    tracing::error!(%peer, why, "a register that another replica told is left out");
                }
            }
            if !page.more {
                return Ok(theirs);
            }
        }
        Err(ExchangeError::NoAnswer("it has too much to tell".into()))
    }

    /// Tells one what it lacks and hears what it has. False where it is to take this replica's table
    /// instead, and must not tell its own.
    pub(super) async fn become_equal(
        &self,
        peer: &PeerAddress,
        answer: &RegisterAnswer,
    ) -> Result<bool, ExchangeError> {
        let mine = self.store.attendance();
        let stale = matches!(mine, Attendance::Returned | Attendance::Alone);
        // One that is new asks for itself: it must know how old it is what it is told.
        let to_new = stale && answer.attendance == Attendance::New;
        let gives_way = answer.attendance.gives_way_to(mine);
        if to_new || gives_way || mine.gives_way_to(answer.attendance) {
            return Ok(answer.revision == self.store.view().revision);
        }
        let (mut heard, mut told) = (0, 0);
        // Others may have told this replica the same a moment ago.
        if answer.revision != self.store.view().revision {
            for _ in 0..MOST_PAGES {
                let stamps = self.store.registers().stamps();
                let stamps = RegisterCall::Stamps(stamps);
                let page = self.ask(peer, &answer.instance, &stamps).await?;
                heard += page.given.len();
                self.store.hear(page.given).await?;
                let mut wanted = page.wanted;
                loop {
                    let given = self.store.registers().pick(&wanted, PAGE_BYTES);
                    let Some((last, _)) = given.last() else { break };
                    wanted.retain(|name| name > last);
                    told += given.len();
                    let given = RegisterCall::Registers(given);
                    self.ask(peer, &answer.instance, &given).await?;
                }
                if !page.more {
                    break;
                }
            }
            tracing::info!(%peer, heard, told, "this replica and another differed and told each other what was missing");
        }
        self.store.heard(answer.attendance);
        Ok(true)
    }

    /// Asks the replica that said before how far it can be relied on: what another one holds, to which
    /// the address leads by now, may be older than removals are remembered.
    async fn ask(
        &self,
        peer: &PeerAddress,
        instance: &InstanceId,
        ask: &RegisterCall,
    ) -> Result<RegisterAnswer, ExchangeError> {
        let one = BTreeSet::from([peer.clone()]);
        let report = self.copying.call(&one, &call(ask)?).await;
        let Some(row) = report.rows().first() else {
            return Err(ExchangeError::NoAnswer("it was not asked".into()));
        };
        let answer = answer_of(row)?;
        if answer.instance != *instance {
            return Err(ExchangeError::Another {
                asked: instance.clone(),
                answered: answer.instance,
            });
        }
        Ok(answer)
    }
}

pub(super) fn call(ask: &RegisterCall) -> Result<Call, ExchangeError> {
    let body = serde_json::to_vec(ask).map_err(|why| ExchangeError::Call(why.into()))?;
    let json = HeaderValue::from_static("application/json");
    Ok(Call::new(Method::POST, REGISTERS_PATH)
        .map_err(|why| ExchangeError::Call(why.into()))?
        .header(HeaderName::from_static("content-type"), json)
        .body(body)
        .repeat(Repeat::Harmless))
}

pub(super) fn answer_of(row: &Row) -> Result<RegisterAnswer, ExchangeError> {
    match row.outcome() {
        Outcome::Confirmed(reply) => {
            serde_json::from_slice(reply.body()).map_err(ExchangeError::Answer)
        }
        _ => Err(ExchangeError::NoAnswer(reason(row))),
    }
}
