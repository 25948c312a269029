//! The parameters of a destination for connections: `reqMode=tcp` and `reqMode=sni`.

use crate::{
    destination::DestinationSpec,
    domain::{DomainComparison, DomainPattern},
    field::{Fields, ParamWarning},
    host::{Host, Port},
    mode::{Balance, GroupName, ReqMode, Seconds, TcpOptions, sni_comparison},
    name::NAME_GRAMMAR,
    options::DestinationOptions,
};

use super::destination::{DOMAIN_GRAMMAR, HOST_GRAMMAR, PORT_GRAMMAR, Read};

pub(super) const MODE_GRAMMAR: &str = "http, tcp or sni";
pub(super) const BALANCE_GRAMMAR: &str =
    "roundrobin, static-rr, leastconn, first, source or random";
pub(super) const SECONDS_GRAMMAR: &str = "a whole number of seconds from 1 to 2147483";
const SNI_GRAMMAR: &str = "req_ssl_sni, or req_ssl_sni -m beg, end, sub or dom";

/// What has a meaning for connections alone.
const FOR_CONNECTIONS: [&str; 5] = [
    "serviceGroup",
    "balanceGroup",
    "checkTcp",
    "clitcpka",
    "timeoutClient",
];

/// What has a meaning for requests alone.
const FOR_REQUESTS: [&str; 10] = [
    "servicePath",
    "servicePathExclude",
    "userAgent",
    "serviceHeader",
    "allowedMethods",
    "deniedMethods",
    "httpsPort",
    "srcHttpsPort",
    "sslVerifyNone",
    "verifyClientSsl",
];

/// Reads a destination whose connections carry no requests.
pub(super) fn destination(
    fields: &mut Fields<'_>,
    index: u16,
    mode: ReqMode,
    comparison: DomainComparison,
) -> Read {
    let mut name = |of: &str| fields.suffixed(of, index);
    let [kind, paths, domains, port, entry_port, host] = [
        "pathType",
        "servicePath",
        "serviceDomain",
        "port",
        "srcPort",
        "outboundHostname",
    ]
    .map(&mut name);
    let of_connections = FOR_CONNECTIONS.map(&mut name);

    let domain = |text: &str| DomainPattern::new(comparison, text);
    let mut names = fields.list(&domains, DOMAIN_GRAMMAR, domain);
    if mode == ReqMode::Sni {
        let comparison = match fields.text(&kind) {
            // Docker Flow Proxy's default, which compares no server name.
            None | Some("path_beg") => Some(DomainComparison::Whole),
            Some(text) => fields.parse(&kind, text, SNI_GRAMMAR, sni_comparison),
        };
        let domain = |text: &str| DomainPattern::new(comparison.unwrap_or_default(), text);
        names.extend(fields.list(&paths, DOMAIN_GRAMMAR, domain));
        if names.is_empty() && !fields.has_errors() {
            let problem = "it is missing, and reqMode=sni routes by it; reqMode=tcp takes every connection of a port";
            fields.missing(&domains, problem, DOMAIN_GRAMMAR);
        }
    }
    let outbound_hostname = fields.optional::<Host>(&host, HOST_GRAMMAR);
    let tcp = tcp_options(fields, &of_connections);
    let entry_port = fields.required::<Port>(&entry_port, PORT_GRAMMAR);
    let port = fields.required::<Port>(&port, PORT_GRAMMAR);
    let (Some(entry_port), Some(port)) = (entry_port, port) else {
        return Read::Refused;
    };
    let mut spec = DestinationSpec::new(port);
    spec.index = index;
    spec.outbound_hostname = outbound_hostname;
    spec.domains = names;
    spec.entry_port = Some(entry_port);
    spec.options = DestinationOptions {
        req_mode: mode,
        tcp,
        ..DestinationOptions::default()
    };
    Read::Destination(Box::new(spec))
}

/// Reads what has a meaning for connections alone.
fn tcp_options(fields: &mut Fields<'_>, names: &[String; FOR_CONNECTIONS.len()]) -> TcpOptions {
    let [group, balance, check, keep_alive, timeout] = names;
    TcpOptions {
        group: fields.optional::<GroupName>(group, NAME_GRAMMAR),
        balance: fields.optional::<Balance>(balance, BALANCE_GRAMMAR),
        check: fields.flag(check),
        client_keep_alive: fields.flag(keep_alive),
        client_timeout: fields.optional::<Seconds>(timeout, SECONDS_GRAMMAR),
    }
}

/// Says which of a destination's parameters mean nothing in its mode, and which of these could not be read where
/// they did.
pub(super) fn without_effect(
    fields: &mut Fields<'_>,
    index: u16,
    mode: ReqMode,
    warnings: &mut Vec<ParamWarning>,
) {
    let (names, why): (&[&'static str], _) = match mode {
        ReqMode::Http => (
            &FOR_CONNECTIONS,
            "it is for reqMode=tcp and reqMode=sni, and this destination takes requests",
        ),
        _ => (
            &FOR_REQUESTS,
            "a connection shows neither paths nor headers; serviceDomain is compared with the server name of TLS",
        ),
    };
    for parameter in names.iter().copied() {
        let given = fields.suffixed(parameter, index);
        let is_sni_name = mode == ReqMode::Sni && parameter == "servicePath";
        let warning = ParamWarning::NoEffect { parameter, why };
        if fields.text(&given).is_some() && !is_sni_name && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    if mode == ReqMode::Http {
        let names = FOR_CONNECTIONS.map(|name| fields.suffixed(name, index));
        let wrong = fields.would_refuse(|fields| drop(tcp_options(fields, &names)));
        for error in wrong {
            let warning = ParamWarning::WouldBeRefused { error };
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
}
