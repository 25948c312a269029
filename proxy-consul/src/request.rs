//! One request to Consul and its answer, as values: built, compared and parsed without a network.

use std::{fmt, time::Duration};

use bytes::Bytes;

/// What a request is for. A closed set, fit for the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Read one key.
    Get,
    /// Read all keys below a prefix.
    List,
    /// Write one key if it has not changed.
    Cas,
    /// A transaction that only reads.
    ReadTxn,
    /// A transaction that writes.
    WriteTxn,
    /// Wait for a key to change.
    Watch,
    /// Read the instances of a service of the catalog.
    Instances,
    /// Read the names of the services of the catalog.
    Services,
    /// Wait for the catalog to change.
    WatchCatalog,
    /// Read what is registered on every node at once.
    Registrations,
    /// Ask what the token may read.
    Rights,
}

/// The methods that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// `GET`
    Get,
    /// `PUT`
    Put,
    /// `POST`
    Post,
}

/// One request, the same for every address it is sent to.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// What it is for.
    pub operation: Operation,
    /// The method.
    pub method: Method,
    /// Path and query, percent-encoded, beginning with `/v1/`.
    pub path_and_query: String,
    /// The body; empty for a `GET`.
    pub body: Bytes,
    /// The longest that one address may take for the whole answer.
    pub deadline: Duration,
}

/// One answer, read to its end.
#[derive(Clone)]
#[non_exhaustive]
pub struct Response {
    /// The status.
    pub status: u16,
    /// `X-Consul-Index`, where it was sent.
    pub index: Option<u64>,
    /// Whether it lacks what the token may not read (`X-Consul-Results-Filtered-By-ACLs`). Servers before 1.11
    /// never say so.
    pub is_filtered: bool,
    /// The body.
    pub body: Bytes,
}

// === impl Operation ===

impl Operation {
    /// The name in labels and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Cas => "cas",
            Self::ReadTxn => "read-txn",
            Self::WriteTxn => "write-txn",
            Self::Watch => "watch",
            Self::Instances => "instances",
            Self::Services => "services",
            Self::WatchCatalog => "watch-catalog",
            Self::Registrations => "registrations",
            Self::Rights => "rights",
        }
    }

    /// Whether it may change the store.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Cas | Self::WriteTxn)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Request ===

impl Request {
    pub(crate) fn get(operation: Operation, path_and_query: String, deadline: Duration) -> Self {
        Self {
            operation,
            method: Method::Get,
            path_and_query,
            body: Bytes::new(),
            deadline,
        }
    }

    pub(crate) fn put(
        operation: Operation,
        path_and_query: String,
        body: Bytes,
        deadline: Duration,
    ) -> Self {
        Self {
            operation,
            method: Method::Put,
            path_and_query,
            body,
            deadline,
        }
    }

    /// A question that does not fit into a path.
    pub(crate) fn post(
        operation: Operation,
        path_and_query: String,
        body: Bytes,
        deadline: Duration,
    ) -> Self {
        Self {
            method: Method::Post,
            ..Self::put(operation, path_and_query, body, deadline)
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {} ({} bytes)",
            self.method,
            self.path_and_query,
            self.body.len()
        )
    }
}

// === impl Response ===

impl Response {
    /// An answer, for transports other than the one of this crate.
    #[must_use]
    pub fn new(status: u16, index: Option<u64>, body: Bytes) -> Self {
        Self {
            status,
            index,
            is_filtered: false,
            body,
        }
    }

    /// The same, of a server that left out what the token may not read.
    #[must_use]
    pub fn filtered(self) -> Self {
        Self {
            is_filtered: true,
            ..self
        }
    }

    /// The beginning of the body, on one line, for messages.
    pub(crate) fn excerpt(&self) -> String {
        excerpt(&self.body)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.status, self.body.len())
    }
}

/// The most characters of a body that an error repeats.
const EXCERPT_CHARS: usize = 160;

/// The beginning of what a server sent, on one line and without control characters.
fn excerpt(body: &[u8]) -> String {
    let start = body.get(..4 * EXCERPT_CHARS).unwrap_or(body);
    String::from_utf8_lossy(start)
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(EXCERPT_CHARS)
        .collect()
}

/// Percent-encodes a key or a value of a query. Slashes stay, as Consul's keys are paths; which keys are none is
/// said by [`KeyProblem`](crate::KeyProblem).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                for half in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(half), 16).unwrap_or('0');
                    encoded.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_and_slashes_stay() {
        assert_eq!(
            encode("docker-flow/services/go_demo.v2"),
            "docker-flow/services/go_demo.v2"
        );
        assert_eq!(encode("a b?c#d%é"), "a%20b%3Fc%23d%25%C3%A9");
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        let long = Response::new(500, None, Bytes::from(vec![b'x'; 100_000]));
        assert_eq!(long.excerpt().len(), EXCERPT_CHARS);
        let lines = Response::new(500, None, Bytes::from_static(b"No cluster\nleader\x1b[0m"));
        assert_eq!(lines.excerpt(), "No cluster leader [0m");
    }
}
