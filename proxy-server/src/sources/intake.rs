//! The one way from elsewhere into the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use proxy_core::{Change, Params, RouteTable, Service, ServiceName, Source};
use tokio::time::Instant;

use super::{Intent, Rules};
use crate::engine::{ChangeError, ChangeRequest, EngineHandle, Wait};

/// Changes that are sent at once. The engine takes four times as many, so that callers find room too.
const MOST_AT_ONCE: usize = 1_000;
/// How long what was refused is left alone while nobody changes it: HAProxy's judgement of one service may
/// depend on the others, and costs a check each time.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// A service as it is wanted elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// What it is called there, for logs.
    pub(super) called: String,
    pub(super) params: Params,
}

/// What came of a list.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Every service that it names, the wrong ones too.
    pub(super) named: BTreeSet<ServiceName>,
    /// Whether one of them has no name that could be read, so that nobody knows what the list lacks.
    pub(super) unnamed: bool,
    /// Whether something is to be tried again, which is nobody's fault.
    pub(super) again: bool,
}

/// Brings services from one place into the engine.
#[derive(Debug)]
pub(super) struct Intake {
    engine: EngineHandle,
    rules: Rules,
    place: &'static str,
    source: Option<Source>,
    /// What was refused, so that it is said and tried once and not with every list.
    refused: BTreeMap<String, Refused>,
}

/// What was refused.
#[derive(Debug)]
struct Refused {
    params: Params,
    since: Instant,
}

// === impl Intake ===

impl Intake {
    pub(super) fn new(
        engine: EngineHandle,
        rules: Rules,
        place: &'static str,
        source: Option<Source>,
    ) -> Self {
        Self {
            engine,
            rules,
            place,
            source,
            refused: BTreeMap::new(),
        }
    }

    /// What the services are marked with.
    pub(super) fn source(&self) -> Option<Source> {
        self.source
    }

    /// The place in words, for logs.
    pub(super) fn from(&self) -> &'static str {
        self.place
    }

    /// Waits until there is a table to compare with; false where the engine ended before.
    pub(super) async fn loaded(&self) -> bool {
        let mut snapshots = self.engine.snapshots();
        snapshots.wait_for(|s| s.is_loaded()).await.is_ok()
    }

    /// The table as it is stored.
    pub(super) fn table(&self) -> RouteTable {
        self.engine.snapshot().view.stored.table().clone()
    }

    /// Makes services what the list says, all in one turn of the engine where nothing else waits. Of two
    /// entries with one name the last counts.
    pub(super) async fn bring(&mut self, list: Vec<Wanted>) -> Brought {
        let table = self.table();
        let mut brought = Brought::default();
        let mut changes = BTreeMap::new();
        let now = Instant::now();
        let listed: BTreeSet<_> = list.iter().map(|wanted| wanted.called.clone()).collect();
        self.refused
            .retain(|called, refused| listed.contains(called) && now < refused.since + REFUSED_FOR);
        for wanted in list {
            let name = wanted
                .params
                .get("serviceName")
                .map(str::parse::<ServiceName>);
            let name = name.and_then(Result::ok);
            match &name {
                Some(name) => drop(brought.named.insert(name.clone())),
                None => brought.unnamed = true,
            }
            let before = self.refused.get(&wanted.called);
            if before.is_some_and(|refused| refused.params == wanted.params) {
                continue;
            }
            let change = match self.rules.read(&wanted.params).await {
                Ok(Intent::Put(parsed)) => {
                    for warning in &parsed.warnings {
                        tracing::debug!(from = self.from(), service = wanted.called, %warning, "a parameter of a service from elsewhere");
                    }
                    let service = Arc::unwrap_or_clone(parsed.value.service);
                    self.put(&table, service.with_source(self.source))
                }
                Ok(Intent::Remove(parsed)) => self.remove(&table, parsed.value.service),
                // It may have been ours until now.
                Ok(Intent::NotOurs(_)) => name.and_then(|name| self.remove(&table, name)),
                Err(errors) => {
                    self.refuse(&wanted, &errors.to_string());
                    continue;
                }
            };
            if let Some(change) = change {
                changes.insert(change.service_name().clone(), (wanted, change));
            }
        }
        brought.again = self.send(changes.into_values().collect()).await;
        brought
    }

    /// Removes a service that the source does not want any more; false where it is to be tried again.
    pub(super) async fn take_away(&mut self, name: &ServiceName) -> bool {
        let Some(change) = self.remove(&self.table(), name.clone()) else {
            return true;
        };
        let wanted = Wanted {
            called: name.to_string(),
            params: Params::default(),
        };
        !self.send(vec![(wanted, change)]).await
    }

    /// None where it is so already.
    fn put(&self, table: &RouteTable, service: Service) -> Option<Change> {
        let there = table.get(service.name());
        let is_so = there.is_some_and(|there| **there == service);
        (!is_so).then(|| Change::Put(Arc::new(service)))
    }

    /// None where it is gone, or is not this source's to remove.
    fn remove(&self, table: &RouteTable, name: ServiceName) -> Option<Change> {
        let is_ours =
            |there: &Arc<Service>| there.source().is_some() && there.source() == self.source;
        table.get(&name).filter(|there| is_ours(there))?;
        Some(Change::Remove(name))
    }

    /// Whether something is to be tried again.
    async fn send(&mut self, changes: Vec<(Wanted, Change)>) -> bool {
        let mut again = false;
        for chunk in changes.chunks(MOST_AT_ONCE) {
            let asked = chunk.iter().map(|(_, change)| {
                let request = ChangeRequest::new(vec![change.clone()], Wait::here());
                self.engine.change(request)
            });
            let answers = join_all(asked).await;
            for ((wanted, change), answer) in chunk.iter().zip(answers) {
                match answer {
                    Ok(answer) => self.done(change, answer.failure.as_deref()),
                    Err(error) if is_final(&error) => self.refuse(wanted, &error.to_string()),
                    Err(error) => {
                        again = true;
                        tracing::warn!(from = self.from(), service = wanted.called, %error, "a service from elsewhere is tried again");
                    }
                }
            }
        }
        again
    }

    fn done(&self, change: &Change, failure: Option<&str>) {
        let (from, service) = (self.from(), change.service_name());
        match change {
            Change::Remove(_) => {
                tracing::info!(from, %service, "a service from elsewhere is removed")
            }
            _ => tracing::info!(from, %service, "a service from elsewhere is configured"),
        }
        if let Some(why) = failure {
            tracing::warn!(from, %service, why, "it is stored and not live here yet");
        }
    }

    fn refuse(&mut self, wanted: &Wanted, why: &str) {
        tracing::error!(
            from = self.from(),
            service = wanted.called,
            why,
            "a service from elsewhere is refused; the others are not touched by it"
        );
        let refused = Refused {
            params: wanted.params.clone(),
            since: Instant::now(),
        };
        self.refused.insert(wanted.called.clone(), refused);
    }
}

/// Whether trying again would end the same.
fn is_final(error: &ChangeError) -> bool {
    matches!(
        error,
        ChangeError::Plan { .. } | ChangeError::Rejected { .. } | ChangeError::StoreRefused { .. }
    )
}
