//! HAProxy as an operator would run it without us: the reference of every comparison.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use testkit::haproxy::{ReservedPort, end_processes_of, get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::processes::{self, Place};

/// Nothing that is done by hand takes as long.
const DEADLINE: Duration = Duration::from_secs(60);
/// The pause between two looks: short beside what is measured.
const LOOK: Duration = Duration::from_millis(2);

/// A HAProxy that nobody manages. Dropped, it ends.
#[derive(Debug)]
pub(super) struct ByHand {
    folder: TempDir,
    binary: PathBuf,
    place: Place,
    port: ReservedPort,
    master: Option<Child>,
}

impl ByHand {
    /// A place for one, with a port of its own.
    pub(super) fn new(binary: &Path, place: Place) -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("hand").tempdir_in("/tmp")?,
            binary: binary.to_owned(),
            place,
            port: ReservedPort::new()?,
            master: None,
        })
    }

    /// Where it listens, if its configuration says so.
    pub(super) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The folder of its processes.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What every configuration by hand begins with.
    fn head(&self) -> String {
        format!(
            "global\n    stats socket {} mode 600 level admin expose-fd listeners\n\
             defaults\n    mode http\n    timeout connect 5s\n    timeout client 20s\n    timeout server 20s\n    \
             timeout http-request 5s\n    timeout http-keep-alive 15s\n",
            self.worker_socket().display()
        )
    }

    /// A server that answers 200 on every path.
    pub(super) fn answering(&self) -> String {
        format!(
            "{}frontend answers\n    bind {}\n    \
             http-request return status 200 content-type text/plain string hello\n",
            self.head(),
            self.address()
        )
    }

    /// The one service that somebody would write down, with the forwarding headers that
    /// everybody needs.
    pub(super) fn one_service(&self, path: &str, backend: SocketAddr) -> String {
        format!(
            "{}frontend services\n    bind {}\n    \
             http-request set-header X-Forwarded-For %[src]\n    \
             http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n    \
             acl url_demo path_beg {path}\n    use_backend demo if url_demo\n\
             backend demo\n    server demo {backend}\n",
            self.head(),
            self.address()
        )
    }

    /// A configuration that a replica runs, bound here instead of there.
    pub(super) fn moved(&self, config: &str, replica: SocketAddr) -> String {
        let mut text = String::new();
        for line in config.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["stats", "socket", _, rest @ ..] => {
                    let socket = self.worker_socket();
                    let rest = rest.join(" ");
                    text.push_str(&format!("    stats socket {} {rest}", socket.display()));
                }
                ["bind", address, rest @ ..] if *address == replica.to_string() => {
                    text.push_str(&format!("    bind {} {}", self.address(), rest.join(" ")));
                }
                // Other ports are not asked for anything.
                ["bind", ..] => {}
                _ => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }

    /// Writes the configuration down.
    pub(super) fn write(&self, config: &str) -> Result<()> {
        fs::write(self.config(), config).context("cannot write a configuration")
    }

    /// Starts it and waits until a path is answered with 200; says how long that took.
    pub(super) async fn start(&mut self, path: &str) -> Result<Duration> {
        let begun = Instant::now();
        let log = fs::File::create(self.folder().join("log"))?;
        let mut command = self.haproxy();
        command
            .args(["-W", "-db", "-S"])
            .arg(self.master_socket())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.master = Some(command.spawn().context("cannot run haproxy")?);
        self.until_answered(path).await?;
        Ok(begun.elapsed())
    }

    async fn until_answered(&self, path: &str) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            match get(self.address(), "localhost", path).await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                _ if Instant::now() > end => {
                    let log = fs::read_to_string(self.folder().join("log")).unwrap_or_default();
                    bail!("a HAProxy by hand does not answer {path}:\n{log}");
                }
                _ => sleep(LOOK).await,
            }
        }
    }

    /// `haproxy -c`; says how long it took.
    pub(super) async fn check(&self) -> Result<Duration> {
        let begun = Instant::now();
        let mut command = self.haproxy();
        command.arg("-c");
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output();
        let output = timeout(DEADLINE, output)
            .await
            .context("haproxy -c does not end")??;
        if !output.status.success() {
            bail!(
                "haproxy -c: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(begun.elapsed())
    }

    /// Reloads it and waits until the new worker is there; says how long that took.
    pub(super) async fn reload(&self) -> Result<Duration> {
        let before = self.workers().await?;
        let begun = Instant::now();
        self.tell("reload").await?;
        while begun.elapsed() < DEADLINE {
            // The socket is away while the master replaces itself.
            if let Ok(workers) = self.workers().await
                && !workers.is_empty()
                && workers != before
            {
                return Ok(begun.elapsed());
            }
            sleep(LOOK).await;
        }
        bail!("no new worker within {DEADLINE:?}")
    }

    /// What an operator does for a change: check, then reload.
    pub(super) async fn check_and_reload(&self) -> Result<Duration> {
        Ok(self.check().await? + self.reload().await?)
    }

    async fn workers(&self) -> Result<Vec<u32>> {
        let text = self.tell("show proc").await?;
        let current = text.split("# workers").nth(1).unwrap_or_default();
        let current = current.split("# old workers").next().unwrap_or_default();
        let pids = current.lines().filter(|line| line.contains("worker"));
        Ok(pids
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect())
    }

    async fn tell(&self, command: &str) -> Result<String> {
        let asked = async {
            let mut stream = UnixStream::connect(self.master_socket()).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            // The master answers for as long as more may be asked.
            stream.shutdown().await?;
            let mut answer = String::new();
            match stream.read_to_string(&mut answer).await {
                // A reload ends the connection as it likes.
                Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
                _ => Ok(answer),
            }
        };
        let answer = timeout(DEADLINE, asked)
            .await
            .with_context(|| format!("the master does not answer {command:?}"))?;
        Ok(answer?)
    }

    fn haproxy(&self) -> Command {
        let mut command = processes::command(self.place, &self.binary);
        command.arg("-f").arg(self.config()).stdin(Stdio::null());
        command
    }

    fn config(&self) -> PathBuf {
        self.folder().join("haproxy.cfg")
    }

    fn master_socket(&self) -> PathBuf {
        self.folder().join("master.sock")
    }

    fn worker_socket(&self) -> PathBuf {
        self.folder().join("worker.sock")
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        end_processes_of(self.folder.path());
        if let Some(mut master) = self.master.take() {
            // It was just killed; this only takes its number back.
            let _ = master.wait();
        }
    }
}
