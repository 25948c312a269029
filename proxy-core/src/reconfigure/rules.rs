//! What the settings of a replica say about the parameters it takes.

use crate::{
    destination::Destination,
    domain::DomainComparison,
    field::ParamWarning,
    host::Port,
    https_port::Leg,
    mode::ReqMode,
    raw::RawConfig,
    redirect::PlainHttp,
    service::Service,
    template::TemplateSources,
    upstream::{CatalogUse, HostChecks},
    users::UserRules,
};

/// What is allowed in parameters, and what they are where they are absent. The defaults are those of a
/// proxy without settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReconfigureRules {
    /// Whether raw HAProxy text is taken.
    pub raw: RawConfig,
    /// What the connections of a destination carry that does not say it.
    pub default_mode: ReqMode,
    /// Whether servers may come from a catalog.
    pub catalog: CatalogUse,
    /// Whom a service may name without a password.
    pub users: UserRules,
    /// Whether HAProxy checks servers with a host name where nothing says so.
    pub host_checks: HostChecks,
    /// How domains are compared where a service does not say it.
    pub domain_comparison: DomainComparison,
    /// What parts the items of lists.
    pub separator: Separator,
    /// The ports that requests come in on; none: that is not known.
    pub entry_ports: Vec<Port>,
    /// What becomes of requests without TLS where no parameter says it.
    pub plain_http: PlainHttp,
    /// The files of the templates that the parameters name.
    pub templates: TemplateSources,
}

/// What parts the items of lists: a comma unless somebody says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separator(String);

impl ReconfigureRules {
    /// Which parameters of a service name a port that no request comes in on.
    pub(super) fn dead_ends(&self, service: &Service) -> Vec<ParamWarning> {
        const WHY: &str = "no request comes in on this port: it is in neither DEFAULT_PORTS nor BIND_PORTS, so nothing is routed by it";
        let waits = |destination: &Destination| {
            let port = destination.entry_port();
            let known = port.is_none_or(|port| self.entry_ports.contains(&port));
            !destination.mode().is_tcp() && !known
        };
        let mut warnings = Vec::new();
        for leg in [Leg::Plain, Leg::Https] {
            let mut on_leg = service.destinations().iter().filter(|d| d.leg() == leg);
            if !self.entry_ports.is_empty() && on_leg.any(waits) {
                warnings.push(ParamWarning::NoEffect {
                    parameter: match leg {
                        Leg::Plain => "srcPort",
                        Leg::Https => "srcHttpsPort",
                    },
                    why: WHY,
                });
            }
        }
        warnings
    }

    /// Whether raw HAProxy text is taken.
    #[must_use]
    pub fn with_raw(self, raw: RawConfig) -> Self {
        Self { raw, ..self }
    }

    /// The ports that requests come in on, so that a service which waits for another is told.
    #[must_use]
    pub fn with_entry_ports(self, entry_ports: Vec<Port>) -> Self {
        Self {
            entry_ports,
            ..self
        }
    }

    /// How domains are compared where a service does not say it (`SERVICE_DOMAIN_ALGO`).
    #[must_use]
    pub fn with_domain_comparison(self, domain_comparison: DomainComparison) -> Self {
        Self {
            domain_comparison,
            ..self
        }
    }

    /// What parts the items of lists (`SEPARATOR`); a comma where it is empty.
    #[must_use]
    pub fn with_separator(self, separator: impl Into<String>) -> Self {
        let separator = Some(separator.into()).filter(|text| !text.is_empty());
        Self {
            separator: separator.map_or_else(Separator::default, Separator),
            ..self
        }
    }

    /// What the connections of a destination carry that does not say it (`DEFAULT_REQ_MODE`).
    #[must_use]
    pub fn with_default_mode(self, default_mode: ReqMode) -> Self {
        Self {
            default_mode,
            ..self
        }
    }

    /// Whether servers may come from a catalog.
    #[must_use]
    pub fn with_catalog(self, catalog: CatalogUse) -> Self {
        Self { catalog, ..self }
    }

    /// Whom a service may name without a password.
    #[must_use]
    pub fn with_users(self, users: UserRules) -> Self {
        Self { users, ..self }
    }

    /// Whether HAProxy checks servers with a host name where nothing says so (`CHECK_RESOLVERS`).
    #[must_use]
    pub fn with_host_checks(self, host_checks: HostChecks) -> Self {
        Self {
            host_checks,
            ..self
        }
    }

    /// The files of the templates that the parameters name.
    #[must_use]
    pub fn with_templates(self, templates: TemplateSources) -> Self {
        Self { templates, ..self }
    }

    /// What becomes of requests without TLS where no parameter says it.
    #[must_use]
    pub fn with_plain_http(self, plain_http: PlainHttp) -> Self {
        Self { plain_http, ..self }
    }
}

// === impl Separator ===

impl Separator {
    pub(crate) const COMMA: &str = ",";

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Separator {
    fn default() -> Self {
        Self(Self::COMMA.to_owned())
    }
}
