//! The names of destinations, resolved all at once and under one deadline: for whoever renders a
//! configuration and must not wait for DNS longer than it can bear.
//!
//! HAProxy resolves names one after the other when it reads its configuration, 20 seconds each when
//! DNS hangs. So it is given the last known addresses instead, and follows names with resolvers of
//! its own while it runs. What DNS does not know it cannot follow: such names are rendered as their
//! addresses and followed by resolving and rendering again; HAProxy is then told without a reload.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RecordType},
};
use proxy_core::{Host, HostName};
use tokio::time::{Instant, timeout, timeout_at};

use crate::address_book::{AddressBook, Resolution};

mod system;

/// A name server in the same network answers within milliseconds; a reconfigure waits at most this
/// long for all its names.
pub const DEFAULT_RESOLVE_DEADLINE: Duration = Duration::from_secs(2);

/// Names asked for at once.
pub const DEFAULT_PARALLEL_NAMES: usize = 64;

/// Where the system keeps its names.
pub const DEFAULT_HOSTS_FILE: &str = "/etc/hosts";
/// Where the system keeps its name servers.
pub const DEFAULT_RESOLV_CONF: &str = "/etc/resolv.conf";

/// One try at one name server; there is a second one within most deadlines.
const QUERY_TIMEOUT: Duration = Duration::from_millis(700);

/// Nobody waits longer for names. A point in time that is as far off as a `Duration` goes cannot be counted.
const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// One name may use up this part of the deadline, so that names behind it in the queue get a turn.
const SHARE_OF_DEADLINE: u32 = 2;

/// Resolves the names of destinations.
#[derive(Debug, Clone)]
pub struct NameResolver {
    nameservers: Vec<SocketAddr>,
    search: Vec<HostName>,
    hosts_file: PathBuf,
    resolver: TokioResolver,
}

/// Why names cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    /// The system's settings cannot be read.
    #[error("{} cannot be read; give the name servers yourself", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no way to ask the name servers.
    #[error("the resolver for {nameservers:?} cannot be made")]
    Resolver {
        /// The name servers.
        nameservers: Vec<SocketAddr>,
        /// Why.
        #[source]
        source: NetError,
    },
}

/// What DNS says of a name.
enum Answer {
    Addresses(BTreeSet<IpAddr>),
    /// There is no such name, or it has no address.
    Denied,
    /// Silence, refusal, failure.
    Nothing,
}

impl NameResolver {
    /// Asks the system's name servers, with its search domains and hosts file. A system without a
    /// `resolv.conf`, or without a name server in it, has one at 127.0.0.1 (resolv.conf(5)).
    ///
    /// # Errors
    /// When the settings are there and cannot be read.
    pub fn system() -> Result<Self, NamesError> {
        Self::from_resolv_conf(Path::new(DEFAULT_RESOLV_CONF))
    }

    /// As [`NameResolver::system`], with another `resolv.conf`.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn from_resolv_conf(path: &Path) -> Result<Self, NamesError> {
        let settings = system::read_resolv_conf(path).map_err(|source| NamesError::Settings {
            path: path.to_path_buf(),
            source,
        })?;
        Self::new(settings.nameservers, settings.search)
    }

    /// Asks these name servers. `search` is what to append to names that are not known as they are.
    ///
    /// # Errors
    /// When no resolver can be made.
    pub fn new(nameservers: Vec<SocketAddr>, search: Vec<HostName>) -> Result<Self, NamesError> {
        let resolver = build(&nameservers).map_err(|source| NamesError::Resolver {
            nameservers: nameservers.clone(),
            source,
        })?;
        Ok(Self {
            nameservers,
            search,
            hosts_file: PathBuf::from(DEFAULT_HOSTS_FILE),
            resolver,
        })
    }

    /// The same with other name servers; search domains and hosts file stay.
    ///
    /// # Errors
    /// When no resolver can be made.
    pub fn with_nameservers(self, nameservers: Vec<SocketAddr>) -> Result<Self, NamesError> {
        Ok(Self {
            hosts_file: self.hosts_file,
            ..Self::new(nameservers, self.search)?
        })
    }

    /// The same with another hosts file. It is read again for every call.
    #[must_use]
    pub fn with_hosts_file(self, hosts_file: impl Into<PathBuf>) -> Self {
        Self {
            hosts_file: hosts_file.into(),
            ..self
        }
    }

    /// The name servers, for [`RenderSettings::with_nameservers`](crate::RenderSettings::with_nameservers).
    #[must_use]
    pub fn nameservers(&self) -> &[SocketAddr] {
        &self.nameservers
    }

    /// Resolves names, all under one deadline. The book has an entry for each name in `hosts` and
    /// none for addresses. A deadline of more than a day counts as one. What is late, silent or denied keeps what `previous` knows of it.
    ///
    /// Cancel safe.
    pub async fn resolve_all(
        &self,
        hosts: &BTreeSet<Host>,
        deadline: Duration,
        previous: &AddressBook,
    ) -> AddressBook {
        let deadline = deadline.min(LONGEST_DEADLINE);
        let until = Instant::now() + deadline;
        let names = hosts.iter().filter_map(|host| match host {
            Host::Name(name) => Some((host, name, previous.get(host))),
            _ => None,
        });
        let table = system::read_hosts(&self.hosts_file).await;
        let mut book = AddressBook::new();
        let (mut unknown, mut known) = (Vec::new(), Vec::new());
        for (host, name, before) in names {
            let in_file = system_address(&table, name, before);
            let settled = settle(&Answer::Nothing, in_file, before);
            match settled == before {
                true => book.keep(host.clone(), previous),
                false => book.insert(host.clone(), settled),
            }
            // Who serves on a known address can wait for who does not serve at all.
            let queue = if before.address().is_some() {
                &mut known
            } else {
                &mut unknown
            };
            queue.push((host.clone(), name.clone(), in_file, before));
        }
        let share = deadline / SHARE_OF_DEADLINE;
        let mut answers = stream::iter(unknown.into_iter().chain(known))
            // Owned values: a future over borrowed ones could not be sent between threads.
            .map(|(host, name, in_file, before)| async move {
                let asked = timeout(share, self.resolve(&name, in_file, before)).await;
                (host, asked.ok())
            })
            .buffer_unordered(DEFAULT_PARALLEL_NAMES);
        while let Ok(Some((host, resolution))) = timeout_at(until, answers.next()).await {
            match resolution {
                Some((resolution, Answer::Addresses(all))) => {
                    book.insert_all(host, resolution, all);
                }
                // What was known is there already.
                Some((resolution, _)) if resolution == previous.get(&host) => {}
                Some((resolution, _)) => book.insert(host, resolution),
                None => {}
            }
        }
        book
    }

    /// Where a name is now, and what DNS said of it as it is.
    async fn resolve(
        &self,
        name: &HostName,
        in_file: Option<IpAddr>,
        before: Resolution,
    ) -> (Resolution, Answer) {
        let bare = name.as_str().trim_end_matches('.');
        // HAProxy asks DNS for it as well, and DNS does not know this machine.
        if is_this_machine(bare) {
            let address = in_file.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            return (Resolution::System { address }, Answer::Nothing);
        }
        let answer = self.ask(&format!("{bare}.")).await;
        if matches!(answer, Answer::Denied) && in_file.is_none() && !name.as_str().ends_with('.') {
            for domain in &self.search {
                let whole = format!("{bare}.{}.", domain.as_str().trim_end_matches('.'));
                if let Answer::Addresses(found) = self.ask(&whole).await
                    && let Some(address) = pick(&found, before)
                {
                    return (Resolution::System { address }, Answer::Nothing);
                }
            }
        }
        (settle(&answer, in_file, before), answer)
    }

    /// Asks for the IPv4 addresses, and for the others where there are none.
    async fn ask(&self, name: &str) -> Answer {
        // Not as hickory reads a text, which takes `_` for a mistake: Docker's names of services in
        // stacks have it.
        let Ok(name) = Name::from_ascii(name) else {
            return Answer::Denied;
        };
        let mut denied = false;
        for family in [RecordType::A, RecordType::AAAA] {
            match self.resolver.lookup(name.clone(), family).await {
                Ok(lookup) => {
                    let found = lookup
                        .answers()
                        .iter()
                        .filter_map(|record| record.data.ip_addr());
                    let found: BTreeSet<_> = found.collect();
                    if !found.is_empty() {
                        return Answer::Addresses(found);
                    }
                    denied = true;
                }
                Err(error) if error.is_nx_domain() || error.is_no_records_found() => denied = true,
                Err(error) => {
                    tracing::debug!(%name, %error, "DNS does not answer");
                    return Answer::Nothing;
                }
            }
        }
        if denied {
            Answer::Denied
        } else {
            Answer::Nothing
        }
    }
}

fn build(nameservers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let servers = nameservers.iter().copied().map(name_server).collect();
    let config = ResolverConfig::from_name_servers(servers);
    let provider = TokioRuntimeProvider::default();
    let mut builder = TokioResolver::builder_with_config(config, provider);
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = QUERY_TIMEOUT;
    options.attempts = 1;
    // The caller decides what is asked again.
    options.cache_size = 0;
    options.max_active_requests = DEFAULT_PARALLEL_NAMES * 2;
    builder.build()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

/// Which resolution to go on with.
fn settle(answer: &Answer, in_file: Option<IpAddr>, before: Resolution) -> Resolution {
    match answer {
        Answer::Addresses(found) => Resolution::Dns {
            last: pick(found, before),
        },
        // A silent server is no reason to leave what it said for what a file says.
        Answer::Nothing if matches!(before, Resolution::Dns { last: Some(_) }) => before,
        _ => in_file.map_or(before, |address| Resolution::System { address }),
    }
}

/// The address that was in use where it still is one of them, so that an order that changes with
/// every answer changes nothing here.
fn pick(found: &BTreeSet<IpAddr>, before: Resolution) -> Option<IpAddr> {
    before
        .address()
        .filter(|address| found.contains(address))
        .or_else(|| found.first().copied())
}

fn system_address(table: &system::Hosts, name: &HostName, before: Resolution) -> Option<IpAddr> {
    pick(
        table.get(&name.as_str().trim_end_matches('.').to_ascii_lowercase())?,
        before,
    )
}

fn is_this_machine(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
