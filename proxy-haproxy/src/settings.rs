//! What the renderer needs to know besides the routes.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use proxy_core::{Compression, Port, RouteOrder, UserList};

use crate::{
    extras::Extras,
    routing::form::{Routing, RoutingForm},
    run_path::RunPath,
    template::Template,
    tls::{CertificateSet, ClientAuthorities, TlsSettings},
};

/// How long a worker that a reload replaced may finish its connections: the only limit on them.
pub const DEFAULT_HARD_STOP_AFTER: Duration = Duration::from_secs(3600);

/// The most reloads an old worker survives. With [`DEFAULT_HARD_STOP_AFTER`] it bounds what many
/// reloads in a row can leave behind.
pub const DEFAULT_MAX_OLD_WORKERS: u32 = 20;

/// An upper bound for HAProxy's file descriptors. Left alone, HAProxy sizes its tables by the limit
/// it is started with, and some systems set that to a billion: it then takes gigabytes and dies. It
/// never raises a lower limit, where a `maxconn` would be fatal. About 500,000 connections.
pub const DEFAULT_FD_HARD_LIMIT: u32 = 1_048_576;

/// What the renderer needs to know besides the routes.
///
/// ```
/// use proxy_haproxy::{Bind, BindAddress, RenderSettings, RunPath};
/// let settings = RenderSettings::new(RunPath::new("/var/run/proxy")?)
///     .with_binds(vec![Bind::plain(BindAddress::Any, "8080".parse()?)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RenderSettings {
    pub(crate) run: RunPath,
    pub(crate) binds: Vec<Bind>,
    pub(crate) nameservers: Vec<SocketAddr>,
    pub(crate) access_log: AccessLog,
    pub(crate) timeouts: Timeouts,
    pub(crate) extras: Extras,
    pub(crate) compression: Compression,
    pub(crate) hard_stop_after: Duration,
    pub(crate) max_old_workers: u32,
    pub(crate) fd_hard_limit: u32,
    pub(crate) template: Template,
    pub(crate) routing: Routing,
    pub(crate) order: RouteOrder,
    pub(crate) form_in_use: Option<RoutingForm>,
    pub(crate) users: UserList,
    pub(crate) tls: TlsSettings,
    pub(crate) certificates: CertificateSet,
}

/// One address and port that HAProxy accepts requests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Bind {
    /// Where.
    pub address: BindAddress,
    /// On which port.
    pub port: Port,
    /// Whether it speaks TLS.
    pub tls: TlsMode,
}

/// Where HAProxy accepts requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BindAddress {
    /// `*`: every IPv4 address of the machine.
    #[default]
    Any,
    /// One address; `::` is every IPv6 address.
    Ip(IpAddr),
}

/// Why a text is no [`BindAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is neither '*' nor an IP address")]
pub struct BindAddressError;

/// Whether a bind speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsMode {
    /// Never.
    #[default]
    Plain,
    /// Once there is a certificate; until then it is plain.
    TlsWhenCertificate,
}

/// Where HAProxy writes a line per request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessLog {
    /// Nowhere.
    #[default]
    Off,
    /// To its standard output, which is that of the process that started it.
    Stdout,
}

/// How long HAProxy waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For a server to accept a connection.
    pub connect: Duration,
    /// For the client to send or take more.
    pub client: Duration,
    /// For the server to send or take more.
    pub server: Duration,
    /// For a free connection slot of a server.
    pub queue: Duration,
    /// For the whole head of a request.
    pub http_request: Duration,
    /// For the next request on a connection that is kept open.
    pub http_keep_alive: Duration,
    /// For either side of a WebSocket or another tunnel.
    pub tunnel: Duration,
}

// === impl RenderSettings ===

impl RenderSettings {
    /// The defaults: plain port 80 on every address, no name servers, no access log.
    #[must_use]
    pub fn new(run: RunPath) -> Self {
        Self {
            run,
            binds: Port::new(80)
                .map(|port| Bind::plain(BindAddress::Any, port))
                .into_iter()
                .collect(),
            nameservers: Vec::new(),
            access_log: AccessLog::default(),
            timeouts: Timeouts::default(),
            extras: Extras::default(),
            compression: Compression::default(),
            hard_stop_after: DEFAULT_HARD_STOP_AFTER,
            max_old_workers: DEFAULT_MAX_OLD_WORKERS,
            fd_hard_limit: DEFAULT_FD_HARD_LIMIT,
            template: Template::default(),
            routing: Routing::default(),
            order: RouteOrder::default(),
            form_in_use: None,
            users: UserList::default(),
            tls: TlsSettings::default(),
            certificates: CertificateSet::default(),
        }
    }

    /// How binds speak TLS.
    #[must_use]
    pub fn with_tls(self, tls: TlsSettings) -> Self {
        Self { tls, ..self }
    }

    /// What they show to clients. Without any, no bind speaks TLS.
    #[must_use]
    pub fn with_certificates(self, certificates: CertificateSet) -> Self {
        Self {
            certificates,
            ..self
        }
    }

    /// Whose certificates clients may show, whatever [`RenderSettings::with_tls`] said.
    #[must_use]
    pub fn with_client_authorities(mut self, authorities: Option<ClientAuthorities>) -> Self {
        self.tls.client_authorities = authorities;
        self
    }

    /// Where HAProxy accepts requests.
    #[must_use]
    pub fn with_binds(self, binds: Vec<Bind>) -> Self {
        Self { binds, ..self }
    }

    /// The DNS servers that HAProxy follows names with. Without any, a name stays at its last known
    /// address until the next rendering.
    #[must_use]
    pub fn with_nameservers(self, nameservers: Vec<SocketAddr>) -> Self {
        Self {
            nameservers,
            ..self
        }
    }

    /// Where HAProxy writes a line per request.
    #[must_use]
    pub fn with_access_log(self, access_log: AccessLog) -> Self {
        Self { access_log, ..self }
    }

    /// What an operator adds to every configuration.
    #[must_use]
    pub fn with_extras(self, extras: Extras) -> Self {
        Self { extras, ..self }
    }

    /// How long HAProxy waits for what.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// What is compressed where a service does not say it.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self {
            compression,
            ..self
        }
    }

    /// How long an old worker may finish its connections.
    #[must_use]
    pub fn with_hard_stop_after(self, hard_stop_after: Duration) -> Self {
        Self {
            hard_stop_after,
            ..self
        }
    }

    /// How many reloads an old worker survives.
    #[must_use]
    pub fn with_max_old_workers(self, max_old_workers: u32) -> Self {
        Self {
            max_old_workers,
            ..self
        }
    }

    /// The upper bound of HAProxy's file descriptors.
    #[must_use]
    pub fn with_fd_hard_limit(self, fd_hard_limit: u32) -> Self {
        Self {
            fd_hard_limit,
            ..self
        }
    }

    /// Who may use services that name no users of their own; nobody in it: everybody.
    #[must_use]
    pub fn with_users(self, users: UserList) -> Self {
        Self { users, ..self }
    }

    /// The template in place of the default one.
    #[must_use]
    pub fn with_template(self, template: Template) -> Self {
        Self { template, ..self }
    }

    /// How routes are compiled into HAProxy's rules.
    #[must_use]
    pub fn with_routing(self, routing: Routing) -> Self {
        Self { routing, ..self }
    }

    /// What decides between routes that match the same request, whatever order the table is in. Only the
    /// readable form can hold the order by ACL name.
    #[must_use]
    pub fn with_order(self, order: RouteOrder) -> Self {
        Self { order, ..self }
    }

    /// What decides between routes that match the same request.
    #[must_use]
    pub fn order(&self) -> RouteOrder {
        self.order
    }

    /// The form that is served now, so that [`Routing::Auto`] stays with it at the border.
    #[must_use]
    pub fn with_form_in_use(self, form_in_use: Option<RoutingForm>) -> Self {
        Self {
            form_in_use,
            ..self
        }
    }

    /// Where HAProxy accepts requests.
    #[must_use]
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// What an operator adds.
    #[must_use]
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    /// The folder of HAProxy's sockets.
    #[must_use]
    pub fn run_path(&self) -> &RunPath {
        &self.run
    }
}

// === impl Bind ===

impl Bind {
    /// A bind that never speaks TLS.
    #[must_use]
    pub fn plain(address: BindAddress, port: Port) -> Self {
        Self {
            address,
            port,
            tls: TlsMode::Plain,
        }
    }

    /// The same with another TLS mode.
    #[must_use]
    pub fn with_tls(self, tls: TlsMode) -> Self {
        Self { tls, ..self }
    }
}

impl fmt::Display for Bind {
    /// As HAProxy's `bind` writes it: `*:80`, `10.0.0.1:80`, `[::1]:80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            BindAddress::Any => write!(f, "*:{}", self.port),
            BindAddress::Ip(ip) => SocketAddr::new(ip, self.port.get()).fmt(f),
        }
    }
}

// === impl BindAddress ===

impl FromStr for BindAddress {
    type Err = BindAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "*" => Ok(Self::Any),
            _ => text.parse().map(Self::Ip).map_err(|_| BindAddressError),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

// === impl Timeouts ===

impl Default for Timeouts {
    /// Docker Flow Proxy's, so that services that were tuned to them behave as they did.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            client: Duration::from_secs(20),
            server: Duration::from_secs(20),
            queue: Duration::from_secs(30),
            http_request: Duration::from_secs(5),
            http_keep_alive: Duration::from_secs(15),
            tunnel: Duration::from_secs(3600),
        }
    }
}
