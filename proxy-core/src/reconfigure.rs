//! What `reconfigure` and `remove` ask, read from their parameters.

use std::sync::Arc;

use self::{
    destination::{PATH_GRAMMAR, Read, destination},
    options::service_options,
    upstream::{port_rule, without_effect},
};
use crate::{
    document::Document,
    domain::{DomainAlgo, DomainComparison},
    field::{FieldErrors, Fields, ParamWarning, Parsed, RefusalKind},
    mode::ReqMode,
    name::{AclName, Color, NAME_GRAMMAR, ServiceName},
    options::RoutesFrom,
    params::Params,
    service::{MAX_DESTINATIONS, Service},
};

mod connections;
mod destination;
mod options;
pub(crate) mod parameters;
mod rules;
mod templates;
mod upstream;
mod users;

pub use parameters::{PARAMETERS, Parameter, ParameterKind, ParameterLevel, ParameterStanding};
pub use rules::{ReconfigureRules, Separator};
pub use users::is_secret_name;

const ALGO_GRAMMAR: &str =
    "hdr(host), hdr_beg(host), hdr_end(host), hdr_sub(host) or hdr_dom(host)";
const SERVICE_GRAMMAR: &str = "at most 100 destinations, 500 domains, paths, user agents or headers each, 50 regular expressions, 2,000 routes and 64 KiB together";

/// The parameters that make an indexed destination exist, as in Docker Flow Proxy.
const DESTINATION_MARKS: [&str; 4] = ["servicePath", "port", "serviceDomain", "httpsPort"];

/// What a `reconfigure` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconfigure {
    /// The service as it shall be.
    pub service: Arc<Service>,
    /// Whether to wait for every replica.
    pub distribute: Distribute,
}

/// What a `remove` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remove {
    /// The service that shall be gone.
    pub service: ServiceName,
    /// Whether to wait for every replica.
    pub distribute: Distribute,
}

/// Whether the answer waits for every replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Distribute {
    /// The answer comes once the change is stored and live here; the others follow the store.
    #[default]
    No,
    /// The answer comes once every replica confirmed, or the wait is over.
    Yes,
}

/// Reads the parameters of a `reconfigure` by the default rules.
///
/// ```
/// use proxy_core::{Params, parse_reconfigure};
///
/// let params = Params::from_query("serviceName=go-demo&servicePath=/demo&port=80a")?;
/// let refused = parse_reconfigure(&params).unwrap_err();
/// assert_eq!(refused.errors[0].parameter, "port");
/// # Ok::<(), proxy_core::ParamsError>(())
/// ```
///
/// # Errors
/// Every parameter that is missing or wrong, at once.
pub fn parse_reconfigure(params: &Params) -> Result<Parsed<Reconfigure>, FieldErrors> {
    parse_reconfigure_with(params, &ReconfigureRules::default())
}

/// Reads the parameters of a `reconfigure`.
///
/// # Errors
/// Every parameter that is missing, wrong, or against the rules, at once.
pub fn parse_reconfigure_with(
    params: &Params,
    rules: &ReconfigureRules,
) -> Result<Parsed<Reconfigure>, FieldErrors> {
    let mut fields = Fields::new(params).parted_by(rules.separator.as_str());
    let name: Option<ServiceName> = fields.required("serviceName", NAME_GRAMMAR);
    let acl_name: Option<AclName> = fields.optional("aclName", NAME_GRAMMAR);
    let color: Option<Color> = fields.optional("serviceColor", NAME_GRAMMAR);
    let comparison = fields
        .optional("serviceDomainAlgo", ALGO_GRAMMAR)
        .unwrap_or(match fields.flag("serviceDomainMatchAll") {
            true => DomainComparison::Other(DomainAlgo::Labels),
            false => rules.domain_comparison,
        });
    let distribute = distribute(&mut fields);
    let options = service_options(&mut fields, rules, name.as_ref());
    let routes = match options.templates.frontend {
        Some(_) => RoutesFrom::Template,
        None => RoutesFrom::Parameters,
    };
    let ports = port_rule(&options, rules);

    // The unsuffixed values are the defaults of the indexed ones; alone they are the destination.
    let indices: Vec<u16> = (1..=MAX_DESTINATIONS as u16)
        .take_while(|i| {
            let has = |mark| params.get(&format!("{mark}.{i}")).is_some();
            DESTINATION_MARKS.iter().any(has)
        })
        .collect();
    let mut specs = Vec::new();
    let mut routed = true;
    let mut warnings = of_no_meaning(&mut fields);
    for index in if indices.is_empty() { vec![0] } else { indices } {
        let mode = fields.suffixed("reqMode", index);
        let mode = fields.optional(&mode, connections::MODE_GRAMMAR);
        let mode = mode.unwrap_or(rules.default_mode);
        connections::without_effect(&mut fields, index, mode, &mut warnings);
        if mode != ReqMode::Http && !options.users.is_empty() {
            users::refuse_connections(&mut fields, index);
        }
        if mode != ReqMode::Http {
            templates::refuse_connections(&mut fields);
        }
        let read = match mode {
            ReqMode::Http => destination(&mut fields, index, comparison, ports, routes, rules),
            mode => connections::destination(&mut fields, index, mode, comparison),
        };
        match read {
            Read::Destination(spec) => specs.push(*spec),
            Read::NoRoute => routed = false,
            Read::Refused => {}
        }
    }

    let Some(name) = name else {
        return Err(fields.into_errors(RefusalKind::Invalid));
    };
    if !routed && !fields.has_errors() {
        fields.missing(
            "servicePath",
            "neither servicePath nor serviceDomain is given, nor a templateFePath",
            PATH_GRAMMAR,
        );
        return Err(fields.into_errors(RefusalKind::NoRoute));
    }
    if fields.has_errors() {
        return Err(fields.into_errors(RefusalKind::Invalid));
    }
    let service = match Service::new(name, acl_name, color, specs) {
        Ok(service) => Arc::new(service.with_options(options)),
        Err(problem) => {
            fields.missing("serviceName", &problem.to_string(), SERVICE_GRAMMAR);
            return Err(fields.into_errors(RefusalKind::Invalid));
        }
    };
    if let Err(problem) = Document::from_service(Arc::clone(&service)) {
        fields.missing("serviceName", &problem.to_string(), SERVICE_GRAMMAR);
        return Err(fields.into_errors(RefusalKind::Invalid));
    }
    warnings.extend(fields.unknown());
    warnings.extend(without_effect(&service));
    warnings.extend(rules.dead_ends(&service));
    Ok(Parsed::new(
        Reconfigure {
            service,
            distribute,
        },
        warnings,
    ))
}

/// Reads the parameters of a `remove`.
///
/// # Errors
/// Every parameter that is missing or wrong, at once.
pub fn parse_remove(params: &Params) -> Result<Parsed<Remove>, FieldErrors> {
    let mut fields = Fields::new(params);
    let service = fields.required("serviceName", NAME_GRAMMAR);
    // Docker Flow Proxy needs it to find its files; here the name of the service is enough.
    let _: Option<AclName> = fields.optional("aclName", NAME_GRAMMAR);
    let distribute = distribute(&mut fields);
    match service {
        Some(service) if !fields.has_errors() => {
            let warnings = fields.unknown();
            Ok(Parsed::new(
                Remove {
                    service,
                    distribute,
                },
                warnings,
            ))
        }
        _ => Err(fields.into_errors(RefusalKind::Invalid)),
    }
}

/// What Docker Flow Proxy takes and what means nothing here.
fn of_no_meaning(fields: &mut Fields<'_>) -> Vec<ParamWarning> {
    const LOG: &str =
        "the access log is one for all services: see ACCESS_LOG and DEBUG_HTTP_FORMAT";
    let known = [
        ("debug", LOG),
        ("debugFormat", LOG),
        (
            "userDef",
            "Docker Flow Proxy keeps it for templates of one's own, and does nothing with it",
        ),
    ];
    let given = known
        .into_iter()
        .filter(|(name, _)| fields.text(name).is_some());
    given
        .map(|(parameter, why)| ParamWarning::NoEffect { parameter, why })
        .collect()
}

fn distribute(fields: &mut Fields<'_>) -> Distribute {
    match fields.flag("distribute") {
        true => Distribute::Yes,
        false => Distribute::No,
    }
}

#[cfg(test)]
mod tests;
