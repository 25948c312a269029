//! One replica: the built `proxy-server` as a child process with settings of its own.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{API_PORT, HTTP_PORT, PEERS_NAME};
use crate::http::get;

/// How long a replica may take until it answers: it reads the store and starts HAProxy.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// How long a replica may take to end: it lets HAProxy finish what it serves.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// Runs the server, and asks it to end once standard input ends: which it does when
/// we say so, and when we are gone for whatever reason. Ends as the server ended.
const GUARD: &str = r#"
exec 3<&0
"$1" </dev/null 3<&- &
server=$!
(read -r _ <&3; kill -TERM $server) &
watcher=$!
wait $server
status=$?
kill $watcher 2>/dev/null
exit $status
"#;

/// Lines of a log that are shown when a replica fails.
const LAST_LINES: usize = 20;

/// What makes one replica differ from the others.
pub(super) struct Place {
    pub(super) number: u32,
    pub(super) address: IpAddr,
    pub(super) server: PathBuf,
    pub(super) haproxy: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) name_server: SocketAddr,
    pub(super) consul: Option<String>,
    pub(super) alone: bool,
}

/// A running replica.
pub(super) struct Replica {
    number: u32,
    address: IpAddr,
    child: Child,
    log: PathBuf,
}

impl Place {
    /// The settings, as an operator would give them.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let folder = |name: &str| self.folder.join(name).display().to_string();
        let mut settings = vec![
            ("IP", self.address.to_string()),
            ("PORT", API_PORT.to_string()),
            ("BIND_ADDRESS", self.address.to_string()),
            ("DEFAULT_PORTS", HTTP_PORT.to_string()),
            ("CONFIGS_PATH", folder("cfg")),
            ("RUN_PATH", folder("run")),
            ("STATE_PATH", folder("state")),
            ("SECRETS_PATH", folder("secrets")),
            ("HAPROXY_BIN", self.haproxy.display().to_string()),
            ("DNS_SERVER", self.name_server.to_string()),
            // Ctrl-C is not kept waiting: nobody watches to send the traffic elsewhere.
            ("DRAIN_DELAY", "0".to_owned()),
        ];
        if !self.alone {
            settings.push(("MODE", "swarm".to_owned()));
            settings.push(("PEERS_DNS_NAME", PEERS_NAME.to_owned()));
        }
        if let Some(consul) = &self.consul {
            settings.push(("CONSUL_ADDRESS", consul.clone()));
        }
        settings
    }
}

impl Replica {
    pub(super) fn start(place: &Place) -> Result<Self> {
        for name in ["cfg", "run", "state", "secrets"] {
            let folder = place.folder.join(name);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let log = place.folder.join("log");
        let file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&place.server)
            // Nothing of ours that happens to bear a setting's name.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(place.environment())
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            // Ctrl-C is for us: we end the replicas in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", place.server.display()))?;
        Ok(Self {
            number: place.number,
            address: place.address,
            child,
            log,
        })
    }

    /// Waits until the admin API answers and HAProxy accepts.
    pub(super) async fn until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        let api = SocketAddr::new(self.address, API_PORT);
        let http = SocketAddr::new(self.address, HTTP_PORT);
        let patience = Duration::from_secs(1);
        loop {
            self.still_runs()?;
            let pinged = get(api, "GET", "/v1/docker-flow-proxy/ping", patience).await;
            let accepts = matches!(timeout(patience, TcpStream::connect(http)).await, Ok(Ok(_)));
            if accepts && pinged.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if start.elapsed() > READY_DEADLINE {
                bail!(
                    "replica {} is not ready after {} s; its log ends with:\n{}",
                    self.number,
                    READY_DEADLINE.as_secs(),
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An error with the log's end where the replica ended by itself.
    pub(super) fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "replica {} ended by itself with {status}; its log ends with:\n{}",
                self.number,
                self.last_words()
            ),
        }
    }

    /// Asks the replica to end, and ends it when it does not.
    pub(super) async fn end(mut self) -> Result<()> {
        let group = self.child.id().map(i32::try_from).transpose()?;
        drop(self.child.stdin.take());
        let ended = timeout(END_DEADLINE, self.child.wait()).await;
        if ended.is_err() {
            if let Some(group) = group {
                killpg(Pid::from_raw(group), Signal::SIGKILL)?;
            }
            self.child.wait().await?;
        }
        self.end_haproxy();
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => bail!("replica {} ended with {status}", self.number),
            Ok(Err(error)) => Err(error).context("cannot wait for a replica"),
            Err(_) => bail!(
                "replica {} did not end within {} s and was killed",
                self.number,
                END_DEADLINE.as_secs()
            ),
        }
    }

    /// HAProxy outlives a server that is killed, as it should, but not here. It is known
    /// by the socket in this replica's folder that stands on its command line.
    fn end_haproxy(&self) {
        let folder = self.log.with_file_name("run");
        let mark = format!("{}/", folder.display());
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in processes {
            let id = process.file_name().to_string_lossy().parse::<i32>();
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let arguments: Vec<_> = line.split('\0').collect();
            let haproxy = arguments.iter().any(|argument| argument.starts_with(&mark));
            if let (Ok(id), true, true) = (id, haproxy, arguments.contains(&"-W")) {
                let _gone = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(LAST_LINES);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(server: &str, folder: PathBuf) -> Place {
        Place {
            number: 1,
            address: "127.0.0.9".parse().unwrap(),
            server: server.into(),
            haproxy: "haproxy".into(),
            folder,
            name_server: "127.0.0.1:53".parse().unwrap(),
            consul: None,
            alone: true,
        }
    }

    #[test]
    fn a_cluster_finds_itself_and_its_store() {
        let mut place = place("server", "f".into());
        let names = |place: &Place| {
            let settings = place.environment();
            settings
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert!(!names(&place).contains(&"MODE"));
        place.alone = false;
        place.consul = Some("c:8500".to_owned());
        let settings = place.environment();
        assert!(settings.contains(&("PEERS_DNS_NAME", "tasks.proxy".to_owned())));
        assert!(settings.contains(&("CONSUL_ADDRESS", "c:8500".to_owned())));
    }

    fn script(folder: &std::path::Path, body: &str) -> PathBuf {
        let script = folder.join("server");
        fs::write(&script, format!("#!/bin/sh\n{body}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&script, mode).unwrap();
        script
    }

    #[tokio::test]
    async fn a_replica_that_ends_says_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let server = script(folder.path(), "echo 'bad settings: PORT' >&2; exit 64");
        let place = place(server.to_str().unwrap(), folder.path().join("1"));
        let mut replica = Replica::start(&place).unwrap();

        let error = replica.until_ready().await.unwrap_err().to_string();

        assert!(
            error.contains("64") && error.contains("bad settings: PORT"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_replica_is_asked_to_end() {
        for (body, well) in [("exit 0", true), ("exit 3", false)] {
            let folder = tempfile::tempdir().unwrap();
            let ready = folder.path().join("ready");
            let body = format!(
                "trap '{body}' TERM; touch {}; while :; do sleep 0.05; done",
                ready.display()
            );
            let server = script(folder.path(), &body);
            let place = place(server.to_str().unwrap(), folder.path().join("1"));
            let replica = Replica::start(&place).unwrap();
            let up = async {
                while !ready.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(READY_DEADLINE, up).await.unwrap();

            assert_eq!(replica.end().await.is_ok(), well);
        }
    }
}
