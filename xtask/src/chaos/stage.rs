//! What is broken: real Consul servers, replicas and their HAProxy, with a link that can be
//! disturbed on every way between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Error, Result, bail};
use testkit::consul::ClusterOptions;
use testkit::haproxy::DemoBackend;
use testkit::link::Link;
use testkit::topology::{API_PORT, Failure, Plan, Replica, Topology};

use super::disk::Disk;
use super::schedule::Folder;

/// Real Consul servers: three survive one.
pub(super) const SERVERS: usize = 3;
/// What the demo backend answers.
pub(super) const HELLO: &str = "steady";
/// A backend that is found by its name.
const NAMED: &str = "named.test";
/// The services that the steady traffic goes to, with their hosts; nobody changes them.
pub(super) const STEADY: [(&str, &str); 2] = [("steady", "127.0.0.1"), ("named", NAMED)];
/// The replicas' name.
pub(super) const PEERS_NAME: &str = "tasks.proxy";
/// Room for some generations of a small configuration, and for a journal.
const CONFIGS_MEBIBYTES: u32 = 4;
const STATE_MEBIBYTES: u32 = 16;

/// What to set up.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) server: PathBuf,
    pub(super) replicas: usize,
    pub(super) settings: Vec<(String, String)>,
    pub(super) disks: bool,
}

/// What runs. Dropping it ends all of it.
#[derive(Debug)]
pub(super) struct Stage {
    /// Per replica, the disks of its folders. Unmounted before the folders are removed.
    disks: Vec<Option<(Disk, Disk)>>,
    pub(super) topology: Topology,
    /// Per replica, its links to each Consul server.
    pub(super) store_links: Vec<Vec<Link>>,
    /// Per replica, the link by which its peers reach it.
    pub(super) peer_links: Vec<Link>,
    pub(super) backend: DemoBackend,
    pub(super) lives: Lives,
}

/// In which of its lives each replica's server is: it goes up with every end and start.
#[derive(Debug, Clone)]
pub(super) struct Lives(Arc<Vec<AtomicU64>>);

/// What went wrong in the testkit, for anyhow.
pub(super) fn failed(failure: Failure) -> Error {
    Error::from_boxed(failure)
}

// === impl Stage ===

impl Stage {
    pub(super) async fn set(setup: &Setup) -> Result<Self> {
        let mut plan = Plan::replicas(setup.replicas)
            .server(setup.server.clone())
            .consul(ClusterOptions::servers(u8::try_from(SERVERS)?))
            // Shorter than what a caller waits for an answer.
            .setting("WAIT_TIMEOUT", "3");
        for (name, value) in &setup.settings {
            plan = plan.setting(name, value);
        }
        let topology = plan.prepare().await.map_err(failed)?;
        let backend = DemoBackend::start(HELLO).await?;
        topology.dns.set(NAMED, [backend.address().ip()]);
        let mut stage = Self {
            disks: Vec::new(),
            store_links: Vec::new(),
            peer_links: Vec::new(),
            lives: Lives::of(topology.replicas.len()),
            topology,
            backend,
        };
        stage.link().await?;
        for replica in &stage.topology.replicas {
            let home = replica.home();
            stage.disks.push(match setup.disks {
                true => Some((
                    Disk::mount(&home.join("cfg"), CONFIGS_MEBIBYTES)?,
                    Disk::mount(&home.join("state"), STATE_MEBIBYTES)?,
                )),
                false => None,
            });
        }
        for replica in 0..setup.replicas {
            stage.start(replica)?;
        }
        for replica in &stage.topology.replicas {
            replica.until_serving().await.map_err(failed)?;
        }
        stage.fill().await?;
        Ok(stage)
    }

    /// Puts a link on every way.
    async fn link(&mut self) -> Result<()> {
        let consul = self.topology.consul.as_ref().context("no Consul")?;
        let servers: Vec<SocketAddr> = (0..SERVERS)
            .map(|nth| consul.address(nth).parse())
            .collect::<Result<_, _>>()?;
        for replica in &mut self.topology.replicas {
            let mut links = Vec::new();
            for server in &servers {
                links.push(Link::to(*server).await?);
            }
            let addresses: Vec<_> = links.iter().map(|l| l.address().to_string()).collect();
            replica.set("CONSUL_ADDRESS", &addresses.join(","));
            self.store_links.push(links);
            let IpAddr::V4(host) = replica.api().ip() else {
                bail!("a replica on an address of version 6");
            };
            let [_, _, high, low] = host.octets();
            let near = Ipv4Addr::new(127, 78, high, low);
            let link = Link::between((near, API_PORT).into(), replica.api()).await;
            self.peer_links
                .push(link.with_context(|| format!("a link on {near}"))?);
        }
        self.name_peers();
        Ok(())
    }

    /// What the replicas' name truly is.
    pub(super) fn name_peers(&self) {
        self.topology.dns.set(PEERS_NAME, self.peer_hosts());
    }

    pub(super) fn peer_hosts(&self) -> Vec<IpAddr> {
        let links = self.peer_links.iter();
        links.map(|link| link.address().ip()).collect()
    }

    /// Configures the services that the steady traffic goes to.
    async fn fill(&self) -> Result<()> {
        let port = self.backend.address().port();
        for (name, host) in STEADY {
            let call = format!(
                "reconfigure?serviceName={name}&servicePath=/{name}&port={port}&outboundHostname={host}&distribute=true"
            );
            let answer = self.replica(0)?.call(&call).await.map_err(failed)?;
            if answer.status != 200 {
                bail!("{call}: {} {}", answer.status, answer.text);
            }
            for replica in &self.topology.replicas {
                let served = replica.until_status(&format!("/{name}"), 200).await;
                served.map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(super) fn replica(&self, replica: usize) -> Result<&Replica> {
        let found = self.topology.replicas.get(replica);
        found.with_context(|| format!("there is no replica {}", replica + 1))
    }

    /// Starts a replica's server; whatever ran of it before has ended.
    pub(super) fn start(&mut self, replica: usize) -> Result<()> {
        self.lives.next(replica);
        self.replica_mut(replica)?.start().map_err(failed)
    }

    pub(super) fn kill(&mut self, replica: usize) -> Result<()> {
        self.replica_mut(replica)?.kill();
        self.lives.next(replica);
        Ok(())
    }

    pub(super) fn crash(&mut self, replica: usize) -> Result<()> {
        self.replica_mut(replica)?.crash();
        self.lives.next(replica);
        Ok(())
    }

    pub(super) fn disk(&self, replica: usize, folder: Folder) -> Option<&Disk> {
        let (configs, state) = self.disks.get(replica)?.as_ref()?;
        Some(match folder {
            Folder::Configs => configs,
            Folder::State => state,
        })
    }

    pub(super) fn replica_mut(&mut self, replica: usize) -> Result<&mut Replica> {
        let found = self.topology.replicas.get_mut(replica);
        found.with_context(|| format!("there is no replica {}", replica + 1))
    }
}

// === impl Lives ===

impl Lives {
    fn of(replicas: usize) -> Self {
        Self(Arc::new((0..replicas).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(super) fn get(&self, replica: usize) -> u64 {
        let life = self.0.get(replica);
        life.map_or(0, |life| life.load(Ordering::SeqCst))
    }

    fn next(&self, replica: usize) {
        if let Some(life) = self.0.get(replica) {
            life.fetch_add(1, Ordering::SeqCst);
        }
    }
}
