//! Rendering one table after another: what did not change is not rendered again.

use std::collections::BTreeMap;

use proxy_core::{Change, Leg, RouteTable, Service, ServiceName};

use crate::{
    address_book::AddressBook,
    render::{RenderError, Sections, Whole, whole},
    rendered::RenderedConfig,
    routing::{
        form::{RoutingForm, form},
        map::{Followed, edited},
    },
    settings::RenderSettings,
    tls::{CertificateSet, ClientAuthorities},
};

/// More changes than this are rendered as a whole: it is no slower.
const MAX_FOLLOWED: usize = 200;

/// Renders one table after another, and gives the same bytes as [`render`](crate::render()) does for
/// each.
///
/// Where services only gained or lost paths or domains, and the routes are one map
/// ([`RoutingForm::Map`]), the time grows with the change and not with the table; HAProxy's own text is
/// then what it was. Otherwise the backends that stayed as they were keep their texts, unless the template is
/// the operator's own.
#[derive(Debug)]
pub struct Renderer {
    settings: RenderSettings,
    last: Option<Last>,
    sections: Sections,
}

/// What was rendered last, in the map form.
#[derive(Debug)]
struct Last {
    table: RouteTable,
    addresses: AddressBook,
    config: RenderedConfig,
    followed: Followed,
    backends: usize,
    with_domains: usize,
    renamed: BTreeMap<(ServiceName, (u16, Leg)), String>,
}

// === impl Renderer ===

impl Renderer {
    /// Renders with these settings.
    #[must_use]
    pub fn new(settings: RenderSettings) -> Self {
        Self {
            settings,
            last: None,
            sections: Sections::default(),
        }
    }

    /// What it renders with.
    #[must_use]
    pub fn settings(&self) -> &RenderSettings {
        &self.settings
    }

    /// Shows these certificates from the next table on, and asks clients for those of these authorities.
    pub fn set_certificates(
        &mut self,
        certificates: CertificateSet,
        authorities: Option<&ClientAuthorities>,
    ) {
        let known = self.settings.tls.client_authorities.as_ref();
        if self.settings.certificates != certificates || known != authorities {
            self.settings.certificates = certificates;
            self.settings.tls.client_authorities = authorities.cloned();
            self.last = None;
        }
    }

    /// Renders a table. `form_in_use` is the form that is served now, as in
    /// [`RenderSettings::with_form_in_use`].
    ///
    /// # Errors
    /// As [`render`](crate::render()). The next table is then rendered as a whole.
    pub fn render(
        &mut self,
        table: &RouteTable,
        form_in_use: Option<RoutingForm>,
        addresses: &AddressBook,
    ) -> Result<RenderedConfig, RenderError> {
        self.settings.form_in_use = form_in_use;
        let last = self.last.take();
        if let Some(next) = last.and_then(|last| last.followed_to(table, &self.settings, addresses))
        {
            let config = next.config.clone();
            self.last = Some(next);
            return Ok(config);
        }
        let whole = whole(table, &self.settings, addresses, &mut self.sections)?;
        let config = whole.config.clone();
        self.last = Last::new(whole, table, addresses);
        Ok(config)
    }
}

// === impl Last ===

impl Last {
    /// None without a map.
    fn new(whole: Whole, table: &RouteTable, addresses: &AddressBook) -> Option<Self> {
        Some(Self {
            followed: whole.followed?,
            table: table.clone(),
            addresses: addresses.clone(),
            config: whole.config,
            backends: whole.backends,
            with_domains: whole.with_domains,
            renamed: whole.renamed,
        })
    }

    /// The configuration of another table, where it is another in its map alone.
    fn followed_to(
        mut self,
        table: &RouteTable,
        settings: &RenderSettings,
        addresses: &AddressBook,
    ) -> Option<Self> {
        // The number of rules decides too, but only where that of backends does not.
        let form = form(settings.routing, self.backends, settings.form_in_use);
        if form != RoutingForm::Map || self.addresses != *addresses {
            return None;
        }
        let changes = table.changes_since(&self.table);
        if changes.len() > MAX_FOLLOWED {
            return None;
        }
        let mut changed: Vec<(&Service, &Service)> = Vec::new();
        let mut with_domains = self.with_domains;
        for change in &changes {
            let Change::Put(new) = change else {
                return None;
            };
            let old = self.table.get(new.name())?;
            // Where connections go stands in HAProxy's own text.
            let by_itself = |service: &Service| service.options().templates.is_empty();
            if !by_itself(old) || !by_itself(new) {
                // Its templates see its routes.
                return None;
            }
            if old.has_tcp() || new.has_tcp() || !old.differs_in_routes_alone(new) {
                return None;
            }
            with_domains =
                (with_domains + count_with_domains(new)).checked_sub(count_with_domains(old))?;
            changed.push((old, new));
        }
        if (with_domains > 0) != (self.with_domains > 0) {
            return None;
        }
        let renamed = &self.renamed;
        let edits = self.followed.follow(&changed, table, |route| {
            let place = (route.service.name().clone(), route.destination.key());
            let name = renamed.get(&place).cloned();
            name.unwrap_or_else(|| route.service.backend_name(route.destination))
        })?;
        if !edits.is_empty() {
            let map = edited(self.config.map_text()?, &edits);
            self.config = self.config.with_map(map);
        }
        self.with_domains = with_domains;
        self.table = table.clone();
        Some(self)
    }
}

fn count_with_domains(service: &Service) -> usize {
    let destinations = service.destinations().iter();
    let requests = destinations.filter(|d| !d.mode().is_tcp());
    requests.filter(|d| !d.domains().is_empty()).count()
}

#[cfg(test)]
mod tests;
