//! Servers that look like Consul and fail as scripted. Several servers share one store, as a
//! cluster does.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{
    answer::answer,
    http::{Connection, HttpAnswer, HttpRequest},
    kv::FakeKv,
};

/// A fake cluster. Everything ends when it is dropped.
#[derive(Debug)]
pub struct FakeConsul {
    kv: Arc<FakeKv>,
    servers: Vec<FakeServer>,
}

/// One server of a fake cluster.
#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What a server does instead of answering as it should.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Answers as it should: takes a turn in a row of faults.
    None,
    /// Reads the request and never answers; nothing is done.
    BlackHole,
    /// Resets the connection; nothing is done.
    Reset,
    /// Does what was asked and resets in the middle of the answer.
    ResetInAnswer,
    /// Does what was asked and resets without an answer.
    ApplyThenReset,
    /// Does what was asked and never answers.
    ApplyThenHang,
    /// Does what was asked and answers this instead.
    ApplyThenAnswer(u16, String),
    /// Answers this; nothing is done.
    Answer(u16, String),
    /// Answers 200 with a body of this many bytes; nothing is done.
    Huge(usize),
    /// Answers as it should, later. What was asked is done after the delay.
    Delay(Duration),
}

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum On {
    /// All.
    Any,
    /// Those that may change something.
    Writes,
    /// Those that change nothing, watches included.
    Reads,
    /// Blocking queries.
    Watches,
}

/// A request that a server got.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// `GET` or `PUT`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The token that came with it.
    pub token: String,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    kv: Arc<FakeKv>,
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    once: VecDeque<(On, Fault)>,
    always: Vec<(On, Fault)>,
    seen: Vec<Seen>,
}

// === impl FakeConsul ===

impl FakeConsul {
    /// Starts servers on free ports of the loopback address.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn start(servers: usize) -> Self {
        let kv = Arc::new(FakeKv::new());
        let mut list = Vec::new();
        for _ in 0..servers {
            list.push(FakeServer::start(Arc::clone(&kv)).await);
        }
        Self { kv, servers: list }
    }

    /// The store that the servers share.
    #[must_use]
    pub fn kv(&self) -> &FakeKv {
        &self.kv
    }

    /// One server, counted from 0.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a test asked for a server that it did not start"
    )]
    pub fn server(&self, nth: usize) -> &FakeServer {
        self.servers.get(nth).expect("a server of this number")
    }

    /// All addresses as `CONSUL_ADDRESS` takes them.
    #[must_use]
    pub fn addresses(&self) -> String {
        let list: Vec<_> = self.servers.iter().map(FakeServer::address).collect();
        list.join(",")
    }
}

// === impl FakeServer ===

impl FakeServer {
    #[expect(clippy::expect_used, reason = "a test without a port cannot run")]
    async fn start(kv: Arc<FakeKv>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            kv,
            script: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            task: Mutex::new(Some(task)),
        }
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Does this with the next such request that no earlier fault is for, once.
    pub fn once(&self, on: On, fault: Fault) {
        self.script().once.push_back((on, fault));
    }

    /// Does this with every such request, until [`FakeServer::heal`].
    pub fn always(&self, on: On, fault: Fault) {
        self.script().always.push((on, fault));
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        let mut script = self.script();
        script.once.clear();
        script.always.clear();
    }

    /// Stops listening and ends all connections: new ones are refused.
    pub async fn down(&self) {
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
            let _ended = task.await;
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Panics
    /// When the port was taken meanwhile.
    #[expect(clippy::expect_used, reason = "a test without its port cannot run")]
    pub async fn up(&self) {
        self.down().await;
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("SO_REUSEADDR");
        socket.bind(self.address).expect("the port of before");
        let listener = socket.listen(1024).expect("a listener");
        *self.task() = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
    }

    /// The requests that arrived, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.script().seen.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script()
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        if let Some(task) = self.task().take() {
            task.abort();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request and picks what is to be done with it.
    fn fault(&self, request: &HttpRequest) -> Option<Fault> {
        let mut script = self.script();
        script.seen.push(Seen {
            method: request.method.clone(),
            target: request.target.clone(),
            token: request.token.clone(),
            body: request.body.clone(),
        });
        let once = script.once.iter().position(|(on, _)| on.fits(request));
        if let Some(at) = once {
            return script.once.remove(at).map(|(_, fault)| fault);
        }
        let standing = script.always.iter().find(|(on, _)| on.fits(request));
        standing.map(|(_, fault)| fault.clone())
    }
}

// === impl On ===

impl On {
    fn fits(self, request: &HttpRequest) -> bool {
        let watch = request.target.contains("index=");
        // A transaction that only reads is a PUT as well.
        let writes = request.method != "GET" && !read_only(&request.body);
        match self {
            Self::Any => true,
            Self::Writes => writes,
            Self::Reads => !writes,
            Self::Watches => watch,
        }
    }
}

fn read_only(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.starts_with("[{\"KV\":{\"Verb\":\"get")
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&shared)));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let mut connection = Connection::new(stream);
    while let Some(request) = connection.request().await {
        let answered = match shared.fault(&request) {
            None | Some(Fault::None) => answer(&shared.kv, &request).await,
            Some(Fault::BlackHole) => return hang(connection).await,
            Some(Fault::Reset) => return connection.reset(),
            Some(Fault::ResetInAnswer) => {
                let bytes = answer(&shared.kv, &request).await.bytes();
                let half = bytes.get(..bytes.len().saturating_sub(5)).unwrap_or(&bytes);
                connection.write(half).await;
                return connection.reset();
            }
            Some(Fault::ApplyThenReset) => {
                answer(&shared.kv, &request).await;
                return connection.reset();
            }
            Some(Fault::ApplyThenHang) => {
                answer(&shared.kv, &request).await;
                return hang(connection).await;
            }
            Some(Fault::ApplyThenAnswer(status, body)) => {
                answer(&shared.kv, &request).await;
                HttpAnswer::new(status, body)
            }
            Some(Fault::Answer(status, body)) => HttpAnswer::new(status, body),
            Some(Fault::Huge(bytes)) => HttpAnswer::new(200, vec![b' '; bytes]),
            Some(Fault::Delay(time)) => {
                sleep(time).await;
                answer(&shared.kv, &request).await
            }
        };
        if !connection.write(&answered.bytes()).await {
            return;
        }
    }
}

/// Holds a connection open without a word until the asker gives up.
async fn hang(mut connection: Connection) {
    while connection.request().await.is_some() {}
}
