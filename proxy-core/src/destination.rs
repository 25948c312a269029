//! A destination: one port of a service and the routes that lead there.

use crate::{
    condition::{HeaderMatch, UserAgent},
    domain::DomainPattern,
    host::{Host, Port},
    https_port::{Leg, OtherRequests},
    mode::ReqMode,
    options::DestinationOptions,
    path::PathPattern,
    route::RequestHead,
};

/// One port of a service and the routes that lead there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub(crate) spec: DestinationSpec,
    pub(crate) host: Host,
    pub(crate) leg: Leg,
}

/// What is asked for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationSpec {
    /// The suffix of its parameters (`port.2` is 2); 0 where they have none.
    pub index: u16,
    /// The port the service listens on; none where its servers come from the catalog, each with its own.
    pub port: Option<Port>,
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
    /// What it asks for beside its routes.
    pub options: DestinationOptions,
}

// === impl Destination ===

impl Destination {
    /// The suffix of its parameters; 0 where they have none.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.spec.index
    }

    /// Which of its ports this one stands for: one with a port of its own for HTTPS is listed twice,
    /// with routes of its own each time.
    #[must_use]
    pub fn leg(&self) -> Leg {
        self.leg
    }

    /// What tells it from the others of its service.
    #[must_use]
    pub fn key(&self) -> (u16, Leg) {
        (self.index(), self.leg)
    }

    /// Whether it was listed before, for another of its ports.
    #[must_use]
    pub fn is_listed_again(&self) -> bool {
        let https = self.spec.options.https;
        self.leg == Leg::Https && https.is_some_and(|https| https.others == OtherRequests::Taken)
    }

    /// The port it listens on; none where its servers come from the catalog, each with its own.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        match (self.leg, self.spec.options.https) {
            (Leg::Https, Some(https)) => Some(https.port),
            _ => self.spec.port,
        }
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

    /// What its connections carry.
    #[must_use]
    pub fn mode(&self) -> ReqMode {
        self.spec.options.req_mode
    }

    /// The paths it is for; empty only where its connections carry no requests, or its routes come
    /// from a template.
    #[must_use]
    pub fn paths(&self) -> &[PathPattern] {
        &self.spec.paths
    }

    /// The port a request must have come in on; none means any.
    #[must_use]
    pub fn entry_port(&self) -> Option<Port> {
        match (self.leg, self.spec.options.https) {
            (Leg::Https, Some(https)) => Some(https.entry_port),
            _ => self.spec.entry_port,
        }
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

    /// What it asks for beside its routes.
    #[must_use]
    pub fn options(&self) -> &DestinationOptions {
        &self.spec.options
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

    /// Whether another destination is the same but for its routes.
    pub(crate) fn differs_in_routes_alone(&self, other: &Self) -> bool {
        (self.leg, &self.host) == (other.leg, &other.host)
            && self.spec.but_for_routes() == other.spec.but_for_routes()
    }
}

// === impl DestinationSpec ===

impl DestinationSpec {
    /// A destination for every domain and path, unindexed.
    #[must_use]
    pub fn new(port: Port) -> Self {
        Self {
            port: Some(port),
            ..Self::without_port()
        }
    }

    /// As [`DestinationSpec::new`], with servers that come from the catalog.
    #[must_use]
    pub fn without_port() -> Self {
        Self {
            index: 0,
            port: None,
            outbound_hostname: None,
            domains: Vec::new(),
            paths: Vec::new(),
            entry_port: None,
            excluded_paths: Vec::new(),
            user_agents: Vec::new(),
            headers: Vec::new(),
            options: DestinationOptions::default(),
        }
    }

    /// Drops what only requests have: a connection shows neither paths nor headers.
    pub(crate) fn keep_connections_alone(&mut self) {
        self.paths.clear();
        self.excluded_paths.clear();
        self.user_agents.clear();
        self.headers.clear();
        self.options.https = None;
    }

    /// The same without what decides which requests it takes. Whoever adds a field says here which of
    /// the two it is.
    fn but_for_routes(&self) -> Self {
        let Self {
            index,
            port,
            outbound_hostname,
            domains: _,
            paths: _,
            entry_port: _,
            excluded_paths: _,
            user_agents: _,
            headers: _,
            options,
        } = self;
        Self {
            index: *index,
            outbound_hostname: outbound_hostname.clone(),
            options: options.clone(),
            port: *port,
            ..Self::without_port()
        }
    }
}
