//! The parameters that say where the servers of a service come from.

use super::{destination::PortRule, rules::ReconfigureRules};
use crate::{
    field::{Fields, ParamWarning},
    service::Service,
    upstream::{CatalogUse, Checks, Discovery, DiscoveryError, UpstreamOptions},
};

const DISCOVERY_GRAMMAR: &str = "host, or catalog where Consul keeps the table; absent: host, or the catalog without a port where MODE=default";
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
    UpstreamOptions {
        discovery,
        checks: match skipped {
            true => Checks::Skipped,
            false => Checks::Both,
        },
    }
}

/// Whether destinations must have a port.
pub(super) fn port_rule(upstream: &UpstreamOptions, rules: &ReconfigureRules) -> PortRule {
    match (upstream.discovery, rules.catalog) {
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
