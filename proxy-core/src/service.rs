//! A service: what an operator registers, and the unit that changes.

use std::collections::BTreeSet;

use crate::{
    condition::{HeaderMatch, UserAgent},
    domain::DomainPattern,
    host::{Host, HostError, Port},
    name::{AclName, Color, ServiceName},
    path::{PathKind, PathPattern},
    route::RequestHead,
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
}

/// One port of a service and the routes that lead there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    spec: DestinationSpec,
    host: Host,
}

/// What is asked for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationSpec {
    /// The suffix of its parameters (`port.2` is 2); 0 where they have none.
    pub index: u16,
    /// The port the service listens on.
    pub port: Port,
    /// The host to send to, where it is not the service's name.
    pub outbound_hostname: Option<Host>,
    /// The domains it is for; none means every domain.
    pub domains: Vec<DomainPattern>,
    /// The paths it is for; none means every path.
    pub paths: Vec<PathPattern>,
    /// The port a request must have come in on, where it is not any.
    pub entry_port: Option<Port>,
    /// Paths that it is not for, although they match.
    pub excluded_paths: Vec<PathPattern>,
    /// User agents it is for, any of them; none means every user agent.
    pub user_agents: Vec<UserAgent>,
    /// Headers a request must have, all of them.
    pub headers: Vec<HeaderMatch>,
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
    /// the path `/`; domains and paths that are given twice count once.
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
            if spec.paths.is_empty() {
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
            routes += spec.domains.len().max(1) * spec.paths.len();
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
            destinations.push(Destination { spec, host });
        }
        if routes > MAX_ROUTES {
            return Err(too_many("routes", routes, MAX_ROUTES));
        }
        if regexes > MAX_REGEXES {
            return Err(too_many("regular expressions", regexes, MAX_REGEXES));
        }
        destinations.sort_by_key(|destination| destination.spec.index);
        let acl_name = acl_name.unwrap_or_else(|| AclName::from(&name));
        Ok(Self {
            name,
            acl_name,
            color,
            destinations,
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

    /// The host of one of its destinations: `outboundHostname`, else the service's name.
    #[must_use]
    pub fn host_of<'a>(&self, destination: &'a Destination) -> &'a Host {
        &destination.host
    }

    /// What an HAProxy object that belongs to a destination is called behind its prefix:
    /// `<aclName><between><port>`, and `_<index>` where the service has several destinations.
    #[must_use]
    pub fn object_name(&self, destination: &Destination, between: &str) -> String {
        let (acl, port) = (&self.acl_name, destination.port());
        match self.destinations.len() {
            1 => format!("{acl}{between}{port}"),
            _ => format!("{acl}{between}{port}_{}", destination.index()),
        }
    }

    /// The name of a destination's backend: `<aclName>-be<port>[_<index>]`.
    #[must_use]
    pub fn backend_name(&self, destination: &Destination) -> String {
        self.object_name(destination, "-be")
    }
}

// === impl Destination ===

impl Destination {
    /// The suffix of its parameters; 0 where they have none.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.spec.index
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> Port {
        self.spec.port
    }

    /// The host that `outboundHostname` names.
    #[must_use]
    pub fn outbound_hostname(&self) -> Option<&Host> {
        self.spec.outbound_hostname.as_ref()
    }

    /// The domains it is for; none means every domain.
    #[must_use]
    pub fn domains(&self) -> &[DomainPattern] {
        &self.spec.domains
    }

    /// The paths it is for; never empty.
    #[must_use]
    pub fn paths(&self) -> &[PathPattern] {
        &self.spec.paths
    }

    /// The port a request must have come in on; none means any.
    #[must_use]
    pub fn entry_port(&self) -> Option<Port> {
        self.spec.entry_port
    }

    /// Paths that it is not for, although they match.
    #[must_use]
    pub fn excluded_paths(&self) -> &[PathPattern] {
        &self.spec.excluded_paths
    }

    /// User agents it is for, any of them; none means every user agent.
    #[must_use]
    pub fn user_agents(&self) -> &[UserAgent] {
        &self.spec.user_agents
    }

    /// Headers a request must have, all of them.
    #[must_use]
    pub fn headers(&self) -> &[HeaderMatch] {
        &self.spec.headers
    }

    /// How many extra conditions its routes have: one for the user agents, one for each header. Of
    /// routes for the same domain and path the one with more goes first.
    #[must_use]
    pub fn condition_count(&self) -> usize {
        usize::from(!self.spec.user_agents.is_empty()) + self.spec.headers.len()
    }

    /// Whether a request that its domain and path match may still not be meant: there are extra
    /// conditions or excluded paths.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.condition_count() > 0 || !self.spec.excluded_paths.is_empty()
    }

    /// The first header that a request lacks.
    pub(crate) fn missing_header(&self, request: &RequestHead) -> Option<&HeaderMatch> {
        self.spec.headers.iter().find(|wanted| {
            let mut found = request.header(wanted.name());
            !found.any(|value| value == wanted.value().as_bytes())
        })
    }

    /// Whether a request meets the extra conditions and no excluded path.
    #[must_use]
    pub fn admits(&self, request: &RequestHead) -> bool {
        let agents = &self.spec.user_agents;
        let excluded = self.spec.excluded_paths.iter();
        (agents.is_empty()
            || request
                .header("user-agent")
                .any(|value| agents.iter().any(|agent| agent.matches(value))))
            && self.missing_header(request).is_none()
            && !excluded.into_iter().any(|path| path.matches(&request.path))
    }
}

// === impl DestinationSpec ===

impl DestinationSpec {
    /// A destination for every domain and path, unindexed.
    #[must_use]
    pub fn new(port: Port) -> Self {
        Self {
            index: 0,
            port,
            outbound_hostname: None,
            domains: Vec::new(),
            paths: Vec::new(),
            entry_port: None,
            excluded_paths: Vec::new(),
            user_agents: Vec::new(),
            headers: Vec::new(),
        }
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
