//! Whole systems on one machine: replicas of the real server with real HAProxy, each on a loopback
//! address of its own with the same ports, the DNS of a swarm, and real Consul servers.

mod binary;
mod replica;

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub use binary::server_binary;
pub use replica::{ApiAnswer, Replica};

use crate::{
    consul::{ClusterOptions, ConsulCluster},
    dns::TestDns,
    guard::Guard,
};

/// How long anything that is awaited may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// The pause between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(25);

/// The ports of every replica, on its own address.
pub const API_PORT: u16 = 8080;
/// Where a replica's HAProxy listens.
pub const HTTP_PORT: u16 = 8000;
const TLS_PORT: u16 = 8443;

/// What a test may go wrong with, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    replicas: usize,
    consul: Option<ClusterOptions>,
    settings: Vec<(String, String)>,
    binary: Option<PathBuf>,
}

/// A system that runs. Dropping it, and the end of its process, ends all of it.
#[derive(Debug)]
pub struct Topology {
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// The Consul servers, where there are any.
    pub consul: Option<ConsulCluster>,
    /// The DNS of the swarm: `tasks.proxy` has every replica's address.
    pub dns: TestDns,
    folder: TempDir,
    _guard: Guard,
}

// === impl Plan ===

impl Plan {
    /// So many replicas without Consul.
    #[must_use]
    pub fn replicas(replicas: usize) -> Self {
        Self {
            replicas,
            consul: None,
            settings: Vec::new(),
            binary: None,
        }
    }

    /// With this server instead of the one that is built from this tree for tests.
    #[must_use]
    pub fn server(mut self, binary: PathBuf) -> Self {
        self.binary = Some(binary);
        self
    }

    /// With real Consul servers behind a first address where nobody listens.
    #[must_use]
    pub fn consul(mut self, options: ClusterOptions) -> Self {
        self.consul = Some(options);
        self
    }

    /// With a setting on every replica.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts everything and waits until each replica serves.
    ///
    /// # Errors
    /// When a program is missing, or something does not start in time; with its log.
    pub async fn start(self) -> Result<Topology, Failure> {
        let mut topology = self.prepare().await?;
        for replica in &mut topology.replicas {
            replica.start()?;
        }
        for replica in &topology.replicas {
            replica.until_serving().await?;
        }
        Ok(topology)
    }

    /// Starts everything but the replicas.
    ///
    /// # Errors
    /// As [`Plan::start`].
    pub async fn prepare(self) -> Result<Topology, Failure> {
        let binary = match self.binary {
            Some(binary) => binary,
            None => server_binary()?,
        };
        let haproxy = crate::haproxy::find_binary()?;
        let folder = tempfile::Builder::new().prefix("topo").tempdir_in("/tmp")?;
        let guard = Guard::over(folder.path())?;
        let dns = TestDns::start().await?;
        let consul = match self.consul {
            Some(options) => Some(ConsulCluster::start(options).await?),
            None => None,
        };
        let hosts = free_hosts(self.replicas + 1);
        let (dead, hosts) = hosts.split_first().ok_or("no free address")?;
        dns.set("tasks.proxy", hosts.iter().copied().map(IpAddr::V4));
        let mut replicas = Vec::new();
        for (number, host) in hosts.iter().enumerate() {
            let home = folder.path().join(format!("r{}", number + 1));
            let mut settings = vec![
                ("MODE", "swarm".to_owned()),
                ("IP", host.to_string()),
                ("PORT", API_PORT.to_string()),
                ("BIND_ADDRESS", host.to_string()),
                ("DEFAULT_PORTS", format!("{HTTP_PORT},{TLS_PORT}:ssl")),
                ("HAPROXY_BIN", haproxy.display().to_string()),
                ("CONFIGS_PATH", home.join("cfg").display().to_string()),
                ("RUN_PATH", home.join("run").display().to_string()),
                ("STATE_PATH", home.join("state").display().to_string()),
                ("TEMPLATES_PATH", home.join("tmpl").display().to_string()),
                ("CERTS_PATH", home.join("certs").display().to_string()),
                ("SECRETS_PATH", home.join("secrets").display().to_string()),
                ("DNS_SERVER", dns.address().to_string()),
                // No traffic is sent elsewhere by whoever watches a replica of a test.
                ("DRAIN_DELAY", "0".to_owned()),
                ("LOG", "info".to_owned()),
            ];
            if let Some(consul) = &consul {
                settings.push((
                    "CONSUL_ADDRESS",
                    format!("{dead}:8500,{}", consul.addresses()),
                ));
            }
            let mut settings: Vec<(String, String)> = settings
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            settings.extend(self.settings.iter().cloned());
            replicas.push(Replica::new(binary.clone(), home, *host, settings));
        }
        Ok(Topology {
            replicas,
            consul,
            dns,
            folder,
            _guard: guard,
        })
    }
}

// === impl Topology ===

impl Topology {
    /// A replica, counted from 1 as in the story.
    ///
    /// # Panics
    /// When there is none with this number.
    #[must_use]
    pub fn replica(&self, number: usize) -> &Replica {
        #[expect(clippy::expect_used, reason = "a test names replicas that it started")]
        self.replicas
            .get(number - 1)
            .expect("a replica with this number")
    }

    /// As [`Topology::replica`], to start and end it.
    ///
    /// # Panics
    /// When there is none with this number.
    pub fn replica_mut(&mut self, number: usize) -> &mut Replica {
        #[expect(clippy::expect_used, reason = "a test names replicas that it started")]
        self.replicas
            .get_mut(number - 1)
            .expect("a replica with this number")
    }

    /// Has the DNS name the first so many replicas alone.
    pub fn dns_first(&self, count: usize) {
        let hosts = self.replicas.iter().take(count);
        self.dns
            .set("tasks.proxy", hosts.map(|replica| replica.http().ip()));
    }

    /// The Consul servers.
    ///
    /// # Panics
    /// When the plan had none.
    pub fn consul_mut(&mut self) -> &mut ConsulCluster {
        #[expect(clippy::expect_used, reason = "a test names servers that it started")]
        self.consul.as_mut().expect("a plan with Consul servers")
    }

    /// What every replica, and every Consul server, has logged: for the message of a failed test.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut logs = String::new();
        for (number, replica) in self.replicas.iter().enumerate() {
            logs.push_str(&format!("--- replica {}\n{}\n", number + 1, replica.log()));
        }
        if let Some(consul) = &self.consul {
            logs.push_str(&format!("--- consul\n{}\n", consul.logs()));
        }
        logs
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed test shows the logs")]
            {
                eprintln!("{}", self.logs());
            }
        }
        for replica in &mut self.replicas {
            replica.kill();
        }
        crate::haproxy::end_processes_of(self.folder.path());
    }
}

/// Looks until something holds.
///
/// # Errors
/// What the last look said, when it does not hold in [`PATIENCE`].
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() > end => {
                return Err(format!("{what}: not within {PATIENCE:?}; at last: {why}").into());
            }
            Err(_) => sleep(LOOK).await,
        }
    }
}

/// Loopback addresses where nobody listens, of a range that nothing else here uses. The counter
/// keeps the tests of one process apart, the process number those of several.
fn free_hosts(count: usize) -> Vec<Ipv4Addr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut found = Vec::new();
    let process = std::process::id();
    for _ in 0..10_000 {
        if found.len() == count {
            break;
        }
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = process
            .wrapping_mul(251)
            .wrapping_add(u32::from(next))
            .to_be_bytes();
        if low == 0 || low == 255 {
            continue;
        }
        let host = Ipv4Addr::new(127, 77, high, low);
        let free = |port| TcpListener::bind((host, port)).is_ok();
        if !found.contains(&host) && [API_PORT, HTTP_PORT, TLS_PORT].into_iter().all(free) {
            found.push(host);
        }
    }
    found
}
