//! The settings of the server: read once at the start, all errors at once.
//!
//! Flags win over secret files, secret files win over the environment. One table
//! ([`DEFINITIONS`]) gives each setting its name, default and meaning; the flags, the secret files
//! and the README's table follow from it. This is the only module that reads the environment.

mod definitions;
mod elsewhere;
mod environment;
mod idle;
mod read;
mod source;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use proxy_core::{Compression, Credentials, InstanceId, Port, ReconfigureRules, RouteOrder};
use proxy_haproxy::{Extras, Glob, Routing, TlsSettings};
use proxy_peers::StaticDiscover;
use secrecy::SecretString;

pub use definitions::{DEFINITIONS, Definition, Sensitivity};
pub use elsewhere::{DockerSettings, GivenService, ListenerSettings, Repeat, SourceSettings};
pub use source::{Layered, MapSource, ProcessEnv, SecretFiles, SettingsSource};

/// The exit code for settings that cannot be used (`EX_USAGE` of BSD's sysexits).
pub const EXIT_USAGE: u8 = 64;

/// Everything the server can be told, understood.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Where the table is kept.
    pub store: StoreSettings,
    /// Who this replica's siblings are.
    pub peers: PeerSettings,
    /// The admin API.
    pub api: ApiSettings,
    /// HAProxy.
    pub haproxy: HaproxySettings,
    /// The certificates that HAProxy shows.
    pub certificates: CertificateSettings,
    /// What parameters may say, and what they are where they are absent.
    pub rules: ReconfigureRules,
    /// Settings that are given and do nothing here, and why.
    pub idle: Vec<(&'static str, &'static str)>,
    /// Where state that outlives the process is kept.
    pub state_path: PathBuf,
    /// The folder of the templates that services name.
    pub templates_path: PathBuf,
    /// Where services come from beside the API and the store.
    pub sources: SourceSettings,
    /// How to end.
    pub end: EndSettings,
    /// How to log.
    pub log: LogSettings,
}

/// Where services and replicas are found, where nothing else says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// By the names that Docker's DNS answers.
    Swarm,
    /// Services in the catalog of Consul, where there is one; replicas not at all.
    Default,
}

/// Where the table is kept.
#[derive(Debug)]
#[non_exhaustive]
pub struct StoreSettings {
    /// Consul's addresses in the order to try them; none: the replicas keep the table among themselves.
    pub consul: Option<ConsulAddresses>,
    /// The key prefix in Consul.
    pub instance_name: String,
    /// Consul's ACL token.
    pub token: Option<SecretString>,
    /// Consul's datacenter, where it is not the agent's own.
    pub datacenter: Option<String>,
    /// The authority that signed Consul's certificates.
    pub ca_file: Option<PathBuf>,
    /// The certificate and key with which to meet Consul.
    pub client_files: Option<(PathBuf, PathBuf)>,
    /// What to do when the store turns out empty while a table is held.
    pub on_empty: OnEmpty,
}

/// Consul's addresses in order.
pub type ConsulAddresses = Vec<proxy_consul::Address>;

/// What to do when the store turns out empty while a table is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnEmpty {
    /// Fill it again from the table that is held.
    Refill,
    /// Serve the table that is held and write nothing until somebody does.
    Hold,
}

/// Who this replica's siblings are.
#[derive(Debug)]
#[non_exhaustive]
pub struct PeerSettings {
    /// How they are found.
    pub discovery: Discovery,
    /// What calls between replicas carry.
    pub secret: Option<SecretString>,
    /// How long an answer waits for replicas.
    pub wait_timeout: Duration,
    /// How often replicas compare their tables; none: never.
    pub drift_check: Option<Duration>,
}

/// How peers are found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Discovery {
    /// By the addresses of a name.
    Dns(String),
    /// By a list.
    List(StaticDiscover, String),
    /// Not at all: this replica is alone, or its siblings follow the store.
    None,
}

/// The admin API.
#[derive(Debug)]
#[non_exhaustive]
pub struct ApiSettings {
    /// The address to listen on.
    pub ip: IpAddr,
    /// The port to listen on, here and on every peer.
    pub port: Port,
    /// What callers must carry.
    pub token: Option<SecretString>,
    /// Whether a GET may change something.
    pub get_writes: GetWrites,
    /// How many calls a second may change something; none: any number.
    pub write_rate: Option<NonZeroU32>,
}

/// Whether a GET may change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetWrites {
    /// It may: scripts and docker-flow-swarm-listener use nothing else.
    #[default]
    Allowed,
    /// It may not.
    Refused,
}

/// HAProxy and its files.
#[derive(Debug)]
#[non_exhaustive]
pub struct HaproxySettings {
    /// The program.
    pub binary: PathBuf,
    /// Where configurations are written.
    pub configs_path: PathBuf,
    /// Where sockets are.
    pub run_path: PathBuf,
    /// The address that frontends bind; none for every address.
    pub bind_address: Option<IpAddr>,
    /// The ports that frontends bind.
    pub ports: Vec<EntryPort>,
    /// The name servers; empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// The hosts file.
    pub hosts_file: PathBuf,
    /// What is added to every configuration.
    pub extras: Extras,
    /// Where the answers are that HAProxy gives itself.
    pub error_files: PathBuf,
    /// Whether a configuration that is refused is logged.
    pub refused: RefusedConfig,
    /// The template of the configuration, where it is not the built-in one.
    pub template: Option<PathBuf>,
    /// Whether HAProxy writes a line per request.
    pub access_log: AccessLog,
    /// How long HAProxy waits for what.
    pub timeouts: HaproxyTimeouts,
    /// What is compressed, where a service does not say it.
    pub compression: Compression,
    /// How routes are compiled into HAProxy's rules.
    pub routing: Routing,
    /// What decides between routes that match the same request.
    pub route_order: RouteOrder,
    /// Who may use services that name no users of their own.
    pub users: Credentials,
}

/// The certificates that HAProxy shows, and how it speaks TLS.
#[derive(Debug)]
#[non_exhaustive]
pub struct CertificateSettings {
    /// The folder of certificates.
    pub certs_path: PathBuf,
    /// The folder of secrets, of which `cert-*` and `cert_*` are certificates.
    pub secrets_path: PathBuf,
    /// The file of a list of certificates, in place of the folders.
    pub crt_list: Option<PathBuf>,
    /// What stands first in HAProxy's list.
    pub preferred: Vec<Glob>,
    /// The file of the authorities whose certificates clients may show.
    pub client_authorities: Option<PathBuf>,
    /// How binds speak TLS, but for those.
    pub tls: TlsSettings,
}

/// A port that frontends bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryPort {
    /// The port.
    pub port: Port,
    /// Whether it speaks TLS as soon as there is a certificate.
    pub tls: EntryTls,
}

/// Whether an entry port speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryTls {
    /// Never.
    Plain,
    /// As soon as there is a certificate.
    WhenCertificate,
}

/// Whether a configuration that HAProxy refuses is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedConfig {
    /// It is not: what HAProxy says of it is.
    Silent,
    /// It is, whole.
    Logged,
}

/// Whether HAProxy writes a line per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessLog {
    /// It does not.
    Off,
    /// It writes to the standard output, beside the server's own log.
    Stdout,
}

/// HAProxy's timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is HAProxy's `timeout` of the same name")]
pub struct HaproxyTimeouts {
    pub client: Duration,
    pub connect: Duration,
    pub queue: Duration,
    pub server: Duration,
    pub tunnel: Duration,
    pub http_request: Duration,
    pub http_keep_alive: Duration,
}

/// How a replica ends once it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndSettings {
    /// How long it says that it is not ready before it takes no new connections. Two seconds by default:
    /// Docker takes a task out of its DNS that long before it asks it to end, so what still comes is from
    /// clients that looked up the name a moment before.
    pub drain_delay: Duration,
    /// How long the whole end may take, the delay included; longer than the delay.
    pub timeout: Duration,
    /// What becomes of HAProxy.
    pub haproxy: OnEnd,
}

/// What becomes of HAProxy when the server is asked to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnEnd {
    /// It ends too, after it finished its connections: whoever asks wants both gone.
    #[default]
    Stop,
    /// It serves on, for the server that is started next: whoever asks may be about to start it.
    Leave,
}

/// What the end of a HAProxy takes that a server left serving.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeftSettings {
    /// Where its sockets are.
    pub run_path: PathBuf,
    /// How it ends.
    pub end: EndSettings,
}

/// How to log.
#[derive(Debug)]
#[non_exhaustive]
pub struct LogSettings {
    /// Which lines, as `tracing`'s directives.
    pub filter: String,
    /// In which form.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Everything that is wrong with the settings. Nothing was started.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingsErrors {
    /// Each setting that is wrong; never empty.
    pub errors: Vec<SettingError>,
}

/// One setting that is wrong.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingError {
    /// The setting.
    pub name: &'static str,
    /// Its value; not shown for secrets.
    pub value: String,
    /// What is wrong.
    pub problem: String,
}

// === impl Settings ===

impl Settings {
    /// Reads every setting.
    ///
    /// # Errors
    /// All that are wrong, at once.
    pub fn read(source: &dyn SettingsSource) -> Result<Self, SettingsErrors> {
        read::settings(source)
    }
}

// === impl LeftSettings ===

impl LeftSettings {
    /// Reads what the end of a HAProxy takes. A time that cannot be used is the default: to end it is what
    /// matters, and whatever else is wrong with the settings is no reason not to.
    #[must_use]
    pub fn read(source: &dyn SettingsSource) -> Self {
        read::left(source)
    }
}

// === impl EndSettings ===

impl Default for EndSettings {
    fn default() -> Self {
        Self {
            drain_delay: Duration::from_secs(2),
            timeout: Duration::from_secs(8),
            haproxy: OnEnd::default(),
        }
    }
}

// === impl SettingsErrors ===

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings cannot be used; nothing was started")?;
        for error in &self.errors {
            write!(f, "\n  {}={:?}: {}", error.name, error.value, error.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsErrors {}

/// A fresh identity for this run of this replica: the host's name for people, and random digits.
pub(crate) fn instance_id(random: [u8; 4]) -> Option<InstanceId> {
    let host = nix::unistd::gethostname().ok()?;
    let host: String = host
        .to_string_lossy()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    let host = host.trim_start_matches('-');
    let digits = u32::from_be_bytes(random);
    format!(
        "{}-{digits:08x}",
        if host.is_empty() { "proxy" } else { host }
    )
    .parse()
    .ok()
}

#[cfg(test)]
mod tests;
