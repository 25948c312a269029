//! Real Consul servers, each on a loopback address of its own with Consul's usual ports.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::binary::{ConsulMissing, consul_binary};

mod api;
mod catalog;
mod process;
mod tls;

pub use api::AclToken;
pub use catalog::Registration;
use process::ServerProcess;
pub use tls::ClusterTls;

/// How long a cluster may take to find its leader. With fast raft timing it takes about two
/// seconds; a busy machine takes longer.
const LEADER_DEADLINE: Duration = Duration::from_secs(40);

/// The pause between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(50);

/// The ports that each server binds on its own address.
const HTTP_PORT: u16 = 8500;
const HTTPS_PORT: u16 = 8501;
const RPC_PORT: u16 = 8300;
const SERF_PORT: u16 = 8301;

/// What to start.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    servers: u8,
    acl: Acl,
    scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acl {
    Off,
    DenyByDefault,
}

/// Real Consul servers. They end, and their files go, when this is dropped. When the test's process is
/// killed they end as well; their files stay.
#[derive(Debug)]
pub struct ConsulCluster {
    options: ClusterOptions,
    consul: PathBuf,
    folder: TempDir,
    hosts: Vec<Ipv4Addr>,
    servers: Vec<Option<ServerProcess>>,
    http: Client,
    tls: Option<ClusterTls>,
    management: Option<String>,
}

/// A cluster that does not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// There is no Consul.
    #[error(transparent)]
    Missing(#[from] ConsulMissing),
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A call to the API.
    #[error("the API call {what} failed: {why}")]
    Api {
        /// Which call.
        what: String,
        /// Why.
        why: String,
    },
    /// No leader in time.
    #[error("the cluster has no leader after {LEADER_DEADLINE:?}; its logs end with:\n{logs}")]
    NoLeader {
        /// The end of each server's log.
        logs: String,
    },
}

// === impl ClusterOptions ===

impl ClusterOptions {
    /// This many servers, without access control.
    #[must_use]
    pub fn servers(servers: u8) -> Self {
        Self {
            servers,
            acl: Acl::Off,
            scheme: Scheme::Http,
        }
    }

    /// With access control that denies by default. [`ConsulCluster::management_token`] may do all.
    #[must_use]
    pub fn with_acl(mut self) -> Self {
        self.acl = Acl::DenyByDefault;
        self
    }

    /// Over HTTPS alone, with a CA of its own and only for clients with a certificate of that CA:
    /// see [`ConsulCluster::tls`].
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.scheme = Scheme::Https;
        self
    }
}

// === impl ConsulCluster ===

impl ConsulCluster {
    /// Starts servers and waits for a leader.
    ///
    /// # Errors
    /// When there is no Consul, or no leader in time.
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        let consul = consul_binary()?;
        let folder = tempfile::Builder::new()
            .prefix("testkit-consul-")
            .tempdir()
            .map_err(io("make a folder"))?;
        let hosts = free_hosts(options.servers);
        let tls = match options.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(
                ClusterTls::make(&consul, folder.path(), &hosts)
                    .map_err(io("make certificates"))?,
            ),
        };
        let http = client(tls.as_ref()).map_err(|error| ClusterError::Api {
            what: "client".to_owned(),
            why: error.to_string(),
        })?;
        let mut cluster = Self {
            hosts,
            servers: (0..options.servers).map(|_| None).collect(),
            options,
            consul,
            folder,
            http,
            tls,
            management: None,
        };
        for nth in 0..cluster.servers.len() {
            cluster.restart(nth)?;
        }
        cluster.wait_leader().await?;
        if cluster.options.acl == Acl::DenyByDefault {
            cluster.bootstrap_acl().await?;
        }
        Ok(cluster)
    }

    /// `host:port` of one server, counted from 0, with `https://` before it where TLS is on.
    #[must_use]
    pub fn address(&self, nth: usize) -> String {
        let host = self.hosts.get(nth).copied().unwrap_or(Ipv4Addr::LOCALHOST);
        match self.options.scheme {
            Scheme::Http => format!("{host}:{HTTP_PORT}"),
            Scheme::Https => format!("https://{host}:{HTTPS_PORT}"),
        }
    }

    /// The certificates, where TLS is on.
    #[must_use]
    pub fn tls(&self) -> Option<&ClusterTls> {
        self.tls.as_ref()
    }

    /// All addresses as `CONSUL_ADDRESS` takes them.
    #[must_use]
    pub fn addresses(&self) -> String {
        let list: Vec<_> = (0..self.hosts.len()).map(|nth| self.address(nth)).collect();
        list.join(",")
    }

    /// The token that may do everything, where access control is on.
    #[must_use]
    pub fn management_token(&self) -> Option<&str> {
        self.management.as_deref()
    }

    /// Waits until every server that runs agrees on a leader that takes writes.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn wait_leader(&self) -> Result<usize, ClusterError> {
        let deadline = Instant::now() + LEADER_DEADLINE;
        loop {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                return Err(ClusterError::NoLeader { logs: self.logs() });
            }
            sleep(LOOK).await;
        }
    }

    /// The leader, when every server that runs names the same one and a write through each works.
    pub async fn leader(&self) -> Option<usize> {
        let mut leader = None;
        for nth in self.running() {
            let answer = self.call(nth, Method::GET, "/v1/status/leader", None).await;
            let named = String::from_utf8(answer.ok()?).ok()?;
            let named = named.trim().trim_matches('"').to_owned();
            let host = named.strip_suffix(&format!(":{RPC_PORT}"))?;
            let found = self
                .hosts
                .iter()
                .position(|known| known.to_string() == host)?;
            if *leader.get_or_insert(found) != found {
                return None;
            }
            // A leader that was just chosen refuses consistent reads until it has caught up.
            let path = "/v1/catalog/datacenters";
            self.call(nth, Method::GET, path, None).await.ok()?;
            let probe = self.call(nth, Method::GET, "/v1/kv/testkit-probe?consistent", None);
            match probe.await {
                Ok(_) => {}
                Err(ClusterError::Api { why, .. })
                    if why.starts_with("404") || why.starts_with("403") => {}
                Err(_) => return None,
            }
        }
        leader.filter(|leader| self.running().any(|nth| nth == *leader))
    }

    /// Kills a server as `kill -9` does. Its data stays.
    pub fn kill(&mut self, nth: usize) {
        if let Some(server) = self.servers.get_mut(nth) {
            *server = None;
        }
    }

    /// Stops a server in its tracks: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self, nth: usize) -> Result<(), ClusterError> {
        self.signal(nth, Signal::SIGSTOP)
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self, nth: usize) -> Result<(), ClusterError> {
        self.signal(nth, Signal::SIGCONT)
    }

    /// Starts a server with the data it has, if it does not run.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn restart(&mut self, nth: usize) -> Result<(), ClusterError> {
        let config = self.config(nth)?;
        let log = self.log_path(nth);
        let consul = self.consul.clone();
        if let Some(server @ None) = self.servers.get_mut(nth) {
            *server =
                Some(ServerProcess::start(&consul, &config, &log).map_err(io("start consul"))?);
        }
        Ok(())
    }

    /// Kills all servers and starts them without data, on the same addresses.
    ///
    /// # Errors
    /// When they do not come back.
    pub async fn wipe(&mut self) -> Result<(), ClusterError> {
        for nth in 0..self.servers.len() {
            self.kill(nth);
            let data = self.data_path(nth);
            std::fs::remove_dir_all(data).map_err(io("remove data"))?;
        }
        for nth in 0..self.servers.len() {
            self.restart(nth)?;
        }
        self.wait_leader().await?;
        if self.options.acl == Acl::DenyByDefault {
            self.bootstrap_acl().await?;
        }
        Ok(())
    }

    /// The end of each server's log.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for nth in 0..self.hosts.len() {
            let text = std::fs::read_to_string(self.log_path(nth)).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let end = lines
                .get(lines.len().saturating_sub(15)..)
                .unwrap_or_default();
            all.push_str(&format!("--- server {nth}\n{}\n", end.join("\n")));
        }
        all
    }

    fn running(&self) -> impl Iterator<Item = usize> + '_ {
        let servers = self.servers.iter().enumerate();
        servers
            .filter(|(_, server)| server.is_some())
            .map(|(nth, _)| nth)
    }

    fn signal(&self, nth: usize, signal: Signal) -> Result<(), ClusterError> {
        match self.servers.get(nth) {
            Some(Some(server)) => server.signal(signal).map_err(io("signal consul")),
            _ => Err(ClusterError::Io {
                what: "signal consul",
                source: std::io::ErrorKind::NotFound.into(),
            }),
        }
    }

    fn data_path(&self, nth: usize) -> PathBuf {
        self.folder.path().join(format!("data-{nth}"))
    }

    fn log_path(&self, nth: usize) -> PathBuf {
        self.folder.path().join(format!("server-{nth}.log"))
    }

    fn config(&self, nth: usize) -> Result<PathBuf, ClusterError> {
        let host = self.hosts.get(nth).copied().unwrap_or(Ipv4Addr::LOCALHOST);
        let join: Vec<_> = self.hosts.iter().map(Ipv4Addr::to_string).collect();
        let https = self.options.scheme == Scheme::Https;
        let (http, https) = if https {
            (-1, i32::from(HTTPS_PORT))
        } else {
            (i32::from(HTTP_PORT), -1)
        };
        let mut config = json!({
            "server": true,
            "bootstrap_expect": self.hosts.len(),
            "node_name": format!("server-{nth}"),
            "data_dir": self.data_path(nth),
            "bind_addr": host.to_string(),
            "client_addr": host.to_string(),
            "retry_join": join,
            "retry_interval": "500ms",
            "rejoin_after_leave": true,
            "leave_on_terminate": false,
            "disable_update_check": true,
            "log_level": "warn",
            "performance": { "raft_multiplier": 1 },
            "autopilot": { "cleanup_dead_servers": false },
            "ports": { "http": http, "https": https, "server": RPC_PORT, "serf_lan": SERF_PORT,
                       "serf_wan": -1, "dns": -1, "grpc": -1 },
            "acl": { "enabled": self.options.acl == Acl::DenyByDefault,
                     "default_policy": if self.options.acl == Acl::Off { "allow" } else { "deny" },
                     "enable_token_persistence": true, "token_ttl": "0s", "policy_ttl": "0s" },
        });
        if let (Some(tls), Some(all)) = (&self.tls, config.as_object_mut())
            && let Value::Object(more) = tls.config()
        {
            all.extend(more);
        }
        let path = self.folder.path().join(format!("server-{nth}.json"));
        std::fs::write(&path, config.to_string()).map_err(io("write the configuration"))?;
        Ok(path)
    }
}

fn client(tls: Option<&ClusterTls>) -> reqwest::Result<Client> {
    let mut builder = Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10));
    if let Some(tls) = tls {
        builder = builder
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&tls.ca)?)
            .identity(reqwest::Identity::from_pem(&tls.client_identity())?);
    }
    builder.build()
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> ClusterError {
    move |source| ClusterError::Io { what, source }
}

/// Loopback addresses on which Consul's ports are free. Test programs run at the same time, so each
/// begins at another place.
fn free_hosts(servers: u8) -> Vec<Ipv4Addr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 60_000).unwrap_or_default();
    loop {
        let place = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(251));
        let [high, low] = place.to_be_bytes();
        // 127.0.x.x is left to other fakes.
        let hosts: Vec<_> = (1..=servers)
            .map(|nth| Ipv4Addr::new(127, high % 200 + 20, low, nth))
            .collect();
        if hosts.iter().all(|host| is_free(*host)) {
            return hosts;
        }
    }
}

fn is_free(host: Ipv4Addr) -> bool {
    [HTTP_PORT, HTTPS_PORT, RPC_PORT, SERF_PORT]
        .iter()
        .all(|port| TcpListener::bind((host, *port)).is_ok())
        && UdpSocket::bind((host, SERF_PORT)).is_ok()
}

#[cfg(test)]
mod tests;
