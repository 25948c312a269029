//! The lines that a service's own templates give: what they see, and what becomes of what they say.

mod acls;
mod servers;
mod texts;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Value, value::Serde};
use proxy_core::{
    Destination, PathPattern, Port, RawError, RawLimits, RawLines, Service, ServiceTemplate,
};
use serde::Serialize;

pub(super) use self::{
    servers::{are_at, begun_apart},
    texts::Texts,
};
use super::{RenderError, backend::dns_name};
use crate::{
    address_book::AddressBook,
    instances::CatalogInstance,
    line::is_name_char,
    raw::RawText,
    template::{Template, TemplateError},
};

/// The most that one template may give: a line for each of 1,000 instances, and room to spare.
const LIMITS: RawLimits = RawLimits::new(256 * 1024, 5_000);

/// The most instances that the destinations of one service may have together: a name is made for each.
const MOST_INSTANCES: usize = 10_000;

/// The heading of the frontend that services share.
const FRONTEND: &str = "frontend services";
/// What belongs to the frontend as a whole, and to everybody in it.
const FRONTENDS_OWN: [&str; 3] = ["bind", "mode", "default_backend"];

/// Why the template of a service gives no lines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceTemplateProblem {
    /// It is no template, or something that it asks for is not there.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// What it gives is not confined to its section, or too much.
    #[error("in what it gives, {0}")]
    Lines(#[from] RawError),
    /// What it gives for the frontend changes that for all services.
    #[error("in what it gives, line {line} begins with {word}, which would be so for all services")]
    NotItsOwn {
        /// The line, from 1.
        line: usize,
        /// What it begins with.
        word: &'static str,
    },
    /// It declares an ACL whose name is not plain, and could be any.
    #[error(
        "in what it gives, line {line} declares the acl {name:?}; its name must be letters, digits, '-', '_', '.' and ':'"
    )]
    AclName {
        /// The line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// The catalog shows too many instances.
    #[error("it sees {0} instances; at most {MOST_INSTANCES} are allowed")]
    TooManyInstances(usize),
}

/// What a template sees. Names with a capital are Docker Flow Proxy's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Model<'a> {
    service_name: &'a str,
    acl_name: &'a str,
    service_color: Option<&'a str>,
    /// Every destination that takes requests.
    service_dest: &'a Value,
    /// The destination that it is rendered for; for the frontend the first.
    #[serde(flatten)]
    own: Option<&'a DestinationModel<'a>>,
}

/// What the templates of a service see, whichever destination they are rendered for: what is the same for all is made
/// once, since each sees every other with its instances.
struct Seen<'a> {
    service: &'a Service,
    destinations: Vec<DestinationModel<'a>>,
    /// The same, as templates have it.
    all: Value,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DestinationModel<'a> {
    index: u16,
    port: Option<u16>,
    service_path: Vec<&'a str>,
    service_path_exclude: Vec<&'a str>,
    service_domain: Vec<String>,
    path_type: Option<&'static str>,
    outbound_hostname: Option<String>,
    src_port: Option<u16>,
    req_mode: &'static str,
    /// The name of its backend.
    #[serde(rename = "backend")]
    backend: &'a str,
    /// Where it is, where that is a host.
    #[serde(rename = "host")]
    host: String,
    /// Those of the catalog, whatever their health.
    #[serde(rename = "instances")]
    instances: Vec<InstanceModel<'a>>,
}

#[derive(Debug, Serialize)]
struct InstanceModel<'a> {
    /// A name for its server, unique among them.
    name: String,
    #[serde(flatten)]
    instance: &'a CatalogInstance,
}

/// A destination that takes requests, and the name of its backend.
pub(super) type Named<'a> = (&'a Destination, &'a str);

/// The lines of one frontend that services share.
#[derive(Debug, Default, Serialize)]
pub(super) struct FrontendLines {
    /// Definitions and rules.
    rules: Vec<RawText>,
    /// What picks a backend: it stands behind all rules, since HAProxy warns where rules stand behind it.
    switches: Vec<RawText>,
}

// === impl FrontendLines ===

impl FrontendLines {
    /// Adds what a service's template gives, where it has one.
    pub(super) fn add(
        &mut self,
        service: &Service,
        destinations: &[Named<'_>],
        addresses: &AddressBook,
        texts: &mut Texts,
    ) -> Result<(), RenderError> {
        let Some(template) = &service.options().templates.frontend else {
            return Ok(());
        };
        let lines = Seen::new(service, destinations, addresses)
            .and_then(|seen| {
                let model = seen.by(seen.destinations.first());
                lines(texts.read(template.text())?, &model, FRONTEND)
            })
            .map_err(|problem| refusal(service, "templateFePath", template, problem))?;
        let (switches, rules) = lines.partition(|line| line.starts_with("use_backend "));
        self.rules.push(RawText::from(&rules));
        self.switches.push(RawText::from(&switches));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// The lines of each backend of these destinations, where the service has a template for them: none without.
pub(super) fn backend_lines(
    service: &Service,
    destinations: &[Named<'_>],
    addresses: &AddressBook,
    texts: &mut Texts,
) -> Result<Vec<RawLines>, RenderError> {
    let template = service.options().templates.backend.as_ref();
    let Some(template) = template.filter(|_| !destinations.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut of_each = || -> Result<_, ServiceTemplateProblem> {
        let read = texts.read(template.text())?;
        let seen = Seen::new(service, destinations, addresses)?;
        let of = |own: &DestinationModel<'_>| {
            let heading = format!("backend {}", own.backend);
            lines(read, &seen.by(Some(own)), &heading)
        };
        seen.destinations.iter().map(of).collect()
    };
    of_each().map_err(|problem| refusal(service, "templateBePath", template, problem))
}

/// What a template gives, as lines that stay in their section. The line that opens that very section may
/// stand above them, as in Docker Flow Proxy's templates.
fn lines(
    template: &Template,
    model: &Model<'_>,
    heading: &str,
) -> Result<RawLines, ServiceTemplateProblem> {
    let text = template.render(model)?;
    let begins = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let is_heading = |line: &str| line.split_whitespace().eq(heading.split(' '));
    let first = text.lines().position(|line| begins(&line));
    let kept: Vec<&str> = text
        .lines()
        .enumerate()
        .map(
            |(number, line)| match is_heading(line) && Some(number) == first {
                true => "",
                false => line,
            },
        )
        .collect();
    if heading == FRONTEND {
        for (line, text) in (1..).zip(&kept) {
            let first = text.split_whitespace().next();
            if let Some(word) = FRONTENDS_OWN.into_iter().find(|word| first == Some(word)) {
                return Err(ServiceTemplateProblem::NotItsOwn { line, word });
            }
        }
        let own = acls::made_own(&kept, model.service_name)?;
        return Ok(RawLines::of_text(&own.join("\n"), LIMITS)?);
    }
    Ok(RawLines::of_text(&kept.join("\n"), LIMITS)?)
}

fn refusal(
    service: &Service,
    parameter: &'static str,
    template: &ServiceTemplate,
    problem: ServiceTemplateProblem,
) -> RenderError {
    RenderError::ServiceTemplate {
        service: service.name().clone(),
        parameter,
        path: template.path().to_owned(),
        problem: Box::new(problem),
    }
}

// === impl Seen ===

impl<'a> Seen<'a> {
    fn new(
        service: &'a Service,
        destinations: &[Named<'a>],
        addresses: &'a AddressBook,
    ) -> Result<Self, ServiceTemplateProblem> {
        let seen = destinations
            .iter()
            .map(|(to, _)| instances(service, to, addresses).len());
        let seen = seen.sum();
        if seen > MOST_INSTANCES {
            return Err(ServiceTemplateProblem::TooManyInstances(seen));
        }
        let of = |named: &Named<'a>| DestinationModel::new(service, *named, addresses);
        let destinations: Vec<_> = destinations.iter().map(of).collect();
        Ok(Self {
            service,
            all: Value::from(Serde(&destinations)),
            destinations,
        })
    }

    /// What the template sees that is rendered for one of the destinations.
    fn by(&'a self, own: Option<&'a DestinationModel<'a>>) -> Model<'a> {
        Model {
            service_name: self.service.name().as_str(),
            acl_name: self.service.acl_name().as_str(),
            service_color: self.service.color().map(|color| color.as_str()),
            service_dest: &self.all,
            own,
        }
    }
}

// === impl DestinationModel ===

impl<'a> DestinationModel<'a> {
    fn new(
        service: &'a Service,
        (destination, backend): Named<'a>,
        addresses: &'a AddressBook,
    ) -> Self {
        let texts = |paths: &'a [PathPattern]| paths.iter().map(PathPattern::text).collect();
        Self {
            index: destination.index(),
            port: destination.port().map(Port::get),
            service_path: texts(destination.paths()),
            service_path_exclude: texts(destination.excluded_paths()),
            service_domain: destination
                .domains()
                .iter()
                .map(ToString::to_string)
                .collect(),
            path_type: destination.paths().first().map(|path| path.kind().fetch()),
            outbound_hostname: destination.outbound_hostname().map(ToString::to_string),
            src_port: destination.entry_port().map(Port::get),
            req_mode: destination.mode().as_str(),
            backend,
            host: dns_name(service.host_of(destination)),
            instances: named(instances(service, destination, addresses)),
        }
    }
}

/// The instances of a destination in the catalog.
fn instances<'a>(
    service: &Service,
    destination: &Destination,
    addresses: &'a AddressBook,
) -> &'a [CatalogInstance] {
    let key = service.catalog_key(destination);
    let known = key.and_then(|key| addresses.instances().get(&key));
    known.map(|known| &**known).unwrap_or_default()
}

/// A name for each: its id where it can be the name of a server, with a number where another has it.
fn named(instances: &[CatalogInstance]) -> Vec<InstanceModel<'_>> {
    let mut taken = BTreeSet::new();
    // What is free begins here: many may have one id, on a node each.
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    let plain = |id: &str| -> String {
        let id = id.chars().map(|c| if is_name_char(c) { c } else { '_' });
        id.collect()
    };
    instances
        .iter()
        .map(|instance| {
            let plain = plain(&instance.id);
            let number = next.entry(plain.clone()).or_insert(1);
            let name = loop {
                let name = match *number {
                    1 => plain.clone(),
                    more => format!("{plain}-{more}"),
                };
                *number += 1;
                if !taken.contains(&name) {
                    break name;
                }
            };
            taken.insert(name.clone());
            InstanceModel { name, instance }
        })
        .collect()
}

#[cfg(test)]
mod tests;
