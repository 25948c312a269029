//! The parameters of one destination.

use super::{options::destination_options, rules::ReconfigureRules};
use crate::{
    condition::{HeaderMatch, UserAgent},
    destination::DestinationSpec,
    domain::{DomainComparison, DomainPattern},
    field::Fields,
    host::{Host, Port},
    https_port::{DEFAULT_HTTP_ENTRY_PORT, DEFAULT_HTTPS_ENTRY_PORT, HttpsPort, OtherRequests},
    options::RoutesFrom,
    path::{PathKind, PathPattern},
};

pub(super) const HOST_GRAMMAR: &str = "a host name or an IP address, without a port";
pub(super) const PORT_GRAMMAR: &str = "a whole number from 1 to 65535";
pub(super) const PATH_GRAMMAR: &str =
    "paths joined by commas, each as clients send it, as /api; other texts with another pathType";
pub(super) const DOMAIN_GRAMMAR: &str = "domains joined by commas: example.com or *.example.com";
pub(super) const KIND_GRAMMAR: &str = "path_beg, path, path_end, path_sub, path_dir or path_reg";
pub(super) const AGENT_GRAMMAR: &str =
    "parts of User-Agent headers joined by commas, in printable ASCII";
pub(super) const HEADER_GRAMMAR: &str =
    "headers joined by commas, each as Name:value, in printable ASCII";

/// What the parameters of one destination come to.
pub(super) enum Read {
    Destination(Box<DestinationSpec>),
    NoRoute,
    Refused,
}

/// Whether a destination must have a port.
#[derive(Clone, Copy)]
pub(super) enum PortRule {
    Required,
    /// Its servers come from the catalog, each with its own, or from a template.
    Optional,
}

pub(super) fn destination(
    fields: &mut Fields<'_>,
    index: u16,
    comparison: DomainComparison,
    ports: PortRule,
    routes: RoutesFrom,
    rules: &ReconfigureRules,
) -> Read {
    let mut name = |of: &str| fields.suffixed(of, index);
    let [kind, paths, excluded, domains] = [
        "pathType",
        "servicePath",
        "servicePathExclude",
        "serviceDomain",
    ]
    .map(&mut name);
    let [port, entry_port, host, agents, headers] = [
        "port",
        "srcPort",
        "outboundHostname",
        "userAgent",
        "serviceHeader",
    ]
    .map(&mut name);

    let kind = fields
        .optional(&kind, KIND_GRAMMAR)
        .unwrap_or(PathKind::Prefix);
    let path = |text: &str| PathPattern::new(kind, text);
    let domain = |text: &str| DomainPattern::new(comparison, text);
    let paths = fields.list(&paths, PATH_GRAMMAR, path);
    let excluded_paths = fields.list(&excluded, PATH_GRAMMAR, path);
    let mut domains = fields.list(&domains, DOMAIN_GRAMMAR, domain);
    let entry_port = fields.optional::<Port>(&entry_port, PORT_GRAMMAR);
    let outbound_hostname = fields.optional::<Host>(&host, HOST_GRAMMAR);
    let user_agents = fields.list(&agents, AGENT_GRAMMAR, str::parse::<UserAgent>);
    let headers = fields.list(&headers, HEADER_GRAMMAR, str::parse::<HeaderMatch>);
    let mut options = destination_options(fields, index, rules, &domains);
    if let Some(redirect) = &options.domain_redirect {
        domains.extend(redirect.from().iter().cloned());
    }
    if paths.is_empty() && domains.is_empty() && routes == RoutesFrom::Template {
        options.routes_from = routes;
    } else if paths.is_empty() && domains.is_empty() {
        // Asked so that it counts as known; without a route it is not missed.
        fields.optional::<Port>(&port, PORT_GRAMMAR);
        return Read::NoRoute;
    }
    let (https, alone) = (
        https_port(fields, index, entry_port),
        fields.text(&port).is_none(),
    );
    let port = match (&https, ports) {
        (Some(https), _) if alone => Some(https.port),
        (_, PortRule::Optional) => fields.optional(&port, PORT_GRAMMAR),
        (_, PortRule::Required) => match fields.required(&port, PORT_GRAMMAR) {
            Some(port) => Some(port),
            None => return Read::Refused,
        },
    };
    let entry_port = match &https {
        Some(https) if https.others == OtherRequests::Taken => {
            entry_port.or(Port::new(DEFAULT_HTTP_ENTRY_PORT))
        }
        _ => entry_port,
    };
    options.https = https;
    Read::Destination(Box::new(DestinationSpec {
        index,
        port,
        outbound_hostname,
        domains,
        paths,
        entry_port,
        excluded_paths,
        user_agents,
        headers,
        options,
    }))
}

/// The port for HTTPS, where there is one.
fn https_port(fields: &mut Fields<'_>, index: u16, entry_port: Option<Port>) -> Option<HttpsPort> {
    let [port, https_entry_port, plain] =
        ["httpsPort", "srcHttpsPort", "port"].map(|name| fields.suffixed(name, index));
    let own = fields.optional::<Port>(&https_entry_port, PORT_GRAMMAR);
    let port = fields.optional::<Port>(&port, PORT_GRAMMAR)?;
    let others = match fields.text(&plain) {
        Some(_) => OtherRequests::Taken,
        None => OtherRequests::None,
    };
    let own = own.or(Port::new(DEFAULT_HTTPS_ENTRY_PORT))?;
    let entry_port = entry_port.or(Port::new(DEFAULT_HTTP_ENTRY_PORT));
    if others == OtherRequests::Taken && entry_port == Some(own) {
        let problem = format!("requests that come in on port {own} go to `port` already (srcPort)");
        fields.missing(&https_entry_port, &problem, PORT_GRAMMAR);
        return None;
    }
    Some(HttpsPort::new(port, own, others))
}
