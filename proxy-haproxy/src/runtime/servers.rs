//! Servers that moved: found between two configurations, and told to the worker that serves.
//!
//! A server that is an address in both configurations, and another address in the newer, is told with
//! `set server`, looked up with `show servers state` before and afterwards. Connections that HAProxy
//! kept open to the old address are not used for requests that begin later.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::{CHANGING, Cli, READING, RuntimeError, connect, fail, unlike};

/// More servers than this are reloaded: each takes three questions, a hundred of them some 20 ms.
const MAX_MOVES: usize = 100;

/// A server that is at another address than before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerMove {
    /// Its backend.
    pub backend: String,
    /// The server.
    pub server: String,
    /// Where it was.
    pub from: SocketAddr,
    /// Where it is.
    pub to: SocketAddr,
}

/// The servers that moved, where that is all in which two texts of `haproxy.cfg` differ. The address that
/// a server with a name begins with is no difference: HAProxy follows the name, and reads that address
/// at its next start.
pub(crate) fn moves_between(old: &str, new: &str) -> Option<Vec<ServerMove>> {
    let mut moves = Vec::new();
    let mut backend = None;
    let (mut before, mut after) = (old.lines(), new.lines());
    loop {
        let (from, to) = match (before.next(), after.next()) {
            (None, None) => return Some(moves),
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
            let (server, from, to) = moved(from, to)?;
            let backend = backend.filter(|name| is_plain(name) && is_plain(server))?;
            if moves.len() == MAX_MOVES {
                return None;
            }
            moves.push(ServerMove {
                backend: backend.to_owned(),
                server: server.to_owned(),
                from,
                to,
            });
        }
    }
}

/// The server of two lines that differ in its address alone.
fn moved<'a>(old: &'a str, new: &'a str) -> Option<(&'a str, SocketAddr, SocketAddr)> {
    let parts = |line: &'a str| {
        let (indent, rest) = line.split_once("server ")?;
        let (server, rest) = rest.split_once(' ')?;
        let (address, options) = rest.split_once(' ').unwrap_or((rest, ""));
        let address: SocketAddr = address.parse().ok()?;
        let is_server = indent.trim_start().is_empty();
        is_server.then_some((address, (indent, server, options)))
    };
    let ((from, old), (to, new)) = (parts(old)?, parts(new)?);
    (old == new).then_some((old.1, from, to))
}

/// Whether two lines differ in the address alone that servers with a name begin with.
fn begin_elsewhere(old: &str, new: &str) -> bool {
    fn rest(line: &str) -> Option<(&str, &str)> {
        let (head, rest) = line.split_once("default-server init-addr last,")?;
        let (addresses, options) = rest.split_once(' ').unwrap_or((rest, ""));
        let known = addresses.strip_suffix(",none");
        let fits = known.map_or(addresses == "none", |known| known.parse::<IpAddr>().is_ok());
        fits.then_some((head, options))
    }
    rest(old).is_some_and(|old| rest(new) == Some(old))
}

/// Whether a name is one word to HAProxy's command line as it is, and no path of it.
fn is_plain(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    !name.is_empty() && name.chars().all(fits)
}

/// Tells the worker that listens on a socket, which must be one of `workers`, where servers are.
pub(crate) async fn move_servers(
    socket: &Path,
    workers: &[u32],
    moves: &[ServerMove],
) -> Result<(), RuntimeError> {
    let Some(first) = moves.first() else {
        return Ok(());
    };
    let mut cli = connect(socket, workers, &first.to_string()).await?;
    for step in moves {
        cli.expect_at(step, step.from, READING).await?;
    }
    for step in moves {
        let ServerMove {
            backend,
            server,
            to,
            ..
        } = step;
        let (ip, port) = (to.ip(), to.port());
        let command = format!("set server {backend}/{server} addr {ip} port {port}\n");
        // What it says to this differs with what changed, so where the server is then decides.
        let told = cli.ask(&command).await;
        told.map_err(fail(&step.to_string(), CHANGING))?;
        cli.expect_at(step, *to, CHANGING).await?;
    }
    Ok(())
}

impl Cli {
    /// Looks up where a server is.
    async fn expect_at(
        &mut self,
        step: &ServerMove,
        address: SocketAddr,
        operation: &'static str,
    ) -> Result<(), RuntimeError> {
        let question = format!("show servers state {}\n", step.backend);
        let what = step.to_string();
        let state = self.ask(&question).await.map_err(fail(&what, operation))?;
        if address_of(&state, step) == Some(address) {
            Ok(())
        } else {
            Err(unlike(&what, operation, &state))
        }
    }
}

/// Where a server is, if nothing but the configuration and this socket says so. The columns are found by
/// their names, since versions have more or fewer.
fn address_of(state: &str, step: &ServerMove) -> Option<SocketAddr> {
    let mut lines = state.lines().skip_while(|line| !line.starts_with("# "));
    let names: Vec<&str> = lines.next()?.split(' ').skip(1).collect();
    let mut servers = lines.map(|line| {
        let words = names.iter().copied().zip(line.split(' '));
        words.collect::<BTreeMap<_, _>>()
    });
    let server = servers.find(|server| {
        server.get("be_name") == Some(&&*step.backend)
            && server.get("srv_name") == Some(&&*step.server)
    })?;
    if server.get("srv_fqdn") != Some(&"-") {
        return None;
    }
    let ip = server.get("srv_addr")?.parse().ok()?;
    Some(SocketAddr::new(ip, server.get("srv_port")?.parse().ok()?))
}

/// Reads a text as each answer that is read here, in two halves as two configurations.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_answers(text: &str) {
    let step = ServerMove {
        backend: "b".to_owned(),
        server: "s".to_owned(),
        from: SocketAddr::from(([127, 0, 0, 1], 1)),
        to: SocketAddr::from(([127, 0, 0, 1], 2)),
    };
    let _ = address_of(text, &step);
    let (old, new) = text.split_once("\n\n").unwrap_or((text, text));
    let _ = moves_between(old, new);
}

impl fmt::Display for ServerMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server {}/{}", self.backend, self.server)
    }
}

#[cfg(test)]
mod tests;
