//! Peers behind one DNS name, as Docker Swarm serves `tasks.<service>`.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::{Answer, Discover, DiscoverError};
use crate::address::PeerAddress;

/// How long one lookup may take: two tries of a second each. A name server in the
/// same network answers within milliseconds; one that does not is down.
pub const DEFAULT_DNS_DEADLINE: Duration = Duration::from_secs(2);

/// Retries after the first try, within the deadline: one lost datagram is not a
/// silent server.
const RETRIES: usize = 1;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameServers {
    /// What the system's `resolv.conf` says, its search list included. It is read
    /// again after a lookup that failed.
    System,
    /// These, and no search list.
    Given(Vec<SocketAddr>),
}

/// The A and AAAA records of one name, each a peer on the same port.
///
/// Nothing is cached: the time to live is handed on with the answer, and whoever
/// follows decides when to ask again. A family that fails while the other answers
/// keeps the addresses that it had.
///
/// ```no_run
/// use proxy_peers::{Discover, DnsDiscover, NameServers};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let port = 8080.try_into()?;
/// let tasks = DnsDiscover::new("tasks.proxy", port, NameServers::System);
/// println!("{:?}", tasks.discover().await?.peers());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DnsDiscover {
    name: Arc<str>,
    port: NonZeroU16,
    servers: NameServers,
    deadline: Duration,
    state: Mutex<State>,
}

/// What is kept between two lookups.
#[derive(Debug, Default)]
struct State {
    resolver: Option<TokioResolver>,
    v4: BTreeSet<IpAddr>,
    v6: BTreeSet<IpAddr>,
}

/// The records of one family.
#[derive(Debug)]
struct Found {
    addresses: BTreeSet<IpAddr>,
    valid_for: Duration,
}

/// Why a family has none.
#[derive(Debug)]
enum Missing {
    /// The server says so: no such name, or no record of this family.
    Denied(DiscoverError),
    /// There was no answer.
    Unknown(DiscoverError),
}

impl DnsDiscover {
    /// The peers behind `name`, on `port`.
    pub fn new(name: &str, port: NonZeroU16, servers: NameServers) -> Self {
        Self {
            name: name.into(),
            port,
            servers,
            deadline: DEFAULT_DNS_DEADLINE,
            state: Mutex::default(),
        }
    }

    /// Waits this long for an answer instead of [`DEFAULT_DNS_DEADLINE`].
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    fn resolver(&self) -> Result<TokioResolver, DiscoverError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = &state.resolver {
            return Ok(resolver.clone());
        }
        let resolver = self
            .build_resolver()
            .map_err(|source| DiscoverError::NoResolver {
                name: Arc::clone(&self.name),
                source,
            })?;
        state.resolver = Some(resolver.clone());
        Ok(resolver)
    }

    fn build_resolver(&self) -> Result<TokioResolver, Arc<dyn Error + Send + Sync>> {
        let mut builder = match &self.servers {
            NameServers::System => TokioResolver::builder_tokio().map_err(shared)?,
            NameServers::Given(servers) => {
                let servers = servers.iter().copied().map(name_server).collect();
                let config = ResolverConfig::from_name_servers(servers);
                let provider = TokioRuntimeProvider::default();
                let mut builder = TokioResolver::builder_with_config(config, provider);
                builder.options_mut().use_hosts_file = ResolveHosts::Never;
                builder
            }
        };
        self.limit(builder.options_mut());
        builder.build().map_err(shared)
    }

    fn limit(&self, options: &mut ResolverOpts) {
        options.attempts = RETRIES;
        options.timeout = self.deadline / 2;
        // A peer that left is not called for the rest of a cached answer's life.
        options.cache_size = 0;
        // Hundreds of peers fit one datagram; what does not comes over TCP.
        options.edns0 = true;
    }

    async fn look_up(&self, resolver: &TokioResolver, kind: RecordType) -> Result<Found, Missing> {
        // Not as hickory reads a text, which takes `_` for a mistake: Docker's names of
        // services in stacks have it, as in `tasks.stack_proxy`.
        let name = Name::from_ascii(&*self.name).map_err(|error| self.missing(error.into()))?;
        let looked_up = timeout(self.deadline, resolver.lookup(name, kind)).await;
        let lookup = match looked_up {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(error)) => return Err(self.missing(error)),
            Err(_) => return Err(Missing::Unknown(self.silence())),
        };
        let addresses: BTreeSet<_> = lookup
            .answers()
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .collect();
        if addresses.is_empty() {
            return Err(Missing::Denied(DiscoverError::NoAddress {
                name: Arc::clone(&self.name),
            }));
        }
        let least = lookup.answers().iter().map(|record| record.ttl).min();
        Ok(Found {
            addresses,
            valid_for: Duration::from_secs(least.unwrap_or_default().into()),
        })
    }

    fn missing(&self, error: NetError) -> Missing {
        let name = Arc::clone(&self.name);
        if error.is_nx_domain() {
            Missing::Denied(DiscoverError::NoSuchName { name })
        } else if error.is_no_records_found() {
            Missing::Denied(DiscoverError::NoAddress { name })
        } else if matches!(error, NetError::Timeout) {
            Missing::Unknown(self.silence())
        } else {
            Missing::Unknown(DiscoverError::Failed {
                name,
                source: shared(error),
            })
        }
    }

    fn silence(&self) -> DiscoverError {
        DiscoverError::Silence {
            name: Arc::clone(&self.name),
            deadline: self.deadline,
        }
    }

    /// Puts the families together. One that answered counts; one that is denied
    /// is empty; one that failed keeps what it had, if the other answered.
    fn settle(
        &self,
        v4: Result<Found, Missing>,
        v6: Result<Found, Missing>,
    ) -> Result<Answer, DiscoverError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lifetimes = [&v4, &v6].map(|found| found.as_ref().ok().map(|found| found.valid_for));
        let Some(valid_for) = lifetimes.into_iter().flatten().min() else {
            // The next lookup starts with fresh settings and connections.
            state.resolver = None;
            return Err(worse(v4.err(), v6.err()).unwrap_or_else(|| self.silence()));
        };
        keep(&mut state.v4, v4);
        keep(&mut state.v6, v6);
        let peers = state
            .v4
            .iter()
            .chain(&state.v6)
            .map(|ip| PeerAddress::from_ip(*ip, self.port))
            .collect();
        Ok(Answer::expiring(peers, valid_for))
    }
}

#[async_trait]
impl Discover for DnsDiscover {
    async fn discover(&self) -> Result<Answer, DiscoverError> {
        let resolver = self.resolver()?;
        let (v4, v6) = tokio::join!(
            self.look_up(&resolver, RecordType::A),
            self.look_up(&resolver, RecordType::AAAA),
        );
        self.settle(v4, v6)
    }
}

fn keep(known: &mut BTreeSet<IpAddr>, found: Result<Found, Missing>) {
    match found {
        Ok(found) => *known = found.addresses,
        Err(Missing::Denied(_)) => known.clear(),
        Err(Missing::Unknown(_)) => {}
    }
}

/// Of two families without an address, the one whose reason says more: a failure
/// before a denial.
fn worse(v4: Option<Missing>, v6: Option<Missing>) -> Option<DiscoverError> {
    match (v4, v6) {
        (Some(Missing::Unknown(error)), _)
        | (_, Some(Missing::Unknown(error)))
        | (Some(Missing::Denied(error)), _)
        | (None, Some(Missing::Denied(error))) => Some(error),
        (None, None) => None,
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .into_iter()
        .map(|mut connection| {
            connection.port = address.port();
            connection
        })
        .collect();
    NameServerConfig::new(address.ip(), true, connections)
}

fn shared(error: NetError) -> Arc<dyn Error + Send + Sync> {
    Arc::new(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> DnsDiscover {
        let port = NonZeroU16::new(80).unwrap();
        DnsDiscover::new("tasks.proxy", port, NameServers::Given(Vec::new()))
    }

    fn found(ips: &[&str], seconds: u64) -> Result<Found, Missing> {
        Ok(Found {
            addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            valid_for: Duration::from_secs(seconds),
        })
    }

    fn denied() -> Result<Found, Missing> {
        let name = "tasks.proxy".into();
        Err(Missing::Denied(DiscoverError::NoAddress { name }))
    }

    fn unknown(tasks: &DnsDiscover) -> Result<Found, Missing> {
        Err(Missing::Unknown(tasks.silence()))
    }

    fn texts(answer: &Answer) -> Vec<String> {
        answer.peers().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_shorter_time_to_live_counts() {
        let answer = tasks().settle(found(&["10.0.0.1"], 9), found(&["::1"], 4));
        assert_eq!(answer.unwrap().valid_for(), Some(Duration::from_secs(4)));
    }

    #[test]
    fn a_family_that_fails_keeps_what_it_had_while_the_other_answers() {
        let tasks = tasks();
        tasks
            .settle(found(&["10.0.0.1"], 1), found(&["::1"], 1))
            .unwrap();

        let answer = tasks
            .settle(found(&["10.0.0.2"], 1), unknown(&tasks))
            .unwrap();

        assert_eq!(texts(&answer), ["10.0.0.2:80", "[::1]:80"]);
    }

    #[test]
    fn a_family_that_is_denied_is_empty() {
        let tasks = tasks();
        tasks
            .settle(found(&["10.0.0.1"], 1), found(&["::1"], 1))
            .unwrap();

        let answer = tasks.settle(found(&["10.0.0.1"], 1), denied()).unwrap();

        assert_eq!(texts(&answer), ["10.0.0.1:80"]);
    }

    #[test]
    fn a_failure_says_more_than_a_denial() {
        let tasks = tasks();
        for (v4, v6) in [(denied(), unknown(&tasks)), (unknown(&tasks), denied())] {
            let error = tasks.settle(v4, v6).unwrap_err();
            assert!(matches!(error, DiscoverError::Silence { .. }), "{error:?}");
        }
        let error = tasks.settle(denied(), denied()).unwrap_err();
        assert!(
            matches!(error, DiscoverError::NoAddress { .. }),
            "{error:?}"
        );
    }
}
