//! What came of a broadcast, for whoever answers the caller.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::address::PeerAddress;
use crate::call::PeerReply;
use crate::transport::TransportError;

/// One row per peer, in the order of their addresses.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
}

/// What came of the call to one peer.
#[derive(Debug)]
pub struct Row {
    address: PeerAddress,
    instance: Option<String>,
    outcome: Outcome,
    attempts: u32,
    took: Duration,
}

/// How the call to a peer ended, all tries taken together.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The peer answered with a 2xx.
    Confirmed(PeerReply),
    /// The peer answered with another status; what came of later tries, if anything, says less.
    Refused(PeerReply),
    /// The peer is this instance.
    Myself(PeerReply),
    /// There was no connection in any try: the peer has not heard the call.
    Unreachable(TransportError),
    /// There is no answer: the peer may have heard the call, in one of the tries.
    Unanswered(TransportError),
    /// The deadline was over before its turn came: the peer has not heard the call.
    NotTried,
}

impl Report {
    pub(super) fn new(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether every peer confirmed, this instance aside.
    pub fn all_confirmed(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The peers that did not confirm, this instance aside.
    pub fn missing(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(|row| !matches!(row.outcome, Outcome::Confirmed(_) | Outcome::Myself(_)))
    }
}

impl Row {
    pub(super) fn new(
        address: PeerAddress,
        instance: Option<String>,
        outcome: Outcome,
        attempts: u32,
        took: Duration,
    ) -> Self {
        Self {
            address,
            instance,
            outcome,
            attempts,
            took,
        }
    }

    /// Where the peer listens.
    pub fn address(&self) -> &PeerAddress {
        &self.address
    }

    /// The instance that answered, where it named itself.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// How it ended.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// How often the peer was tried.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// From the start of the broadcast to this row's end.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Why the peer did not confirm, in words; nothing where it did.
    pub fn reason(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Confirmed(_) | Outcome::Myself(_) => None,
            Outcome::Refused(reply) => Some(format!("answered {}", reply.status())),
            Outcome::Unreachable(error) | Outcome::Unanswered(error) => Some(chain(error)),
            Outcome::NotTried => Some("not tried before the deadline".to_owned()),
        }
    }
}

impl Outcome {
    /// What one try gave and then the next: that the next had no connection does not take back what was heard
    /// before.
    pub(super) fn then(self, next: Self) -> Self {
        match (&self, &next) {
            (Self::Unreachable(_) | Self::NotTried, _) => next,
            (_, Self::Unreachable(_)) => self,
            _ => next,
        }
    }

    /// The peer's reply, where there is one.
    pub fn reply(&self) -> Option<&PeerReply> {
        match self {
            Self::Confirmed(reply) | Self::Refused(reply) | Self::Myself(reply) => Some(reply),
            Self::Unreachable(_) | Self::Unanswered(_) | Self::NotTried => None,
        }
    }

    /// A word for each way to end: a closed set, fit for a metric's label.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Confirmed(_) => "confirmed",
            Self::Refused(_) => "refused",
            Self::Myself(_) => "myself",
            Self::Unreachable(_) => "unreachable",
            Self::Unanswered(_) => "unanswered",
            Self::NotTried => "not-tried",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An error and its last cause: the ends say what a reader can use, what lies
/// between repeats them.
fn chain(error: &TransportError) -> String {
    let mut last = None;
    let mut cause = error.source();
    while let Some(error) = cause {
        last = Some(error.to_string());
        cause = error.source();
    }
    match last {
        Some(last) => format!("{error}: {last}"),
        None => error.to_string(),
    }
}
