//! From texts to settings, collecting every error.

use std::{fmt::Display, net::IpAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use proxy_core::{
    AclName, CatalogUse, Credentials, HostChecks, PasswordForm, Port, ReconfigureRules, RouteOrder,
};
use proxy_haproxy::Routing;
use secrecy::{ExposeSecret as _, SecretString};

mod ends;
mod extras;
mod tls;

mod services;

use super::{
    AccessLog, ApiSettings, DEFINITIONS, Definition, Discovery, EntryPort, EntryTls, GetWrites,
    HaproxySettings, HaproxyTimeouts, LeftSettings, LogFormat, LogSettings, Mode, OnEmpty,
    PeerSettings, RefusedConfig, Sensitivity, SettingError, Settings, SettingsErrors,
    SettingsSource, StoreSettings, idle::idle,
};

/// Reads settings by name and remembers what is wrong.
struct Reader<'a> {
    source: &'a dyn SettingsSource,
    errors: Vec<SettingError>,
}

pub(super) fn settings(source: &dyn SettingsSource) -> Result<Settings, SettingsErrors> {
    let mut reader = Reader {
        source,
        errors: Vec::new(),
    };
    let settings = reader.all();
    match settings {
        Some(settings) if reader.errors.is_empty() => Ok(settings),
        _ => Err(SettingsErrors {
            errors: reader.errors,
        }),
    }
}

pub(super) fn left(source: &dyn SettingsSource) -> LeftSettings {
    let mut reader = Reader {
        source,
        errors: Vec::new(),
    };
    LeftSettings {
        run_path: reader.path("RUN_PATH"),
        end: reader.end_of_left(),
    }
}

impl Reader<'_> {
    /// None where a setting that has no default of its own type is wrong; the errors say which.
    fn all(&mut self) -> Option<Settings> {
        // All parts are read before any is missed, so that every error is found.
        let store = self.store();
        let mode = self.mode();
        let peers = self.peers(mode);
        let api = self.api();
        let haproxy = self.haproxy();
        let certificates = self.certificates();
        let rules = self.rules();
        let catalog = match (&store.consul, mode) {
            (Some(_), Some(Mode::Default)) => CatalogUse::WithoutPort,
            (Some(_), _) => CatalogUse::WhenAsked,
            (None, _) => CatalogUse::Never,
        };
        let state_path = self.path("STATE_PATH");
        let templates_path = self.path("TEMPLATES_PATH");
        let sources = self.sources(&store.instance_name);
        let end = self.end();
        let format = self.parse("LOG_FORMAT", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("it is neither text nor json"),
        });
        Some(Settings {
            store,
            peers: peers?,
            api: api?,
            haproxy: haproxy?,
            certificates: certificates?,
            rules: rules?.with_catalog(catalog),
            idle: idle(self.source),
            state_path,
            templates_path,
            sources: sources?,
            end: end?,
            log: LogSettings {
                filter: self.text("LOG").unwrap_or_default(),
                format: format?,
            },
        })
    }

    fn mode(&mut self) -> Option<Mode> {
        self.parse("MODE", |text| match text {
            "swarm" | "service" => Ok(Mode::Swarm),
            "default" => Ok(Mode::Default),
            _ => Err("it is neither swarm nor default"),
        })
    }

    fn store(&mut self) -> StoreSettings {
        let consul = self.list("CONSUL_ADDRESS", |item| {
            item.parse()
                .map_err(|problem: proxy_consul::AddressError| problem.to_string())
        });
        let client_files = match (
            self.optional_path("CONSUL_CERT_FILE"),
            self.optional_path("CONSUL_KEY_FILE"),
        ) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => self.refuse(
                "CONSUL_KEY_FILE",
                "it is missing, and CONSUL_CERT_FILE needs it",
            ),
            (None, Some(_)) => self.refuse(
                "CONSUL_CERT_FILE",
                "it is missing, and CONSUL_KEY_FILE needs it",
            ),
        };
        let on_empty = self.parse("ON_EMPTY_STORE", |text| match text {
            "refill" => Ok(OnEmpty::Refill),
            "hold" => Ok(OnEmpty::Hold),
            _ => Err("it is neither refill nor hold"),
        });
        let instance_name = self.parse("PROXY_INSTANCE_NAME", str::parse::<AclName>);
        StoreSettings {
            consul,
            instance_name: instance_name
                .map(|name| name.to_string())
                .unwrap_or_default(),
            token: self.secret("CONSUL_TOKEN"),
            datacenter: self.text("CONSUL_DATACENTER"),
            ca_file: self.optional_path("CONSUL_CA_FILE"),
            client_files,
            on_empty: on_empty.unwrap_or(OnEmpty::Hold),
        }
    }

    fn peers(&mut self, mode: Option<Mode>) -> Option<PeerSettings> {
        let service = self.parse("SERVICE_NAME", str::parse::<proxy_core::ServiceName>);
        let name = self.parse("PEERS_DNS_NAME", |text| {
            text.parse::<proxy_core::HostName>()
                .map(|name| name.to_string())
        });
        let list = self.parse("PEERS", |text| {
            let list = text
                .parse()
                .map_err(|problem: proxy_peers::StaticListError| crate::chain::chain(&problem))?;
            Ok::<_, String>((list, text.to_owned()))
        });
        let wait_timeout = self.seconds("WAIT_TIMEOUT");
        let drift_check = self.seconds_or_none("DRIFT_CHECK_INTERVAL");
        let discovery = match (list, name, mode?, service?) {
            (Some((list, text)), _, _, _) => Discovery::List(list, text),
            (None, Some(name), _, _) => Discovery::Dns(name),
            (None, None, Mode::Swarm, service) => Discovery::Dns(format!("tasks.{service}")),
            (None, None, Mode::Default, _) => Discovery::None,
        };
        Some(PeerSettings {
            discovery,
            secret: self.secret("PEER_SECRET"),
            wait_timeout: wait_timeout?,
            drift_check: Some(drift_check?).filter(|interval| !interval.is_zero()),
        })
    }

    fn api(&mut self) -> Option<ApiSettings> {
        let ip = self.parse("IP", str::parse::<IpAddr>);
        let port = self.parse("PORT", str::parse::<Port>);
        let token = self.secret("API_TOKEN");
        let get_writes = match self.switch("ALLOW_GET_WRITES") {
            Some(true) => Some(GetWrites::Allowed),
            Some(false) => Some(GetWrites::Refused),
            None => None,
        };
        let write_rate = self.parse("WRITE_RATE", |text| {
            let rate = text.parse().map(NonZeroU32::new);
            rate.map_err(|_| "it is not a whole number of calls a second")
        });
        Some(ApiSettings {
            ip: ip?,
            port: port?,
            token,
            get_writes: get_writes?,
            write_rate: write_rate?,
        })
    }

    fn rules(&mut self) -> Option<ReconfigureRules> {
        let checks = match self.switch("CHECK_RESOLVERS")? {
            true => HostChecks::On,
            false => HostChecks::Off,
        };
        let rules = ReconfigureRules::default().with_host_checks(checks);
        let rules = self.defaults_of_services(rules)?;
        self.with_services(rules)
    }

    /// The users of the settings, each with a password.
    fn users(&mut self) -> Option<Credentials> {
        let form = match self.switch("USERS_PASS_ENCRYPTED")? {
            true => PasswordForm::Hashed,
            false => PasswordForm::Clear,
        };
        let users = self.secret("USERS");
        let Some(users) = users else {
            return Some(Credentials::default());
        };
        let parsed = Credentials::parse(users.expose_secret(), form);
        let whole = parsed.and_then(|parsed| parsed.resolve(None, &[]).map(|_| parsed));
        whole
            .map_err(|problem| self.refuse::<()>("USERS", &problem.to_string()))
            .ok()
    }

    fn haproxy(&mut self) -> Option<HaproxySettings> {
        let bind_address = self.parse("BIND_ADDRESS", |text| match text {
            "*" => Ok(None),
            other => other
                .parse::<IpAddr>()
                .map(Some)
                .map_err(|_| "it is neither * nor an IP address"),
        });
        let ports = self.entry_ports();
        let dns_servers = self.dns_servers();
        let (logged, debug) = (self.switch("ACCESS_LOG"), self.switch("DEBUG"));
        let extras = self.extras(ports.as_deref().unwrap_or_default());
        let refused = self.switch("DISPLAY_CONFIG_ON_ERROR");
        let run_path = self.parse("RUN_PATH", |text| match text.len() {
            // HAProxy's socket paths are at most 97 bytes, and the names in the folder need some.
            0..=80 => Ok(PathBuf::from(text)),
            n => Err(format!("it is {n} bytes long; at most 80 are allowed")),
        });
        let timeouts = self.timeouts();
        let users = self.users();
        let compression = self.compression();
        let routing = self.parse("ROUTING", str::parse::<Routing>);
        let route_order = self.parse("ROUTE_ORDER", |text| {
            let order = text
                .parse::<RouteOrder>()
                .map_err(|error| error.to_string())?;
            match (order, routing) {
                (RouteOrder::AclName, Some(Routing::Map)) => Err(
                    "a map cannot hold the order acl-name; set ROUTING to auto or acl".to_owned(),
                ),
                _ => Ok(order),
            }
        });
        Some(HaproxySettings {
            binary: self.path("HAPROXY_BIN"),
            configs_path: self.path("CONFIGS_PATH"),
            run_path: run_path?,
            bind_address: bind_address?,
            ports: ports?,
            dns_servers,
            hosts_file: self.path("HOSTS_FILE"),
            template: self.optional_path("CFG_TEMPLATE_PATH"),
            access_log: match logged? || debug? {
                true => AccessLog::Stdout,
                false => AccessLog::Off,
            },
            extras: extras?,
            error_files: self.path("ERROR_FILES_PATH"),
            refused: match refused? {
                true => RefusedConfig::Logged,
                false => RefusedConfig::Silent,
            },
            timeouts: timeouts?,
            compression,
            routing: routing?,
            route_order: route_order?,
            users: users?,
        })
    }

    fn timeouts(&mut self) -> Option<HaproxyTimeouts> {
        let [
            client,
            connect,
            queue,
            server,
            tunnel,
            http_request,
            http_keep_alive,
        ] = [
            "TIMEOUT_CLIENT",
            "TIMEOUT_CONNECT",
            "TIMEOUT_QUEUE",
            "TIMEOUT_SERVER",
            "TIMEOUT_TUNNEL",
            "TIMEOUT_HTTP_REQUEST",
            "TIMEOUT_HTTP_KEEP_ALIVE",
        ]
        .map(|name| self.seconds(name));
        Some(HaproxyTimeouts {
            client: client?,
            connect: connect?,
            queue: queue?,
            server: server?,
            tunnel: tunnel?,
            http_request: http_request?,
            http_keep_alive: http_keep_alive?,
        })
    }

    /// The value of a setting or its default; none where both are empty.
    fn text(&mut self, name: &'static str) -> Option<String> {
        let given = match self.source.get(name) {
            Ok(given) => given,
            Err(problem) => {
                self.errors.push(SettingError {
                    name,
                    value: String::new(),
                    problem,
                });
                None
            }
        };
        let default = || Some(definition(name)?.default.to_owned());
        let value = given.or_else(default)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    fn path(&mut self, name: &'static str) -> PathBuf {
        self.text(name).unwrap_or_default().into()
    }

    fn optional_path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn parse<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text)
            .map_err(|problem| self.refuse::<T>(name, &problem.to_string()))
            .ok()
    }

    /// A comma-separated list; white space around an item and empty items are dropped. A list that is
    /// given and has no item is a mistake (`"$A,$B"` with neither set), not an absence.
    fn list<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.parse(name, |text| items(text, parse))
    }

    fn switch(&mut self, name: &'static str) -> Option<bool> {
        self.parse(name, |text| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("it is neither true nor false"),
        })
    }

    fn seconds(&mut self, name: &'static str) -> Option<Duration> {
        self.parse(name, |text| match text.parse::<u32>() {
            Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
            _ => Err("it is not a whole number of seconds, at least 1"),
        })
    }

    /// As [`Self::seconds`], and 0 is allowed.
    fn seconds_or_none(&mut self, name: &'static str) -> Option<Duration> {
        self.parse(name, |text| {
            text.parse::<u32>()
                .map(|seconds| Duration::from_secs(seconds.into()))
                .map_err(|_| "it is not a whole number of seconds")
        })
    }

    fn refuse<T>(&mut self, name: &'static str, problem: &str) -> Option<T> {
        let shown = definition(name).is_some_and(|d| d.sensitivity == Sensitivity::Plain);
        let value = self.source.get(name).ok().flatten();
        let value = value.filter(|_| shown).unwrap_or_default();
        // Before the @ of an address may stand a password.
        let value = match value.rsplit_once('@') {
            Some((_, after)) => format!("…@{after}"),
            None => value,
        };
        self.errors.push(SettingError {
            name,
            value,
            problem: problem.to_owned(),
        });
        None
    }
}

/// The items of a comma-separated list, as [`Reader::list`] takes them.
fn items<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let items = text.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    let list = items.map(parse).collect::<Result<Vec<_>, _>>()?;
    match list.is_empty() {
        true => Err("it is a list without an item".to_owned()),
        false => Ok(list),
    }
}

fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS
        .iter()
        .find(|definition| definition.name == name)
}

/// `80`, or `443:ssl`.
fn entry_port(text: &str) -> Result<EntryPort, String> {
    let (port, tls) = match text.split_once(':') {
        None => (text, EntryTls::Plain),
        Some((port, "ssl")) => (port, EntryTls::WhenCertificate),
        Some((_, other)) => return Err(format!("{other:?} behind a port is not known; :ssl is")),
    };
    let port = port
        .parse()
        .map_err(|problem| format!("{port:?}: {problem}"))?;
    Ok(EntryPort { port, tls })
}

/// `10.0.0.2:53`, or `10.0.0.2` for the usual port.
fn name_server(text: &str) -> Result<std::net::SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|ip| (ip, 53).into());
    bare.or_else(|_| text.parse())
        .map_err(|_| format!("{text:?} is neither ip:port nor an IP address"))
}
