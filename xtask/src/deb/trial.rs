//! The package in a clean Debian: it installs, its programs, pages and completions are there, the server serves a route,
//! under systemd through restarts and upgrades too, and a purge leaves nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::demo::{Demo, GREETING};
use crate::http::get;
use crate::rootfs::{self, quietly};
use crate::swarm::Outcome;
use crate::tools;
use crate::workspace::Workspace;

mod booted;

/// How long the server may take to be ready, and to end.
const DEADLINE: Duration = Duration::from_secs(40);

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// A loopback address that nothing else here uses.
const HOST: [u8; 4] = [127, 78, 0, 1];
const API_PORT: u16 = 8080;
/// Below 1024, as in use: the server is not root.
const HTTP_PORT: u16 = 80;

/// What the package must bring.
const FILES: [&str; 13] = [
    "usr/bin/proxy-server",
    "usr/bin/proxyctl",
    "usr/share/man/man1/proxy-server.1.gz",
    "usr/share/man/man1/proxyctl.1.gz",
    "usr/share/man/man1/proxyctl-reconfigure.1.gz",
    "usr/share/bash-completion/completions/proxy-server",
    "usr/share/bash-completion/completions/proxyctl",
    "usr/share/zsh/vendor-completions/_proxyctl",
    "usr/share/fish/vendor_completions.d/proxyctl.fish",
    "usr/share/doc/proxy-server/copyright",
    "etc/proxy-server/proxy-server.env",
    "usr/lib/systemd/system/proxy-server.service",
    "usr/lib/systemd/system/proxy-server-haproxy.service",
];

/// The units of the package.
const UNITS: [&str; 2] = ["proxy-server.service", "proxy-server-haproxy.service"];

/// Tries it, where this machine can.
pub(super) async fn trial(workspace: &Workspace, package: &Path) -> Result<Outcome> {
    if !tools::is_root()? {
        let why = "only root can install a package into a clean Debian";
        return Ok(Outcome::Absent(why.to_owned()));
    }
    let root = Root::new(workspace).await?;
    root.install(package).await?;
    for file in FILES {
        ensure!(root.path(file).exists(), "the package brought no /{file}");
    }
    for program in ["proxy-server", "proxyctl"] {
        root.run(&[program, "--help"]).await?;
    }
    root.units().await?;
    root.serve().await?;
    let booted = booted::trial(&root, package).await?;
    root.purge().await?;
    eprintln!("xtask: the package installs, serves and goes without a trace");
    Ok(booted)
}

/// A clean Debian in a folder. Nothing is mounted in it but in a name space of the server's own.
struct Root {
    folder: TempDir,
    log: PathBuf,
}

// === impl Root ===

impl Root {
    async fn new(workspace: &Workspace) -> Result<Self> {
        let archive = rootfs::archive(workspace).await?;
        let target = workspace.root().join("target").join("deb");
        let folder = tempfile::Builder::new()
            .prefix("root")
            .tempdir_in(&target)?;
        let root = Self {
            folder,
            log: target.join("trial.log"),
        };
        let mut unpack = Command::new("tar");
        unpack.arg("--extract").arg("--file").arg(archive);
        unpack.arg("--directory").arg(root.folder.path());
        quietly(unpack, &root.log).await?;
        // The machine's package mirror may have a name, and a way that apt is told of.
        fs::copy("/etc/resolv.conf", root.path("etc/resolv.conf"))?;
        let (from, to) = (Path::new("/etc/apt"), root.path("etc/apt"));
        for folder in ["apt.conf.d", "auth.conf.d"] {
            copy_files(&from.join(folder), &to.join(folder))?;
        }
        Ok(root)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Runs a command inside.
    async fn run(&self, words: &[&str]) -> Result<()> {
        let mut command = Command::new("chroot");
        command.arg(self.folder.path()).args(words);
        // Nothing of ours that happens to bear a setting's name.
        command.env_clear().envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("LC_ALL", "C"),
        ]);
        for name in ["http_proxy", "https_proxy"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        quietly(command, &self.log)
            .await
            .with_context(|| format!("`{}` in the clean Debian", words.join(" ")))
    }

    async fn install(&self, package: &Path) -> Result<()> {
        let inside = "/tmp/proxy-server.deb";
        fs::copy(package, self.path("tmp/proxy-server.deb"))?;
        self.run(&["apt-get", "update"]).await?;
        self.apt_install(&[inside]).await?;
        fs::remove_file(self.path("tmp/proxy-server.deb"))?;
        Ok(())
    }

    async fn apt_install(&self, packages: &[&str]) -> Result<()> {
        let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
        self.run(&[&install, packages].concat()).await
    }

    /// systemd has nothing to say against the units, where there is one to ask.
    async fn units(&self) -> Result<()> {
        let analyze = Path::new("/usr/bin/systemd-analyze");
        if !analyze.is_file() {
            eprintln!("xtask: no systemd-analyze here: the units were not verified");
            return Ok(());
        }
        let root = format!("--root={}", self.folder.path().display());
        let mut verify = Command::new(analyze);
        verify.args(["verify", "--man=no", "--recursive-errors=no", &root]);
        verify.args(UNITS);
        quietly(verify, &self.log)
            .await
            .context("a unit is wrong")?;
        let mut security = Command::new(analyze);
        // Exposed less than 2.5 of 10: one directive that goes missing is noticed.
        security.args(["security", "--offline=true", "--threshold=25"]);
        security.args(UNITS.map(|unit| self.path("usr/lib/systemd/system").join(unit)));
        quietly(security, &self.log)
            .await
            .context("a unit is not sandboxed as it was")
    }

    /// The server as its unit would start it: not root, below 1024, without a store.
    async fn serve(&self) -> Result<()> {
        let demo = Demo::start().await?;
        let mut server = self.start()?;
        let served = self.served(&mut server, &demo).await;
        let ended = end(&mut server).await;
        demo.stop().await;
        served.with_context(|| self.server_log())?;
        ended.with_context(|| self.server_log())
    }

    fn start(&self) -> Result<Child> {
        let script = r#"
set -e
mount -t proc proc "$1/proc"
for folder in var/lib/proxy-server run/proxy-server; do
    mkdir -p "$1/$folder"
    chown proxy:proxy "$1/$folder"
done
exec chroot "$1" setpriv --reuid=proxy --regid=proxy --clear-groups --inh-caps=+net_bind_service \
    --ambient-caps=+net_bind_service --no-new-privs /usr/bin/proxy-server
"#;
        let log = fs::File::create(self.path("server.log"))?;
        let host = std::net::Ipv4Addr::from(HOST).to_string();
        let mut command = tokio::process::Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(self.folder.path())
            .env_clear()
            .envs([
                ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                ("CONFIGS_PATH", "/var/lib/proxy-server/cfg"),
                ("STATE_PATH", "/var/lib/proxy-server"),
                ("RUN_PATH", "/run/proxy-server"),
                ("IP", &host),
                ("BIND_ADDRESS", &host),
                ("DEFAULT_PORTS", &HTTP_PORT.to_string()),
                ("DRAIN_DELAY", "0"),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().context("unshare cannot be run")
    }

    async fn served(&self, server: &mut Child, demo: &Demo) -> Result<()> {
        let api = SocketAddr::from((HOST, API_PORT));
        let begun = Instant::now();
        loop {
            if let Some(status) = server.try_wait()? {
                bail!("the server ended with {status}");
            }
            match get(api, "GET", "/readyz", ANSWER).await {
                Ok(answer) if answer.status == 200 => break,
                _ if begun.elapsed() > DEADLINE => bail!("the server is not ready in time"),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
        let call = format!(
            "/v1/docker-flow-proxy/reconfigure?serviceName=go-demo&servicePath=/demo&port={}&outboundHostname=127.0.0.1",
            demo.address().port()
        );
        let answer = get(api, "PUT", &call, ANSWER).await?;
        ensure!(answer.status == 200, "reconfigure: {}", answer.body);
        let answer = get(
            SocketAddr::from((HOST, HTTP_PORT)),
            "GET",
            "/demo/hello",
            ANSWER,
        )
        .await?;
        ensure!(answer.body == GREETING, "through the proxy: {answer:?}");
        Ok(())
    }

    fn server_log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    async fn purge(&self) -> Result<()> {
        self.run(&["apt-get", "purge", "--yes", "proxy-server"])
            .await?;
        let mut left = Vec::new();
        for folder in ["etc", "usr", "var/lib", "run"] {
            find(&self.path(folder), &mut left)?;
        }
        ensure!(left.is_empty(), "the purge left {left:?}");
        Ok(())
    }
}

async fn end(server: &mut Child) -> Result<()> {
    if let Some(pid) = server.id() {
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    }
    let ended = timeout(DEADLINE, server.wait()).await;
    let status = ended.context("the server did not end")??;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}

/// What bears our name below a folder. dpkg's own notes are no part of the package.
fn find(folder: &Path, left: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name.contains("proxy-server") || name.contains("proxyctl");
        if ours {
            left.push(entry.path());
        } else if entry.file_type()?.is_dir() {
            find(&entry.path(), left)?;
        }
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
