//! `cargo xtask up`: the proxy as an operator would run it, on one machine: real
//! HAProxy, a demo service, and with `--replicas` and `--consul` a whole cluster.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::consul::{ClusterOptions, ConsulCluster};
use testkit::dns::TestDns;
use tokio::signal::unix::{SignalKind, signal};

use crate::tools;
use crate::workspace::{Profile, Workspace};

mod replica;
mod story;

use self::replica::{Place, Replica};
use crate::demo::Demo;

/// The ports that every replica binds on its own address: no rights are needed.
const API_PORT: u16 = 8080;
const HTTP_PORT: u16 = 8000;

/// The name under which replicas find each other, as a swarm serves it.
const PEERS_NAME: &str = "tasks.proxy";

/// The demo service's name, answered by the same DNS.
const SERVICE: &str = "go-demo";

/// The longest folder that leaves room for socket names below it: a socket's path
/// has at most 97 bytes.
const MAX_RUN_FOLDER: usize = 60;

/// What is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    replicas: u8,
    consul: u8,
}

impl Shape {
    pub(crate) fn new(replicas: u8, consul: u8) -> Self {
        Self { replicas, consul }
    }

    /// The address of a replica, counted from 0. Alone, it is the machine's usual
    /// one; in a cluster each has its own.
    fn address(self, nth: u8) -> IpAddr {
        let last = if self.replicas == 1 {
            1
        } else {
            nth.saturating_add(2)
        };
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    fn addresses(self) -> impl Iterator<Item = IpAddr> {
        (0..self.replicas).map(move |nth| self.address(nth))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--replicas {} --consul {}", self.replicas, self.consul)
    }
}

/// How long it stays up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// Until Ctrl-C.
    UntilInterrupted,
    /// Until the story was tried once.
    Once,
}

/// What becomes of the replicas' folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logs {
    Keep,
    Remove,
}

/// Everything that is up. Ended in [`Stage::end`]; a drop ends it less gracefully.
struct Stage {
    folder: PathBuf,
    demo: Demo,
    dns: TestDns,
    consul: Option<ConsulCluster>,
    replicas: Vec<Replica>,
}

/// Starts everything, stays, and ends everything.
pub(crate) async fn up(workspace: &Workspace, shape: &Shape, stay: Stay) -> Result<()> {
    if shape.replicas == 0 {
        bail!("a proxy has at least one replica");
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let haproxy = tools::haproxy(workspace)?;
    if shape.consul > 0 {
        tools::consul(workspace)?;
    }
    for address in shape.addresses() {
        claim(SocketAddr::new(address, API_PORT), "the admin API")?;
        claim(SocketAddr::new(address, HTTP_PORT), "HAProxy")?;
    }
    let server = workspace.build("proxy-server", Profile::Dev)?;

    let mut stage = Stage::set(workspace, shape).await?;
    let played = tokio::select! {
        played = stage.play(shape, stay, server, haproxy.path) => played,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    say("ending what was started");
    let logs = match &played {
        Ok(()) => Logs::Remove,
        Err(_) => Logs::Keep,
    };
    let ended = tokio::select! {
        ended = stage.end(logs) => ended,
        _ = interrupt.recv() => bail!("interrupted twice: ended without grace"),
    };
    played.and(ended)
}

impl Stage {
    async fn set(workspace: &Workspace, shape: &Shape) -> Result<Self> {
        let folder = folder(workspace);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let dns = TestDns::start()
            .await
            .context("the DNS server cannot start")?;
        let demo = Demo::start()
            .await
            .context("the demo service cannot start")?;
        dns.set(PEERS_NAME, shape.addresses());
        dns.set(SERVICE, [demo.address().ip()]);
        let consul = if shape.consul == 0 {
            None
        } else {
            say("starting Consul");
            Some(ConsulCluster::start(ClusterOptions::servers(shape.consul)).await?)
        };
        Ok(Self {
            folder,
            demo,
            dns,
            consul,
            replicas: Vec::new(),
        })
    }

    async fn play(
        &mut self,
        shape: &Shape,
        stay: Stay,
        server: PathBuf,
        haproxy: PathBuf,
    ) -> Result<()> {
        for (number, address) in (1..).zip(shape.addresses()) {
            let place = Place {
                number,
                address,
                server: server.clone(),
                haproxy: haproxy.clone(),
                folder: self.folder.join(number.to_string()),
                name_server: self.dns.address(),
                consul: self.consul.as_ref().map(ConsulCluster::addresses),
                alone: shape.replicas == 1,
            };
            say(&format!("starting replica {number} on {address}"));
            self.replicas.push(Replica::start(&place)?);
        }
        for replica in &mut self.replicas {
            replica.until_ready().await?;
        }
        let first = shape.address(0);
        let reconfigure = story::reconfigure_url(first, self.demo.address().port());
        invite(shape, &reconfigure, self);
        match stay {
            Stay::Once => story::try_once(shape.addresses().collect(), &reconfigure).await,
            Stay::UntilInterrupted => self.until_one_ends().await,
        }
    }

    /// A replica that ends by itself ends the whole, with its last words.
    async fn until_one_ends(&mut self) -> Result<()> {
        loop {
            for replica in &mut self.replicas {
                replica.still_runs()?;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn end(self, logs: Logs) -> Result<()> {
        let mut problems = Vec::new();
        let ends = self.replicas.into_iter().map(Replica::end);
        for ended in futures_join(ends).await {
            problems.extend(ended.err().map(|error| format!("{error:#}")));
        }
        drop(self.consul);
        self.dns.stop().await;
        self.demo.stop().await;
        if logs == Logs::Keep || !problems.is_empty() {
            say(&format!("the logs are kept in {}", self.folder.display()));
        }
        if !problems.is_empty() {
            bail!("{}", problems.join("; "));
        }
        if logs == Logs::Keep {
            return Ok(());
        }
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// All at once: each has a grace of its own.
async fn futures_join<F>(futures: impl Iterator<Item = F>) -> Vec<Result<()>>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for future in futures {
        tasks.spawn(future);
    }
    let mut results = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        results.push(joined.unwrap_or_else(|error| Err(error.into())));
    }
    results
}

/// Below `target/`, or, where that is too deep for sockets, below the system's
/// folder for temporary files.
fn folder(workspace: &Workspace) -> PathBuf {
    let folder = workspace.root().join("target").join("up");
    if folder.as_os_str().len() <= MAX_RUN_FOLDER {
        return folder;
    }
    std::env::temp_dir().join(format!("proxy-up-{}", std::process::id()))
}

/// Finds out now that an address is taken: later it would be one line in a log.
fn claim(address: SocketAddr, for_whom: &str) -> Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| {
        format!("{address} is needed for {for_whom} and cannot be bound; is another `up` running?")
    })
}

#[expect(
    clippy::print_stdout,
    reason = "the lines to try are the task's output"
)]
fn invite(shape: &Shape, reconfigure: &str, stage: &Stage) {
    let first = shape.address(0);
    println!();
    for address in shape.addresses() {
        println!(
            "replica      http://{address}:{HTTP_PORT}  (admin API http://{address}:{API_PORT})"
        );
    }
    if let Some(consul) = &stage.consul {
        println!("Consul       {}", consul.addresses());
    }
    println!("demo service {} as {SERVICE}", stage.demo.address());
    println!("logs         {}", stage.folder.display());
    println!("\nTry:\n");
    println!("    curl \"{reconfigure}\"");
    println!("    curl -i http://{first}:{HTTP_PORT}/demo/hello\n");
    println!("Names other than {SERVICE} are not resolved here: for a service of your own give");
    println!("outboundHostname=127.0.0.1 as well. Ctrl-C ends everything.\n");
}

fn say(text: &str) {
    eprintln!("xtask: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_at_home_and_many_have_an_address_each() {
        let texts = |shape: Shape| {
            shape
                .addresses()
                .map(|ip| ip.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(Shape::new(1, 3)), ["127.0.0.1"]);
        assert_eq!(
            texts(Shape::new(3, 0)),
            ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
        );
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = claim(address, "a test").unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}
