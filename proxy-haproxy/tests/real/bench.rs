//! What the tests share: a table, a HAProxy that serves it, and waiting for a condition.

use std::{
    fmt::Debug,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxy_core::{Params, RouteTable, Service, parse_reconfigure};
use proxy_haproxy::{
    AddressBook, Applier, Bind, BindAddress, ConfigDir, Haproxy, HaproxyState, ProcessSettings,
    RenderSettings, RenderedConfig, RunPath, render,
};
use testkit::{
    haproxy::{HaproxySandbox, HttpAnswer, ReservedPort, get},
    load::{Connections, LoadPlan, Transport},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};

/// A sandbox with one port to bind.
pub(crate) struct Bench {
    pub(crate) sandbox: HaproxySandbox,
    pub(crate) port: ReservedPort,
}

pub(crate) fn service(query: &str) -> Arc<Service> {
    let params = Params::from_query(query).unwrap();
    parse_reconfigure(&params).unwrap().value.service
}

pub(crate) fn table<Q: AsRef<str>>(queries: &[Q]) -> RouteTable {
    queries
        .iter()
        .map(|query| service(query.as_ref()))
        .collect()
}

/// A service at an address of this machine.
pub(crate) fn at(name: &str, path: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("serviceName={name}&servicePath={path}&port={port}&outboundHostname={ip}")
}

pub(crate) fn send(signal: Signal, pid: u32) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Enough requests for `/demo` to hit every moment.
pub(crate) fn load_plan(bench: &Bench, connections: Connections) -> LoadPlan {
    LoadPlan {
        address: bench.address(),
        transport: Transport::Plain,
        host: "acme.com".to_owned(),
        path: "/demo".to_owned(),
        expect: "demo".to_owned(),
        rate: 500,
        clients: 10,
        connections,
    }
}

/// A request that is under way.
pub(crate) type Answering = tokio::task::JoinHandle<std::io::Result<HttpAnswer>>;

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            sandbox: HaproxySandbox::new().unwrap(),
            port: ReservedPort::new().unwrap(),
        }
    }

    pub(crate) fn run(&self) -> RunPath {
        RunPath::new(self.sandbox.run_path()).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn render_settings(&self) -> RenderSettings {
        let address = BindAddress::Ip(self.address().ip());
        let port = self.port.get().to_string().parse().unwrap();
        RenderSettings::new(self.run()).with_binds(vec![Bind::plain(address, port)])
    }

    pub(crate) fn render<Q: AsRef<str>>(&self, queries: &[Q]) -> RenderedConfig {
        render(
            &table(queries),
            &self.render_settings(),
            &AddressBook::new(),
        )
        .unwrap()
    }

    pub(crate) fn dir(&self) -> ConfigDir {
        ConfigDir::open(self.sandbox.configs_path()).unwrap()
    }

    pub(crate) fn process_settings(&self, dir: &ConfigDir) -> ProcessSettings {
        ProcessSettings::new(self.sandbox.binary(), dir.main_path(), self.run())
    }

    /// A HAProxy that serves these services.
    pub(crate) async fn serve<Q: AsRef<str>>(
        &self,
        queries: &[Q],
    ) -> (Arc<Haproxy>, Applier<Arc<Haproxy>>) {
        let config = self.render(queries);
        let (haproxy, dir) = self.start(&config, |settings| settings).await;
        let applier = Applier::new(dir, Arc::clone(&haproxy)).with_running(config.digest());
        (haproxy, applier)
    }

    /// A HAProxy that serves this, with these settings, and its folder.
    pub(crate) async fn start(
        &self,
        config: &RenderedConfig,
        settings: impl FnOnce(ProcessSettings) -> ProcessSettings,
    ) -> (Arc<Haproxy>, ConfigDir) {
        let mut dir = self.dir();
        let staged = dir.stage(config).unwrap();
        dir.activate(staged).unwrap();
        let settings = settings(self.process_settings(&dir));
        (Arc::new(Haproxy::start(settings).await.unwrap()), dir)
    }

    /// A HAProxy with a request that is under way for as long as nobody cuts it: its answer, and the connection to the
    /// service.
    pub(crate) async fn serve_slowly(&self) -> (Arc<Haproxy>, Answering, TcpStream) {
        // It takes connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let (haproxy, _applier) = self.serve(&[at("slow", "/slow", address)]).await;
        let asked = tokio::spawn(get(self.address(), "acme.com", "/slow"));
        (haproxy, asked, silent.accept().await.unwrap().0)
    }

    /// Waits until this is the only master.
    pub(crate) async fn until_alone(&self, master: u32) {
        eventually("one master", async || {
            equal(self.sandbox.masters(), vec![master])
        })
        .await;
    }

    /// Says something on the socket of the worker, as a person would.
    pub(crate) async fn say(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.run().worker_socket())
            .await
            .unwrap();
        stream.write_all(command.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> HttpAnswer {
        get(self.address(), "acme.com", path).await.unwrap()
    }
}

/// A service that reads requests and goes silent, after it has switched protocols where it is asked to.
pub(crate) async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&buffer[..read]).to_ascii_lowercase();
            if head.contains("upgrade: test") {
                let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: test\r\nConnection: Upgrade\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            open.push(stream);
        }
    });
    address
}

/// Waits until a condition gives something, for as long as anything here may take.
pub(crate) async fn eventually<T, F>(what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let begun = Instant::now();
    loop {
        match condition().await {
            Ok(found) => return found,
            Err(last) if begun.elapsed() > Duration::from_secs(30) => {
                panic!("{what}: not within 30 s; last seen: {last}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Waits for a state, and gives the master and its workers.
pub(crate) async fn running(haproxy: &Haproxy, unlike: Option<u32>) -> (u32, Vec<u32>) {
    let mut state = haproxy.state();
    let wanted = state.wait_for(|state| match state {
        HaproxyState::Running { master_pid, .. } => Some(*master_pid) != unlike,
        _ => false,
    });
    let found = tokio::time::timeout(Duration::from_secs(30), wanted).await;
    match &*found.expect("HAProxy runs within 30 s").unwrap() {
        HaproxyState::Running {
            master_pid,
            worker_pids,
        } => (*master_pid, worker_pids.clone()),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn equal<T: PartialEq + Debug>(found: T, wanted: T) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{found:?}"))
    }
}
