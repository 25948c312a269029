//! Where connections go that nobody looks into: by the port they come in on, and by the server name that
//! their TLS hello asks for.
//!
//! A destination for connections has one route for each of its domains, or one for every connection of
//! its port. The most specific wins, as with requests: the exact name before a wildcard or another
//! comparison (longer first) before none; equals go by ACL name, index and the service's name.

use std::collections::BTreeMap;

use crate::{
    destination::Destination,
    domain::DomainPattern,
    host::Port,
    mode::GroupName,
    name::{AclName, ServiceName},
    plan::{Conflict, ConflictOutcome},
    route::{DomainRank, normal_host},
    service::Service,
    table::{Claim, RouteTable},
};

/// One domain, or all connections of a port, that lead to a destination.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TcpRoute<'a> {
    /// The service it leads to.
    pub service: &'a Service,
    /// The destination of the service.
    pub destination: &'a Destination,
    /// The port that connections come in on.
    pub entry_port: Port,
    /// The server name that they ask for; none means every connection, with a name or without.
    pub domain: Option<&'a DomainPattern>,
}

/// Where a route stands among those of its port: the least that matches wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TcpRank<'a> {
    domain: DomainRank,
    acl_name: &'a AclName,
    index: u16,
    service: &'a ServiceName,
    // Two routes of one destination give the same answer; this only makes the order total.
    tie: Option<&'a DomainPattern>,
}

// === impl TcpRoute ===

impl<'a> TcpRoute<'a> {
    /// The routes of a service's destinations for connections.
    pub fn of(service: &'a Service) -> impl Iterator<Item = TcpRoute<'a>> {
        let destinations = service.destinations().iter();
        let tcp = destinations.filter(|destination| destination.mode().is_tcp());
        tcp.filter_map(|destination| Some((destination, destination.entry_port()?)))
            .flat_map(move |(destination, entry_port)| {
                let domains = destination.domains();
                let any = domains.is_empty().then_some(None);
                domains
                    .iter()
                    .map(Some)
                    .chain(any)
                    .map(move |domain| TcpRoute {
                        service,
                        destination,
                        entry_port,
                        domain,
                    })
            })
    }

    /// The group that the connections go to as a whole, where the destination is in one.
    #[must_use]
    pub fn group(&self) -> Option<&'a GroupName> {
        self.destination.options().tcp.group.as_ref()
    }

    /// The name of the backend that the connections go to: `tcpListen_<group>_<port>`, else the
    /// destination's own.
    #[must_use]
    pub fn backend_name(&self) -> String {
        match self.group() {
            Some(group) => format!("tcpListen_{group}_{}", self.entry_port),
            None => self.service.backend_name(self.destination),
        }
    }

    fn rank(&self) -> TcpRank<'a> {
        TcpRank {
            domain: DomainRank::of(self.domain),
            acl_name: self.service.acl_name(),
            index: self.destination.index(),
            service: self.service.name(),
            tie: self.domain,
        }
    }

    fn matches(&self, server_name: Option<&str>) -> bool {
        match (self.domain, server_name) {
            (None, _) => true,
            (Some(domain), Some(name)) => domain.matches(name),
            (Some(_), None) => false,
        }
    }

    fn claim(&self) -> Claim {
        Claim {
            entry_port: Some(self.entry_port),
            domain: self.domain.cloned(),
            path: None,
        }
    }

    /// Whether both lead to the same servers: the group's, or the same destination.
    fn shares_backend(&self, other: &Self) -> bool {
        match (self.group(), other.group()) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => self.service.name() == other.service.name(),
        }
    }
}

// === impl RouteTable ===

impl RouteTable {
    /// Where a connection goes that came in on this port and asked for this server name, as its TLS
    /// hello spells it: the matching route of least rank, or nowhere.
    ///
    /// As [`RouteTable::resolve`] is for requests, this is the definition that rendered configurations
    /// are held to. The order of routes by ACL name changes nothing here.
    #[must_use]
    pub fn resolve_tcp(
        &self,
        entry_port: Port,
        server_name: Option<&[u8]>,
    ) -> Option<TcpRoute<'_>> {
        let name = server_name
            .filter(|name| !name.contains(&b':'))
            .and_then(normal_host);
        let mut routes = self.tcp_routes(entry_port).into_iter();
        routes.find(|route| route.matches(name.as_deref()))
    }

    /// The ports that connections come in on, least first.
    pub fn tcp_ports(&self) -> impl Iterator<Item = Port> {
        self.by_tcp_port.keys().copied()
    }

    /// Every route of a port, least rank first.
    #[must_use]
    pub fn tcp_routes(&self, entry_port: Port) -> Vec<TcpRoute<'_>> {
        let names = self.by_tcp_port.get(&entry_port).into_iter().flatten();
        let services = names.filter_map(|name| self.get(name));
        let routes = services.flat_map(|service| TcpRoute::of(service));
        let mut routes: Vec<_> = routes
            .filter(|route| route.entry_port == entry_port)
            .collect();
        routes.sort_by(|a, b| a.rank().cmp(&b.rank()));
        routes
    }

    /// The services other than `service` that claim the connections that one of its routes claims, and
    /// who gets them; no more than `most`.
    pub(crate) fn tcp_rivals(&self, service: &Service, most: usize) -> Vec<Conflict> {
        let mut rivals = Vec::new();
        // Once for each port: a service may have thousands of names on one.
        let mut on_port: BTreeMap<Port, BTreeMap<_, Vec<TcpRoute<'_>>>> = BTreeMap::new();
        for mine in TcpRoute::of(service) {
            let by_domain = on_port.entry(mine.entry_port).or_insert_with(|| {
                let mut by_domain: BTreeMap<_, Vec<_>> = BTreeMap::new();
                for route in self.tcp_routes(mine.entry_port) {
                    by_domain.entry(route.domain).or_default().push(route);
                }
                by_domain
            });
            for theirs in by_domain.get(&mine.domain).into_iter().flatten() {
                if rivals.len() == most {
                    return rivals;
                }
                if theirs.domain != mine.domain || theirs.shares_backend(&mine) {
                    continue;
                }
                rivals.push(Conflict {
                    service: service.name().clone(),
                    other: theirs.service.name().clone(),
                    claim: mine.claim(),
                    outcome: match mine.rank() < theirs.rank() {
                        true => ConflictOutcome::HidesOther,
                        false => ConflictOutcome::Hidden,
                    },
                });
            }
        }
        rivals
    }
}

// === impl Service ===

impl Service {
    /// The ports that its connections come in on.
    pub(crate) fn tcp_ports(&self) -> impl Iterator<Item = Port> {
        let destinations = self.destinations().iter();
        let tcp = destinations.filter(|destination| destination.mode().is_tcp());
        tcp.filter_map(Destination::entry_port)
    }

    /// Whether some of its destinations take connections and not requests.
    #[must_use]
    pub fn has_tcp(&self) -> bool {
        self.tcp_ports().next().is_some()
    }
}

#[cfg(test)]
mod tests;
