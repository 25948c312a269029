//! Who may use what: the `userlist` sections, and which backend asks for which.

use std::collections::BTreeMap;

use proxy_core::{Authorization, Destination, Service, ServiceName, UserList};
use serde::Serialize;

use crate::{expression::Expression, routing::rule::Names};

/// The list of the users of the settings, as Docker Flow Proxy calls it.
const GLOBAL: &str = "defaultUsers";

/// One `userlist` section, as templates see it.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    name: String,
    users: Vec<User>,
}

#[derive(Debug, Serialize)]
struct User {
    name: String,
    /// Hashed.
    password: String,
}

/// What a backend asks of its users, as templates see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Auth {
    /// The condition that a user of the list meets.
    known: Expression,
    /// What browsers show.
    realm: String,
}

/// The lists that backends ask for.
#[derive(Debug, Default)]
pub(super) struct Lists {
    sections: Vec<Section>,
    /// The name of the settings' list.
    global: Option<String>,
    of_services: BTreeMap<ServiceName, String>,
}

// === impl Lists ===

impl Lists {
    pub(super) fn new(global: &UserList, names: &mut Names) -> Self {
        let mut lists = Self::default();
        if !global.is_empty() {
            lists.global = Some(lists.add(GLOBAL.to_owned(), global, names));
        }
        lists
    }

    /// What a destination asks of its users: those of its service, else those of the settings.
    pub(super) fn ask(
        &mut self,
        service: &Service,
        destination: &Destination,
        names: &mut Names,
    ) -> Option<Auth> {
        if destination.options().authorization == Authorization::Ignored {
            return None;
        }
        let own = &service.options().users;
        let list = if own.is_empty() {
            self.global.clone()?
        } else if let Some(list) = self.of_services.get(service.name()) {
            list.clone()
        } else {
            let wanted = format!("{}Users", service.acl_name());
            let list = self.add(wanted, own, names);
            self.of_services
                .insert(service.name().clone(), list.clone());
            list
        };
        Some(Auth {
            known: known(&list),
            realm: service.name().to_string(),
        })
    }

    /// The condition that those meet who may see HAProxy's page of figures.
    pub(super) fn of_stats(&mut self, users: &UserList, names: &mut Names) -> Expression {
        known(&self.add("statsUsers".to_owned(), users, names))
    }

    pub(super) fn into_sections(self) -> Vec<Section> {
        self.sections
    }

    fn add(&mut self, wanted: String, users: &UserList, names: &mut Names) -> String {
        let name = names.take(wanted);
        let users = users.iter().map(|(name, password)| User {
            name: name.to_string(),
            password: password.expose().to_owned(),
        });
        self.sections.push(Section {
            name: name.clone(),
            users: users.collect(),
        });
        name
    }
}

/// The condition that a user of a list meets.
fn known(list: &str) -> Expression {
    format!("http_auth({list})").into()
}
