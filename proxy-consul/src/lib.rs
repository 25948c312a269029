//! Consul for the proxy suite.

mod client;
mod endpoints;
mod error;
mod kv;
mod legacy;
mod observe;
mod request;
mod settings;
mod store;
mod transport;
mod txn;
mod watch;

pub use client::{Answer, Client};
pub use endpoints::{Address, AddressError, DEFAULT_COOL_DOWN, Endpoints, MAX_ADDRESSES};
pub use error::{AddressFailure, ClientError, FailureKind, Sent, TransportError};
pub use kv::{CasOutcome, KvEntry};
pub use legacy::{LegacyProblem, LegacyTable, read_legacy};
pub use observe::{CallOutcome, Observer};
pub use request::{Method, Operation, Request, Response};
pub use settings::{
    ConsulSettings, ConsulSettingsBuilder, DEFAULT_BACKOFF_MAX, DEFAULT_BACKOFF_MIN,
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_FILL_TAKEOVER, DEFAULT_INSTANCE_NAME,
    DEFAULT_MAX_ANSWER_BYTES, DEFAULT_MAX_IN_FLIGHT, DEFAULT_REQUEST_TIMEOUT,
    DEFAULT_SETTLE_TIMEOUT, DEFAULT_WATCH_GRACE, DEFAULT_WATCH_WAIT, SettingsError, Timeouts, Tls,
};
pub use store::{ConsulStore, HeldTable, OnEmptyStore};
pub use transport::{HttpTransport, Transport};
pub use txn::{MAX_TXN_BYTES, MAX_TXN_OPS, Txn, TxnFull, TxnOutcome, TxnProblem};
pub use watch::Watch;
