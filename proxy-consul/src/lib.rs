//! A Consul client that fails well, and a route table kept in Consul that converges.
//!
//! For engineers who write a service of their own against Consul's key-value store and have met its
//! sharp ends: a first server that hangs, a write whose answer was lost, a token that makes keys
//! look deleted. The client alone needs nothing else of this suite:
//!
//! ```
//! use proxy_consul::{CasOutcome, Client, ConsulSettings, Endpoints};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // Tried in this order; one that just failed is tried last for a while.
//! let addresses = Endpoints::parse_list("10.0.0.1:8500, 10.0.0.2:8500, https://10.0.0.3:8501")?;
//! let client = Client::new(&ConsulSettings::builder(addresses).build()?)?;
//!
//! let (index, next) = match client.get("counters/visits").await? {
//!     Some(entry) => (entry.modify_index, str::from_utf8(&entry.value)?.parse::<u64>()? + 1),
//!     None => (0, 1),
//! };
//! let written = client.cas("counters/visits", index, next.to_string().into()).await?;
//! match written.value {
//!     CasOutcome::Written => println!("{} says it is {next} now", written.address),
//!     _ => println!("somebody else counted at the same moment"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The store on top of it is a [`RouteStore`](proxy_core::RouteStore): commits are compared and
//! set, replicas follow one small key, and every one of them ends with the same table.
//!
//! ```no_run
//! use proxy_consul::{ConsulSettings, ConsulStore, Endpoints, OnEmptyStore};
//! use proxy_core::{Change, Params, RouteStore, parse_reconfigure};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = ConsulSettings::builder(Endpoints::parse_list("consul:8500")?).build()?;
//! let store = ConsulStore::start(&settings, "replica-1".parse()?, None, OnEmptyStore::Refill)?;
//! let base = store.changed(store.view().seq).await;
//!
//! let params = Params::from_query("serviceName=go-demo&servicePath=/demo&port=8080")?;
//! let change = Change::Put(parse_reconfigure(&params)?.value.service);
//! let committed = store.commit(&base, &[change]).await?;
//! println!("stored as revision {}", committed.record.revision);
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | say where Consul is | [`Endpoints::parse_list`], [`ConsulSettings`] |
//! | read and write keys | [`Client::get`], [`Client::list`], [`Client::cas`] |
//! | do several things at once | [`Txn`], [`Client::txn`] |
//! | wait for a key | [`Watch`] |
//! | know whether a failed write may have arrived | [`ClientError::sent`], [`Answer::doubtful`] |
//! | count calls | [`Observer`] |
//! | follow the instances of services in the catalog | [`Catalog`] |
//! | keep routes | [`ConsulStore`] |
//! | read what Docker Flow Proxy of 2016 left | [`read_legacy`] |
//! | test without a network | [`Transport`] |
//!
//! # When one server fails
//! | what it does | what follows |
//! |---|---|
//! | refuses, does not resolve, does not connect in time | next address; a write is known not to have been sent |
//! | resets, is silent, answers 5xx, garbage or too much | next address; a write may have arrived |
//! | 429 | next address; nothing was done |
//! | other 4xx | stop: the others would say the same |
//! | every address failed | one error that lists each and why |
//!
//! A key that Consul would take for another (`a/../b`, `a//b`, `/a`) is sent to none: [`KeyProblem`].
//!
//! # Foreign types in this interface
//! `Bytes` of `bytes`, `SecretString` of `secrecy`, the names, changes and views of `proxy_core`, and
//! `reqwest::Error` as a source of [`SettingsError`].
//!
//! The crate has no features. It logs with `tracing` and installs no subscriber. It runs on tokio.

mod catalog;
mod client;
mod endpoints;
mod error;
mod key;
mod kv;
mod legacy;
mod observe;
mod pause;
mod request;
mod settings;
mod store;
mod transport;
mod txn;
mod watch;

pub use catalog::{Catalog, CatalogView, Health, Instance, MAX_INSTANCES};
pub use client::{Answer, Client};
pub use endpoints::{
    Address, AddressError, DEFAULT_COOL_DOWN, DEFAULT_PORT, Endpoints, MAX_ADDRESSES,
};
pub use error::{AddressFailure, ClientError, FailureKind, Sent, TransportError};
pub use key::KeyProblem;
pub use kv::{CasOutcome, KvEntry};
pub use legacy::{LegacyProblem, LegacyTable, read_legacy};
pub use observe::{CallOutcome, Observer};
pub use request::{Method, Operation, Request, Response};
pub use settings::{
    ConsulSettings, ConsulSettingsBuilder, DEFAULT_BACKOFF_MAX, DEFAULT_BACKOFF_MIN,
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_FILL_TAKEOVER, DEFAULT_INSTANCE_NAME,
    DEFAULT_MAX_ANSWER_BYTES, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_WATCHES, DEFAULT_REQUEST_TIMEOUT,
    DEFAULT_SETTLE_TIMEOUT, DEFAULT_WATCH_GRACE, DEFAULT_WATCH_WAIT, SettingsError, Timeouts, Tls,
};
pub use store::{ConsulStore, HeldTable, OnEmptyStore};
pub use transport::{HttpTransport, Transport};
pub use txn::{MAX_TXN_BYTES, MAX_TXN_OPS, Txn, TxnError, TxnOutcome, TxnProblem};
pub use watch::Watch;

/// The samples of the README are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
