//! One request to the API and its answer, bounded in time and length.
//!
//! Every answer of the API says by a header that it is one. A web page that some other server gives to whatever it is
//! asked is none, and whoever would give it is told neither the token nor a change.

use std::error::Error;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use crate::address::{ApiAddress, DEFAULT_PORT};
use crate::show;
use crate::verdict::Intent;

/// A replica that is there accepts at once.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// The longest answer that is read: a table of 10,000 services with room to spare.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// What every answer of the API carries.
const API_HEADER: &str = "x-proxy-api";

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) intent: Intent,
    pub(crate) url: Url,
    /// What it is, and its bytes.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoReply {
    #[error("no connection to {address}: {why}")]
    NotReached { address: String, why: String },
    #[error("no answer from {address} within {} ms", deadline.as_millis())]
    Late { address: String, deadline: Duration },
    #[error("the connection to {address} broke: {why}")]
    Broken { address: String, why: String },
    #[error("the answer of {address} is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong { address: String },
    #[error(
        "what answers at {address} is no admin API of a proxy (HTTP {}: {}){}; the API is at the proxy's setting PORT, which is {DEFAULT_PORT} unless it says another, and not at the ports of the traffic: --address {usual}",
        status.as_u16(), show::raw(body), if *sent { "" } else { "; nothing was sent to it" }
    )]
    Stranger {
        address: String,
        usual: String,
        status: StatusCode,
        body: String,
        /// Whether it was asked, or only who it is.
        sent: bool,
    },
}

impl NoReply {
    /// Whether the proxy may have heard the question.
    pub(crate) fn may_be_heard(&self) -> bool {
        !matches!(
            self,
            Self::NotReached { .. } | Self::Stranger { sent: false, .. }
        )
    }
}

impl Reply {
    /// Whether it comes from the API, or from something on the way to it that speaks for it.
    fn is_of_the_api(&self, ours: bool) -> bool {
        // What is between gives up on the API; and what is no request to anybody (too long a URL, too long a header)
        // is refused before there is an API that could say so.
        let between = [
            StatusCode::BAD_GATEWAY,
            StatusCode::GATEWAY_TIMEOUT,
            StatusCode::URI_TOO_LONG,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ];
        ours || between.contains(&self.status)
    }
}

/// Asks one proxy.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    api: ApiAddress,
    address: String,
    deadline: Duration,
    token: Option<SecretString>,
    /// Set once it is known that there is the API.
    known: OnceCell<()>,
}

impl Client {
    pub(crate) fn new(
        api: ApiAddress,
        deadline: Duration,
        token: Option<SecretString>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE.min(deadline))
            .timeout(deadline)
            // The admin API lies in one's own network, and a redirect would carry a
            // change to where nobody sent it.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("proxyctl/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            http,
            address: api.to_string(),
            api,
            deadline,
            token,
            known: OnceCell::new(),
        })
    }

    /// Asks, and before that who is there, where that must not hear it unless it is the API: a change, a token.
    pub(crate) async fn ask(&self, question: Question) -> Result<Reply, NoReply> {
        // Probes need no token, and so carry none.
        let token = self
            .token
            .as_ref()
            .filter(|_| question.intent != Intent::Probe);
        if question.intent == Intent::Change || token.is_some() {
            self.known.get_or_try_init(|| self.greet()).await?;
        }
        let (reply, ours) = self.send(question, token).await?;
        if reply.is_of_the_api(ours) {
            return Ok(reply);
        }
        Err(self.stranger(reply, true))
    }

    /// Asks who is there, with nothing that only the API may know.
    async fn greet(&self) -> Result<(), NoReply> {
        let question = Question {
            method: Method::GET,
            intent: Intent::Probe,
            url: self.api.endpoint("ping", &[]),
            body: None,
        };
        let (reply, ours) = self.send(question, None).await?;
        ours.then_some(())
            .ok_or_else(|| self.stranger(reply, false))
    }

    fn stranger(&self, reply: Reply, sent: bool) -> NoReply {
        NoReply::Stranger {
            address: self.address.clone(),
            usual: self.api.usual().to_string(),
            status: reply.status,
            body: reply.body,
            sent,
        }
    }

    /// The answer, and whether it says that it is the API's.
    async fn send(
        &self,
        question: Question,
        token: Option<&SecretString>,
    ) -> Result<(Reply, bool), NoReply> {
        let mut request = self.http.request(question.method, question.url);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some((kind, body)) = question.body {
            request = request
                .header(reqwest::header::CONTENT_TYPE, kind)
                .body(body);
        }
        let mut response = request.send().await.map_err(|error| self.why(error))?;
        let status = response.status();
        let ours = response.headers().contains_key(API_HEADER);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.why(error))? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return Err(NoReply::TooLong {
                    address: self.address.clone(),
                });
            }
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok((Reply { status, body }, ours))
    }

    fn why(&self, error: reqwest::Error) -> NoReply {
        let address = self.address.clone();
        let (connect, late) = (error.is_connect(), error.is_timeout());
        match (connect, late) {
            (true, true) => NoReply::NotReached {
                address,
                why: "it did not accept in time".to_owned(),
            },
            (true, false) => NoReply::NotReached {
                address,
                why: last_cause(&error.without_url()),
            },
            (false, true) => NoReply::Late {
                address,
                deadline: self.deadline,
            },
            (false, false) => NoReply::Broken {
                address,
                why: last_cause(&error.without_url()),
            },
        }
    }
}

/// The innermost cause: what the system said.
fn last_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
