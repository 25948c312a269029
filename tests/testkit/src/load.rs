//! A steady load that counts every failure with its reason.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::haproxy::{HttpAnswer, Request, header, read_answer};
#[cfg(feature = "tls")]
use crate::tls::TlsClient;

/// A request that takes longer has failed.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Failed requests that a load remembers one by one; all are counted.
pub const MAX_KEPT: usize = 20_000;

/// Whether a connection carries one request or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connections {
    /// Kept open from request to request, as long as the server keeps it open.
    KeptAlive,
    /// A new one for each request.
    OneEach,
}

/// What requests are sent through.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Transport {
    /// A connection as it is.
    #[default]
    Plain,
    /// TLS, for the name of the Host header.
    #[cfg(feature = "tls")]
    Tls(TlsClient),
}

/// What to send.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Where to.
    pub address: SocketAddr,
    /// Through what.
    pub transport: Transport,
    /// The Host header.
    pub host: String,
    /// The path.
    pub path: String,
    /// What the body of every answer must be.
    pub expect: String,
    /// Requests per second, over all clients.
    pub rate: u32,
    /// Clients that send them, each one request at a time.
    pub clients: u32,
    /// Whether connections are kept.
    pub connections: Connections,
}

/// A load that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Mutex<LoadReport>>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
    answered: watch::Receiver<u64>,
}

/// What came of a load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Requests that were answered as expected.
    pub answered: u64,
    /// Requests that were not, by reason.
    pub failures: BTreeMap<String, u64>,
    /// The first of them, and when: [`MAX_KEPT`] at most.
    pub failed: Vec<FailedRequest>,
}

/// A request that was not answered as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRequest {
    /// When its connection was asked for: what ended that may be long past.
    pub connected: Instant,
    /// When it was sent.
    pub begun: Instant,
    /// When it had failed.
    pub ended: Instant,
    /// Why.
    pub reason: String,
}

impl Load {
    /// Begins to send.
    #[must_use]
    pub fn start(plan: &LoadPlan) -> Self {
        let counts = Arc::<Mutex<LoadReport>>::default();
        let (stop, stopped) = watch::channel(false);
        let (total, answered) = watch::channel(0);
        let mut clients = JoinSet::new();
        let count = plan.clients.max(1);
        let pause = Duration::from_secs(1) * count / plan.rate.max(1);
        for index in 0..count {
            let client = Client {
                plan: plan.clone(),
                counts: Arc::clone(&counts),
                total: total.clone(),
                open: None,
                connected: Instant::now(),
            };
            // Spread over the pause, so that the rate is steady and not a burst per tick.
            let offset = pause * index / count;
            clients.spawn(client.run(offset, pause, stopped.clone()));
        }
        Self {
            counts,
            stop,
            clients,
            answered,
        }
    }

    /// Waits until this many requests in all were answered as expected.
    ///
    /// # Errors
    /// When that takes longer than 30 seconds; says what came instead.
    pub async fn answered(&mut self, count: u64) -> Result<(), String> {
        let reached = self.answered.wait_for(|answered| *answered >= count);
        let in_time = matches!(timeout(Duration::from_secs(30), reached).await, Ok(Ok(_)));
        if in_time {
            Ok(())
        } else {
            Err(format!("{:?}", self.report()))
        }
    }

    /// What came of it so far.
    #[must_use]
    pub fn report(&self) -> LoadReport {
        let counts = self.counts.lock();
        counts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets what was sent be answered and ends.
    pub async fn stop(mut self) -> LoadReport {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        self.report()
    }
}

impl LoadReport {
    /// How many requests failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// A connection, through whatever it goes.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl LoadPlan {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let address = self.address;
        Ok(match &self.transport {
            Transport::Plain => Box::new(TcpStream::connect(address).await?),
            #[cfg(feature = "tls")]
            Transport::Tls(client) => Box::new(client.connect(address, &self.host).await?),
        })
    }
}

struct Client {
    plan: LoadPlan,
    counts: Arc<Mutex<LoadReport>>,
    total: watch::Sender<u64>,
    open: Option<Box<dyn Stream>>,
    connected: Instant,
}

impl Client {
    async fn run(mut self, offset: Duration, pause: Duration, mut stop: watch::Receiver<bool>) {
        tokio::time::sleep(offset).await;
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let begun = Instant::now();
            let outcome = timeout(REQUEST_DEADLINE, self.ask()).await;
            let failure = match outcome {
                Ok(Ok(answer)) if answer.status == 200 && answer.body == self.plan.expect => None,
                Ok(Ok(answer)) => Some(format!("status {}: {:.80}", answer.status, answer.body)),
                Ok(Err(error)) => Some(format!("{}: {error}", error.kind())),
                Err(_) => Some(format!("no answer within {REQUEST_DEADLINE:?}")),
            };
            if failure.is_some() {
                self.open = None;
            }
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            match failure {
                Some(reason) => {
                    *counts.failures.entry(reason.clone()).or_default() += 1;
                    if counts.failed.len() < MAX_KEPT {
                        let ended = Instant::now();
                        let failed = FailedRequest {
                            connected: self.connected,
                            begun,
                            ended,
                            reason,
                        };
                        counts.failed.push(failed);
                    }
                }
                None => {
                    counts.answered += 1;
                    self.total.send_modify(|total| *total += 1);
                }
            }
        }
    }

    async fn ask(&mut self) -> io::Result<HttpAnswer> {
        let keep = self.plan.connections == Connections::KeptAlive;
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => {
                self.connected = Instant::now();
                self.plan.connect().await?
            }
        };
        let request = Request::get(self.plan.path.as_str())
            .with_header("Host", self.plan.host.as_str())
            .bytes(!keep);
        stream.write_all(&request).await?;
        let answer = read_answer(&mut stream).await?;
        let closes = header(&answer.head, "connection").is_some_and(|value| value == "close");
        if keep && !closes {
            self.open = Some(stream);
        }
        Ok(answer)
    }
}
