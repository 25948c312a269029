//! A HAProxy that judges versions by their quality, and that never forgets what it was told.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use proxy_core::{RouteTable, Service, ServiceName};

use super::{Quality, store::World};
use crate::{
    carrier::{Applied, ApplyError, Carrier, CarrierCondition, CheckError, DryRun, Reload},
    testing::dry_run,
};
use proxy_haproxy::ApplyStep;

/// One replica's HAProxy. It outlives the engine.
#[derive(Debug)]
pub(super) struct Haproxy {
    world: Arc<Mutex<World>>,
    first: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<RouteTable>,
    checks_fail: usize,
    loads_fail: usize,
    /// The services that somebody counts on.
    known: BTreeSet<ServiceName>,
    /// The first law that was broken here.
    broken: Option<String>,
}

/// A version's number and its quality are in its port.
pub(super) fn port(version: u16, quality: Quality) -> u16 {
    let last = match quality {
        Quality::Good => 0,
        Quality::Bad => 1,
        Quality::BadOnFirst => 2,
        Quality::DoesNotLoad => 3,
    };
    1_000 + version * 10 + last
}

pub(super) fn quality(service: &Service) -> Quality {
    match port_of(service) % 10 {
        0 => Quality::Good,
        1 => Quality::Bad,
        2 => Quality::BadOnFirst,
        _ => Quality::DoesNotLoad,
    }
}

pub(super) fn port_of(service: &Service) -> u16 {
    service.destinations()[0].port().unwrap().get()
}

// === impl Haproxy ===

impl Haproxy {
    pub(super) fn new(world: &Arc<Mutex<World>>, replica: usize) -> Self {
        Self {
            world: Arc::clone(world),
            first: replica == 0,
            state: Mutex::default(),
        }
    }

    /// Whether this HAProxy's check takes a version.
    pub(super) fn passes(&self, service: &Service) -> bool {
        match quality(service) {
            Quality::Good | Quality::DoesNotLoad => true,
            Quality::Bad => false,
            Quality::BadOnFirst => !self.first,
        }
    }

    /// Whether it takes it and loads it.
    pub(super) fn takes(&self, service: &Service) -> bool {
        self.passes(service) && quality(service) != Quality::DoesNotLoad
    }

    pub(super) fn checks_fail(&self, times: usize) {
        self.state.lock().unwrap().checks_fail = times;
    }

    pub(super) fn loads_fail(&self, times: usize) {
        self.state.lock().unwrap().loads_fail = times;
    }

    /// The engine died. What it was trying out when it did, nobody counts on.
    pub(super) fn crashed(&self, served: &RouteTable) {
        let mut state = self.state.lock().unwrap();
        state.known.retain(|name| served.get(name).is_some());
    }

    pub(super) fn live(&self) -> RouteTable {
        self.state.lock().unwrap().live.clone().unwrap_or_default()
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.state.lock().unwrap().broken.clone()
    }
}

fn fails(times: &mut usize) -> bool {
    let fails = *times > 0;
    *times = times.saturating_sub(1);
    fails
}

#[async_trait]
impl Carrier for Haproxy {
    type Candidate = RouteTable;

    async fn check(&self, table: &RouteTable) -> Result<RouteTable, CheckError> {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        if fails(&mut self.state.lock().unwrap().checks_fail) {
            let why = "no disk".into();
            return Err(CheckError::Unable { why });
        }
        match table.iter().find(|service| !self.passes(service)) {
            Some(bad) => Err(CheckError::Rejected {
                words: format!("{} is bad", bad.name()),
            }),
            None => Ok(table.clone()),
        }
    }

    async fn dry_run(&self, table: &RouteTable) -> Result<DryRun, CheckError> {
        self.check(table).await.map(|_| dry_run(ApplyStep::Reload))
    }

    async fn apply(&self, table: RouteTable, force: Reload) -> Result<Applied, ApplyError> {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let mut state = self.state.lock().unwrap();
        if fails(&mut state.loads_fail) {
            return Err(ApplyError::new("no process"));
        }
        if let Some(bad) = table.iter().find(|service| !self.takes(service)) {
            let words = format!("{} does not load", bad.name());
            return Err(ApplyError::Refused { words });
        }
        if state.live.as_ref() == Some(&table) && force == Reload::IfDifferent {
            return Ok(Applied::Unchanged);
        }
        // Law 3: a service goes only because a commit removed it.
        let world = self.world.lock().unwrap();
        let removed = |name: &str| {
            let removals = world.log().iter().flat_map(|record| &record.services);
            removals
                .into_iter()
                .any(|(n, change)| n.as_str() == name && change.after.is_none())
        };
        let gone = state.known.iter().filter(|name| table.get(name).is_none());
        if let Some(name) = gone.into_iter().find(|name| !removed(name.as_str())) {
            let why = format!("{name} is no longer served and nobody removed it");
            state.broken = Some(why);
        }
        state.known = table.iter().map(|service| service.name().clone()).collect();
        state.live = Some(table);
        Ok(Applied::Reloaded)
    }

    async fn moved(&self) {
        std::future::pending().await
    }

    fn config_text(&self) -> Option<String> {
        None
    }

    fn digest(&self) -> Option<String> {
        None
    }

    fn rules(&self) -> usize {
        0
    }

    fn condition(&self) -> CarrierCondition {
        match self.state.lock().unwrap().live {
            Some(_) => CarrierCondition::Running,
            None => CarrierCondition::NotStarted,
        }
    }
}
