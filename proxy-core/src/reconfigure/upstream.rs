//! The parameters that say where the servers of a service come from.

use super::{destination::PortRule, rules::ReconfigureRules};
use crate::{
    field::{Fields, ParamWarning},
    options::ServiceOptions,
    service::Service,
    upstream::{CatalogUse, Checks, Discovery, DiscoveryError, HostChecks, UpstreamOptions},
};

pub(super) const DISCOVERY_GRAMMAR: &str = "host, DNS, or catalog where Consul keeps the table; absent: host, or the catalog without a port where MODE=default";
pub(super) const SESSION_GRAMMAR: &str = "sticky-server";
pub(super) const REPLICAS_GRAMMAR: &str = "a whole number from 0 to 1000";
const NO_CATALOG: &str = "there is no catalog: this proxy has no Consul (CONSUL_ADDRESS)";

pub(super) fn upstream(fields: &mut Fields<'_>, rules: &ReconfigureRules) -> UpstreamOptions {
    let mut discovery = Discovery::Host;
    if let Some(text) = fields.text("discoveryType") {
        let parse = |text: &str| match text.parse() {
            Ok(Discovery::Catalog) if rules.catalog == CatalogUse::Never => {
                Err(NO_CATALOG.to_owned())
            }
            parsed => parsed.map_err(|problem: DiscoveryError| problem.to_string()),
        };
        let parsed = fields.parse("discoveryType", text, DISCOVERY_GRAMMAR, parse);
        discovery = parsed.unwrap_or_default();
    }
    let skipped = fields.flag("skipCheck");
    let host_checks = match fields.text("checkResolvers") {
        None => rules.host_checks,
        Some(_) if fields.flag("checkResolvers") => HostChecks::On,
        Some(_) => HostChecks::Off,
    };
    UpstreamOptions {
        discovery,
        checks: match skipped {
            true => Checks::Skipped,
            false => Checks::Both,
        },
        host_checks,
        session: fields
            .optional("sessionType", SESSION_GRAMMAR)
            .unwrap_or_default(),
        replicas: fields.optional("replicas", REPLICAS_GRAMMAR),
    }
}

/// Whether destinations must have a port.
pub(super) fn port_rule(options: &ServiceOptions, rules: &ReconfigureRules) -> PortRule {
    match (options.upstream.discovery, rules.catalog) {
        // The template says where the servers are.
        _ if options.templates.backend.is_some() => PortRule::Optional,
        (Discovery::Catalog, _) | (_, CatalogUse::WithoutPort) => PortRule::Optional,
        _ => PortRule::Required,
    }
}

/// What only services of the catalog can use.
pub(super) fn without_effect(service: &Service) -> Vec<ParamWarning> {
    let mut destinations = service.destinations().iter();
    if destinations.any(|destination| service.catalog_key(destination).is_some()) {
        return Vec::new();
    }
    let color = service.color().map(|_| ParamWarning::NoEffect {
        parameter: "serviceColor",
        why: "it is kept, and picks a backend only where services come from a catalog",
    });
    let skipped = service.options().upstream.checks == Checks::Skipped;
    let skipped = skipped.then_some(ParamWarning::NoEffect {
        parameter: "skipCheck",
        why: "it is kept, and HAProxy checks only servers that come from a catalog",
    });
    color.into_iter().chain(skipped).collect()
}
