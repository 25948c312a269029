//! Breaks things, and mends them again when their time has come.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use testkit::haproxy::{get, newest_child_of, processes_of, send_signal, serving_masters_of};
use testkit::link::Disturbance;
use tokio::time::{Instant, sleep_until, timeout};

use super::schedule::{Fault, Folder, Kind, Links, Naming, Step, Whom};
use super::stage::{PEERS_NAME, SERVERS, Stage, failed};
use super::traffic::{Counted, Open, Traffic};

/// How long a Consul server may take to say who leads.
const ASK_DEADLINE: Duration = Duration::from_millis(400);

/// What is broken now.
#[derive(Debug)]
pub(super) struct Havoc {
    ongoing: Vec<Ongoing>,
    /// Per kind, how often it was done, and how often there was nothing to do it to.
    pub(super) counts: BTreeMap<Kind, (u32, u32)>,
}

#[derive(Debug)]
struct Ongoing {
    until: Instant,
    fault: String,
    mend: Mend,
}

/// How a fault ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mend {
    Nothing,
    RestartConsul(usize),
    ThawConsul(usize),
    StartServer(usize),
    ThawServer(usize, u32),
    StartReplica(usize, Open),
    ThawHaproxy(usize, u32, Open),
    StoreLinks(usize, Vec<usize>),
    PeerLink(usize),
    Dns,
    Disk(usize, Folder),
}

// === impl Havoc ===

impl Havoc {
    pub(super) fn new() -> Self {
        Self {
            ongoing: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Plays one round to its end; afterwards everything is mended.
    pub(super) async fn play(
        &mut self,
        steps: &[Step],
        stage: &mut Stage,
        traffic: &mut Traffic,
        length: Duration,
    ) -> Result<()> {
        let start = Instant::now();
        for step in steps {
            self.mend_until(start + step.at, stage, traffic).await?;
            let mend = self.inflict(&step.fault, stage, traffic).await;
            let mend = mend.with_context(|| format!("cannot {}", step.fault))?;
            let count = self.counts.entry(step.fault.kind()).or_default();
            match mend {
                Some(mend) => {
                    count.0 += 1;
                    self.ongoing.push(Ongoing {
                        until: Instant::now() + step.lasts,
                        fault: step.fault.to_string(),
                        mend,
                    });
                }
                None => {
                    count.1 += 1;
                    eprintln!("xtask: skipped, it is broken already: {}", step.fault);
                }
            }
        }
        self.mend_until(start + length, stage, traffic).await
    }

    /// Mends what is still broken.
    pub(super) async fn heal(&mut self, stage: &mut Stage, traffic: &mut Traffic) -> Result<()> {
        for ongoing in std::mem::take(&mut self.ongoing) {
            let mended = Self::mend(&ongoing.mend, stage, traffic);
            mended.with_context(|| format!("cannot mend: {}", ongoing.fault))?;
        }
        Ok(())
    }

    async fn mend_until(
        &mut self,
        end: Instant,
        stage: &mut Stage,
        traffic: &mut Traffic,
    ) -> Result<()> {
        loop {
            self.ongoing.sort_by_key(|ongoing| ongoing.until);
            if self.ongoing.first().is_none_or(|next| next.until > end) {
                break;
            }
            let next = self.ongoing.remove(0);
            sleep_until(next.until).await;
            let mended = Self::mend(&next.mend, stage, traffic);
            mended.with_context(|| format!("cannot mend: {}", next.fault))?;
        }
        sleep_until(end).await;
        Ok(())
    }

    /// Breaks something. Gives how it is mended; none where it is broken already.
    async fn inflict(
        &self,
        fault: &Fault,
        stage: &mut Stage,
        traffic: &mut Traffic,
    ) -> Result<Option<Mend>> {
        match fault {
            Fault::ConsulKill(whom) | Fault::ConsulFreeze(whom) => {
                let Some(server) = self.consul_server(*whom, stage).await else {
                    return Ok(None);
                };
                let consul = stage.topology.consul_mut();
                Ok(Some(if matches!(fault, Fault::ConsulKill(_)) {
                    consul.kill(server);
                    Mend::RestartConsul(server)
                } else {
                    consul.freeze(server)?;
                    Mend::ThawConsul(server)
                }))
            }
            Fault::ServerKill(replica) | Fault::ServerFreeze(replica) | Fault::Crash(replica)
                if self.server_is_broken(*replica) =>
            {
                Ok(None)
            }
            Fault::ServerKill(replica) => {
                traffic.unattended(*replica);
                stage.kill(*replica)?;
                Ok(Some(Mend::StartServer(*replica)))
            }
            Fault::ServerFreeze(replica) => {
                let pid = stage.replica(*replica)?.pid().context("it does not run")?;
                traffic.unattended(*replica);
                let sent = send_signal(pid, Signal::SIGSTOP);
                Ok(sent.then_some(Mend::ThawServer(*replica, pid)))
            }
            Fault::Crash(replica) => {
                traffic.unattended(*replica);
                let excuse = traffic.excuse(*replica, &fault.to_string());
                stage.crash(*replica)?;
                Ok(Some(Mend::StartReplica(*replica, excuse)))
            }
            Fault::MasterKill(replica)
            | Fault::WorkerKill(replica)
            | Fault::MasterFreeze(replica)
            | Fault::WorkerFreeze(replica) => self.hit_haproxy(fault, *replica, stage, traffic),
            Fault::StoreLink(replica, links, how) => {
                let all = stage.store_links.get(*replica).context("no such links")?;
                let meant = |nth: &usize| match links {
                    Links::All => true,
                    Links::One(server) => server == nth,
                };
                let broken: Vec<_> = (0..all.len()).filter(meant).collect();
                let free = |link: &testkit::link::Link| link.disturbance() == Disturbance::None;
                let chosen = || broken.iter().filter_map(|nth| all.get(*nth));
                if !chosen().all(free) {
                    return Ok(None);
                }
                chosen().for_each(|link| link.disturb(*how));
                Ok(Some(Mend::StoreLinks(*replica, broken)))
            }
            Fault::PeerLink(replica, how) => {
                let link = stage.peer_links.get(*replica).context("no such link")?;
                if link.disturbance() != Disturbance::None {
                    return Ok(None);
                }
                link.disturb(*how);
                Ok(Some(Mend::PeerLink(*replica)))
            }
            Fault::Dns(naming) => {
                if self.has(|mend| *mend == Mend::Dns) {
                    return Ok(None);
                }
                disturb_dns(naming, stage);
                Ok(Some(Mend::Dns))
            }
            Fault::Disk(replica, folder) => {
                let mend = Mend::Disk(*replica, *folder);
                let Some(disk) = stage.disk(*replica, *folder) else {
                    return Ok(None);
                };
                if self.has(|other| *other == mend) {
                    return Ok(None);
                }
                disk.fill()?;
                Ok(Some(mend))
            }
        }
    }

    fn hit_haproxy(
        &self,
        fault: &Fault,
        replica: usize,
        stage: &Stage,
        traffic: &mut Traffic,
    ) -> Result<Option<Mend>> {
        let frozen =
            |mend: &Mend| matches!(mend, Mend::ThawHaproxy(broken, ..) if *broken == replica);
        let running = stage.replica(replica)?;
        let home = running.home();
        let (Some(master), false) = (
            serving_masters_of(home).last().copied(),
            self.has(frozen)
                || self.has(|mend| matches!(mend, Mend::StartReplica(r, _) if *r == replica)),
        ) else {
            return Ok(None);
        };
        let whole = matches!(fault, Fault::MasterKill(_) | Fault::MasterFreeze(_));
        let pid = match whole {
            true => master,
            false => match newest_child_of(home, master) {
                Some(worker) => worker,
                None => return Ok(None),
            },
        };
        let excuse = traffic.excuse(replica, &fault.to_string());
        if matches!(fault, Fault::MasterKill(_) | Fault::WorkerKill(_)) {
            send_signal(pid, Signal::SIGKILL);
            let counted = match self.server_is_broken(replica) {
                true => Counted::No,
                false => Counted::Yes,
            };
            traffic.until_served(excuse, running, counted);
            return Ok(Some(Mend::Nothing));
        }
        send_signal(pid, Signal::SIGSTOP);
        Ok(Some(Mend::ThawHaproxy(replica, pid, excuse)))
    }

    fn mend(mend: &Mend, stage: &mut Stage, traffic: &mut Traffic) -> Result<()> {
        match mend {
            Mend::Nothing => {}
            Mend::RestartConsul(server) => stage.topology.consul_mut().restart(*server)?,
            Mend::ThawConsul(server) => stage.topology.consul_mut().thaw(*server)?,
            Mend::StartServer(replica) => stage.start(*replica)?,
            Mend::ThawServer(replica, pid) => {
                if stage.replica(*replica)?.pid() == Some(*pid) {
                    send_signal(*pid, Signal::SIGCONT);
                }
            }
            Mend::StartReplica(replica, excuse) => {
                stage.start(*replica)?;
                let running = stage.replica(*replica)?;
                traffic.until_served(*excuse, running, Counted::No);
            }
            Mend::ThawHaproxy(replica, pid, excuse) => {
                let running = stage.replica(*replica)?;
                // It may have been ended meanwhile, and its number be another's.
                let mut all = processes_of(running.home()).into_iter();
                if all.any(|process| process.pid == *pid) {
                    send_signal(*pid, Signal::SIGCONT);
                }
                traffic.until_served(*excuse, running, Counted::No);
            }
            Mend::StoreLinks(replica, servers) => {
                for server in servers {
                    let links = stage.store_links.get(*replica);
                    let link = links.and_then(|links| links.get(*server));
                    link.context("no such link")?.disturb(Disturbance::None);
                }
            }
            Mend::PeerLink(replica) => {
                let link = stage.peer_links.get(*replica).context("no such link")?;
                link.disturb(Disturbance::None);
            }
            Mend::Dns => {
                stage.topology.dns.heal_all();
                stage.name_peers();
            }
            Mend::Disk(replica, folder) => {
                stage
                    .disk(*replica, *folder)
                    .context("no such disk")?
                    .free()?;
            }
        }
        Ok(())
    }

    /// The server that is meant, else another that is whole.
    async fn consul_server(&self, whom: Whom, stage: &mut Stage) -> Option<usize> {
        let broken = |server: usize| {
            self.has(
                |mend| matches!(mend, Mend::RestartConsul(s) | Mend::ThawConsul(s) if *s == server),
            )
        };
        let meant = match whom {
            Whom::Server(server) => Some(server),
            Whom::Leader => leader(stage, broken).await,
        };
        let meant = meant.filter(|server| !broken(*server));
        meant.or_else(|| (0..SERVERS).find(|server| !broken(*server)))
    }

    fn server_is_broken(&self, replica: usize) -> bool {
        self.has(|mend| {
            matches!(mend, Mend::StartServer(r) | Mend::ThawServer(r, _) | Mend::StartReplica(r, _) if *r == replica)
        })
    }

    fn has(&self, which: impl Fn(&Mend) -> bool) -> bool {
        self.ongoing.iter().any(|ongoing| which(&ongoing.mend))
    }
}

/// Who leads, as the first whole server says.
async fn leader(stage: &mut Stage, broken: impl Fn(usize) -> bool) -> Option<usize> {
    let consul = stage.topology.consul_mut();
    let hosts: Vec<_> = (0..SERVERS).map(|nth| consul.address(nth)).collect();
    for (_, host) in hosts.iter().enumerate().filter(|(nth, _)| !broken(*nth)) {
        let asked = get(host.parse().ok()?, "localhost", "/v1/status/leader");
        if let Ok(Ok(answer)) = timeout(ASK_DEADLINE, asked).await
            && let Some((named, _)) = answer.body.trim_matches('"').split_once(':')
        {
            let of = |known: &String| known.split(':').next() == Some(named);
            return hosts.iter().position(of);
        }
    }
    None
}

fn disturb_dns(naming: &Naming, stage: &Stage) {
    let dns = &stage.topology.dns;
    let mut hosts = stage.peer_hosts();
    match naming {
        Naming::All(how) => dns.fault_all(how.clone()),
        Naming::Replicas(how) => dns.fault(PEERS_NAME, how.clone()),
        Naming::DeadAddresses => {
            hosts.extend([1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(127, 79, 0, last))));
            dns.set(PEERS_NAME, hosts);
        }
        Naming::Missing(replica) => {
            if *replica < hosts.len() {
                hosts.remove(*replica);
            }
            dns.set(PEERS_NAME, hosts);
        }
    }
}

/// Waits until Consul has a leader again: without one nothing of ours can agree.
pub(super) async fn until_consul_leads(stage: &mut Stage) -> Result<()> {
    let led = stage.topology.consul_mut().wait_leader().await;
    led.map(drop).map_err(|why| failed(why.into()))
}
