//! The route table: every service there is, and the definition of where a request goes.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, ordmap::DiffItem};

use crate::{
    destination::Destination,
    domain::DomainPattern,
    host::Port,
    index::RouteIndex,
    name::{AclName, ServiceName},
    options::DefaultBackend,
    path::PathPattern,
    plan::{Conflict, ConflictOutcome},
    route::{RequestHead, Route, RouteOrder},
    service::Service,
};

/// Every service there is. Immutable in use: a change makes a new table that shares with the old
/// one all that did not change, so a copy costs nothing and a change costs its own size.
#[derive(Clone, Default)]
pub struct RouteTable {
    services: OrdMap<ServiceName, Arc<Service>>,
    index: RouteIndex,
    acl_names: OrdMap<AclName, OrdSet<ServiceName>>,
    pub(crate) by_tcp_port: OrdMap<Port, OrdSet<ServiceName>>,
    /// The services that take what no route takes, the first of them first.
    defaults: OrdSet<(AclName, ServiceName)>,
    order: RouteOrder,
}

/// What a route claims: requests for this domain and this path, or connections for this domain, come in
/// on this port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Claim {
    /// The entry port; none means any.
    pub entry_port: Option<Port>,
    /// The domain; none means every domain.
    pub domain: Option<DomainPattern>,
    /// The path; none: it claims connections, which show none.
    pub path: Option<PathPattern>,
}

/// One change of the table. It replaces or removes a service whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The service is as given, whether it was there or not.
    Put(Arc<Service>),
    /// The service is gone.
    Remove(ServiceName),
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RouteMatch<'a> {
    /// The service.
    pub service: &'a Service,
    /// Its destination.
    pub destination: &'a Destination,
    /// The route that won.
    pub route: Route<'a>,
}

// === impl RouteTable ===

impl RouteTable {
    /// A table without services.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same services, whose routes are in this order. The order is a replica's own: it is no part of
    /// what a store keeps, and tables that differ in it alone are equal.
    #[must_use]
    pub fn in_order(&self, order: RouteOrder) -> Self {
        Self {
            order,
            ..self.clone()
        }
    }

    /// What decides between routes that match the same request.
    #[must_use]
    pub fn order(&self) -> RouteOrder {
        self.order
    }

    /// A service by name.
    #[must_use]
    pub fn get(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// All services by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// How many services there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there is no service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The table after a change.
    #[must_use]
    pub fn with(&self, change: &Change) -> Self {
        let mut next = self.clone();
        next.apply(change);
        next
    }

    /// Makes a change in place.
    pub fn apply(&mut self, change: &Change) {
        let name = match change {
            Change::Put(service) => service.name(),
            Change::Remove(name) => name,
        };
        if let Some(old) = self.services.remove(name) {
            self.index.remove(&old);
            drop_from(&mut self.acl_names, old.acl_name(), name);
            for port in old.tcp_ports() {
                drop_from(&mut self.by_tcp_port, &port, name);
            }
            self.defaults.remove(&default_key(&old));
        }
        if let Change::Put(service) = change {
            self.index.insert(service);
            let sharing = self.acl_names.entry(service.acl_name().clone());
            sharing.or_default().insert(name.clone());
            for port in service.tcp_ports() {
                let sharing = self.by_tcp_port.entry(port);
                sharing.or_default().insert(name.clone());
            }
            if is_default(service) {
                self.defaults.insert(default_key(service));
            }
            self.services.insert(name.clone(), Arc::clone(service));
        }
    }

    /// The changes that make this table out of an older one, by service.
    #[must_use]
    pub fn changes_since(&self, older: &Self) -> Vec<Change> {
        let changed = older.services.diff(&self.services).map(|item| match item {
            DiffItem::Add(_, new) => Change::Put(Arc::clone(new)),
            DiffItem::Update { new, .. } => Change::Put(Arc::clone(new.1)),
            DiffItem::Remove(name, _) => Change::Remove(name.clone()),
        });
        changed.collect()
    }

    /// Where a request goes: the matching route of least rank, or nowhere.
    ///
    /// This is the definition of routing that every rendered configuration is held to. Where the most
    /// specific route wins it does not look at every route: its cost grows with the request's own domains
    /// and with how many lengths the prefixes have that it may begin with. In the order by ACL name it does, as the rules of that order do.
    #[must_use]
    pub fn resolve(&self, request: &RequestHead) -> Option<RouteMatch<'_>> {
        let route = match self.order {
            RouteOrder::Specific => self.index.resolve(request),
            order => {
                let routes = self.iter().flat_map(|service| Route::of(service));
                routes
                    .filter(|route| route.matches(request))
                    .min_by_key(|route| route.rank(order))
            }
        };
        let route = route.or_else(|| self.default_route())?;
        Some(RouteMatch {
            service: route.service,
            destination: route.destination,
            route,
        })
    }

    /// What takes the requests that no route takes: the first destination of the first service by its ACL
    /// name that is a default backend, whatever conditions its own routes have.
    #[must_use]
    pub fn default_route(&self) -> Option<Route<'_>> {
        let (_, name) = self.defaults.get_min()?;
        Route::of_everything(self.get(name)?)
    }

    /// Every route, least rank first. What a default backend takes is none of them.
    #[must_use]
    pub fn routes_by_rank(&self) -> Vec<Route<'_>> {
        let mut routes: Vec<_> = self.iter().flat_map(|service| Route::of(service)).collect();
        routes.sort_by(|a, b| a.rank(self.order).cmp(&b.rank(self.order)));
        routes
    }

    /// The services other than `service` that claim one of its routes, and who gets the requests; no
    /// more than `most`.
    #[must_use]
    pub fn rivals(&self, service: &Service, most: usize) -> Vec<Conflict> {
        let mut rivals = Vec::new();
        for route in Route::of(service) {
            for theirs in self.claimants(&route) {
                if rivals.len() == most {
                    return rivals;
                }
                if theirs.service.name() == service.name() {
                    continue;
                }
                let first_is_mine = route.rank(self.order) < theirs.rank(self.order);
                let first = if first_is_mine { &route } else { &theirs };
                // Whoever comes first and takes every request leaves none to the other.
                let takes_all = !first.destination.is_conditional();
                rivals.push(Conflict {
                    service: service.name().clone(),
                    other: theirs.service.name().clone(),
                    claim: Claim::of(&route),
                    outcome: match (takes_all, first_is_mine) {
                        (false, _) => ConflictOutcome::Shared,
                        (true, true) => ConflictOutcome::HidesOther,
                        (true, false) => ConflictOutcome::Hidden,
                    },
                });
            }
        }
        let left = most - rivals.len();
        rivals.extend(self.tcp_rivals(service, left));
        if is_default(service) {
            let mine = default_key(service);
            let others = self.defaults.iter().filter(|theirs| **theirs != mine);
            let left = most - rivals.len();
            rivals.extend(others.take(left).filter_map(|theirs| {
                Some(Conflict {
                    service: service.name().clone(),
                    other: theirs.1.clone(),
                    claim: Claim::of(&Route::of_everything(service)?),
                    outcome: if mine < *theirs {
                        ConflictOutcome::HidesOther
                    } else {
                        ConflictOutcome::Hidden
                    },
                })
            }));
        }
        rivals
    }

    /// Every route of the table that claims what a route claims (its port, domain and path), least rank
    /// first.
    pub fn claimants(&self, route: &Route<'_>) -> impl Iterator<Item = Route<'_>> {
        self.index.claimants(route)
    }

    /// Another service that already uses the ACL name of `service`, if there is one.
    #[must_use]
    pub fn acl_name_holder(&self, service: &Service) -> Option<&ServiceName> {
        self.acl_names
            .get(service.acl_name())
            .into_iter()
            .flatten()
            .find(|name| *name != service.name())
    }
}

impl PartialEq for RouteTable {
    fn eq(&self, other: &Self) -> bool {
        self.services == other.services
    }
}

impl Eq for RouteTable {}

impl std::fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<Arc<Service>> for RouteTable {
    fn from_iter<I: IntoIterator<Item = Arc<Service>>>(services: I) -> Self {
        let mut table = Self::new();
        for service in services {
            table.apply(&Change::Put(service));
        }
        table
    }
}

// === impl Claim ===

impl Claim {
    /// What a route claims.
    #[must_use]
    pub fn of(route: &Route<'_>) -> Self {
        Self {
            entry_port: match route.is_default() {
                true => None,
                false => route.destination.entry_port(),
            },
            domain: route.domain.cloned(),
            path: Some(route.path.clone()),
        }
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.entry_port.map(|port| format!("port {port}"));
        let domain = self.domain.as_ref();
        let domain = domain.map(|domain| format!("domain {domain}"));
        let path = self.path.as_ref().map(ToString::to_string);
        let parts: Vec<_> = [port, domain, path].into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

// === impl Change ===

impl Change {
    /// The service that changes.
    #[must_use]
    pub fn service_name(&self) -> &ServiceName {
        match self {
            Self::Put(service) => service.name(),
            Self::Remove(name) => name,
        }
    }
}

/// Whether a service takes the requests that no route takes.
fn is_default(service: &Service) -> bool {
    let asked = service.options().default_backend == DefaultBackend::Yes;
    asked && Route::of_everything(service).is_some()
}

fn default_key(service: &Service) -> (AclName, ServiceName) {
    (service.acl_name().clone(), service.name().clone())
}

fn drop_from<K: Ord + Clone>(
    index: &mut OrdMap<K, OrdSet<ServiceName>>,
    key: &K,
    name: &ServiceName,
) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
