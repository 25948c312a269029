//! What goes wrong between us and Consul: which address, what, and whether a write may have arrived.

use std::{fmt, time::Duration};

use crate::{endpoints::Address, key::KeyProblem, request::Operation};

/// Whether a request may have reached the server that failed. It decides whether a write that
/// failed is known to have changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Sent {
    /// The server cannot have acted on it: no connection was made, or it said so.
    No,
    /// It may have been acted on, now or later.
    Maybe,
}

/// What failed at one address. A closed set, fit for the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FailureKind {
    /// The connection was refused or could not be made.
    Connect,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The name of the host did not resolve.
    Dns,
    /// The connection was made, but no answer came within the deadline.
    Timeout,
    /// The connection broke before the answer was complete.
    Reset,
    /// A status of 500 or above.
    ServerError,
    /// Status 429.
    RateLimited,
    /// An answer that Consul does not give: another program listens there, or half of one arrived.
    Garbage,
    /// The answer is larger than the bound.
    TooLarge,
}

/// A request that one address did not answer usefully; the next address is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
#[non_exhaustive]
pub struct TransportError {
    /// What failed.
    pub kind: FailureKind,
    /// What was seen.
    pub detail: String,
    /// Whether the server may have acted on the request.
    pub sent: Sent,
}

/// One address that failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressFailure {
    /// Who.
    pub address: Address,
    /// What.
    pub error: TransportError,
}

/// A request that got no useful answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Every address failed. To try again later is right.
    #[error("no Consul server answered the {operation}: {}", List(.failures))]
    AllFailed {
        /// What was asked.
        operation: Operation,
        /// Each address and why, in the order in which they were tried.
        failures: Vec<AddressFailure>,
    },
    /// A server refused for want of rights; the others would say the same.
    #[error(
        "Consul at {address} denied the {operation}: {message}; check the rights of the ACL token"
    )]
    Denied {
        /// Who said so.
        address: Address,
        /// What was asked.
        operation: Operation,
        /// Its words.
        message: String,
        /// The addresses before it that failed.
        failures: Vec<AddressFailure>,
    },
    /// A server refused the request as it is; to repeat it is of no use.
    #[error("Consul at {address} refused the {operation} with status {status}: {message}")]
    Rejected {
        /// Who said so.
        address: Address,
        /// What was asked.
        operation: Operation,
        /// The status.
        status: u16,
        /// Its words.
        message: String,
        /// The addresses before it that failed.
        failures: Vec<AddressFailure>,
    },
    /// Nothing was sent: too many requests of this client were under way, and none of them ended in time. It says
    /// nothing of any server. To try again later is right.
    #[error(
        "the {operation} was not sent: {under_way} of this client are under way, and none ended within {waited:?}"
    )]
    Busy {
        /// What was to be asked.
        operation: Operation,
        /// How many may be under way at once, of requests or of watches.
        under_way: usize,
        /// How long was waited.
        waited: Duration,
    },
    /// Nothing was sent: Consul would read or write another key than this one. To repeat it is of no use.
    #[error("the {operation} of {key:?} was not sent: {problem}")]
    Key {
        /// What was to be asked.
        operation: Operation,
        /// The key, the prefix, or the name of the service.
        key: String,
        /// What is wrong with it.
        problem: KeyProblem,
    },
}

/// Failures as one line.
pub(crate) struct List<'a>(pub(crate) &'a [AddressFailure]);

// === impl FailureKind ===

impl FailureKind {
    /// The name in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::Dns => "dns",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::ServerError => "server-error",
            Self::RateLimited => "rate-limited",
            Self::Garbage => "garbage",
            Self::TooLarge => "too-large",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::ConnectTimeout => "no connection in time",
            Self::Dns => "the name does not resolve",
            Self::Timeout => "no answer in time",
            Self::Reset => "the connection broke",
            Self::ServerError => "server error",
            Self::RateLimited => "rate limited",
            Self::Garbage => "not an answer of Consul",
            Self::TooLarge => "the answer is too large",
        })
    }
}

// === impl TransportError ===

impl TransportError {
    /// A failure, for transports other than the one of this crate.
    #[must_use]
    pub fn new(kind: FailureKind, sent: Sent, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            sent,
        }
    }
}

// === impl ClientError ===

impl ClientError {
    /// The addresses that failed on the way.
    #[must_use]
    pub fn failures(&self) -> &[AddressFailure] {
        match self {
            Self::AllFailed { failures, .. }
            | Self::Denied { failures, .. }
            | Self::Rejected { failures, .. } => failures,
            Self::Busy { .. } | Self::Key { .. } => &[],
        }
    }

    /// Whether one of the addresses may have acted on the request all the same. For a write, `No`
    /// means that it changed nothing.
    #[must_use]
    pub fn sent(&self) -> Sent {
        may_have_arrived(self.failures())
    }
}

/// Whether one of these may have acted.
pub(crate) fn may_have_arrived(failures: &[AddressFailure]) -> Sent {
    failures
        .iter()
        .map(|failure| failure.error.sent)
        .max()
        .unwrap_or(Sent::No)
}

impl fmt::Display for AddressFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.error)
    }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, failure) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(", ")?;
            }
            fmt::Display::fmt(failure, f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_cross_threads() {
        fn fits<T: std::error::Error + Send + Sync + 'static>() {}
        fits::<ClientError>();
        fits::<TransportError>();
    }

    #[test]
    fn an_error_names_each_address_and_why() {
        let failure = |address: &str, kind, sent, detail: &str| AddressFailure {
            address: address.parse().unwrap(),
            error: TransportError::new(kind, sent, detail),
        };
        let error = ClientError::AllFailed {
            operation: Operation::WriteTxn,
            failures: vec![
                failure("a:1", FailureKind::Connect, Sent::No, "connection refused"),
                failure(
                    "b:2",
                    FailureKind::ServerError,
                    Sent::Maybe,
                    "500 No cluster leader",
                ),
            ],
        };
        assert_eq!(
            error.to_string(),
            "no Consul server answered the write-txn: http://a:1 (no connection: connection refused), \
             http://b:2 (server error: 500 No cluster leader)"
        );
        assert_eq!(error.sent(), Sent::Maybe);
    }
}
