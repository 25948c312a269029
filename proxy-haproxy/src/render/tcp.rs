//! The `frontend` and `backend` sections of connections that carry no requests: `reqMode=tcp` and
//! `reqMode=sni`.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{Destination, Port, ReqMode, RouteTable, Seconds, Service, TcpRoute};
use serde::Serialize;

use super::{RenderError, backend::Server, time};
use crate::{
    address_book::AddressBook,
    raw::RawText,
    routing::{
        rule::Names,
        sni::{self, SniRule},
    },
    settings::{Bind, RenderSettings},
};

/// All there is for connections, as templates see it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tcp {
    pub(super) frontends: Vec<TcpFrontend>,
    pub(super) backends: Vec<TcpBackend>,
}

/// One port that connections come in on.
#[derive(Debug, Serialize)]
pub(super) struct TcpFrontend {
    name: String,
    binds: Vec<String>,
    client_keep_alive: bool,
    /// How long a client may be silent, where somebody says so.
    client_timeout: Option<String>,
    rules: Vec<SniRule>,
    default_backend: Option<String>,
}

/// Where connections go.
#[derive(Debug, Serialize)]
pub(super) struct TcpBackend {
    name: String,
    balance: Option<&'static str>,
    /// How long a connection may be silent, where somebody says so. HAProxy puts this limit before those
    /// of client and server as soon as both sides are connected.
    tunnel_timeout: Option<String>,
    /// Lines for HAProxy itself, of each service once.
    extra: Vec<RawText>,
    pub(super) servers: Vec<TcpServer>,
}

/// One server of a backend.
#[derive(Debug, Serialize)]
pub(super) struct TcpServer {
    #[serde(flatten)]
    pub(super) at: Server,
    check: bool,
}

/// The destinations of a port that lead to one backend, least rank first.
type Members<'a> = Vec<(&'a Service, &'a Destination)>;

// === impl Tcp ===

impl Tcp {
    /// The connections of a table. `names` are those that are taken already.
    pub(super) fn new(
        table: &RouteTable,
        settings: &RenderSettings,
        addresses: &AddressBook,
        names: &mut Names,
    ) -> Result<Self, RenderError> {
        let mut tcp = Self::default();
        for port in table.tcp_ports() {
            let routes = table.tcp_routes(port);
            let mut members: BTreeMap<String, Members<'_>> = BTreeMap::new();
            for route in &routes {
                let sharing = members.entry(backend_key(route)).or_default();
                let destination = (route.service, route.destination);
                if !sharing.iter().any(|known| same(*known, destination)) {
                    sharing.push(destination);
                }
            }
            let mut name_of = BTreeMap::new();
            for route in &routes {
                let name = name_of.entry(backend_key(route));
                name.or_insert_with(|| names.take(route.backend_name()));
            }
            let rules = sni::compile(table, port, |route| {
                let name = name_of.get(&backend_key(route));
                name.cloned().unwrap_or_else(|| route.backend_name())
            });
            let rules = rules.map_err(|unknown| RenderError::UnsupportedDomain {
                service: unknown.service,
                domain: unknown.domain,
            })?;
            tcp.frontends.push(TcpFrontend {
                rules: rules.rules,
                default_backend: rules.default,
                ..TcpFrontend::new(port, &routes, settings)
            });
            for (key, members) in &members {
                let name = name_of.get(key).cloned().unwrap_or_default();
                tcp.backends.push(TcpBackend::new(name, members, addresses));
            }
        }
        Ok(tcp)
    }

    pub(super) fn servers(&mut self) -> impl Iterator<Item = &mut Server> {
        let backends = self.backends.iter_mut();
        backends.flat_map(|backend| backend.servers.iter_mut().map(|server| &mut server.at))
    }
}

// === impl TcpFrontend ===

impl TcpFrontend {
    fn new(port: Port, routes: &[TcpRoute<'_>], settings: &RenderSettings) -> Self {
        let by_name_alone = |route: &TcpRoute<'_>| route.destination.mode() == ReqMode::Sni;
        let asked = || routes.iter().map(|route| &route.destination.options().tcp);
        let addresses: BTreeSet<_> = settings.binds.iter().map(|bind| bind.address).collect();
        let binds = addresses.into_iter();
        Self {
            // Docker Flow Proxy's names.
            name: match routes.iter().all(by_name_alone) {
                true => format!("service_{port}"),
                false => format!("tcpFE_{port}"),
            },
            binds: binds
                .map(|address| Bind::plain(address, port).to_string())
                .collect(),
            client_keep_alive: asked().any(|tcp| tcp.client_keep_alive),
            // They share the port, and who comes is known only later: nobody is cut off too early.
            client_timeout: longest(asked().filter_map(|tcp| tcp.client_timeout)),
            rules: Vec::new(),
            default_backend: None,
        }
    }
}

// === impl TcpBackend ===

impl TcpBackend {
    fn new(name: String, members: &Members<'_>, addresses: &AddressBook) -> Self {
        let asked = || {
            members
                .iter()
                .map(|(_, destination)| &destination.options().tcp)
        };
        let mut names = Names::default();
        let mut seen: BTreeMap<_, usize> = BTreeMap::new();
        let servers = members.iter().map(|(service, destination)| {
            let at = Server::new(service, destination, addresses);
            let before = seen.entry(service.name()).or_default();
            *before += 1;
            TcpServer {
                at: match members.len() {
                    1 => at,
                    _ => at.among_others(names.take(service.name().to_string()), *before - 1),
                },
                check: destination.options().tcp.check,
            }
        });
        let extra: BTreeMap<_, _> = members
            .iter()
            .map(|(service, _)| {
                (
                    service.name(),
                    RawText::from(&service.options().backend_extra),
                )
            })
            .collect();
        Self {
            name,
            balance: asked().find_map(|tcp| tcp.balance).map(|b| b.as_str()),
            extra: extra.into_values().collect(),
            tunnel_timeout: longest(asked().filter_map(|tcp| tcp.client_timeout)),
            servers: servers.collect(),
        }
    }
}

fn longest(timeouts: impl Iterator<Item = Seconds>) -> Option<String> {
    let longest = timeouts.max()?;
    Some(time(longest.duration()))
}

/// What tells the backends of a port apart, before they have names.
fn backend_key(route: &TcpRoute<'_>) -> String {
    match route.group() {
        Some(group) => format!("group {group}"),
        None => format!("{} {}", route.service.name(), route.destination.index()),
    }
}

fn same(a: (&Service, &Destination), b: (&Service, &Destination)) -> bool {
    (a.0.name(), a.1.index()) == (b.0.name(), b.1.index())
}
