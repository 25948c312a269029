//! A service: what an operator registers, and the unit that changes.

use std::collections::BTreeSet;

use crate::{
    destination::{Destination, DestinationSpec},
    host::{Host, HostError, Port},
    https_port::{Leg, OtherRequests},
    mode::ReqMode,
    name::{AclName, Color, ServiceName},
    options::{RoutesFrom, ServiceOptions},
    path::{PathKind, PathPattern},
};

/// The most destinations one service may have.
pub const MAX_DESTINATIONS: usize = 100;
/// The most domains, paths, excluded paths, user agents and headers, each, that one destination may
/// have.
pub const MAX_PATTERNS: usize = 500;
/// The most regular expressions one service may have: each is compiled on every replica.
pub const MAX_REGEXES: usize = 50;
/// The most routes (domains times paths, over all destinations) one service may have. It bounds
/// what one service can cost every replica in rendering and every request in matching.
pub const MAX_ROUTES: usize = 2_000;

/// A service and where its requests go. Immutable; a change replaces it whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    name: ServiceName,
    acl_name: AclName,
    color: Option<Color>,
    destinations: Vec<Destination>,
    options: ServiceOptions,
}

/// Why a service cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// It leads nowhere.
    #[error("the service {0} has no destination")]
    NoDestination(ServiceName),
    /// Two destinations have the same index.
    #[error("the service {service} has two destinations with the index {index}")]
    DuplicateIndex {
        /// The service.
        service: ServiceName,
        /// The index that occurs twice.
        index: u16,
    },
    /// Its name is not a host name, and a destination names no other host.
    #[error(
        "the name of the service {service} is no host name, so outboundHostname must say where it is"
    )]
    NoHost {
        /// The service.
        service: ServiceName,
        /// What the name lacks.
        #[source]
        source: HostError,
    },
    /// A destination for connections does not say which port they come in on.
    #[error("the service {service} has a destination with reqMode {mode} and no srcPort")]
    NoEntryPort {
        /// The service.
        service: ServiceName,
        /// What the connections carry.
        mode: ReqMode,
    },
    /// Requests that come in on one port would go to two.
    #[error("the service {service} sends requests that come in on port {port} to two ports")]
    OneEntryPort {
        /// The service.
        service: ServiceName,
        /// The entry port.
        port: Port,
    },
    /// More than a limit allows.
    #[error("the service {service} has {count} {what}; at most {limit} are allowed")]
    TooMany {
        /// The service.
        service: ServiceName,
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

// === impl Service ===

impl Service {
    /// A service with its destinations in order of their indices. A destination without paths gets
    /// the path `/`, unless its routes come from a template; domains and paths that are given twice count once.
    ///
    /// # Errors
    /// When there is no destination, an index occurs twice, a limit is passed, or the name of the
    /// service would have to be a host name and is none.
    pub fn new(
        name: ServiceName,
        acl_name: Option<AclName>,
        color: Option<Color>,
        specs: Vec<DestinationSpec>,
    ) -> Result<Self, ServiceError> {
        let too_many = |what, count, limit| ServiceError::TooMany {
            service: name.clone(),
            what,
            count,
            limit,
        };
        if specs.is_empty() {
            return Err(ServiceError::NoDestination(name));
        }
        if specs.len() > MAX_DESTINATIONS {
            return Err(too_many("destinations", specs.len(), MAX_DESTINATIONS));
        }
        let own_host = name.as_str().parse::<Host>();
        let mut destinations = Vec::with_capacity(specs.len());
        let mut indices = BTreeSet::new();
        let (mut routes, mut regexes) = (0, 0);
        for mut spec in specs {
            if !indices.insert(spec.index) {
                return Err(ServiceError::DuplicateIndex {
                    service: name,
                    index: spec.index,
                });
            }
            keep_first(&mut spec.domains);
            keep_first(&mut spec.paths);
            keep_first(&mut spec.excluded_paths);
            keep_first(&mut spec.user_agents);
            keep_first(&mut spec.headers);
            if spec.options.req_mode.is_tcp() {
                if spec.entry_port.is_none() {
                    return Err(ServiceError::NoEntryPort {
                        service: name,
                        mode: spec.options.req_mode,
                    });
                }
                spec.keep_connections_alone();
            } else if spec.paths.is_empty() && spec.options.routes_from == RoutesFrom::Parameters {
                spec.paths.push(PathPattern::root());
            }
            for (what, count) in [
                ("domains", spec.domains.len()),
                ("paths", spec.paths.len()),
                ("excluded paths", spec.excluded_paths.len()),
                ("user agents", spec.user_agents.len()),
                ("headers", spec.headers.len()),
            ] {
                if count > MAX_PATTERNS {
                    return Err(too_many(what, count, MAX_PATTERNS));
                }
            }
            let patterns = spec.paths.iter().chain(&spec.excluded_paths);
            regexes += patterns
                .filter(|path| path.kind() == PathKind::Regex)
                .count();
            let legs = match spec.options.https {
                Some(https) if https.others == OtherRequests::Taken => 2,
                _ => 1,
            };
            routes += legs * spec.domains.len().max(1) * spec.paths.len().max(1);
            let host = match (&spec.outbound_hostname, &own_host) {
                (Some(host), _) => host.clone(),
                (None, Ok(host)) => host.clone(),
                (None, Err(source)) => {
                    return Err(ServiceError::NoHost {
                        service: name,
                        source: source.clone(),
                    });
                }
            };
            let leg = |leg| Destination {
                spec: spec.clone(),
                host: host.clone(),
                leg,
            };
            match spec.options.https {
                None => destinations.push(Destination {
                    spec,
                    host,
                    leg: Leg::Plain,
                }),
                Some(https) if https.others == OtherRequests::None => {
                    destinations.push(leg(Leg::Https));
                }
                Some(https) if spec.entry_port == Some(https.entry_port) => {
                    return Err(ServiceError::OneEntryPort {
                        service: name,
                        port: https.entry_port,
                    });
                }
                Some(_) => destinations.extend([leg(Leg::Plain), leg(Leg::Https)]),
            }
        }
        if routes > MAX_ROUTES {
            return Err(too_many("routes", routes, MAX_ROUTES));
        }
        if regexes > MAX_REGEXES {
            return Err(too_many("regular expressions", regexes, MAX_REGEXES));
        }
        destinations.sort_by_key(Destination::key);
        let acl_name = acl_name.unwrap_or_else(|| AclName::from(&name));
        Ok(Self {
            name,
            acl_name,
            color,
            destinations,
            options: ServiceOptions::default(),
        })
    }

    /// The name, which is the key of the table.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// The name of its ACLs and backends.
    #[must_use]
    pub fn acl_name(&self) -> &AclName {
        &self.acl_name
    }

    /// The colour of a blue-green deployment.
    #[must_use]
    pub fn color(&self) -> Option<&Color> {
        self.color.as_ref()
    }

    /// Where its requests go, by index; never empty.
    #[must_use]
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// The same service, asking for this.
    #[must_use]
    pub fn with_options(mut self, options: ServiceOptions) -> Self {
        if let Some(tasks) = options.upstream.tasks_of(&self.name) {
            let own = |destination: &&mut Destination| destination.spec.outbound_hostname.is_none();
            for destination in self.destinations.iter_mut().filter(own) {
                destination.host = tasks.clone();
            }
        }
        Self { options, ..self }
    }

    /// What it asks for beside its destinations.
    #[must_use]
    pub fn options(&self) -> &ServiceOptions {
        &self.options
    }

    /// Whether another service has the same names and destinations.
    pub(crate) fn is_same_but_for_options(&self, other: &Self) -> bool {
        let Self {
            name,
            acl_name,
            color,
            destinations,
            options: _,
        } = self;
        (name, acl_name, color, destinations)
            == (
                &other.name,
                &other.acl_name,
                &other.color,
                &other.destinations,
            )
    }

    /// Whether another version of the service is the same but for its routes: its backends are then
    /// called the same and do the same.
    #[must_use]
    pub fn differs_in_routes_alone(&self, other: &Self) -> bool {
        let Self {
            name,
            acl_name,
            color,
            destinations,
            options,
        } = self;
        let pairs = destinations.iter().zip(&other.destinations);
        (name, acl_name, color, options, destinations.len())
            == (
                &other.name,
                &other.acl_name,
                &other.color,
                &other.options,
                other.destinations.len(),
            )
            && pairs
                .into_iter()
                .all(|(mine, theirs)| mine.differs_in_routes_alone(theirs))
    }

    /// The host of one of its destinations: `outboundHostname`, else the service's name, or the
    /// name of its tasks where it is spread over all addresses of a name.
    #[must_use]
    pub fn host_of<'a>(&self, destination: &'a Destination) -> &'a Host {
        &destination.host
    }

    /// What an HAProxy object that belongs to a destination is called behind its prefix:
    /// `<aclName><between><port>`, and `_<index>` where the service has several destinations. For a port
    /// for HTTPS `https_` or, with something between, `https-` stands before it. Without a port it
    /// is left out.
    #[must_use]
    pub fn object_name(&self, destination: &Destination, between: &str) -> String {
        let acl = &self.acl_name;
        let port = destination.port().map(|port| port.to_string());
        let port = port.unwrap_or_default();
        let name = match (destination.leg(), between) {
            (Leg::Plain, _) => format!("{acl}{between}{port}"),
            (Leg::Https, "") => format!("https_{acl}{port}"),
            (Leg::Https, _) => format!("https-{acl}{between}{port}"),
        };
        let listed = self.destinations.iter();
        match listed.filter(|other| !other.is_listed_again()).count() {
            1 => name,
            _ => format!("{name}_{}", destination.index()),
        }
    }

    /// The name of a destination's backend: `<aclName>-be<port>[_<index>]`.
    #[must_use]
    pub fn backend_name(&self, destination: &Destination) -> String {
        self.object_name(destination, "-be")
    }
}

fn keep_first<T: Clone + Ord>(items: &mut Vec<T>) {
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(index: u16) -> DestinationSpec {
        DestinationSpec {
            index,
            ..DestinationSpec::new(Port::new(80).unwrap())
        }
    }

    #[test]
    fn names_of_objects_carry_an_index_only_where_there_are_several() {
        let name: ServiceName = "go-demo".parse().unwrap();
        let one = Service::new(name.clone(), None, None, vec![spec(1)]).unwrap();
        assert_eq!(one.backend_name(&one.destinations()[0]), "go-demo-be80");
        let two = Service::new(name, None, None, vec![spec(2), spec(1)]).unwrap();
        let names: Vec<_> = two
            .destinations()
            .iter()
            .map(|d| two.backend_name(d))
            .collect();
        assert_eq!(names, ["go-demo-be80_1", "go-demo-be80_2"]);
    }

    #[test]
    fn a_name_that_is_no_host_needs_an_outbound_hostname() {
        let name: ServiceName = "a..b".parse().unwrap();
        assert!(matches!(
            Service::new(name.clone(), None, None, vec![spec(0)]),
            Err(ServiceError::NoHost { .. })
        ));
        let mut with_host = spec(0);
        with_host.outbound_hostname = Some("a.b".parse().unwrap());
        assert!(Service::new(name, None, None, vec![with_host]).is_ok());
    }

    #[test]
    fn everything_has_a_limit() {
        let name: ServiceName = "a".parse().unwrap();
        let new = |spec: DestinationSpec| Service::new(name.clone(), None, None, vec![spec]);
        let mut agents = spec(0);
        agents.user_agents = (0..=MAX_PATTERNS)
            .map(|i| format!("a{i}").parse().unwrap())
            .collect();
        assert!(matches!(
            new(agents),
            Err(ServiceError::TooMany {
                what: "user agents",
                ..
            })
        ));
        let mut regexes = spec(0);
        let regex = |i| PathPattern::new(PathKind::Regex, &format!("^/{i}")).unwrap();
        regexes.paths = (0..=MAX_REGEXES).map(regex).collect();
        assert!(matches!(
            new(regexes),
            Err(ServiceError::TooMany {
                what: "regular expressions",
                ..
            })
        ));
        let mut twice = spec(0);
        twice.paths = vec![PathPattern::root(); MAX_PATTERNS + 1];
        assert!(new(twice).is_ok(), "what is given twice counts once");
    }

    #[test]
    fn two_destinations_cannot_share_an_index() {
        let name: ServiceName = "a".parse().unwrap();
        assert!(matches!(
            Service::new(name, None, None, vec![spec(1), spec(1)]),
            Err(ServiceError::DuplicateIndex { index: 1, .. })
        ));
    }
}
