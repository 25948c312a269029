//! The package on a Debian that its own systemd runs: no request fails through restarts, an upgrade, a server that is
//! killed and settings that cannot be used; a stop ends the server and HAProxy, also between two runs of the server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::load::{Connections, Load, LoadPlan, Transport};
use testkit::topology::{Failure, until};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{ANSWER, API_PORT, DEADLINE, HTTP_PORT, Root};
use crate::demo::{Demo, GREETING};
use crate::http::get;
use crate::swarm::Outcome;
use crate::tools;

/// A loopback address that nothing else here uses.
const HOST: [u8; 4] = [127, 78, 0, 2];

/// The settings of the server, and what one that cannot be used looks like.
const SETTINGS: &str = "etc/proxy-server/proxy-server.env";
const NONSENSE: &str = "PORT=none\n";

/// The package, where no file system of the machine's hides it.
const PACKAGE: &str = "opt/proxy-server.deb";

/// Requests a second, and how many are answered between two things that happen.
const RATE: u32 = 200;
const BETWEEN: u64 = 100;

const SERVER: &str = "proxy-server";
const HAPROXY: &str = "proxy-server-haproxy";

/// Tries it, where this machine can.
pub(super) async fn trial(root: &Root, package: &Path) -> Result<Outcome> {
    let Some(nspawn) = tools::nspawn() else {
        let why = "no systemd-nspawn to boot a Debian with: restarts and upgrades were not tried";
        return Ok(Outcome::Absent(why.to_owned()));
    };
    root.apt_install(&["systemd", "systemd-sysv"]).await?;
    fs::copy(package, root.path(PACKAGE))?;
    let host = std::net::Ipv4Addr::from(HOST);
    let settings = fs::read_to_string(root.path(SETTINGS))?;
    let ours = format!(
        "{settings}\nIP={host}\nBIND_ADDRESS={host}\nDEFAULT_PORTS={HTTP_PORT}\nDRAIN_DELAY=0\n"
    );
    fs::write(root.path(SETTINGS), &ours)?;
    let demo = Demo::start().await?;
    let mut machine = Machine::boot(root, &nspawn.path).await?;
    let held = story(root, &machine, &demo, &ours).await;
    let journal = match &held {
        Ok(()) => String::new(),
        Err(_) => machine.journal().await,
    };
    machine.off().await;
    demo.stop().await;
    fs::remove_file(root.path(PACKAGE))?;
    held.context(journal)?;
    eprintln!("xtask: under systemd no request failed, and what is stopped has ended");
    Ok(Outcome::Held)
}

async fn story(root: &Root, machine: &Machine, demo: &Demo, settings: &str) -> Result<()> {
    machine.systemctl(&["start", SERVER]).await?;
    let port = demo.address().port();
    let call = format!(
        "/v1/docker-flow-proxy/reconfigure?serviceName=go-demo&servicePath=/demo&port={port}&outboundHostname=127.0.0.1"
    );
    let answer = get(SocketAddr::from((HOST, API_PORT)), "PUT", &call, ANSWER).await?;
    ensure!(answer.status == 200, "reconfigure: {}", answer.body);

    let mut load = Load::start(&LoadPlan {
        address: http(),
        transport: Transport::default(),
        host: "localhost".to_owned(),
        path: "/demo/hello".to_owned(),
        expect: GREETING.to_owned(),
        rate: RATE,
        clients: 4,
        connections: Connections::OneEach,
    });
    let served = without_a_loss(root, machine, settings, &mut load).await;
    let report = load.stop().await;
    served?;
    ensure!(
        report.failed() == 0,
        "requests failed: {:?}",
        report.failures
    );
    let answered = report.answered;
    eprintln!("xtask: {answered} requests through restarts, and an upgrade, under systemd");

    // Between two runs of the server nobody but systemd can hear the order. It waits for long enough to be told.
    let folder = root.path("etc/systemd/system/proxy-server.service.d");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("later.conf"), "[Service]\nRestartSec=10min\n")?;
    machine.systemctl(&["daemon-reload"]).await?;
    machine.kill_server().await?;
    machine
        .comes_to(
            "it waits for its restart",
            SERVER,
            "SubState",
            "auto-restart",
        )
        .await?;
    answers(true).await?;
    stops(root, machine).await?;
    fs::remove_dir_all(folder)?;
    machine.systemctl(&["daemon-reload"]).await?;

    machine.systemctl(&["start", SERVER]).await?;
    answers(true).await?;
    stops(root, machine).await
}

async fn without_a_loss(
    root: &Root,
    machine: &Machine,
    settings: &str,
    load: &mut Load,
) -> Result<()> {
    let mut server = machine.server().await?;
    for _ in 0..3 {
        machine.systemctl(&["restart", SERVER]).await?;
        server = another(machine, &server, load).await?;
    }
    // To the machine it is another version: what was there is stopped and started as dpkg says.
    let package = format!("/{PACKAGE}");
    machine.run(&["dpkg", "--install", &package]).await?;
    server = another(machine, &server, load).await?;
    machine.kill_server().await?;
    server = another(machine, &server, load).await?;

    fs::write(root.path(SETTINGS), format!("{settings}{NONSENSE}"))?;
    let refused = machine.systemctl(&["restart", SERVER]).await;
    ensure!(refused.is_err(), "it started with {NONSENSE}");
    answered(load).await?;
    fs::write(root.path(SETTINGS), settings)?;
    another(machine, &server, load).await.map(drop)
}

/// Waits until the server is another process than before, and for requests that are answered then.
async fn another(machine: &Machine, before: &str, load: &mut Load) -> Result<String> {
    let is_another = || async {
        machine.is(SERVER, "ActiveState", "active").await?;
        match machine.server().await? {
            now if now == before => Err("it is the one before".into()),
            now => Ok(now),
        }
    };
    let server = until("another server runs", is_another).await;
    answered(load).await?;
    server.map_err(anyhow::Error::from_boxed)
}

async fn answered(load: &mut Load) -> Result<()> {
    let seen = load.report().answered;
    let more = load.answered(seen + BETWEEN).await;
    more.map_err(anyhow::Error::msg)
}

/// A stop ends the server and, soon after, HAProxy; nothing of theirs is left.
async fn stops(root: &Root, machine: &Machine) -> Result<()> {
    machine.systemctl(&["stop", SERVER]).await?;
    for unit in [SERVER, HAPROXY] {
        let stopped = "what was stopped has ended";
        machine
            .comes_to(stopped, unit, "ActiveState", "inactive")
            .await?;
    }
    answers(false).await?;
    let left = machine.run(&["ls", "/run/proxy-server"]).await;
    ensure!(left.is_err(), "sockets are left: {left:?}");
    ensure!(root.path(SETTINGS).is_file(), "the settings are gone");
    Ok(())
}

/// Whether somebody takes connections.
async fn answers(right: bool) -> Result<()> {
    let answers = TcpStream::connect(http()).await.is_ok();
    ensure!(answers == right, "HAProxy takes connections: {answers}");
    Ok(())
}

fn http() -> SocketAddr {
    SocketAddr::from((HOST, HTTP_PORT))
}

/// The Debian, booted: with processes and mounts of its own and the network of this machine. Dropped, it is killed.
struct Machine {
    container: Child,
    /// Its first process.
    init: String,
}

// === impl Machine ===

impl Machine {
    async fn boot(root: &Root, nspawn: &Path) -> Result<Self> {
        let log = fs::File::create(root.path("boot.log"))?;
        let mut command = Command::new(nspawn);
        command
            .args([
                "--quiet",
                "--boot",
                "--register=no",
                "--keep-unit",
                "--console=pipe",
            ])
            .arg(format!("--machine=xtask-deb-{}", std::process::id()))
            .arg("--directory")
            .arg(root.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let container = command.spawn().context("systemd-nspawn cannot be run")?;
        let mut machine = Self {
            container,
            init: String::new(),
        };
        let begun = Instant::now();
        loop {
            if let Some(status) = machine.container.try_wait()? {
                bail!("systemd-nspawn ended with {status}");
            }
            machine.init = machine.first_process();
            let state = machine.run(&["systemctl", "is-system-running"]).await;
            match state {
                Ok(_) => return Ok(machine),
                // What fails of the machine's own is not ours.
                Err(why) if why.to_string().contains("degraded") => return Ok(machine),
                Err(why) if begun.elapsed() > DEADLINE => {
                    return Err(why.context("the Debian does not boot"));
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn first_process(&self) -> String {
        let pid = self.container.id().unwrap_or_default();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// Runs a command inside and gives what it says.
    async fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command.args([
            "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd",
        ]);
        command.args(words).env_clear().envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("LC_ALL", "C"),
        ]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let name = words.join(" ");
        let output = timeout(DEADLINE, command.output()).await;
        let output = output.with_context(|| format!("`{name}` takes too long"))??;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "`{name}` ended with {}: {said} {errors}",
            output.status
        );
        Ok(said)
    }

    async fn systemctl(&self, words: &[&str]) -> Result<String> {
        self.run(&[&["systemctl"], words].concat()).await
    }

    async fn property(&self, unit: &str, name: &str) -> Result<String> {
        let property = format!("--property={name}");
        self.systemctl(&["show", "--value", &property, unit]).await
    }

    /// Waits until systemd shows this of a unit.
    async fn comes_to(&self, what: &str, unit: &str, name: &str, wanted: &str) -> Result<()> {
        let shown = until(what, || self.is(unit, name, wanted)).await;
        shown.map_err(anyhow::Error::from_boxed)
    }

    async fn is(&self, unit: &str, name: &str, wanted: &str) -> Result<(), Failure> {
        match self.property(unit, name).await? {
            now if now == wanted => Ok(()),
            now => Err(format!("{name} of {unit} is {now}").into()),
        }
    }

    /// The process of the server.
    async fn server(&self) -> Result<String> {
        self.property(SERVER, "MainPID").await
    }

    async fn kill_server(&self) -> Result<()> {
        let kill = ["kill", "--kill-whom=main", "--signal=KILL", SERVER];
        self.systemctl(&kill).await.map(drop)
    }

    async fn journal(&self) -> String {
        let words = ["journalctl", "--no-pager", "--unit=proxy-server*"];
        match self.run(&words).await {
            Ok(text) => text,
            Err(error) => format!("{error:#}"),
        }
    }

    /// Ends it with all that runs in it.
    async fn off(&mut self) {
        // Where it does not end by itself it is killed, and the kernel ends what it held.
        let _asked = self.systemctl(&["poweroff"]).await;
        if timeout(DEADLINE, self.container.wait()).await.is_err() {
            let _killed = self.container.kill().await;
        }
    }
}
