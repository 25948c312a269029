//! What is said to a peer and what it says back: plain values.

use std::fmt;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// One request, the same for every peer.
#[derive(Clone)]
pub struct Call {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
    repeat: Repeat,
}

/// Whether a peer may hear a call twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Repeat {
    /// Hearing it twice is as good as once: it is sent again after a lost answer,
    /// a 429 or a 503, too.
    Harmless,
    /// It is sent again only where the peer cannot have heard it.
    #[default]
    Unwanted,
}

/// A path that cannot stand in a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path:?} is no path of a request: it starts with '/' and holds no blanks or control characters"
)]
pub struct CallError {
    path: String,
}

/// What a peer answered.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerReply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// A call without headers and body, that peers should not hear twice.
    ///
    /// # Errors
    /// When `path` (with its query) is not one that HTTP can carry.
    pub fn new(method: Method, path: &str) -> Result<Self, CallError> {
        let error = || CallError {
            path: path.to_owned(),
        };
        if !path.starts_with('/') {
            return Err(error());
        }
        Ok(Self {
            method,
            path: path.parse().map_err(|_| error())?,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            repeat: Repeat::default(),
        })
    }

    /// Sets a header, in place of one of that name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With more in its query, which is plain text.
    pub(crate) fn and_query(mut self, more: &str) -> Self {
        let joint = if self.path.query().is_some() {
            '&'
        } else {
            '?'
        };
        let path = format!("{}{joint}{more}", self.path);
        // A path stays one with plain text behind it.
        self.path = path.parse().unwrap_or(self.path);
        self
    }

    /// Says whether peers may hear it twice.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path and the query.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// A header's value.
    pub fn header_value(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
    }

    /// All headers, for a [`Transport`](crate::Transport) of one's own: a call without them carries neither the
    /// signature nor who makes it.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body; cheap to clone.
    pub fn body_bytes(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn may_repeat(&self) -> Repeat {
        self.repeat
    }
}

impl fmt::Debug for Call {
    /// Neither the query, the headers' values nor the body: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("path", &self.path.path())
            .field("body_bytes", &self.body.len())
            .field("repeat", &self.repeat)
            .finish_non_exhaustive()
    }
}

impl PeerReply {
    /// A reply without headers.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    /// The same reply with a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// A reply with all its headers, for a [`Transport`](crate::Transport) of one's own.
    pub fn from_parts(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            headers,
            body,
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The first value of a header.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
    }

    /// The body, whole.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl fmt::Debug for PeerReply {
    /// Not the body: it is the peer's, and may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerReply")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_would_be_another_request_is_refused() {
        for path in [
            "",
            "ping",
            "//evil\r\nHost: x",
            "/a b",
            "http://evil/",
            "@evil/",
        ] {
            assert!(Call::new(Method::GET, path).is_err(), "{path:?}");
        }
        assert_eq!(Call::new(Method::GET, "/a?b=c").unwrap().path(), "/a?b=c");
    }

    #[test]
    fn debug_shows_no_secret() {
        let call = Call::new(Method::PUT, "/cert?token=geheim")
            .unwrap()
            .header(
                http::header::AUTHORIZATION,
                HeaderValue::from_static("Bearer geheim"),
            )
            .body("geheim");
        let reply = PeerReply::new(StatusCode::OK, "geheim");

        let text = format!("{call:?} {reply:?}");

        assert!(!text.contains("geheim"), "{text}");
    }
}
