//! As much HTTP/1.1 as a fake needs that has to break in the middle of an answer.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The largest head of a request.
const MAX_HEAD: usize = 64 * 1024;

/// The largest body of a request: above what Consul takes, so that the fake can refuse it.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) token: String,
    pub(crate) body: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) index: Option<u64>,
    pub(crate) body: Vec<u8>,
}

/// A connection with what was read ahead.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

// === impl HttpAnswer ===

impl HttpAnswer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            index: None,
            body: body.into(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let index = self
            .index
            .map(|index| format!("X-Consul-Index: {index}\r\nX-Consul-Knownleader: true\r\n"))
            .unwrap_or_default();
        let mut bytes = format!(
            "HTTP/1.1 {} Fake\r\nContent-Type: application/json\r\n{index}Content-Length: {}\r\n\r\n",
            self.status,
            self.body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next request; none at the end of the connection or when it makes no sense.
    pub(crate) async fn request(&mut self) -> Option<HttpRequest> {
        let head_end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.buffer.len() > MAX_HEAD || !self.fill().await {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.get(..head_end)?.to_vec()).ok()?;
        self.buffer.drain(..head_end + 4);
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ');
        let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
        let header = |wanted: &str| {
            head.lines().skip(1).find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let length: usize = header("content-length").unwrap_or("0").parse().ok()?;
        if length > MAX_BODY {
            return None;
        }
        while self.buffer.len() < length {
            if !self.fill().await {
                return None;
            }
        }
        let body = self.buffer.drain(..length).collect();
        let token = header("x-consul-token").unwrap_or_default().to_owned();
        Some(HttpRequest {
            method,
            target,
            token,
            body,
        })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Ends the connection with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        // A test's fake: where the option cannot be set the peer sees an orderly end.
        let _ = self.stream.set_zero_linger();
    }

    async fn fill(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.buffer).await;
        read.is_ok_and(|bytes| bytes > 0)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
