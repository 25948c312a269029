//! A small HTTP server that says who it is.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The longest head of a request; what is longer ends the connection.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// An HTTP server that answers 200 with one text on every path, keeps connections open and
/// remembers what it was last asked. Dropping it ends it.
#[derive(Debug)]
pub struct DemoBackend {
    address: SocketAddr,
    seen: Arc<Seen>,
    _task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: AtomicU64,
    connections: AtomicU64,
    last_head: Mutex<String>,
}

impl DemoBackend {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(text: &str) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), text).await
    }

    /// Starts at an address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn start_at(address: SocketAddr, text: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let seen = Arc::<Seen>::default();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&seen), answer.into()));
        Ok(Self {
            address,
            seen,
            _task: task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// How often somebody connected.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// The head of the last request, as it came.
    #[must_use]
    pub fn last_head(&self) -> String {
        let last = self.seen.last_head.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, answer: Arc<str>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                seen.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream, Arc::clone(&seen), Arc::clone(&answer)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers one request after the other; bodies are taken for requests of their own, so tests send
/// none.
async fn serve(mut stream: TcpStream, seen: Arc<Seen>, answer: Arc<str>) -> io::Result<()> {
    let mut pending = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        while let Some(end) = pending.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = pending.drain(..end + 4).collect();
            seen.requests.fetch_add(1, Ordering::Relaxed);
            *seen
                .last_head
                .lock()
                .unwrap_or_else(PoisonError::into_inner) =
                String::from_utf8_lossy(&head).into_owned();
            stream.write_all(answer.as_bytes()).await?;
        }
        let read = stream.read(&mut buffer).await?;
        if read == 0 || pending.len() > MAX_HEAD_BYTES {
            return Ok(());
        }
        pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
}
