//! One HTTP request over a connection of its own: all that `up` and `swarm` need.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest answer that is read.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The lines before the body.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks and waits for the whole answer.
pub(crate) async fn get(
    address: SocketAddr,
    method: &str,
    target: &str,
    deadline: Duration,
) -> Result<Answer> {
    let asked = match timeout(deadline, ask(address, method, target)).await {
        Ok(asked) => asked,
        Err(_) => Err(anyhow!("no answer within {} s", deadline.as_secs())),
    };
    asked.with_context(|| format!("{method} http://{address}{target}"))
}

async fn ask(address: SocketAddr, method: &str, target: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await.context("no connection")?;
    // HTTP/1.0: the answer ends with the connection, and comes in no chunks.
    let request = format!("{method} {target} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    // The demo service keeps connections open: stop at the announced length.
    while !whole(&bytes) && u64::try_from(bytes.len())? < MAX_ANSWER {
        if stream.read_buf(&mut bytes).await? == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("the answer is no HTTP");
    };
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.context("the answer has no status")?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

// === impl Answer ===

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

fn whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok())
        .is_some_and(|length| body.len() >= length)
}
