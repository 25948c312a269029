//! What a template of a service cannot be rendered with, or what HAProxy would not take of it, is not the
//! table's fault where it came from the catalog: the instances that were good are then shown on, so that
//! what somebody registers in Consul stops no change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use proxy_core::{CatalogKey, RouteTable, Service};
use proxy_haproxy::{AddressBook, CatalogInstance, InstanceBook, RenderedConfig};
use tokio::time::{Instant, sleep_until};

use super::{HaproxyCarrier, written::Written};
use crate::{
    carrier::{CheckError, places::Places},
    culprits::{Bound, Judge, isolate},
};

/// A configuration that HAProxy would take.
pub(super) struct Good {
    pub(super) config: RenderedConfig,
    pub(super) written: Written,
    /// What the templates of services saw.
    pub(super) instances: InstanceBook,
}

/// How long instances that did not go with the templates that saw them are left alone where other services are served:
/// they may have clashed with one that is gone, and each try costs checks of the whole configuration.
const BLAMED_FOR: Duration = Duration::from_secs(10);

/// Instances that did not go with the templates that saw them. Where both are the same they are tried again only once
/// other services are served.
#[derive(Clone, Debug)]
pub(super) struct Blame {
    instances: Arc<[CatalogInstance]>,
    /// The services with these templates.
    services: Vec<Arc<Service>>,
    words: String,
    /// What they were judged with.
    table: RouteTable,
    since: Instant,
    again: Again,
}

/// When instances that are blamed are judged again, though they and their templates are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// What they may have clashed with is as it was.
    No,
    At(Instant),
    Now,
}

/// What is blamed, by what is looked up in the catalog.
pub(super) type Blamed = BTreeMap<CatalogKey, Blame>;

/// Services that are served with other instances than the catalog shows, and why.
pub(crate) type Held = BTreeMap<String, String>;

/// Judges a table with other instances.
struct WithInstances<'a> {
    carrier: &'a HaproxyCarrier,
    table: &'a RouteTable,
    book: &'a AddressBook,
}

#[async_trait]
impl Judge for WithInstances<'_> {
    type Whole = InstanceBook;
    type Step = (CatalogKey, Arc<[CatalogInstance]>);
    type Good = Good;

    async fn judge(&self, whole: &InstanceBook) -> Result<Good, CheckError> {
        let book = self.book.clone().with_instances(whole.clone());
        self.carrier.check_with(self.table, &book).await
    }

    fn with(&self, whole: &InstanceBook, steps: &[Self::Step]) -> InstanceBook {
        let mut whole = whole.clone();
        for (key, instances) in steps {
            whole.insert(key.clone(), Arc::clone(instances));
        }
        whole
    }
}

impl HaproxyCarrier {
    /// Renders a table and has it judged, with what is known of where everything is.
    async fn check_with(&self, table: &RouteTable, book: &AddressBook) -> Result<Good, CheckError> {
        let config = self.render(table, book)?;
        let written = self.stage(&config).await?;
        for warning in self.judge(&written).await? {
            tracing::debug!(%warning, "HAProxy warns of the configuration");
        }
        let instances = book.instances().clone();
        Ok(Good {
            config,
            written,
            instances,
        })
    }

    /// The same with the newest instances of which it is good: where it is refused, templates see those in
    /// what is live, as far as the newer ones are to blame.
    pub(super) async fn check_with_good_instances(
        &self,
        table: &RouteTable,
        newest: &AddressBook,
    ) -> Result<Good, CheckError> {
        let book = self.without_blamed(table, newest.clone());
        let words = match self.check_with(table, &book).await {
            Err(CheckError::Rejected { words }) => words,
            judged => return judged,
        };
        let changed = self.changed_instances(&book);
        let held = self.holding_back(&book);
        let judged = match &held {
            Some(held) => self.find_blamed(table, held, changed, words).await,
            None => Err(CheckError::Rejected { words }),
        };
        match judged {
            Err(CheckError::Rejected { words }) => {
                let book = held.unwrap_or(book);
                let words = self.with_doubt(table, &book, words).await;
                Err(CheckError::Rejected { words })
            }
            judged => judged,
        }
    }

    /// Finds which of the changed instances are to blame for the refusal, and holds those back.
    async fn find_blamed(
        &self,
        table: &RouteTable,
        held: &AddressBook,
        changed: Vec<(CatalogKey, Arc<[CatalogInstance]>)>,
        refused: String,
    ) -> Result<Good, CheckError> {
        let judge = WithInstances {
            carrier: self,
            table,
            book: held,
        };
        let (base, bound) = (held.instances(), Bound::slice());
        let isolated = isolate(&judge, base, &changed, Some(refused), &bound).await?;
        if let Some(catalog) = self
            .catalog
            .as_ref()
            .filter(|_| isolated.judged < changed.len())
        {
            catalog.look_again();
        }
        let mut shown = self.shown();
        for (index, words) in isolated.culprits {
            if let Some((key, instances)) = changed.get(index) {
                let blame = Blame {
                    instances: Arc::clone(instances),
                    services: services_with(table, key),
                    words,
                    table: table.clone(),
                    since: Instant::now(),
                    again: Again::No,
                };
                shown.blamed.insert(key.clone(), blame);
            }
        }
        Ok(isolated.candidate)
    }

    /// HAProxy's words, and whether instances of the catalog may be to blame of which none before are known.
    async fn with_doubt(&self, table: &RouteTable, book: &AddressBook, words: String) -> String {
        let live = self.shown().instances.clone();
        let mut without = book.instances().clone();
        let mut names = BTreeSet::new();
        for key in Places::of(table).templated {
            let known = book.instances().get(&key);
            if live.get(&key).is_none() && known.is_some_and(|known| !known.is_empty()) {
                names.insert(key.service.clone());
                without.insert(key, Arc::default());
            }
        }
        if names.is_empty() {
            return words;
        }
        let without = book.clone().with_instances(without);
        match self.check_with(table, &without).await {
            Ok(_) => {
                let names = names.into_iter().collect::<Vec<_>>().join(", ");
                format!(
                    "{words}; it would be taken without the instances that the catalog shows of {names}, and this replica knows none that were good"
                )
            }
            Err(_) => words,
        }
    }

    /// What is known, without what did not go with these very templates before: they see what is live.
    pub(super) fn without_blamed(&self, table: &RouteTable, book: AddressBook) -> AddressBook {
        let shown = self.shown();
        let mut instances = book.instances().clone();
        for (key, blame) in &shown.blamed {
            let is_same = blame.again != Again::Now
                && book.instances().get(key) == Some(&blame.instances)
                && services_with(table, key) == blame.services;
            if let Some(live) = shown.instances.get(key).filter(|_| is_same) {
                instances.insert(key.clone(), Arc::clone(live));
            }
        }
        book.with_instances(instances)
    }

    /// Waits until instances that are blamed are to be judged again. Cancel safe.
    pub(super) async fn blamed_are_due(&self) {
        let at = self.shown().blamed.values().filter_map(Blame::due).min();
        match at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
        let now = Instant::now();
        for blame in self.shown().blamed.values_mut() {
            if blame.due().is_some_and(|at| at <= now) {
                blame.again = Again::Now;
            }
        }
    }

    /// What is known, with the instances that templates saw in what is live; none where these are the same.
    pub(super) fn holding_back(&self, book: &AddressBook) -> Option<AddressBook> {
        let changed = self.changed_instances(book);
        if changed.is_empty() {
            return None;
        }
        let live = self.shown().instances.clone();
        let mut instances = book.instances().clone();
        for (key, _) in changed {
            if let Some(seen) = live.get(&key) {
                instances.insert(key, Arc::clone(seen));
            }
        }
        Some(book.clone().with_instances(instances))
    }

    /// What is held back where these are the newest instances and templates see those.
    pub(super) fn held_of(
        &self,
        places: &Places,
        newest: &AddressBook,
        seen: &InstanceBook,
    ) -> Held {
        let shown = self.shown();
        let held = places.templated.iter().filter_map(|key| {
            let newest = newest.instances().get(key);
            (seen.get(key) != newest).then(|| {
                let blame = shown.blamed.get(key);
                let blame = blame.filter(|blame| newest == Some(&blame.instances));
                let why = blame.map_or("they are judged after others", |it| &it.words);
                (key.service.clone(), why.to_owned())
            })
        });
        held.collect()
    }

    /// The services whose templates would see other instances than in what is live, with these.
    fn changed_instances(&self, book: &AddressBook) -> Vec<(CatalogKey, Arc<[CatalogInstance]>)> {
        let live = self.shown().instances.clone();
        let all = book.instances().iter();
        all.filter(|(key, newer)| live.get(key).is_some_and(|seen| seen != *newer))
            .map(|(key, newer)| (key.clone(), Arc::clone(newer)))
            .collect()
    }
}

// === impl Blame ===

impl Blame {
    /// HAProxy serves a table.
    pub(super) fn serves(&mut self, table: &RouteTable) {
        if self.again == Again::No && self.table != *table {
            self.again = Again::At(self.since + BLAMED_FOR);
        }
    }

    /// Whether these are what templates see.
    pub(super) fn sees(&self, instances: &InstanceBook, key: &CatalogKey) -> bool {
        instances.get(key) == Some(&self.instances)
    }

    fn due(&self) -> Option<Instant> {
        match self.again {
            Again::At(at) => Some(at),
            Again::No | Again::Now => None,
        }
    }
}

/// The services whose templates see these instances.
fn services_with(table: &RouteTable, key: &CatalogKey) -> Vec<Arc<Service>> {
    let sees = |service: &&Arc<Service>| {
        let mut destinations = service.destinations().iter();
        !service.options().templates.is_empty()
            && destinations.any(|to| service.catalog_key(to).as_ref() == Some(key))
    };
    table.iter().filter(sees).cloned().collect()
}
