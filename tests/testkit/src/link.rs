//! A TCP link that can be disturbed: it stands between a program and what it talks to, and cuts,
//! delays, holds or spoils what passes. It also counts, so that it can tell what a call costs.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long the far side may take to accept.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// What is read and passed on at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// What a slow link passes at a time, and the pause after it.
const SLOW_BYTES: usize = 32;
const SLOW_PAUSE: Duration = Duration::from_millis(20);
/// What a link sends in place of an answer when it spoils it.
const GARBAGE: &[u8] = b"\x16\x03\x01\xff\x00garbage\r\n{\"half\":";
/// By which a request is known and counted.
const REQUEST_MARK: &[u8] = b" HTTP/1.1\r\n";

/// What a link does to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disturbance {
    /// Nothing.
    None,
    /// Connections break, and new ones break at once.
    Cut,
    /// Nothing passes and nothing breaks. What was sent meanwhile arrives afterwards, as TCP does it.
    BlackHole,
    /// Everything comes this much later.
    Delay(Duration),
    /// Questions arrive; instead of the answer come bytes that are none, and the end.
    Garbage,
    /// Questions arrive; the first half of the answer comes, and the end.
    Half,
    /// Questions arrive; answers trickle.
    Slow,
}

/// A link to one address. Dropping it ends it with its connections.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

/// What has passed a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Connections that were opened.
    pub connections: u64,
    /// HTTP requests.
    pub requests: u64,
    /// Bytes towards the far side.
    pub bytes_there: u64,
    /// Bytes back.
    pub bytes_back: u64,
}

#[derive(Debug)]
struct Shared {
    disturbance: watch::Sender<Disturbance>,
    connections: AtomicU64,
    requests: AtomicU64,
    bytes_there: AtomicU64,
    bytes_back: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    There,
    Back,
}

// === impl Link ===

impl Link {
    /// A link on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        Self::between(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), target).await
    }

    /// A link on an address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn between(address: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            disturbance: watch::Sender::new(Disturbance::None),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            bytes_there: AtomicU64::new(0),
            bytes_back: AtomicU64::new(0),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, target, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _task: task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does this from now on, to open connections too.
    pub fn disturb(&self, disturbance: Disturbance) {
        self.shared.disturbance.send_replace(disturbance);
    }

    /// What it does now.
    #[must_use]
    pub fn disturbance(&self) -> Disturbance {
        *self.shared.disturbance.borrow()
    }

    /// What has passed so far.
    #[must_use]
    pub fn passed(&self) -> Passed {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Passed {
            connections: read(&self.shared.connections),
            requests: read(&self.shared.requests),
            bytes_there: read(&self.shared.bytes_there),
            bytes_back: read(&self.shared.bytes_back),
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(carry(stream, target, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection to its end. Both sides see the end when the streams are dropped.
async fn carry(near: TcpStream, target: SocketAddr, shared: Arc<Shared>) {
    let mut watched = shared.disturbance.subscribe();
    if *watched.borrow() == Disturbance::Cut {
        return;
    }
    let Ok(Ok(far)) = timeout(CONNECT_DEADLINE, TcpStream::connect(target)).await else {
        return;
    };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let both = async {
        tokio::try_join!(
            pump(near_read, far_write, Direction::There, &shared),
            pump(far_read, near_write, Direction::Back, &shared),
        )
    };
    tokio::select! {
        _ = both => {}
        _ = watched.wait_for(|now| *now == Disturbance::Cut) => {}
    }
}

/// Passes on what one side says. An error breaks the whole connection.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    shared: &Shared,
) -> io::Result<()> {
    let mut watched = shared.disturbance.subscribe();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut seen = RequestCounter::default();
    loop {
        let read = from.read(&mut buffer).await?;
        let chunk = buffer.get(..read).unwrap_or_default();
        // Held for as long as nothing passes, the end of the stream as well.
        let now = watched.wait_for(|now| *now != Disturbance::BlackHole).await;
        let now = *now.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        if read == 0 {
            return to.shutdown().await;
        }
        shared.count(direction, chunk, &mut seen);
        match (direction, now) {
            (_, Disturbance::Delay(by)) => {
                sleep(by).await;
                to.write_all(chunk).await?;
            }
            (Direction::Back, Disturbance::Garbage) => {
                to.write_all(GARBAGE).await?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            (Direction::Back, Disturbance::Half) => {
                to.write_all(chunk.get(..read / 2).unwrap_or_default())
                    .await?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            (Direction::Back, Disturbance::Slow) => {
                for few in chunk.chunks(SLOW_BYTES) {
                    to.write_all(few).await?;
                    sleep(SLOW_PAUSE).await;
                }
            }
            _ => to.write_all(chunk).await?,
        }
    }
}

// === impl Shared ===

impl Shared {
    fn count(&self, direction: Direction, chunk: &[u8], seen: &mut RequestCounter) {
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        match direction {
            Direction::There => {
                self.bytes_there.fetch_add(bytes, Ordering::Relaxed);
                self.requests
                    .fetch_add(seen.count(chunk), Ordering::Relaxed);
            }
            Direction::Back => {
                self.bytes_back.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }
}

/// Counts request lines, also those that two chunks share.
#[derive(Debug, Default)]
struct RequestCounter {
    tail: Vec<u8>,
}

impl RequestCounter {
    fn count(&mut self, chunk: &[u8]) -> u64 {
        self.tail.extend_from_slice(chunk);
        let marks = self.tail.windows(REQUEST_MARK.len());
        let count = marks.filter(|window| *window == REQUEST_MARK).count();
        let keep = self.tail.len().min(REQUEST_MARK.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haproxy::{DemoBackend, KeptConnection, Request, get};

    async fn linked() -> (DemoBackend, Link) {
        let backend = DemoBackend::start("hello, world!").await.unwrap();
        let link = Link::to(backend.address()).await.unwrap();
        (backend, link)
    }

    #[tokio::test]
    async fn it_passes_and_counts() {
        let (_backend, link) = linked().await;
        let mut kept = KeptConnection::new(link.address());
        for _ in 0..3 {
            let answer = kept.ask(&Request::get("/")).await.unwrap();
            assert_eq!(answer.body, "hello, world!");
        }
        get(link.address(), "localhost", "/").await.unwrap();
        let passed = link.passed();
        assert_eq!((passed.connections, passed.requests), (2, 4));
        assert!(passed.bytes_back > passed.bytes_there / 4, "{passed:?}");
    }

    #[tokio::test]
    async fn a_cut_breaks_what_is_open_and_what_is_new() {
        let (backend, link) = linked().await;
        let mut kept = KeptConnection::new(link.address());
        kept.ask(&Request::get("/")).await.unwrap();
        link.disturb(Disturbance::Cut);
        assert!(kept.ask(&Request::get("/")).await.is_err());
        assert!(get(link.address(), "localhost", "/").await.is_err());
        assert_eq!(backend.requests(), 1);
        link.disturb(Disturbance::None);
        assert_eq!(
            get(link.address(), "localhost", "/").await.unwrap().status,
            200
        );
    }

    #[tokio::test]
    async fn a_black_hole_gives_back_what_it_held() {
        let (backend, link) = linked().await;
        link.disturb(Disturbance::BlackHole);
        let asked = get(link.address(), "localhost", "/");
        tokio::pin!(asked);
        let early = timeout(Duration::from_millis(100), &mut asked).await;
        assert!(early.is_err(), "{early:?}");
        assert_eq!(backend.requests(), 0);
        link.disturb(Disturbance::None);
        assert_eq!(asked.await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn spoilt_answers_are_asked_for_and_are_none() {
        let (backend, link) = linked().await;
        for (asked, how) in [Disturbance::Garbage, Disturbance::Half]
            .into_iter()
            .enumerate()
        {
            link.disturb(how);
            let answer = get(link.address(), "localhost", "/").await;
            assert!(answer.is_err(), "{how:?}: {answer:?}");
            assert_eq!(backend.requests(), asked as u64 + 1);
        }
        for how in [
            Disturbance::Slow,
            Disturbance::Delay(Duration::from_millis(5)),
        ] {
            link.disturb(how);
            let answer = get(link.address(), "localhost", "/").await.unwrap();
            assert_eq!(answer.body, "hello, world!", "{how:?}");
        }
    }

    #[test]
    fn a_request_line_in_two_chunks_counts_once() {
        let mut counter = RequestCounter::default();
        let counts: Vec<_> = [
            "GET / HTT",
            "P/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r",
            "\n\r\n",
        ]
        .iter()
        .map(|chunk| counter.count(chunk.as_bytes()))
        .collect();
        assert_eq!(counts, [0, 1, 1]);
    }
}
