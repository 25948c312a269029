//! A hook that hears of every request, so that an owner can count calls per address and outcome.

use std::{fmt, time::Duration};

use crate::{endpoints::Address, error::FailureKind, request::Operation};

/// How one request to one address ended. A closed set, fit for the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CallOutcome {
    /// It was answered as asked; a key that is not there counts too.
    Ok,
    /// A transaction was refused, by its own conditions or for want of rights.
    Conflict,
    /// Denied for want of rights.
    Denied,
    /// Refused with another status of the 400s.
    Rejected,
    /// This address failed and the next was asked.
    Failed(FailureKind),
}

/// Hears of every request. It is called on the task that asked, so it must not block. Its panic is that task's:
/// what follows the store or the catalog says that it may be out of date, and begins anew.
pub trait Observer: Send + Sync + fmt::Debug {
    /// One request to one address has ended.
    fn request(
        &self,
        address: &Address,
        operation: Operation,
        outcome: CallOutcome,
        took: Duration,
    );
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deaf;

impl Observer for Deaf {
    fn request(&self, _: &Address, _: Operation, _: CallOutcome, _: Duration) {}
}

impl CallOutcome {
    /// The name in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Failed(kind) => kind.as_str(),
        }
    }
}
