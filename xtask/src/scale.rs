//! `cargo xtask scale`: how far one Consul and one announcement reach, on one machine. Real servers
//! without traffic, then watches alone, then peers alone; docs/scale.md has what was found.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::consul::{ClusterOptions, ConsulCluster};
use testkit::link::{Link, Passed};
use testkit::topology::{Plan, Topology};
use tokio::net::UdpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::tools::Tools;
use crate::workspace::{Profile, Workspace};

mod broadcast;
mod stub;
mod watchers;

pub(crate) use self::stub::stub;

/// How long nothing is done, to see what nothing costs.
const REST: Duration = Duration::from_secs(30);
/// How long a change may take to the last replica.
const REACH: Duration = Duration::from_secs(60);
/// What a change leaves to do is done by then.
const SETTLE: Duration = Duration::from_millis(1_500);

/// How much of each.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Real servers, with a stand-in for HAProxy and one Consul.
    #[arg(long, default_value_t = 50)]
    replicas: usize,
    /// Changes, one after the other.
    #[arg(long, default_value_t = 20)]
    changes: u64,
    /// Blocking queries on one key of a real Consul.
    #[arg(long, value_delimiter = ',', default_value = "1000,5000")]
    watchers: Vec<usize>,
    /// Simulated peers of one broadcast.
    #[arg(long, default_value_t = 1_000)]
    peers: usize,
}

/// How replicas hear of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hear {
    /// From the store alone.
    Watch,
    /// From the one that was called, and from the store.
    Announcement,
}

/// Measures all of it.
pub(crate) async fn scale(workspace: &Workspace, options: &Options) -> Result<()> {
    Tools::get(workspace)?;
    let server = workspace.server(Profile::Release)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // What was started ends when it is dropped, and it is dropped on a signal too.
    tokio::select! {
        measured = measure(server, options) => measured,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the task's output")]
async fn measure(server: PathBuf, options: &Options) -> Result<()> {
    if options.replicas > 0 {
        for hear in [Hear::Watch, Hear::Announcement] {
            println!("{}", replicas(&server, options, hear).await?);
        }
    }
    for watchers in options.watchers.iter().copied().filter(|count| *count > 0) {
        let consul = ConsulCluster::start(ClusterOptions::servers(1)).await?;
        let woken = watchers::wake(consul.address(0).parse()?, watchers).await?;
        println!(
            "{} blocking queries on one Consul server: a write wakes the median after {:.0?}, the last after {:.0?}",
            woken.watchers, woken.median, woken.last
        );
    }
    if options.peers > 0 {
        for silent in [0, 10] {
            let told = broadcast::tell(options.peers, silent.min(options.peers)).await?;
            println!(
                "broadcast to {} peers, {} of them silent: {} confirm, the last after {:.0?}; the report is there after {:.0?}",
                told.peers, told.silent, told.confirmed, told.last_confirmed, told.took
            );
        }
    }
    Ok(())
}

async fn replicas(server: &std::path::Path, options: &Options, hear: Hear) -> Result<String> {
    let scripts = tempfile::tempdir()?;
    let told = UdpSocket::bind("127.0.0.1:0").await?;
    let script = stub::script(scripts.path(), told.local_addr()?)?;
    let mode = match hear {
        Hear::Watch => "default",
        Hear::Announcement => "swarm",
    };
    let plan = Plan::replicas(options.replicas)
        .server(server.to_path_buf())
        .consul(ClusterOptions::servers(1))
        .setting("HAPROXY_BIN", &script.display().to_string())
        .setting("ROUTING", "acl")
        .setting("LOG", "warn")
        .setting("MODE", mode);
    let mut topology = plan.prepare().await.map_err(anyhow::Error::from_boxed)?;
    let consul = topology.consul.as_ref().context("no Consul")?;
    let link = Link::to(consul.address(0).parse()?).await?;
    for replica in &mut topology.replicas {
        replica.set("CONSUL_ADDRESS", &link.address().to_string());
        replica.start().map_err(anyhow::Error::from_boxed)?;
    }
    for replica in &topology.replicas {
        let live = replica.until_state("it follows the store", |state| state["Stale"] == false);
        live.await.map_err(anyhow::Error::from_boxed)?;
    }
    sleep(SETTLE).await;
    let started = link.passed();
    sleep(REST).await;
    let rest = since(link.passed(), started);
    let (mut took, mut answered, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=options.changes {
        let before = link.passed();
        let begun = Instant::now();
        change(&topology, number).await?;
        answered.push(begun.elapsed());
        took.push(reached(&told, options.replicas, number).await? - begun);
        sleep(SETTLE).await;
        cost.push(since(link.passed(), before));
    }
    took.sort_unstable();
    answered.sort_unstable();
    let middle = |all: &[Duration]| all.get(all.len() / 2).copied().unwrap_or_default();
    let mean = |of: fn(&Passed) -> u64| {
        let sum: u64 = cost.iter().map(of).sum();
        sum / u64::try_from(cost.len().max(1)).unwrap_or(1)
    };
    Ok(format!(
        "{} replicas, one Consul server, they hear of a change by {hear:?}:\n\
         - connections to Consul after the start: {}\n\
         - at rest, over {REST:?}: {} requests, {} bytes there, {} back\n\
         - a change is answered after {:.0?} (median), {:.0?} (longest)\n\
         - the last replica is told to load it after {:.0?} (median), {:.0?} (longest), of {} changes\n\
         - requests to Consul per change: {}; bytes there {}, back {}; new connections {}",
        options.replicas,
        started.connections,
        rest.requests,
        rest.bytes_there,
        rest.bytes_back,
        middle(&answered),
        answered.last().copied().unwrap_or_default(),
        middle(&took),
        took.last().copied().unwrap_or_default(),
        took.len(),
        mean(|passed| passed.requests),
        mean(|passed| passed.bytes_there),
        mean(|passed| passed.bytes_back),
        mean(|passed| passed.connections),
    ))
}

/// Calls one replica after the other.
async fn change(topology: &Topology, number: u64) -> Result<()> {
    let place = usize::try_from(number)? % topology.replicas.len();
    let replica = topology.replicas.get(place).context("no replica")?;
    let call = format!(
        "reconfigure?serviceName=scale&servicePath={}{number}&port=80&outboundHostname=127.0.0.1",
        stub::MARK
    );
    let answer = replica
        .call(&call)
        .await
        .map_err(anyhow::Error::from_boxed)?;
    if answer.status != 200 {
        bail!("{call}: {} {}", answer.status, answer.text);
    }
    Ok(())
}

/// When every replica had told its HAProxy to load this change or a later one.
async fn reached(told: &UdpSocket, replicas: usize, number: u64) -> Result<Instant> {
    let mut there = BTreeSet::new();
    let mut buffer = [0; 1024];
    while there.len() < replicas {
        let read = timeout(REACH, told.recv(&mut buffer)).await;
        let read =
            read.with_context(|| format!("only {} of {replicas} replicas", there.len()))??;
        let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
        let (loaded, home) = text.split_once(' ').context("a message of no stub")?;
        if loaded.parse::<u64>()? >= number {
            there.insert(home.to_owned());
        }
    }
    Ok(Instant::now())
}

fn since(now: Passed, before: Passed) -> Passed {
    Passed {
        connections: now.connections - before.connections,
        requests: now.requests - before.requests,
        bytes_there: now.bytes_there - before.bytes_there,
        bytes_back: now.bytes_back - before.bytes_back,
    }
}
