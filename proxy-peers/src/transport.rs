//! How one call reaches one peer: the seam [`Transport`], and HTTP.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use reqwest::redirect;

use crate::address::PeerAddress;
use crate::call::{Call, PeerReply};
use crate::sign::AnswerError;

/// How long a connection may take. Peers share a network: one that is there
/// accepts within milliseconds, one second allows for a lost SYN.
pub const DEFAULT_CONNECT_DEADLINE: Duration = Duration::from_millis(1_500);

/// The longest reply that is read. A peer's answer is a status and a few lines;
/// a report of what it refused stays far below.
pub const DEFAULT_MAX_REPLY_BYTES: usize = 256 * 1024;

/// Idle connections to a peer are closed after this: longer than a burst of
/// changes, shorter than what routers between hosts forget.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// Sends one call to one peer, once. Production uses [`HttpTransport`]; a test
/// answers itself.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends method, path, body and every header ([`Call::headers`]: the signature and the identity are among
    /// them), and waits for the whole answer, which is given with its headers. The caller brings the deadline and
    /// drops the future when it is over.
    ///
    /// # Errors
    /// When there is no answer; [`TransportError::reach`] says whether the peer
    /// may have heard the call.
    async fn send(&self, peer: &PeerAddress, call: &Call) -> Result<PeerReply, TransportError>;
}

/// How far a call without an answer got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// There was no connection: the peer has not heard it.
    NotSent,
    /// It was or may have been sent: the peer may have heard it.
    MaybeHeard,
    /// The peer answered, with something that is no answer; asking again helps nothing.
    Misunderstood,
}

/// Why a peer's answer is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection came about.
    #[error("no connection")]
    Connect {
        /// What the system says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No connection came about in time.
    #[error("no connection within {} ms", deadline.as_millis())]
    ConnectTimeout {
        /// How long was waited.
        deadline: Duration,
    },
    /// No whole answer came in time.
    #[error("no answer within {} ms", deadline.as_millis())]
    Timeout {
        /// How long was waited.
        deadline: Duration,
    },
    /// The connection broke before the whole answer was there.
    #[error("the connection broke before the answer was whole")]
    Broken {
        /// What the system says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What came is no HTTP.
    #[error("the answer is no HTTP")]
    Garbled {
        /// What the parser says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer is not the peer's, or something changed it on its way.
    #[error("answered {status}, which is not taken for the peer's answer")]
    Unverified {
        /// The status that it claims.
        status: StatusCode,
        /// Why not.
        #[source]
        source: AnswerError,
    },
    /// The answer is longer than what is read of one.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

impl TransportError {
    /// How far the call got.
    pub fn reach(&self) -> Reach {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } => Reach::NotSent,
            Self::Timeout { .. } | Self::Broken { .. } => Reach::MaybeHeard,
            Self::Garbled { .. } | Self::TooLong { .. } | Self::Unverified { .. } => {
                Reach::Misunderstood
            }
        }
    }
}

/// An HTTP client that cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for peers cannot be set up")]
pub struct BuildError {
    #[source]
    source: reqwest::Error,
}

/// HTTP/1.1 without proxies and redirects, over pooled connections.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
    connect_deadline: Duration,
    max_reply_bytes: usize,
}

impl HttpTransport {
    /// Sets the client up.
    ///
    /// # Errors
    /// When the system lacks what it needs.
    pub fn new(connect_deadline: Duration, max_reply_bytes: usize) -> Result<Self, BuildError> {
        let client = reqwest::Client::builder()
            .connect_timeout(connect_deadline)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            // Peers speak plain HTTP; reading all that the system trusts takes milliseconds of a start.
            .tls_certs_only([])
            .build()
            .map_err(|source| BuildError { source })?;
        Ok(Self {
            client,
            connect_deadline,
            max_reply_bytes,
        })
    }

    fn classify(&self, error: reqwest::Error) -> TransportError {
        if error.is_connect() && error.is_timeout() {
            return TransportError::ConnectTimeout {
                deadline: self.connect_deadline,
            };
        }
        let connect = error.is_connect();
        let garbled = is_parse_error(&error);
        // The peer's address stands in the row; a URL may carry secrets.
        let source = Box::new(error.without_url());
        if connect {
            TransportError::Connect { source }
        } else if garbled {
            TransportError::Garbled { source }
        } else {
            TransportError::Broken { source }
        }
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Bytes, TransportError> {
        let mut body = BytesMut::new();
        let too_long = TransportError::TooLong {
            limit: self.max_reply_bytes,
        };
        let chunks = async {
            while let Some(chunk) = response.chunk().await.map_err(|e| self.classify(e))? {
                if body.len().saturating_add(chunk.len()) > self.max_reply_bytes {
                    return Err(too_long);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(())
        };
        chunks.await?;
        Ok(body.freeze())
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, peer: &PeerAddress, call: &Call) -> Result<PeerReply, TransportError> {
        let url = format!("http://{peer}{}", call.path());
        let response = self
            .client
            .request(call.method().clone(), url)
            .headers(call.headers().clone())
            .body(call.body_bytes().clone())
            .send()
            .await
            .map_err(|error| self.classify(error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = self.read(response).await?;
        Ok(PeerReply::from_parts(status, headers, body))
    }
}

/// Whether hyper found bytes that are no HTTP. Its error type is not in reach, so
/// its words decide; when they change, such an answer counts as a broken connection.
fn is_parse_error(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if text.contains("invalid HTTP") || text.contains("parse") {
            return true;
        }
        cause = error.source();
    }
    false
}
