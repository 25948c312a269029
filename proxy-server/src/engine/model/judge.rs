//! Runs a schedule and holds its end to the laws.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use proxy_core::{Change, Params, ServiceName, parse_reconfigure};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    super::{Answer, ChangeError, ChangeRequest, Wait, command::Extent},
    Ask, Quality, REPLICAS, Step,
    carrier::{Haproxy, port, quality},
    replica::Replica,
    store::{Moment, World},
};

/// How long the replicas have to agree once everything is mended: longer than the longest pause
/// between two tries.
const PATIENCE: Duration = Duration::from_secs(1_300);

/// A call and what became of it.
struct Call {
    replica: usize,
    extent: Extent,
    changes: Vec<Change>,
    began: Moment,
    answer: JoinHandle<Answered>,
}

/// The end of a call.
struct Answered {
    ended: Moment,
    answer: Result<Answer, ChangeError>,
}

/// A call that has ended.
struct Ended {
    replica: usize,
    extent: Extent,
    changes: Vec<Change>,
    began: Moment,
    ended: Moment,
    answer: Result<Answer, ChangeError>,
}

/// Runs a schedule. The error says which law it breaks.
pub(super) fn run(schedule: &[Step]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(play(schedule))
}

async fn play(schedule: &[Step]) -> Result<(), String> {
    let world = Arc::new(Mutex::new(World::new()));
    let mut replicas = Replica::all(&world, REPLICAS);
    let mut calls = Vec::new();
    let mut version = 0;
    for step in schedule {
        match step {
            Step::Call(r, asks) | Step::Whole(r, asks) => {
                let changes = asks.iter().map(|ask| change(ask, &mut version)).collect();
                let extent = match step {
                    Step::Whole(..) => Extent::Whole,
                    _ => Extent::Named,
                };
                calls.push(Call::begin(*r, &replicas[*r], &world, extent, changes));
            }
            Step::Commit(r, fault) => replicas[*r].store.fault(*fault),
            Step::Cut(r) => replicas[*r].store.cut(),
            Step::Mend(r) => replicas[*r].store.mend(),
            Step::Follow(r, commits) => replicas[*r].store.follow(*commits),
            Step::Hint(r, nth, twice) => replicas[*r].hint(*nth, *twice).await,
            Step::ChecksFail(r, times) => replicas[*r].haproxy.checks_fail(*times),
            Step::LoadsFail(r, times) => replicas[*r].haproxy.loads_fail(*times),
            Step::Crash(r) => replicas[*r].crash(),
            Step::Pass(ms) => sleep(Duration::from_millis(*ms)).await,
        }
        tokio::task::yield_now().await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        replicas.iter().for_each(Replica::heal);
        sleep(Duration::from_secs(20)).await;
        let ended = calls.iter().all(|call| call.answer.is_finished());
        let apart = replicas
            .iter()
            .find_map(|replica| converged(&world, replica).err());
        match apart {
            None if ended => break,
            _ if tokio::time::Instant::now() < deadline => {}
            None => return Err("a call was never answered".to_owned()),
            Some(why) => return Err(format!("law 2: {why}")),
        }
    }
    for replica in &replicas {
        if let Some(why) = replica.haproxy.broken() {
            return Err(format!("law 3: {why}"));
        }
    }
    let mut ended = Vec::new();
    for call in calls {
        ended.push(call.end().await);
    }
    let world = world.lock().unwrap();
    for (nth, call) in ended.iter().enumerate() {
        let others = ended.iter().enumerate().filter(|(n, _)| *n != nth);
        let others: Vec<&Ended> = others.map(|(_, other)| other).collect();
        call.judge(&world, &replicas[call.replica].haproxy, &others)?;
    }
    Ok(())
}

fn change(ask: &Ask, version: &mut u16) -> Change {
    let name = |service: &usize| format!("s{service}");
    match ask {
        Ask::Remove(service) => Change::Remove(name(service).parse().unwrap()),
        Ask::Put(service, quality) => {
            *version += 1;
            let name = name(service);
            let port = port(*version, *quality);
            let query = format!("serviceName={name}&servicePath=/{name}&port={port}");
            let params = Params::from_query(query).unwrap();
            Change::Put(parse_reconfigure(&params).unwrap().value.service)
        }
    }
}

/// Whether a replica serves what is stored, and of what its HAProxy does not take only older
/// versions.
fn converged(world: &Mutex<World>, replica: &Replica) -> Result<(), String> {
    let world = world.lock().unwrap();
    let (stored, live) = (world.table().table(), replica.haproxy.live());
    for service in stored
        .iter()
        .filter(|service| replica.haproxy.takes(service))
    {
        if live.get(service.name()) != Some(service) {
            return Err(format!("{} is stored and not served", service.name()));
        }
    }
    for service in live.iter() {
        let Some(now) = stored.get(service.name()) else {
            return Err(format!("{} is served and not stored", service.name()));
        };
        if now != service && replica.haproxy.takes(now) {
            return Err(format!("{} is served in an old version", service.name()));
        }
    }
    let snapshot = replica.handle.snapshot();
    let held: BTreeSet<&ServiceName> = snapshot.quarantined.keys().collect();
    let bad = stored
        .iter()
        .filter(|service| !replica.haproxy.takes(service));
    let bad: BTreeSet<&ServiceName> = bad.map(|service| service.name()).collect();
    if held != bad {
        return Err(format!("quarantined are {held:?}, bad are {bad:?}"));
    }
    Ok(())
}

// === impl Call ===

impl Call {
    fn begin(
        replica: usize,
        on: &Replica,
        world: &Arc<Mutex<World>>,
        extent: Extent,
        changes: Vec<Change>,
    ) -> Self {
        let handle = on.handle.clone();
        let request = match extent {
            Extent::Named => ChangeRequest::new(changes.clone(), Wait::here()),
            Extent::Restored => ChangeRequest::restored(changes.clone(), Wait::here()),
            Extent::Whole => ChangeRequest::whole(changes.clone(), Wait::here()),
        };
        let began = world.lock().unwrap().moment();
        let world = Arc::clone(world);
        let answer = tokio::spawn(async move {
            let answer = handle.change(request).await;
            let ended = world.lock().unwrap().moment();
            Answered { ended, answer }
        });
        Self {
            replica,
            extent,
            changes,
            began,
            answer,
        }
    }

    async fn end(self) -> Ended {
        let Answered { ended, answer } = self.answer.await.unwrap();
        // Of two changes of one service in one call only the later counts.
        let changes = self.changes.iter().enumerate().filter(|(nth, change)| {
            let later = &self.changes[nth + 1..];
            let same = |other: &Change| other.service_name() == change.service_name();
            !later.iter().any(same)
        });
        Ended {
            replica: self.replica,
            extent: self.extent,
            changes: changes.map(|(_, change)| change.clone()).collect(),
            began: self.began,
            ended,
            answer,
        }
    }
}

// === impl Ended ===

impl Ended {
    /// Holds an answer to what happened.
    fn judge(&self, world: &World, haproxy: &Haproxy, others: &[&Self]) -> Result<(), String> {
        match &self.answer {
            Ok(_) => {
                for change in &self.changes {
                    if !self.took_place(change, world, others) {
                        return Err(format!("law 2: acknowledged and not done: {change:?}"));
                    }
                    // One that another call replaced in the same turn was never anywhere.
                    if let Change::Put(service) = change
                        && !haproxy.passes(service)
                        && was_stored(change, world)
                    {
                        return Err(format!("law 1: acknowledged though refused: {change:?}"));
                    }
                }
            }
            Err(error) => {
                let stored = |change: &&Change| was_stored(change, world);
                if let Some(change) = self.changes.iter().find(stored)
                    && untouched(error)
                {
                    return Err(format!("law 1: refused ({error}) and stored: {change:?}"));
                }
                let named = self.extent == Extent::Named;
                if matches!(error, ChangeError::Rejected { .. })
                    && named
                    && self.changes.iter().all(is_good)
                {
                    return Err(format!("law 3: a good change was refused: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Whether a change was done at a moment of this call, or undone at once by another call that
    /// was under way at the same time.
    fn took_place(&self, change: &Change, world: &World, others: &[&Self]) -> bool {
        let name = change.service_name();
        let rivals = others
            .iter()
            .filter(|other| other.began.nth < self.ended.nth && other.ended.nth > self.began.nth);
        let mut candidates = rivals
            .filter_map(|other| other.wants(name))
            .collect::<Vec<_>>();
        candidates.push(change.clone());
        let mut commits = self.began.commits..=self.ended.commits;
        commits.any(|at| {
            let now = world.table_at(at).service(name);
            candidates.iter().any(|change| match change {
                Change::Put(service) => now == Some(service),
                _ => now.is_none(),
            })
        })
    }

    /// What this call wants of a service.
    fn wants(&self, name: &ServiceName) -> Option<Change> {
        let named = self
            .changes
            .iter()
            .find(|change| change.service_name() == name);
        match self.extent {
            Extent::Whole => Some(named.cloned().unwrap_or(Change::Remove(name.clone()))),
            Extent::Named | Extent::Restored => named.cloned(),
        }
    }
}

/// Whether a version was ever stored.
fn was_stored(change: &Change, world: &World) -> bool {
    let Change::Put(service) = change else {
        return false;
    };
    let mut tables = (0..=world.now()).map(|at| world.table_at(at));
    tables.any(|table| table.service(service.name()) == Some(service))
}

/// Whether an error says that nothing was changed.
fn untouched(error: &ChangeError) -> bool {
    match error {
        ChangeError::Plan { commits, .. }
        | ChangeError::Rejected { commits, .. }
        | ChangeError::Unable { commits, .. }
        | ChangeError::StoreRefused { commits, .. }
        | ChangeError::StoreDenied { commits, .. }
        | ChangeError::Unavailable { commits, .. }
        | ChangeError::Contended { commits, .. } => *commits == 0,
        ChangeError::Starting { .. } | ChangeError::Busy | ChangeError::ShuttingDown => true,
        ChangeError::Overtaken | ChangeError::Unreadable { .. } => true,
        ChangeError::Unknown { .. } | ChangeError::Lost => false,
    }
}

fn is_good(change: &Change) -> bool {
    match change {
        Change::Put(service) => quality(service) == Quality::Good,
        _ => true,
    }
}
