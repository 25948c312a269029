//! The rules of one port that connections come in on: which server name leads where. A compilation of
//! [`RouteTable::resolve_tcp`].

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{DomainPattern, Port, RouteTable, TcpRoute};
use serde::Serialize;

use super::rule::{UnknownDomain, host_match, lines_of};

/// Where the connections of one port go.
#[derive(Debug, Default)]
pub(crate) struct PortRules {
    /// Which server names lead where, the first match first.
    pub(crate) rules: Vec<SniRule>,
    /// Where all others go; nowhere, where nobody wants them.
    pub(crate) default: Option<String>,
}

/// One `use_backend` of a frontend for connections.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SniRule {
    pub(crate) backend: String,
    /// How names are compared: HAProxy's match method.
    pub(crate) method: &'static str,
    /// A value begins with `-`, and HAProxy would take it for a flag.
    pub(crate) ends_flags: bool,
    pub(crate) values: Vec<String>,
}

/// The rules of a port. `backend` gives the name of a route's backend.
///
/// # Errors
/// When a route has a domain pattern that this crate does not know.
pub(crate) fn compile(
    table: &RouteTable,
    port: Port,
    backend: impl Fn(&TcpRoute<'_>) -> String,
) -> Result<PortRules, UnknownDomain> {
    let mut claimed: BTreeSet<&DomainPattern> = BTreeSet::new();
    // No name is two exact ones, so these need no order and stand together.
    let mut exact: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut parts: Vec<(String, &'static str, Vec<String>)> = Vec::new();
    let mut default = None;
    let routes = table.tcp_routes(port);
    for route in &routes {
        let to = backend(route);
        let Some(domain) = route.domain else {
            default.get_or_insert(to);
            continue;
        };
        if !claimed.insert(domain) {
            continue;
        }
        let (method, value) = host_match(domain).ok_or_else(|| UnknownDomain {
            service: route.service.name().clone(),
            domain: domain.to_string(),
        })?;
        match parts.last_mut() {
            _ if matches!(domain, DomainPattern::Exact(_)) => {
                exact.entry(to).or_default().push(value);
            }
            Some((last, by, values)) if (&*last, *by) == (&to, method) => values.push(value),
            _ => parts.push((to, method, vec![value])),
        }
    }
    let exact = exact
        .into_iter()
        .map(|(backend, values)| (backend, "str", values));
    let rules = exact.chain(parts).flat_map(|(backend, method, values)| {
        lines_of(values).into_iter().map(move |values| SniRule {
            backend: backend.clone(),
            method,
            ends_flags: values.iter().any(|value| value.starts_with('-')),
            values,
        })
    });
    Ok(PortRules {
        rules: rules.collect(),
        default,
    })
}
