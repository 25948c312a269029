//! Servers that are elsewhere or come and go: found between two configurations, and told to the worker
//! that serves.
//!
//! A server that is an address in both configurations, and in the newer another one, or disabled in one
//! of them alone, is told with `set server`, looked up with `show servers state` before and afterwards.
//! Idle connections to the old address are closed then. Those of requests under way are not, and HAProxy uses
//! such a one for the next request of the same client too, for as long as that client keeps its own: so a server
//! that took no requests and shall take some is given another address only where nothing is under way on it.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{CHANGING, Cli, READING, RuntimeError, connect, fail, unlike};
use crate::line::is_name_char;

/// More servers than this are reloaded: each takes three questions, a hundred of them some 20 ms.
const MAX_CHANGES: usize = 100;

/// The word at the end of the line of a server that takes no requests.
const DISABLED: &str = "disabled";

/// The options of the lines that we write ourselves, with which any place is one that HAProxy starts with.
const OWN_OPTIONS: [&str; 2] = ["", "check"];

/// A server that is elsewhere than before, or takes requests where it took none, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerChange {
    /// Its backend.
    pub backend: String,
    /// The server.
    pub server: String,
    /// What it was.
    pub from: ServerPlace,
    /// What it is.
    pub to: ServerPlace,
    /// Whose line it is.
    pub line: ServerLine,
}

/// Whose line a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerLine {
    /// One as we write them.
    Own,
    /// One with options of somebody else's, with which HAProxy may not start at every place.
    Foreign,
}

/// Where a server is, and whether it takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerPlace {
    /// Its address and port.
    pub address: SocketAddr,
    /// Whether it takes requests.
    pub admission: Admission,
}

/// Whether a server takes requests, if its checks say that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// It does.
    Ready,
    /// It takes none, not even of clients that a cookie ties to it. Those under way may end.
    Disabled,
}

/// The servers that changed, where that is all in which two texts of `haproxy.cfg` differ. The address
/// that a server with a name begins with is no difference: HAProxy follows the name, and reads that
/// address at its next start.
///
/// Those that take requests afterwards come first, so that there is never none where there is one before
/// and one after.
pub(crate) fn changes_between(old: &str, new: &str) -> Option<Vec<ServerChange>> {
    let mut changes = Vec::new();
    let mut backend = None;
    let (mut before, mut after) = (old.lines(), new.lines());
    loop {
        let (from, to) = match (before.next(), after.next()) {
            (None, None) => break,
            (from, to) => (from?, to?),
        };
        if from == to {
            let mut words = from.split_whitespace();
            match words.next() {
                Some("backend" | "listen") => backend = words.next(),
                // What is not indented begins a section.
                Some(_) if !from.starts_with(char::is_whitespace) => backend = None,
                _ => {}
            }
        } else if !begin_elsewhere(from, to) {
            let (from, to, (_, server, options)) = changed(from, to)?;
            let backend = backend.filter(|name| is_plain(name) && is_plain(server))?;
            let line = match OWN_OPTIONS.contains(&options) {
                true => ServerLine::Own,
                false => ServerLine::Foreign,
            };
            if changes.len() == MAX_CHANGES {
                return None;
            }
            changes.push(ServerChange {
                backend: backend.to_owned(),
                server: server.to_owned(),
                from,
                to,
                line,
            });
        }
    }
    changes.sort_by_key(|change| change.to.admission == Admission::Disabled);
    Some(changes)
}

/// What stands before and after the place in the line of a server, and its name between them.
type Around<'a> = (&'a str, &'a str, &'a str);

/// The server of two lines that differ alone in where it is and whether it takes requests.
fn changed<'a>(old: &'a str, new: &'a str) -> Option<(ServerPlace, ServerPlace, Around<'a>)> {
    let parts = |line: &'a str| {
        let (indent, rest) = line.split_once("server ")?;
        let (server, rest) = rest.split_once(' ')?;
        let (address, options) = rest.split_once(' ').unwrap_or((rest, ""));
        let last = options.rsplit_once(' ').unwrap_or(("", options));
        let (options, admission) = match last {
            (rest, DISABLED) => (rest, Admission::Disabled),
            _ => (options, Admission::Ready),
        };
        let address: SocketAddr = address.parse().ok()?;
        // HAProxy would be told of such a place and never start with it: its check says so first.
        let is_place = address.port() != 0 && !address.ip().is_unspecified();
        let place = is_place.then_some(ServerPlace { address, admission })?;
        let is_server = indent.trim_start().is_empty();
        is_server.then_some((place, (indent, server, options)))
    };
    let ((from, old), (to, new)) = (parts(old)?, parts(new)?);
    (old == new).then_some((from, to, old))
}

/// Whether two lines differ in the address alone that servers with a name begin with.
fn begin_elsewhere(old: &str, new: &str) -> bool {
    fn rest(line: &str) -> Option<(&str, &str)> {
        let (head, rest) = line.split_once(" init-addr last,")?;
        let is_server = ["server", "default-server"].contains(&head.split_whitespace().next()?);
        let (addresses, options) = rest.split_once(' ').unwrap_or((rest, ""));
        let known = addresses.strip_suffix(",none");
        let fits = known.map_or(addresses == "none", |known| known.parse::<IpAddr>().is_ok());
        (is_server && fits).then_some((head, options))
    }
    rest(old).is_some_and(|old| rest(new) == Some(old))
}

/// Whether a name is one word to HAProxy's command line as it is, and no path of it.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_name_char)
}

/// HAProxy 3 answers before it has moved a server (seen on 3.2.26 under load). One that is not there by then
/// is settled by a reload.
const MOVE_LIMIT: Duration = Duration::from_millis(500);
const MOVE_PAUSE: Duration = Duration::from_millis(2);

/// Tells the worker that listens on a socket, which must be one of `workers`, how servers changed.
pub(crate) async fn change_servers(
    socket: &Path,
    workers: &[u32],
    changes: &[ServerChange],
) -> Result<(), RuntimeError> {
    let Some(first) = changes.first() else {
        return Ok(());
    };
    let mut cli = connect(socket, workers, &first.to_string()).await?;
    for change in changes {
        cli.expect_place(change, change.from, READING).await?;
    }
    for change in changes.iter().filter(|change| change.is_filled()) {
        cli.expect_unused(change).await?;
    }
    for change in changes {
        for command in commands(change) {
            // What it says to this differs with what changed, so what the server is then decides.
            let told = cli.ask(&command).await;
            told.map_err(fail(&change.to_string(), CHANGING))?;
        }
        cli.until_place(change).await?;
    }
    Ok(())
}

/// A server takes requests only where it shall be: it is disabled before it moves, and ready afterwards.
fn commands(change: &ServerChange) -> impl Iterator<Item = String> {
    let ServerChange {
        backend,
        server,
        from,
        to,
        ..
    } = change;
    let set = |what: &str| format!("set server {backend}/{server} {what}\n");
    let (ip, port) = (to.address.ip(), to.address.port());
    let admitted = from.admission != to.admission;
    let moved = from.address != to.address;
    let goes = (admitted && to.admission == Admission::Disabled).then(|| set("state maint"));
    let moves = moved.then(|| set(&format!("addr {ip} port {port}")));
    let comes = (admitted && to.admission == Admission::Ready).then(|| set("state ready"));
    goes.into_iter().chain(moves).chain(comes)
}

impl ServerChange {
    /// Whether it took no requests and takes some afterwards, elsewhere.
    fn is_filled(&self) -> bool {
        let (from, to) = (self.from, self.to);
        let is_admitted = (from.admission, to.admission) == (Admission::Disabled, Admission::Ready);
        is_admitted && from.address != to.address
    }
}

impl Cli {
    /// Looks up that nothing is under way on a server.
    async fn expect_unused(&mut self, change: &ServerChange) -> Result<(), RuntimeError> {
        let question = format!("show servers conn {}\n", change.backend);
        let what = format!("that nothing is under way on {change}");
        let known = self.ask(&question).await.map_err(fail(&what, READING))?;
        match connections_of(&known, change) {
            Some(0) => Ok(()),
            _ => Err(unlike(&what, READING, &known)),
        }
    }

    /// Waits until a server is what it was told to be.
    async fn until_place(&mut self, change: &ServerChange) -> Result<(), RuntimeError> {
        let until = Instant::now() + MOVE_LIMIT;
        loop {
            match self.expect_place(change, change.to, CHANGING).await {
                Err(RuntimeError::Answer { .. }) if Instant::now() < until => {
                    sleep(MOVE_PAUSE).await;
                }
                looked_up => return looked_up,
            }
        }
    }

    /// Looks up what a server is.
    async fn expect_place(
        &mut self,
        change: &ServerChange,
        place: ServerPlace,
        operation: &'static str,
    ) -> Result<(), RuntimeError> {
        let question = format!("show servers state {}\n", change.backend);
        let what = change.to_string();
        let state = self.ask(&question).await.map_err(fail(&what, operation))?;
        if place_of(&state, change) == Some(place) {
            Ok(())
        } else {
            Err(unlike(&what, operation, &state))
        }
    }
}

/// How many connections to a server are used at the moment. The columns are found by their names.
fn connections_of(known: &str, change: &ServerChange) -> Option<u64> {
    let mut lines = known.lines().skip_while(|line| !line.starts_with("# "));
    let mut names = lines.next()?.split(' ').skip(1);
    let used = names.position(|name| name == "used_cur")?;
    let whose = format!("{}/{} ", change.backend, change.server);
    let server = lines.find(|line| line.starts_with(&whose))?;
    server.split(' ').nth(used)?.parse().ok()
}

/// Forced maintenance, which `disabled` and `state maint` give.
const FORCED_MAINTENANCE: u32 = 0x01;
/// Every kind of maintenance and of draining. That a server was disabled by its configuration is kept
/// as another bit, and says nothing of now.
const TAKES_NO_REQUESTS: u32 = 0x01 | 0x02 | 0x20 | 0x08 | 0x10;

/// What a server is, if nothing but the configuration and this socket says so. The columns are found by
/// their names, since versions have more or fewer.
fn place_of(state: &str, change: &ServerChange) -> Option<ServerPlace> {
    let mut lines = state.lines().skip_while(|line| !line.starts_with("# "));
    let names: Vec<&str> = lines.next()?.split(' ').skip(1).collect();
    let mut servers = lines.map(|line| {
        let words = names.iter().copied().zip(line.split(' '));
        words.collect::<BTreeMap<_, _>>()
    });
    let server = servers.find(|server| {
        server.get("be_name") == Some(&&*change.backend)
            && server.get("srv_name") == Some(&&*change.server)
    })?;
    if server.get("srv_fqdn") != Some(&"-") {
        return None;
    }
    let ip = server.get("srv_addr")?.parse().ok()?;
    let admin: u32 = server.get("srv_admin_state")?.parse().ok()?;
    let admission = match admin & TAKES_NO_REQUESTS {
        0 => Admission::Ready,
        bits if bits & FORCED_MAINTENANCE != 0 => Admission::Disabled,
        _ => return None,
    };
    Some(ServerPlace {
        address: SocketAddr::new(ip, server.get("srv_port")?.parse().ok()?),
        admission,
    })
}

/// Reads a text as each answer that is read here, in two halves as two configurations.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_answers(text: &str) {
    let place = ServerPlace {
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        admission: Admission::Ready,
    };
    let change = ServerChange {
        backend: "b".to_owned(),
        server: "s".to_owned(),
        from: place,
        to: place,
        line: ServerLine::Own,
    };
    let _ = place_of(text, &change);
    let _ = connections_of(text, &change);
    let (old, new) = text.split_once("\n\n").unwrap_or((text, text));
    let _ = changes_between(old, new);
}

impl fmt::Display for ServerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server {}/{}", self.backend, self.server)
    }
}

impl fmt::Display for ServerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.admission {
            Admission::Ready => "ready",
            Admission::Disabled => DISABLED,
        };
        write!(f, "{word} at {}", self.address)
    }
}

#[cfg(test)]
mod tests;
