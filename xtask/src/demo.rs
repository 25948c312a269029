//! The demo service: says `hello, world!` on `/demo/hello`, for `up` in this process and for `swarm` in a
//! container of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What the story's service says, with the line's end: 14 bytes.
pub(crate) const GREETING: &str = "hello, world!\n";

/// Connections at once; more wait for their turn.
const MAX_CONNECTIONS: usize = 256;

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// The longest line of a request that is read.
const MAX_LINE: usize = 16 * 1024;

/// The header with the name of the machine that answers: its container's, in a swarm.
pub(crate) const HOST: &str = "x-demo-host";

/// The header with what `RELEASE` says in the service's environment.
pub(crate) const RELEASE: &str = "x-demo-release";

/// The running service; ended by [`stop`](Self::stop) or a drop.
#[derive(Debug)]
pub(crate) struct Demo {
    address: SocketAddr,
    task: JoinSet<()>,
}

impl Demo {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(serve(listener));
        Ok(Self { address, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn stop(mut self) {
        self.task.shutdown().await;
    }
}

/// The service as a program of its own, until it is asked to end.
pub(crate) async fn until_ended(listen: SocketAddr) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("{listen} cannot be bound"))?;
    tokio::select! {
        () = serve(listener) => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// The header lines that say who answers.
fn who() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let release = std::env::var("RELEASE").unwrap_or_default();
    format!(
        "{HOST}: {}\r\n{RELEASE}: {release}\r\n",
        host.to_string_lossy()
    )
}

async fn serve(listener: TcpListener) {
    let who: Arc<str> = who().into();
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        if let Ok((stream, _)) = listener.accept().await {
            let who = Arc::clone(&who);
            connections.spawn(async move {
                // How a client ends its connection is its own affair.
                let _ended = converse(stream, &who).await;
            });
        }
    }
}

async fn converse(stream: TcpStream, who: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Some(request) = line(&mut stream).await? else {
            return Ok(());
        };
        while line(&mut stream)
            .await?
            .is_some_and(|header| !header.is_empty())
        {}
        let path = request.split_whitespace().nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let (status, body) = match path {
            "/demo/hello" => ("200 OK", GREETING),
            _ => ("404 Not Found", "not here\n"),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n{who}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
    }
}

/// The next line without its end; nothing when the client is done.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    loop {
        let buffer = timeout(IDLE, stream.fill_buf()).await??;
        if buffer.is_empty() {
            return Ok(None);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        bytes.extend(buffer.iter().take(taken));
        stream.consume(taken);
        if end.is_some() {
            let text = String::from_utf8_lossy(&bytes);
            return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
        }
        if bytes.len() > MAX_LINE {
            return Err(io::Error::other("a line that never ends"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::get;

    #[tokio::test]
    async fn it_greets_on_its_path_alone() {
        let demo = Demo::start().await.unwrap();
        let deadline = Duration::from_secs(5);

        let hello = get(demo.address(), "GET", "/demo/hello?x=1", deadline)
            .await
            .unwrap();
        let other = get(demo.address(), "GET", "/demo", deadline).await.unwrap();

        assert_eq!((hello.status, hello.body.as_str()), (200, GREETING));
        assert!(hello.header(HOST).is_some_and(|host| !host.is_empty()));
        assert_eq!(other.status, 404);
        demo.stop().await;
    }
}
