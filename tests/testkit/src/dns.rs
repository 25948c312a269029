//! A DNS server in the test's own process: for tests of whatever resolves names,
//! and for `xtask up`, which plays the DNS of a swarm with it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

mod answer;
mod serve;

/// Long enough to be a real TTL, short enough that no test waits for it.
const DEFAULT_TTL: Duration = Duration::from_secs(1);

/// How often a port that is free for TCP and taken for UDP is given up for another.
const PORT_ATTEMPTS: u32 = 20;

/// What the server does to queries instead of answering them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The query is counted and nothing is sent.
    Silent,
    /// So many queries get no answer, as lost datagrams do; the next ones get the true one.
    Lose(u32),
    /// The true answer comes this much later.
    Late(Duration),
    /// "There is no such name."
    NxDomain,
    /// "I failed."
    ServFail,
    /// "I do not talk to you."
    Refused,
    /// "There is such a name and it has no address."
    Empty,
    /// Bytes that are no DNS message.
    Garbage,
}

/// A DNS server on UDP and TCP whose records can be changed at any time. Names
/// that it was not told of do not exist. Dropping it ends it.
///
/// ```
/// # use std::net::IpAddr;
/// # use testkit::dns::{Fault, TestDns};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let dns = TestDns::start().await.unwrap();
/// let one: IpAddr = "127.0.0.2".parse().unwrap();
/// let two: IpAddr = "::1".parse().unwrap();
/// dns.set("tasks.proxy", [one, two]); // an A and an AAAA record
/// let name_server = dns.address();    // hand this to what is tested
///
/// dns.fault("tasks.proxy", Fault::Silent); // from now on no answer for this name
/// dns.heal("tasks.proxy");
/// assert_eq!(dns.queries("tasks.proxy"), 0);
/// # let _ = name_server;
/// # });
/// ```
#[derive(Debug)]
pub struct TestDns {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What the sockets' tasks and the owner both see.
#[derive(Debug)]
struct Shared {
    zone: Mutex<Zone>,
    /// Queries so far, of all names: what waits for one watches this.
    total: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Zone {
    records: HashMap<String, Records>,
    faults: HashMap<String, Fault>,
    fault_for_all: Option<Fault>,
    queries: HashMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Records {
    addresses: Vec<IpAddr>,
    ttl: Duration,
}

impl Shared {
    /// The zone; it is whole even where a test panicked while it held it.
    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TestDns {
    /// Starts a server on a free port of 127.0.0.1, inside the running Tokio runtime.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> io::Result<Self> {
        Self::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts a server on this address; port 0 takes one that is free for UDP and TCP.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let (tcp, udp) = bind_both(address).await?;
        let address = udp.local_addr()?;
        let shared = Arc::new(Shared {
            zone: Mutex::default(),
            total: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve::udp(udp, Arc::clone(&shared)));
        tasks.spawn(serve::tcp(tcp, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            tasks,
        })
    }

    /// Where it listens, on UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name these addresses in place of what it had, with a TTL of one second.
    pub fn set(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        self.set_with_ttl(name, addresses, DEFAULT_TTL);
    }

    /// Gives a name these addresses and this TTL (whole seconds) in place of what it had.
    pub fn set_with_ttl(
        &self,
        name: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
        ttl: Duration,
    ) {
        let records = Records {
            addresses: addresses.into_iter().collect(),
            ttl,
        };
        self.shared.zone().records.insert(key(name), records);
    }

    /// Forgets a name: it does not exist any more.
    pub fn remove(&self, name: &str) {
        self.shared.zone().records.remove(&key(name));
    }

    /// Does this to every query for the name, until it is healed.
    pub fn fault(&self, name: &str, fault: Fault) {
        self.shared.zone().faults.insert(key(name), fault);
    }

    /// Answers the name truly again.
    pub fn heal(&self, name: &str) {
        self.shared.zone().faults.remove(&key(name));
    }

    /// Does this to every query for names without a fault of their own.
    pub fn fault_all(&self, fault: Fault) {
        self.shared.zone().fault_for_all = Some(fault);
    }

    /// Takes back every fault.
    pub fn heal_all(&self) {
        let mut zone = self.shared.zone();
        zone.faults.clear();
        zone.fault_for_all = None;
    }

    /// How many queries came for this name, of any type, answered or not.
    pub fn queries(&self, name: &str) -> u64 {
        self.shared
            .zone()
            .queries
            .get(&key(name))
            .copied()
            .unwrap_or_default()
    }

    /// How many queries came in all.
    pub fn total_queries(&self) -> u64 {
        *self.shared.total.borrow()
    }

    /// Waits until this many queries came for the name; cancel safe. Whoever
    /// waits brings the deadline.
    pub async fn until_queried(&self, name: &str, at_least: u64) {
        let mut total = self.shared.total.subscribe();
        while self.queries(name) < at_least {
            if total.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends the server and gives its port back before it returns.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Names are compared without case and without the root's dot.
fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

async fn bind_both(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempt = 1;
    loop {
        let tcp = TcpListener::bind(address).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && address.port() == 0
                    && attempt < PORT_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
