//! One replica: the real server as a process, with its HAProxy.

use std::{
    fs::{self, OpenOptions},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{API_PORT, Failure, HTTP_PORT, TLS_PORT, until};
use crate::haproxy::{HttpAnswer, get, masters_of};

/// The longest answer of the API: it waits for replicas, and they for theirs.
const API_DEADLINE: Duration = Duration::from_secs(60);

/// One replica.
#[derive(Debug)]
pub struct Replica {
    binary: PathBuf,
    home: PathBuf,
    host: Ipv4Addr,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    http: reqwest::Client,
}

/// What the admin API said.
#[derive(Clone, Debug)]
pub struct ApiAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON; null where it is none.
    pub json: Value,
    /// The body.
    pub text: String,
}

// === impl Replica ===

impl Replica {
    pub(super) fn new(
        binary: PathBuf,
        home: PathBuf,
        host: Ipv4Addr,
        settings: Vec<(String, String)>,
    ) -> Self {
        // A connection per call: one that the server closes after it refused a body must not be
        // the next call's.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(API_DEADLINE)
            .pool_max_idle_per_host(0)
            .build();
        Self {
            binary,
            home,
            host,
            settings,
            child: None,
            http: http.unwrap_or_default(),
        }
    }

    /// Starts the server. Whatever an earlier run left in its folders is there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<(), Failure> {
        fs::create_dir_all(&self.home)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let child = Command::new(&self.binary)
            .env_clear()
            .envs(self.settings.iter().cloned())
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Waits until HAProxy answers and the server says that it is ready.
    ///
    /// # Errors
    /// When it does not in time; with the log.
    pub async fn until_serving(&self) -> Result<(), Failure> {
        let served = until("the replica serves", async || {
            let answer = self.request("/").await?;
            if answer.status >= 500 {
                Err(format!("status {}", answer.status).into())
            } else {
                Ok(())
            }
        });
        let ready = async {
            served.await?;
            // HAProxy answers a moment before the server knows that it does.
            until("the replica is ready", async || {
                let answer = self.probe("readyz").await?;
                match answer.status {
                    200 => Ok(()),
                    _ => Err(answer.text.into()),
                }
            })
            .await
        };
        ready
            .await
            .map_err(|why: Failure| format!("{why}\n{}", self.log()).into())
    }

    /// Kills the server as `kill -9` does. Its HAProxy runs on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; it is waited for either way.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the server to end and waits until it has.
    ///
    /// # Errors
    /// When it did not run, or did not end in time.
    pub async fn terminate(&mut self) -> Result<std::process::ExitStatus, Failure> {
        self.ask_to_end()?;
        self.until_ended().await
    }

    /// Asks the server to end.
    ///
    /// # Errors
    /// When it does not run.
    pub fn ask_to_end(&self) -> Result<(), Failure> {
        let pid = self.pid().ok_or("the replica does not run")?;
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?)
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// When it did not run, or did not end in time.
    pub async fn until_ended(&mut self) -> Result<std::process::ExitStatus, Failure> {
        let mut child = self.child.take().ok_or("the replica does not run")?;
        let child = std::cell::RefCell::new(&mut child);
        until("the replica ends", async || {
            child
                .borrow_mut()
                .try_wait()?
                .ok_or_else(|| "it runs".into())
        })
        .await
    }

    /// Has HAProxy ended that the server left serving, and gives what was said of it.
    ///
    /// # Errors
    /// When the command cannot be run.
    pub async fn end_haproxy(&self) -> Result<Output, Failure> {
        let mut command = Command::new(&self.binary);
        command
            .arg("--end-haproxy")
            .env_clear()
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::null());
        Ok(tokio::task::spawn_blocking(move || command.output()).await??)
    }

    /// Kills the server and its HAProxy, as the end of a container does.
    pub fn crash(&mut self) {
        self.kill();
        // A process that was killed may answer for a moment more.
        while !crate::haproxy::processes_of(&self.home).is_empty() {
            crate::haproxy::end_processes_of(&self.home);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Removes everything the replica has on disk but its log.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn wipe(&self) -> Result<(), Failure> {
        for folder in ["cfg", "run", "state"] {
            let folder = self.home.join(folder);
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        Ok(())
    }

    /// The process number of the server.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// HAProxy's master processes; one, if all is well.
    #[must_use]
    pub fn masters(&self) -> Vec<u32> {
        masters_of(&self.home)
    }

    /// Where its HAProxy listens.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        (self.host, HTTP_PORT).into()
    }

    /// Where its HAProxy speaks TLS.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        (self.host, TLS_PORT).into()
    }

    /// Where its admin API listens.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        (self.host, API_PORT).into()
    }

    /// The folder of everything it has on disk.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// GETs a path through its HAProxy.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn request(&self, path: &str) -> Result<HttpAnswer, Failure> {
        Ok(get(self.http(), "localhost", path).await?)
    }

    /// Waits until a path is answered with a status through its HAProxy.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn until_status(&self, path: &str, status: u16) -> Result<HttpAnswer, Failure> {
        until(&format!("{path} is answered with {status}"), async || {
            let answer = self.request(path).await?;
            if answer.status == status {
                Ok(answer)
            } else {
                Err(format!("{answer:?}").into())
            }
        })
        .await
    }

    /// GETs below `/v1/docker-flow-proxy/`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn call(&self, path_and_query: &str) -> Result<ApiAnswer, Failure> {
        let url = format!(
            "http://{}/v1/docker-flow-proxy/{path_and_query}",
            self.api()
        );
        self.answer(self.http.get(url)).await
    }

    /// POSTs below `/v1/docker-flow-proxy/`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<ApiAnswer, Failure> {
        let url = format!("http://{}/v1/docker-flow-proxy/{path}", self.api());
        self.answer(self.http.post(url).header("content-type", kind).body(body))
            .await
    }

    /// Asks below `/v1/docker-flow-proxy/` with another method.
    ///
    /// # Errors
    /// When there is no such method, or no answer comes.
    pub async fn send(
        &self,
        method: &str,
        path_and_query: &str,
        body: Vec<u8>,
    ) -> Result<ApiAnswer, Failure> {
        let url = format!(
            "http://{}/v1/docker-flow-proxy/{path_and_query}",
            self.api()
        );
        let method = reqwest::Method::from_bytes(method.as_bytes())?;
        self.answer(self.http.request(method, url).body(body)).await
    }

    /// The control plane's figures, as text.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn metrics(&self) -> Result<String, Failure> {
        Ok(self.probe("metrics").await?.text)
    }

    /// GETs what lies at the root of the API: `healthz`, `readyz`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn probe(&self, name: &str) -> Result<ApiAnswer, Failure> {
        let url = format!("http://{}/{name}", self.api());
        self.answer(self.http.get(url)).await
    }

    /// What `config` says, as text.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn config(&self) -> Result<String, Failure> {
        Ok(self.call("config").await?.text)
    }

    /// Waits until `status` says what is looked for.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn until_state(
        &self,
        what: &str,
        right: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        until(what, async || {
            let answer = self.call("status").await?;
            if right(&answer.json) {
                Ok(answer.json)
            } else {
                Err(answer.text.into())
            }
        })
        .await
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<ApiAnswer, Failure> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(ApiAnswer { status, json, text })
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("log")
    }
}
