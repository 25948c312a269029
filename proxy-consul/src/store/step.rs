//! What the state asks for next, and what it makes of an offer.

use proxy_core::ViewSeq;

use super::keys::HeadSeen;

/// When a read began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(pub(crate) u64);

/// What to do next to know what the store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: what is known is what the store holds.
    Done,
    /// Read the head, consistently.
    ReadHead,
    /// Read these entries of the log; the head was seen beyond or at the last.
    ReadLog { from: u64, to: u64, head: HeadSeen },
    /// Read everything but the log.
    ReadAll(History),
    /// The store was made anew and holds nothing: there is no head, or this one, without a commit.
    Empty(Option<HeadSeen>),
    /// The store is being filled and not whole yet.
    Filling(HeadSeen),
}

/// What is known about the store's history when everything is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// It may well go through the point known here.
    Mine,
    /// It does not: the chain was seen to break.
    Another,
}

/// What an offer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The table holds it, since before or from now on.
    Held(ViewSeq),
    /// Only the store can tell.
    Settle,
}
