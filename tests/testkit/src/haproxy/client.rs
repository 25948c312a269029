//! A plain HTTP client that hides nothing: every byte and every failure is the test's.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Nothing that is tested here takes as long.
const DEADLINE: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// What is asked, byte for byte.
#[derive(Debug, Clone)]
pub struct Request {
    method: &'static str,
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The lines of the head, as they came.
    pub head: String,
    /// The body.
    pub body: String,
}

/// A client that sends one request after the other, on one connection for as long as the server
/// keeps it open.
#[derive(Debug)]
pub struct KeptConnection {
    address: SocketAddr,
    open: Option<TcpStream>,
}

impl Request {
    /// A GET of this target, without a header.
    #[must_use]
    pub fn get(target: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "GET",
            target: target.into(),
            headers: Vec::new(),
        }
    }

    /// The same with another method; there is no body.
    #[must_use]
    pub fn with_method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    /// The same with another header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn bytes(&self, last: bool) -> Vec<u8> {
        let mut bytes = [
            self.method.as_bytes(),
            b" ",
            self.target.as_slice(),
            b" HTTP/1.1\r\n",
        ]
        .concat();
        for (name, value) in &self.headers {
            bytes.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
        }
        if last {
            bytes.extend(b"Connection: close\r\n");
        }
        bytes.extend(b"\r\n");
        bytes
    }
}

impl KeptConnection {
    /// A client of this address; it connects with its first request.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            open: None,
        }
    }

    /// Asks. A connection that ends without an answer is not opened again for the same request.
    ///
    /// # Errors
    /// When no whole answer comes within 10 seconds.
    pub async fn ask(&mut self, request: &Request) -> io::Result<HttpAnswer> {
        let exchange = async {
            let mut stream = match self.open.take() {
                Some(stream) => stream,
                None => TcpStream::connect(self.address).await?,
            };
            stream.write_all(&request.bytes(false)).await?;
            let answer = read_answer(&mut stream).await?;
            if header(&answer.head, "connection").is_none_or(|value| value != "close") {
                self.open = Some(stream);
            }
            Ok(answer)
        };
        timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// GETs a path of a host on a connection of its own.
///
/// # Errors
/// When no whole answer comes within 10 seconds.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> io::Result<HttpAnswer> {
    request(address, &Request::get(path).with_header("Host", host)).await
}

/// POSTs JSON to a path of a host on a connection of its own.
///
/// # Errors
/// When no whole answer comes within 10 seconds.
pub async fn post(
    address: SocketAddr,
    host: &str,
    path: &str,
    json: &str,
) -> io::Result<HttpAnswer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let question = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        stream.write_all(question.as_bytes()).await?;
        read_answer(&mut stream).await
    };
    timeout(DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Asks on a connection of its own.
///
/// # Errors
/// When no whole answer comes within 10 seconds.
pub async fn request(address: SocketAddr, request: &Request) -> io::Result<HttpAnswer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&request.bytes(true)).await?;
        read_answer(&mut stream).await
    };
    timeout(DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Reads one answer: as long as it says it is, else to the end of the connection.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<HttpAnswer> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        let parts = text.split_once("\r\n\r\n");
        let length =
            parts.and_then(|(head, _)| header(head, "content-length")?.parse::<usize>().ok());
        let whole = match (parts, length) {
            (Some((_, body)), Some(length)) => body.len() >= length,
            _ => false,
        };
        let read = if whole {
            0
        } else {
            stream.read(&mut buffer).await?
        };
        if read == 0 {
            let (head, body) = parts.ok_or_else(|| bad("the connection ended before an answer"))?;
            if length.is_some() && !whole {
                return Err(bad("the connection ended in the middle of an answer"));
            }
            let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
            return Ok(HttpAnswer {
                status: status.ok_or_else(|| bad("the answer has no status"))?,
                head: head.to_owned(),
                body: body.to_owned(),
            });
        }
        bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(bad("the answer is too long"));
        }
    }
}

/// A header's value, by its name in lower case.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
