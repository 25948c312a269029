//! From a route table to HAProxy's configuration. Pure: the same table, settings and addresses give
//! the same bytes.

mod backend;
mod compression;
mod extras;
mod options;
mod own;
mod sections;
mod secure;
mod tcp;
mod users;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use proxy_core::{ForwardedProto, Leg, RouteOrder, RouteTable, ServiceName};
use serde::Serialize;

pub use self::own::ServiceTemplateProblem;
pub(crate) use self::sections::Sections;
use self::{
    backend::Backend, compression::CompressionLines, extras::ExtraLines, own::FrontendLines,
    secure::SecurePort, tcp::Tcp,
};
use crate::{
    address_book::AddressBook,
    expression::Expression,
    rendered::RenderedConfig,
    routing::{
        acl,
        form::{self, Routing, RoutingForm},
        map::{self, Followed, MapForm},
        rule::{self, Names, Place, Rule, UnknownDomain},
    },
    settings::{AccessLog, RenderSettings},
    template::{Template, TemplateError},
    tls::{self, TlsModel},
};

/// HAProxy keeps times in 31 bits of milliseconds and refuses longer ones; nobody waits that long.
const MAX_TIME: Duration = Duration::from_millis(i32::MAX as u64);

/// The backend of the requests that no route takes, where no service is for them.
const NO_ROUTE: &str = "no-route";

/// Why there is no configuration. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The template is wrong, or a value fits into no word.
    #[error("the configuration cannot be rendered")]
    Template(#[from] TemplateError),
    /// There is nothing to accept requests on.
    #[error("the configuration has no bind; give at least one address and port")]
    NoBind,
    /// A route is of a kind that this version cannot compile.
    #[error("the service {service} has the domain {domain}, which cannot be rendered")]
    UnsupportedDomain {
        /// The service.
        service: ServiceName,
        /// Its domain.
        domain: String,
    },
    /// The map form is asked for, and the template cannot write it.
    #[error(
        "the template does not write the map form (it never reads `lookups`); set the routing to auto or acl, or extend the template"
    )]
    TemplateWithoutMap,
    /// A service takes connections, and the template does not say where they come in.
    #[error(
        "the template serves no connections (it never reads `tcp`), and a service has reqMode=tcp or reqMode=sni; extend the template"
    )]
    TemplateWithoutTcp,
    /// Some backend is for certain users only, and the template would let everybody in.
    #[error(
        "the template does not write the users (it never reads `userlists` or `backend.auth`), and would open what they protect; extend the template"
    )]
    TemplateWithoutUsers,
    /// Some backend has options (methods, redirects, headers, client certificates), and the template would
    /// serve it without.
    #[error(
        "the template does not write the options of backends (it never reads `backend.options`), and would serve what they deny; extend the template"
    )]
    TemplateWithoutOptions,
    /// A service has a template of its own, and the template of the configuration would leave out what it
    /// says.
    #[error(
        "the template does not write what templates of services say (it never reads `own_lines` or `backend.own_lines`), and a service has templateFePath or templateBePath; extend the template"
    )]
    TemplateWithoutOwnLines,
    /// The template of a service gives no lines that can be taken.
    #[error(
        "the template {path} of the service {service} ({parameter}) cannot be used: {problem}; correct the file and configure the service again"
    )]
    ServiceTemplate {
        /// The service.
        service: ServiceName,
        /// The parameter that names the template.
        parameter: &'static str,
        /// The file that it was read from.
        path: String,
        /// What is wrong with it.
        problem: Box<ServiceTemplateProblem>,
    },
    /// The map form is asked for in an order that it cannot hold.
    #[error(
        "the map form cannot hold the order of routes by ACL name; set the routing to auto or acl, or the order to specific"
    )]
    MapInAclNameOrder,
}

/// What templates see. Every name here is a name that a user's own template may use.
#[derive(Debug, Serialize)]
struct Model {
    worker_socket: String,
    access_log: bool,
    hard_stop_after: String,
    max_old_workers: u32,
    fd_hard_limit: u32,
    timeouts: BTreeMap<&'static str, String>,
    nameservers: Vec<SocketAddr>,
    resolve_interval: String,
    /// The names of the `resolvers` sections.
    resolvers: Vec<String>,
    binds: Vec<String>,
    /// None where no bind speaks TLS.
    tls: Option<TlsModel>,
    /// Some route asks for the host.
    by_host: bool,
    rules: Vec<Rule>,
    /// In the map form: the words that make the keys the map is asked for. Otherwise there are none.
    lookups: Vec<Expression>,
    /// In the map form: the path that the keys hold.
    path: Option<Expression>,
    /// In the map form: one lookup decides alone.
    direct: bool,
    /// In the map form: the ends of the host that are asked for, by their number of labels.
    suffixes: BTreeSet<usize>,
    backends: Vec<Backend>,
    tcp: Tcp,
    userlists: Vec<users::Section>,
    extras: ExtraLines,
    /// What templates of services give for the frontend.
    own_lines: FrontendLines,
    /// The backend of the requests that no route takes.
    default_backend: String,
    /// Some backend asks for what `X-Forwarded-Proto` said when the request came.
    by_forwarded_proto: bool,
    compression: CompressionLines,
}

/// The routes of a table in one of the forms.
enum Routes {
    Acl(Vec<Rule>),
    Map(MapForm),
}

/// Renders a table.
///
/// ```
/// use proxy_core::{Params, RouteTable, parse_reconfigure};
/// use proxy_haproxy::{AddressBook, RenderSettings, RunPath, render};
///
/// let params = Params::from_query("serviceName=go-demo&servicePath=/demo&port=8080")?;
/// let table: RouteTable = [parse_reconfigure(&params)?.value.service].into_iter().collect();
/// let settings = RenderSettings::new(RunPath::new("/var/run/proxy")?);
///
/// let config = render(&table, &settings, &AddressBook::new())?;
/// assert!(config.main_text().contains("    use_backend go-demo-be8080 if url_go-demo8080\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the template cannot be rendered with this table, or there is nothing to bind.
pub fn render(
    table: &RouteTable,
    settings: &RenderSettings,
    addresses: &AddressBook,
) -> Result<RenderedConfig, RenderError> {
    let whole = whole(table, settings, addresses, &mut Sections::default());
    whole.map(|whole| whole.config)
}

/// A rendered table, and what it takes to follow changes of it.
pub(crate) struct Whole {
    pub(crate) config: RenderedConfig,
    /// In the map form.
    pub(crate) followed: Option<Followed>,
    /// How many backends there are.
    pub(crate) backends: usize,
    /// How many destinations are for certain domains only.
    pub(crate) with_domains: usize,
    /// The backends that could not have the name that they were meant to have.
    pub(crate) renamed: BTreeMap<(ServiceName, (u16, Leg)), String>,
}

/// Renders a table, and takes from `sections` what was rendered before.
pub(crate) fn whole(
    table: &RouteTable,
    settings: &RenderSettings,
    addresses: &AddressBook,
    sections: &mut Sections,
) -> Result<Whole, RenderError> {
    if settings.binds.is_empty() {
        return Err(RenderError::NoBind);
    }
    let table = &table.in_order(settings.order);
    let mut names = Names::default();
    let mut name_of = BTreeMap::new();
    let mut renamed = BTreeMap::new();
    let mut backends = Vec::new();
    let (mut with_domains, mut by_forwarded_proto) = (0, false);
    let mut lists = users::Lists::new(&settings.users, &mut names);
    let mut own_lines = FrontendLines::default();
    let secure = SecurePort::of(&settings.binds);
    for service in table.iter() {
        by_forwarded_proto |= service.options().forwarded_proto != ForwardedProto::Ignored;
        let destinations = service.destinations().iter();
        let destinations = destinations.filter(|destination| !destination.mode().is_tcp());
        let first = backends.len();
        for destination in destinations.clone() {
            let wanted = service.backend_name(destination);
            let name = names.take(wanted.clone());
            if name != wanted {
                renamed.insert((service.name().clone(), destination.key()), name.clone());
            }
            name_of.insert((service.name().as_str(), destination.key()), name.clone());
            let backend = Backend::new(name, service, destination, addresses, secure);
            let auth = lists.ask(service, destination, &mut names);
            backends.push(backend.with_auth(auth));
            with_domains += usize::from(!destination.domains().is_empty());
        }
        if !service.options().templates.is_empty() {
            let named: Vec<String> = backends.iter().skip(first).map(Backend::name).collect();
            let named: Vec<_> = destinations.zip(named.iter().map(String::as_str)).collect();
            own_lines.add(service, &named, addresses, &mut sections.texts)?;
            let lines = own::backend_lines(service, &named, addresses, &mut sections.texts)?;
            let own = backends.iter_mut().skip(first).zip(&named);
            for ((backend, (to, _)), lines) in own.zip(lines) {
                backend.give_lines(lines, service, to, addresses);
            }
        }
    }
    sections.texts.forget_others();
    let extra_lines = ExtraLines::new(settings, &mut lists, &mut names);
    let userlists = lists.into_sections();
    let asks = backends.iter().any(Backend::asks_for_users) && !settings.template.mentions(".auth");
    if asks || !userlists.is_empty() && !settings.template.reads("userlists") {
        return Err(RenderError::TemplateWithoutUsers);
    }
    if backends.iter().any(Backend::has_options) && !settings.template.mentions(".options") {
        return Err(RenderError::TemplateWithoutOptions);
    }
    let loses_frontend = !own_lines.is_empty() && !settings.template.reads("own_lines");
    let has_own = backends.iter().any(Backend::has_own_lines);
    if loses_frontend || has_own && !settings.template.mentions(".own_lines") {
        return Err(RenderError::TemplateWithoutOwnLines);
    }
    let backend_count = backends.len();
    let mut tcp = Tcp::new(table, settings, addresses, &mut names)?;
    if !tcp.frontends.is_empty() && !settings.template.reads("tcp") {
        return Err(RenderError::TemplateWithoutTcp);
    }
    let servers = backends.iter_mut().map(|backend| &mut backend.at);
    let mut servers: Vec<_> = servers.chain(tcp.servers()).collect();
    let resolvers = backend::spread(&mut servers);
    let resolve_interval = time(backend::resolve_interval(backend::count_names(&servers)));
    let routes = routes(table, settings, &name_of)?;
    let (rules, path, lookups, suffixes, map) = match routes {
        Routes::Acl(rules) => (rules, None, Vec::new(), BTreeSet::new(), None),
        Routes::Map(form) => {
            let path = Expression::from(form.path());
            let keys = form.keys().into_iter().map(Expression::from).collect();
            let map = (form.text, form.followed);
            (form.rules, Some(path), keys, form.suffixes, Some(map))
        }
    };
    let default = table.default_route();
    let default = default.and_then(|route| name_of.get(&rule::place(&route)).cloned());
    let timeouts = &settings.timeouts;
    let model = Model {
        worker_socket: settings.run.worker_socket().to_owned(),
        access_log: settings.access_log == AccessLog::Stdout,
        hard_stop_after: time(settings.hard_stop_after),
        max_old_workers: settings.max_old_workers,
        fd_hard_limit: settings.fd_hard_limit,
        timeouts: [
            ("connect", timeouts.connect),
            ("client", timeouts.client),
            ("server", timeouts.server),
            ("queue", timeouts.queue),
            ("http_request", timeouts.http_request),
            ("http_keep_alive", timeouts.http_keep_alive),
            ("tunnel", timeouts.tunnel),
        ]
        .map(|(name, length)| (name, time(length)))
        .into(),
        nameservers: settings.nameservers.clone(),
        resolve_interval,
        resolvers,
        binds: settings.binds.iter().map(ToString::to_string).collect(),
        tls: TlsModel::new(settings),
        by_host: with_domains > 0,
        direct: lookups.len() == 1 && rules.is_empty(),
        rules,
        path,
        lookups,
        suffixes,
        backends,
        tcp,
        userlists,
        extras: extra_lines,
        own_lines,
        default_backend: default.unwrap_or_else(|| NO_ROUTE.to_owned()),
        by_forwarded_proto,
        compression: CompressionLines::new(&settings.compression),
    };
    let speaks_tls = model.tls.is_some();
    let config = RenderedConfig::new(text(model, &settings.template, sections)?);
    let config = match speaks_tls {
        true => tls::with_certificates(config, &settings.certificates, &settings.tls),
        false => config,
    };
    let config = extras::with_error_files(config, &settings.extras);
    let (config, followed) = match map {
        Some((map, followed)) => (config.with_map(map), Some(followed)),
        None => (config, None),
    };
    Ok(Whole {
        config,
        followed,
        backends: backend_count,
        with_domains,
        renamed,
    })
}

fn text(
    mut model: Model,
    template: &Template,
    sections: &mut Sections,
) -> Result<String, TemplateError> {
    if !template.is_in_parts() {
        return template.render(model);
    }
    let backends = std::mem::take(&mut model.backends);
    let backends = sections.render(template, &model.nameservers, backends)?;
    template.render_around(model, &backends)
}

/// The routes in the form that the settings ask for.
fn routes(
    table: &RouteTable,
    settings: &RenderSettings,
    backends: &BTreeMap<Place<'_>, String>,
) -> Result<Routes, RenderError> {
    let unsupported = |unknown: UnknownDomain| RenderError::UnsupportedDomain {
        service: unknown.service,
        domain: unknown.domain,
    };
    let acl = || acl::compile(table, backends).map_err(unsupported);
    let map = || map::compile(table, backends).map_err(unsupported);
    let form = |rules| form::form(settings.routing, rules, settings.form_in_use);
    let writes_map = settings.template.reads("lookups");
    match settings.routing {
        Routing::Map if settings.order != RouteOrder::Specific => {
            Err(RenderError::MapInAclNameOrder)
        }
        _ if settings.order != RouteOrder::Specific => acl().map(Routes::Acl),
        Routing::Map if !writes_map => Err(RenderError::TemplateWithoutMap),
        _ if !writes_map => acl().map(Routes::Acl),
        // Each destination is one rule at least: these need not be compiled to be counted.
        _ if form(backends.len()) == RoutingForm::Map => map().map(Routes::Map),
        _ => {
            let rules = acl()?;
            match form(rules.len()) {
                RoutingForm::Acl => Ok(Routes::Acl(rules)),
                RoutingForm::Map => map().map(Routes::Map),
            }
        }
    }
}

fn time(length: Duration) -> String {
    let length = length.min(MAX_TIME);
    if length.subsec_nanos() == 0 {
        format!("{}s", length.as_secs())
    } else {
        format!("{}ms", length.as_millis().max(1))
    }
}

#[cfg(test)]
mod tests;
