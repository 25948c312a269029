//! One request to the API and its answer, bounded in time and length.

use std::error::Error;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

/// A replica that is there accepts at once.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// The longest answer that is read: a table of 10,000 services with room to spare.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
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
}

impl NoReply {
    /// Whether the proxy may have heard the question.
    pub(crate) fn may_be_heard(&self) -> bool {
        !matches!(self, Self::NotReached { .. })
    }
}

/// Asks one proxy.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    address: String,
    deadline: Duration,
    token: Option<SecretString>,
}

impl Client {
    pub(crate) fn new(
        address: String,
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
            address,
            deadline,
            token,
        })
    }

    pub(crate) async fn ask(&self, question: Question) -> Result<Reply, NoReply> {
        let mut request = self.http.request(question.method, question.url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some((kind, body)) = question.body {
            request = request
                .header(reqwest::header::CONTENT_TYPE, kind)
                .body(body);
        }
        let mut response = request.send().await.map_err(|error| self.why(error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.why(error))? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return Err(NoReply::TooLong {
                    address: self.address.clone(),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
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
