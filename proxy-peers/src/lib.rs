//! Finds the replicas of a service and tells them all something at once.
//!
//! For whoever runs several equal processes without a leader: each finds the
//! others ([`Discover`]: a DNS name such as Docker Swarm's `tasks.<service>`, or a
//! list), follows their coming and going ([`Peers`]), and calls all of them in
//! parallel over HTTP ([`Broadcast`]), with a bound on everything that could hang
//! and a [`Report`] with one row per peer.
//!
//! ```
//! # use std::sync::Arc;
//! # use std::time::Duration;
//! use proxy_peers::{
//!     Broadcast, BroadcastSettings, Call, FollowSettings, Method, Peers, StaticDiscover,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let list: StaticDiscover = "127.0.0.1:9, 127.0.0.2:9".parse()?;
//! let peers = Peers::follow(Arc::new(list), FollowSettings::default());
//!
//! let broadcast = Broadcast::over_http(
//!     BroadcastSettings::default().total_deadline(Duration::from_secs(1)),
//! )?;
//! let known = peers.refresh(Duration::from_secs(1)).await;
//! let report = broadcast.call(known.peers(), &Call::new(Method::GET, "/ping")?).await;
//!
//! for row in report.rows() {
//!     println!("{} {} {:?}", row.address(), row.outcome(), row.took());
//! }
//! assert!(!report.all_confirmed()); // nobody listens there
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! It elects nobody, orders nothing and stores nothing: a broadcast is a hint,
//! and what is told must be true without it. It knows no message: a [`Call`] is a
//! method, a path, headers and bytes.
//!
//! # Foreign types in this interface
//! [`Method`], [`StatusCode`], [`HeaderMap`], [`HeaderName`] and [`HeaderValue`] of `http`,
//! [`Bytes`] of `bytes`, [`SecretString`] of `secrecy`, and the `watch::Receiver`
//! of `tokio`.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod address;
mod broadcast;
mod call;
mod discover;
mod follow;
mod own;
mod places;
mod realm;
mod seal;
mod sign;
mod transport;

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
pub use secrecy::SecretString;

pub use self::address::{AddressError, PeerAddress, PeerHost};
pub use self::broadcast::{
    Broadcast, BroadcastSettings, DEFAULT_ATTEMPT_DEADLINE, DEFAULT_ATTEMPTS, DEFAULT_FAN_OUT,
    DEFAULT_FIRST_BACKOFF, DEFAULT_TOTAL_DEADLINE, Identity, Outcome, Report, Row,
};
pub use self::call::{Call, CallError, PeerReply, Repeat};
pub use self::discover::{
    Answer, DEFAULT_DNS_DEADLINE, Discover, DiscoverError, DnsDiscover, NameServers,
    StaticDiscover, StaticListError,
};
pub use self::follow::{
    Condition, DEFAULT_GREATEST_PAUSE, DEFAULT_LEAST_PAUSE, FollowSettings, PeerSet, Peers,
};
pub use self::own::OwnAddresses;
pub use self::realm::{OtherRealm, Realm, RealmError};
pub use self::seal::{SealError, Sealer};
pub use self::sign::{
    AnswerError, BodyDigest, NoNonce, Nonce, SIGNATURE_HEADER, SIGNATURE_SCHEME, SIGNATURE_WINDOW,
    SignatureError, SignedCall, Signer, Skew,
};
pub use self::transport::{
    BuildError, DEFAULT_CONNECT_DEADLINE, DEFAULT_MAX_REPLY_BYTES, HttpTransport, Reach, Transport,
    TransportError,
};
