//! The settings that add to every configuration, and those that shape the parameters of services, under
//! the names of Docker Flow Proxy.

use std::net::SocketAddr;

use proxy_core::{
    ConnectionMode, DomainComparison, Port, RawLines, ReconfigureRules, ReqMode, UserList, UserName,
};
use proxy_haproxy::{
    Capture, Extras, LogFormat, Logged, RESERVED_ACL_PREFIXES, StatsPage, StatsUri, reserved_acls,
};
use secrecy::SecretString;

use super::{EntryPort, Reader, entry_port, name_server};

impl Reader<'_> {
    /// The ports of `DEFAULT_PORTS` and of `BIND_PORTS`, each once.
    pub(super) fn entry_ports(&mut self) -> Option<Vec<EntryPort>> {
        let mut ports = self.list("DEFAULT_PORTS", entry_port);
        let more = self.list("BIND_PORTS", entry_port).unwrap_or_default();
        for entry in more {
            if let Some(ports) = &mut ports
                && !ports.iter().any(|known| known.port == entry.port)
            {
                ports.push(entry);
            }
        }
        ports
    }

    /// What an operator adds to every configuration, but for what stands in files.
    pub(super) fn extras(&mut self, ports: &[EntryPort]) -> Option<Extras> {
        let errors_only = self.switch("DEBUG_ERRORS_ONLY");
        let http = self.parse("DEBUG_HTTP_FORMAT", log_format);
        let tcp = self.parse("DEBUG_TCP_FORMAT", log_format);
        let captures = self.list("CAPTURE_REQUEST_HEADER", |item| {
            let capture = item.parse::<Capture>();
            capture.map_err(|problem| format!("{item:?}: {problem}"))
        });
        // Docker Flow Proxy's way to write several lines into one variable.
        let global = self.parse("EXTRA_GLOBAL", |text| {
            text.replace(',', "\n").parse::<RawLines>()
        });
        let frontend = self.parse("EXTRA_FRONTEND", for_frontend);
        if matches!(
            self.text("ALLOW_RAW_CONFIG").as_deref(),
            Some("false" | "0")
        ) {
            for (name, lines) in [("EXTRA_GLOBAL", &global), ("EXTRA_FRONTEND", &frontend)] {
                if lines.is_some() {
                    self.refuse::<()>(
                        name,
                        "raw HAProxy text is switched off (ALLOW_RAW_CONFIG=false)",
                    );
                }
            }
        }
        let mut extras = Extras::default();
        if errors_only? {
            extras.log.which = Logged::Errors;
        }
        (extras.log.http, extras.log.tcp) = (http, tcp);
        extras.captures = captures.unwrap_or_default();
        extras.global = global.unwrap_or_default();
        extras.frontend = frontend.unwrap_or_default();
        extras.connection_mode = self.parse("CONNECTION_MODE", str::parse::<ConnectionMode>);
        extras.stats = self.stats(ports);
        Some(extras)
    }

    /// HAProxy's page of figures, where there is somebody who may see it.
    fn stats(&mut self, ports: &[EntryPort]) -> Option<StatsPage> {
        let uri = self
            .elsewhere("STATS_URI_ENV", "STATS_URI")
            .unwrap_or_default();
        let uri = uri.parse::<StatsUri>();
        let uri = uri.map_err(|problem| self.refuse::<()>("STATS_URI", &problem.to_string()));
        let port = self.parse("STATS_PORT", str::parse::<Port>);
        let user = self.elsewhere("STATS_USER_ENV", "STATS_USER");
        let password = self.elsewhere("STATS_PASS_ENV", "STATS_PASS");
        let (user, password) = match (user, password) {
            (Some(user), Some(password)) => (user, SecretString::from(password)),
            (None, None) => return None,
            (Some(_), None) => return self.refuse("STATS_PASS", "STATS_USER has no password"),
            (None, Some(_)) => return self.refuse("STATS_USER", "STATS_PASS is nobody's"),
        };
        let name = user.parse::<UserName>();
        let name = name.map_err(|problem| self.refuse::<()>("STATS_USER", &problem.to_string()));
        let users = UserList::of_one(name.ok()?, &password);
        let users = users.map_err(|_| {
            self.refuse::<()>("STATS_PASS", "it is too long or holds a control character")
        });
        let mut page = StatsPage::new(uri.ok()?, users.ok()?);
        // On a port that takes requests it is beside the services.
        let is_shared = |port: &Port| ports.iter().any(|entry| entry.port == *port);
        page.port = port.filter(|port| !is_shared(port));
        Some(page)
    }

    /// A setting, or the variable that another setting names in its place.
    fn elsewhere(&mut self, place: &'static str, name: &'static str) -> Option<String> {
        let place = self.text(place).filter(|place| place != name);
        match place {
            None => self.text(name),
            Some(place) => self
                .source
                .get(&place)
                .ok()
                .flatten()
                .or_else(|| self.text(name)),
        }
    }

    /// The name servers of `DNS_SERVER`, else those of `RESOLVERS`.
    pub(super) fn dns_servers(&mut self) -> Vec<SocketAddr> {
        let own = self.list("DNS_SERVER", name_server);
        let resolvers = self.parse("RESOLVERS", resolvers);
        own.or(resolvers).unwrap_or_default()
    }

    /// What parameters are where they are absent.
    pub(super) fn defaults_of_services(
        &mut self,
        rules: ReconfigureRules,
    ) -> Option<ReconfigureRules> {
        let mode = self.parse("DEFAULT_REQ_MODE", str::parse::<ReqMode>);
        let comparison = self.parse("SERVICE_DOMAIN_ALGO", str::parse::<DomainComparison>);
        let separator = self.parse("SEPARATOR", |text| match text.len() {
            1..=16 => Ok(text.to_owned()),
            _ => Err("it is longer than 16 bytes"),
        });
        let rules = rules.with_default_mode(mode?).with_separator(separator?);
        Some(rules.with_domain_comparison(comparison?))
    }
}

/// Lines that declare no ACL which a route or a template of a service may have: HAProxy would take both for one.
fn for_frontend(text: &str) -> Result<RawLines, String> {
    let lines = text.parse::<RawLines>();
    let lines = lines.map_err(|problem| problem.to_string())?;
    match reserved_acls(&lines).as_slice() {
        [] => Ok(lines),
        names => Err(format!(
            "it declares the acl {}; names that begin with {}, or hold ::, are kept for services, whose requests it would alter; give it another name",
            names.join(", "),
            RESERVED_ACL_PREFIXES.join(", ")
        )),
    }
}

/// A form of log lines, quoted for HAProxy or not: Docker Flow Proxy writes it as it is given.
fn log_format(text: &str) -> Result<LogFormat, String> {
    let text = proxy_core::unquote(text).map_err(|problem| problem.to_string())?;
    text.parse()
        .map_err(|problem: proxy_haproxy::LogFormatError| problem.to_string())
}

/// The name servers of lines as `nameserver dns 127.0.0.11:53`, parted by commas or line breaks. Other
/// lines of a `resolvers` section are the proxy's own business.
fn resolvers(text: &str) -> Result<Vec<SocketAddr>, String> {
    let lines = text.split([',', '\n']).map(str::trim);
    let mut servers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["nameserver", _, address] => servers.push(name_server(address)?),
            ["nameserver", ..] => {
                return Err(format!(
                    "{line:?} is not written as nameserver name ip:port"
                ));
            }
            _ => {}
        }
    }
    match servers.is_empty() {
        true => Err("it has no line as nameserver dns 127.0.0.11:53".to_owned()),
        false => Ok(servers),
    }
}
