//! A place for a real HAProxy to run in: folders, ports and the binary, and an eye on its processes.
//! For tests of whatever starts one.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::guard::Guard;

mod backend;
mod client;
mod greeter;

pub use backend::DemoBackend;
pub use client::{HttpAnswer, KeptConnection, Request, get, post, request};
pub(crate) use client::{header, read_answer};
pub use greeter::{Greeted, Greeter, client_hello};

/// A place for one HAProxy. Dropped, or with the end of its process, it ends every HAProxy that was started with one
/// of its paths.
#[derive(Debug)]
pub struct HaproxySandbox {
    folder: TempDir,
    binary: PathBuf,
    _guard: Guard,
}

/// A port of 127.0.0.1 that nobody else gets while this exists. HAProxy (and whatever else binds
/// with `SO_REUSEPORT`) can listen there all the same.
#[derive(Debug)]
pub struct ReservedPort {
    port: u16,
    _socket: TcpSocket,
}

/// A process that was started with one of the sandbox's paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SandboxProcess {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
}

impl HaproxySandbox {
    /// An empty place.
    ///
    /// # Errors
    /// When there is no HAProxy, or no folder can be made.
    pub fn new() -> io::Result<Self> {
        let binary = find_binary()?;
        // Not in TMPDIR, which may be too long for a socket path.
        let folder = tempfile::Builder::new().prefix("hap").tempdir_in("/tmp")?;
        Ok(Self {
            _guard: Guard::over(folder.path())?,
            binary,
            folder,
        })
    }

    /// The HAProxy that is tested with.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The sandbox's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// For the configuration.
    #[must_use]
    pub fn configs_path(&self) -> PathBuf {
        self.folder.path().join("cfg")
    }

    /// For the sockets.
    #[must_use]
    pub fn run_path(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The live processes that were started with one of the sandbox's paths, by number.
    #[must_use]
    pub fn processes(&self) -> Vec<SandboxProcess> {
        processes_of(self.folder.path())
    }

    /// Those of them that are masters: no other of them started them.
    #[must_use]
    pub fn masters(&self) -> Vec<u32> {
        masters_of(self.folder.path())
    }
}

impl Drop for HaproxySandbox {
    fn drop(&mut self) {
        end_processes_of(self.folder.path());
    }
}

impl ReservedPort {
    /// Any free port.
    ///
    /// # Errors
    /// When the system has none.
    pub fn new() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseport(true)?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self {
            port: socket.local_addr()?.port(),
            _socket: socket,
        })
    }

    /// The port.
    #[must_use]
    pub fn get(&self) -> u16 {
        self.port
    }

    /// The port with its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// The live processes whose command line names something below a folder, by number.
#[must_use]
pub fn processes_of(folder: &Path) -> Vec<SandboxProcess> {
    let mark = folder.to_string_lossy().into_owned();
    let mut found: Vec<_> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| process(&entry.path(), &mark))
        .collect();
    found.sort_unstable();
    found
}

/// Those of them that no other of them started.
#[must_use]
pub fn masters_of(folder: &Path) -> Vec<u32> {
    let all = processes_of(folder);
    all.iter()
        .filter(|process| all.iter().all(|other| other.pid != process.parent))
        .map(|process| process.pid)
        .collect()
}

/// Those that serve as a master with its workers: started with `-W` (a check of a configuration is
/// not), and by no other of them.
#[must_use]
pub fn serving_masters_of(folder: &Path) -> Vec<u32> {
    let with_workers = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"-W")
    };
    masters_of(folder)
        .into_iter()
        .filter(with_workers)
        .collect()
}

/// The newest process that a process started, of those of a folder: of a master, the worker that
/// takes new connections.
#[must_use]
pub fn newest_child_of(folder: &Path, parent: u32) -> Option<u32> {
    let all = processes_of(folder).into_iter();
    let children = all.filter(|process| process.parent == parent);
    children.map(|process| process.pid).max_by_key(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The time of its start is the 20th field after the name.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned());
        let started = fields.and_then(|rest| rest.split_whitespace().nth(19)?.parse::<u64>().ok());
        (started, *pid)
    })
}

/// Sends a signal. Gives false when there is no such process any more.
pub fn send_signal(pid: u32, signal: Signal) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), signal).is_ok())
}

/// Ends all of them at once.
pub fn end_processes_of(folder: &Path) {
    for process in processes_of(folder) {
        if let Ok(pid) = i32::try_from(process.pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// `HAPROXY_BIN`, else the first on `PATH`, else where Debian puts it.
///
/// # Errors
/// When there is none.
pub fn find_binary() -> io::Result<PathBuf> {
    if let Some(binary) = std::env::var_os("HAPROXY_BIN") {
        return Ok(binary.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("haproxy"))
        .find(|binary| binary.is_file())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "this test needs a real HAProxy: `apt-get install haproxy`, or set HAPROXY_BIN",
            )
        })
}

fn process(folder: &Path, mark: &str) -> Option<SandboxProcess> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let line = fs::read(folder.join("cmdline")).ok()?;
    if !String::from_utf8_lossy(&line).contains(mark) {
        return None;
    }
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let alive = words.next()? != "Z";
    let parent = words.next()?.parse().ok()?;
    alive.then_some(SandboxProcess { pid, parent })
}
