//! The one way from elsewhere into the engine.

mod refused;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use proxy_core::{
    Change, CommitError, Params, Revision, RouteStore, RouteTable, Service, ServiceName, Source,
};
use tokio::time::Instant;

use self::refused::{By, REFUSED_FOR, REST, Refused, Stuck, until};
use super::{
    Intent, Rules,
    claim::{Look, is_due},
};
use crate::engine::{Answer, ChangeError, ChangeRequest, EngineHandle, Wait};

/// Changes that are sent at once. The engine takes four times as many, so that callers find room too.
const MOST_AT_ONCE: usize = 1_000;
/// How often a list is held to the table again because somebody else changed a service of it meanwhile.
const MOST_TRIES: usize = 4;

/// A service as it is wanted elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// What it is called there, for logs.
    pub(super) called: String,
    pub(super) name: ServiceName,
    pub(super) params: Params,
}

/// Something elsewhere that cannot be read as a service.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    /// What it is called there, for logs.
    pub(super) called: String,
    /// The services that it stands for, where that is known: they are not gone.
    pub(super) names: BTreeSet<ServiceName>,
    pub(super) why: String,
}

/// What came of a list.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Every service that it names, the wrong ones too.
    pub(super) named: BTreeSet<ServiceName>,
    /// Whether something is to be tried again, which is nobody's fault.
    pub(super) again: bool,
}

/// Where the engine is, and the table that it works on.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) engine: EngineHandle,
    /// It knows of a change before HAProxy serves it; the engine says so only afterwards.
    pub(super) store: Arc<dyn RouteStore>,
    pub(super) rules: Rules,
}

/// Brings services from one place into the engine.
#[derive(Debug)]
pub(super) struct Intake {
    way: Way,
    source: Source,
    /// What was wanted at the last look.
    before: BTreeMap<ServiceName, Arc<Service>>,
    /// What was refused, so that it is said and tried once and not with every list.
    refused: BTreeMap<String, Refused>,
    /// Removals that were refused.
    stuck: BTreeMap<ServiceName, Stuck>,
    /// The table at the last look.
    looked_at: Option<Revision>,
    /// When that was.
    looked: Instant,
}

/// What a list says of a service.
#[derive(Debug)]
enum Wish {
    Put(Arc<Service>),
    /// It has no replica, or is for another proxy.
    Gone,
}

/// What a list says of each service.
type Wishes = BTreeMap<ServiceName, (Wanted, Wish)>;

/// How the removal of a service ended that its source does not want any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Away,
    /// Until something else changes, and why.
    Refused(String),
    /// To be tried with the next look.
    Again,
}

/// How a wish ended.
enum End {
    /// It is so, or another's word stands.
    Settled,
    Refused(By, String),
    /// To be tried with the next look.
    Again,
    /// To be decided anew at once.
    Overtaken,
}

// === impl Wanted ===

impl Wanted {
    /// A service by its parameters, which must name it.
    pub(super) fn new(called: String, params: Params) -> Result<Self, Unreadable> {
        let name = params.get("serviceName").unwrap_or_default();
        match name.parse::<ServiceName>() {
            Ok(name) => Ok(Self {
                called,
                name,
                params,
            }),
            Err(why) => Err(Unreadable {
                called,
                names: BTreeSet::new(),
                why: format!("serviceName: {why}"),
            }),
        }
    }
}

// === impl Intake ===

impl Intake {
    pub(super) fn new(way: Way, source: Source) -> Self {
        Self {
            way,
            source,
            before: BTreeMap::new(),
            refused: BTreeMap::new(),
            stuck: BTreeMap::new(),
            looked_at: None,
            looked: Instant::now(),
        }
    }

    /// The place in words, for logs.
    pub(super) fn from(&self) -> &'static str {
        self.source.word()
    }

    /// Waits until there is a table to compare with; false where the engine ended before.
    pub(super) async fn loaded(&self) -> bool {
        let mut snapshots = self.way.engine.snapshots();
        snapshots.wait_for(|s| s.is_loaded()).await.is_ok()
    }

    /// The services that the source keeps.
    pub(super) fn kept(&self) -> BTreeSet<ServiceName> {
        let table = self.table();
        let ours = table.iter().filter(|service| self.is_ours(service));
        ours.map(|service| service.name().clone()).collect()
    }

    /// What was refused and stands in the list still, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (String, String)> {
        let refused = self.refused.iter();
        refused.map(|(called, refused)| (called.clone(), refused.why.clone()))
    }

    /// Forgets what was wanted of services that a whole list does not name, and which of the others could not be
    /// removed.
    pub(super) fn forget_but(&mut self, named: &BTreeSet<ServiceName>) {
        self.before.retain(|name, _| named.contains(name));
        let kept = self.kept();
        let missing = |name: &ServiceName| kept.contains(name) && !named.contains(name);
        self.stuck.retain(|name, _| missing(name));
    }

    /// Waits until something that was refused may be taken: a removal if the table is another one since the
    /// last look, anything else if what may have stood in its way is; either once it was left alone for long
    /// enough. Cancel safe.
    pub(super) async fn unstuck(&self) {
        let mut view = self.way.store.view();
        while self.stuck.is_empty() || self.looked_at == view.revision {
            let table = view.stored.table();
            let freed = self.refused.values().filter(|it| it.is_freed(table));
            let freed = freed.map(|refused| refused.since + refused.rest);
            let at = freed.chain(self.rested()).min();
            tokio::select! {
                () = until(at) => return,
                newer = self.way.store.changed(view.seq) => view = newer,
            }
        }
    }

    /// When the next of what was not tried at the last look was left alone for long enough.
    fn rested(&self) -> Option<Instant> {
        let refused = self.refused.values().map(|refused| refused.since);
        let since = refused.chain(self.stuck.values().map(|stuck| stuck.since));
        let rested = since.map(|since| since + REFUSED_FOR);
        // What was due at that look and is here still is for its list to bring up.
        rested.filter(|at| *at > self.looked).min()
    }

    /// The table as it is stored.
    fn table(&self) -> RouteTable {
        self.way.store.view().stored.table().clone()
    }

    /// Makes sure that the table is the store's newest, as far as the store can say so now.
    async fn catch_up(&self) {
        for _ in 0..MOST_TRIES {
            match self.way.store.confirm(&self.way.store.view(), &[]).await {
                Err(CommitError::LostRace { .. }) => {}
                Err(error) => {
                    let from = self.from();
                    return tracing::debug!(from, %error, "the list is held to the table that is known here");
                }
                Ok(()) => return,
            }
        }
    }

    /// Makes services what the list says, all in one turn of the engine where nothing else waits. Of two
    /// entries with one name the last counts.
    pub(super) async fn bring(&mut self, list: Vec<Wanted>, look: Look) -> Brought {
        if look == Look::Asked {
            self.catch_up().await;
            self.refused.clear();
            self.stuck.clear();
        }
        let view = self.way.store.view();
        self.looked_at = view.revision;
        let mut brought = Brought::default();
        let now = Instant::now();
        self.looked = now;
        let listed: BTreeSet<_> = list.iter().map(|wanted| wanted.called.clone()).collect();
        self.refused.retain(|called, _| listed.contains(called));
        let mut wishes = Wishes::new();
        for wanted in list {
            brought.named.insert(wanted.name.clone());
            let before = self.refused.get(&wanted.called);
            let before = before.filter(|refused| refused.params == wanted.params);
            if before.is_some_and(|refused| !refused.is_due(view.stored.table(), now)) {
                continue;
            }
            match self.read(&wanted).await {
                Ok(wish) => {
                    wishes.insert(wanted.name.clone(), (wanted, wish));
                }
                Err(why) => self.refuse(&wanted, By::Judgement, why),
            }
        }
        for _ in 0..MOST_TRIES {
            if wishes.is_empty() {
                return brought;
            }
            brought.again |= self.hold_to_the_table(&mut wishes, look).await;
        }
        brought.again |= !wishes.is_empty();
        brought
    }

    /// Removes a service that the source does not want any more. What was refused is not asked for again while
    /// the table is the same.
    pub(super) async fn take_away(&mut self, name: &ServiceName) -> Taken {
        let (on, since) = (self.way.store.view().revision, Instant::now());
        let before = self.stuck.get(name);
        if let Some(stuck) = before.filter(|it| it.on == on && since < it.since + REFUSED_FOR) {
            return Taken::Refused(stuck.why.clone());
        }
        let wanted = Wanted {
            called: name.to_string(),
            name: name.clone(),
            params: Params::default(),
        };
        let mut wishes = Wishes::from([(name.clone(), (wanted, Wish::Gone))]);
        let again = self.hold_to_the_table(&mut wishes, Look::OfItself).await;
        // It is in no list, so nothing else was refused under this name.
        match self.refused.remove(name.as_str()) {
            Some(Refused { by: By::Rights, .. }) => Taken::Again,
            Some(Refused { why, .. }) => {
                let stuck = Stuck {
                    on,
                    since,
                    why: why.clone(),
                };
                self.stuck.insert(name.clone(), stuck);
                Taken::Refused(why)
            }
            None if again || !wishes.is_empty() => Taken::Again,
            None => {
                self.stuck.remove(name);
                Taken::Away
            }
        }
    }

    async fn read(&self, wanted: &Wanted) -> Result<Wish, String> {
        match self.way.rules.read(&wanted.params).await {
            Ok(Intent::Put(parsed)) => {
                for warning in &parsed.warnings {
                    tracing::debug!(from = self.from(), service = wanted.called, %warning, "a parameter of a service from elsewhere");
                }
                let service = Arc::unwrap_or_clone(parsed.value.service);
                Ok(Wish::Put(Arc::new(service.with_source(Some(self.source)))))
            }
            // It may have been ours until now.
            Ok(Intent::Remove(_) | Intent::NotOurs(_)) => Ok(Wish::Gone),
            Err(errors) => Err(errors.to_string()),
        }
    }

    /// Sends what is to be changed, and leaves the wishes that somebody came before. Whether something is
    /// to be tried with the next look.
    async fn hold_to_the_table(&mut self, wishes: &mut Wishes, look: Look) -> bool {
        let table = self.table();
        let mut ends = Vec::new();
        let mut steps = Vec::new();
        for (name, (wanted, wish)) in &*wishes {
            let there = table.get(name).cloned();
            match self.change(name, wish, there.as_ref(), look) {
                Some(change) => {
                    if wanted.params.get("serviceCert").is_some() {
                        let why = "keys are taken from calls, files and secrets alone";
                        tracing::warn!(from = self.from(), service = %name, why, "serviceCert is not used; the service is configured without it");
                    }
                    steps.push((name.clone(), change, there));
                }
                None => ends.push((name.clone(), End::Settled)),
            }
        }
        for chunk in steps.chunks(MOST_AT_ONCE) {
            let asked = chunk.iter().map(|(_, change, there)| {
                let request = ChangeRequest::over(change.clone(), there.clone(), Wait::here());
                self.way.engine.change(request)
            });
            let answers = join_all(asked).await;
            let answers = chunk.iter().zip(answers);
            ends.extend(
                answers.map(|((name, change, _), answer)| (name.clone(), self.end(change, answer))),
            );
        }
        let mut again = false;
        for (name, end) in ends {
            if matches!(end, End::Overtaken) {
                continue;
            }
            let wished = wishes.remove(&name);
            if let (End::Settled, Some((wanted, _))) = (&end, &wished) {
                self.refused.remove(&wanted.called);
            }
            match (end, wished) {
                (End::Settled, Some((_, Wish::Put(service)))) => {
                    self.before.insert(name, service);
                }
                (End::Settled, _) => drop(self.before.remove(&name)),
                (End::Refused(by, why), Some((wanted, _))) => {
                    again |= by == By::Rights;
                    self.refuse(&wanted, by, why);
                }
                _ => again = true,
            }
        }
        again
    }

    /// What is to be done about a wish; none where nothing is.
    fn change(
        &self,
        name: &ServiceName,
        wish: &Wish,
        there: Option<&Arc<Service>>,
        look: Look,
    ) -> Option<Change> {
        match wish {
            Wish::Put(service) => {
                let before = self.before.get(name).map(|before| &**before);
                let there = there.map(|there| &**there);
                let is_due = is_due(service, before, there, look);
                is_due.then(|| Change::Put(Arc::clone(service)))
            }
            // What somebody else put is theirs to remove.
            Wish::Gone => {
                let ours = there.is_some_and(|there| self.is_ours(there));
                ours.then(|| Change::Remove(name.clone()))
            }
        }
    }

    fn is_ours(&self, service: &Service) -> bool {
        service.source() == Some(self.source)
    }

    fn end(&self, change: &Change, answer: Result<Answer, ChangeError>) -> End {
        let (from, service) = (self.from(), change.service_name());
        match answer {
            Ok(answer) => {
                match change {
                    Change::Remove(_) => {
                        tracing::info!(from, %service, "a service from elsewhere is removed")
                    }
                    _ => tracing::info!(from, %service, "a service from elsewhere is configured"),
                }
                if let Some(why) = answer.failure {
                    tracing::warn!(from, %service, why = &*why, "it is stored and not live here yet");
                }
                End::Settled
            }
            Err(ChangeError::Overtaken) => End::Overtaken,
            Err(error @ ChangeError::StoreDenied { .. }) => {
                End::Refused(By::Rights, error.to_string())
            }
            Err(error) if is_final(&error) => End::Refused(By::Judgement, error.to_string()),
            Err(error) => {
                tracing::warn!(from, %service, %error, "a service from elsewhere is tried again");
                End::Again
            }
        }
    }

    fn refuse(&mut self, wanted: &Wanted, by: By, why: String) {
        let before = self.refused.get(&wanted.called);
        let before = before.filter(|refused| refused.params == wanted.params);
        // What is tried again and refused in the same words is not said again.
        if before.is_none_or(|refused| refused.why != why) {
            tracing::error!(
                from = self.from(),
                service = wanted.called,
                why,
                "a service from elsewhere is refused; the others are not touched by it"
            );
        }
        let refused = Refused {
            params: wanted.params.clone(),
            beside: self.table(),
            since: Instant::now(),
            rest: before.map_or(REST, |refused| refused.next_rest(by)),
            by,
            why,
        };
        self.refused.insert(wanted.called.clone(), refused);
    }
}

/// Whether trying again would end the same.
fn is_final(error: &ChangeError) -> bool {
    matches!(
        error,
        ChangeError::Plan { .. }
            | ChangeError::Unreadable { .. }
            | ChangeError::Rejected { .. }
            | ChangeError::StoreRefused { .. }
    )
}
