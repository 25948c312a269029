//! One turn: the way of one batch of changes, from plan to answer.
//!
//! plan -> check (render and validate) -> store -> make live here and tell the peers -> publish ->
//! answer. What the store's watch brings takes the same way and skips the store and the peers.

use std::sync::Arc;

use proxy_core::{
    Change, CommitError, CommitRecord, Conflict, DeadRoute, Distribute, Document, Effect,
    PlannedChange, Revision, RouteTable, StoreCondition, plan,
};

use super::{
    Answer, ChangeError, ChangeRequest, Engine, Held,
    command::Reply,
    isolate::{Isolated, isolate},
};
use crate::{
    announce::Announcement,
    carrier::{Applied, Carrier, CheckError, Reload},
    chain::chain,
};

/// How often a batch is planned again because another replica committed first. Each loss means that
/// somebody else made progress; a batch that loses this often is better told to its callers.
const MAX_RACES: usize = 64;

/// A request on its way.
pub(super) struct Pending {
    request: ChangeRequest,
    reply: Reply,
    /// How many of its changes are stored.
    done: usize,
    commits: usize,
    planned: Vec<PlannedChange>,
    conflicts: Vec<Conflict>,
    dead: Vec<DeadRoute>,
}

/// What became of an attempt to store a round.
enum Stored {
    All,
    LostRace,
    Failed,
}

/// A configuration that is good and not live yet.
struct Ready<T> {
    candidate: T,
    table: RouteTable,
}

// === impl Engine ===

impl<C: Carrier> Engine<C> {
    /// Brings what is pending, and whatever the store has that is not live yet, into effect.
    pub(super) async fn turn(&mut self, mut open: Vec<Pending>) {
        let mut stored = Vec::new();
        let mut records = Vec::new();
        let mut ready = None;
        let mut tries = 0;
        while tries < MAX_RACES {
            tries += 1;
            self.look();
            if let Some(why) = self.not_loaded() {
                refuse_all(&mut open, &ChangeError::Starting { why });
                break;
            }
            self.plan_round(&mut open, &mut stored);
            let incoming = self.incoming();
            if open.is_empty() && incoming.is_empty() {
                break;
            }
            let checked = match self.check_round(&mut open, &incoming).await {
                Ok(checked) => checked,
                Err(error) => {
                    let why = chain(&error);
                    refuse_all(&mut open, &ChangeError::Unable { why: why.clone() });
                    if !incoming.is_empty() {
                        self.failure = Some(why.into());
                    }
                    break;
                }
            };
            if open.is_empty() {
                ready = Some(checked);
                break;
            }
            match self.store_round(&mut open, &mut stored, &mut records).await {
                Stored::All => {
                    ready = Some(checked);
                    break;
                }
                Stored::LostRace | Stored::Failed => {}
            }
        }
        refuse_all(&mut open, &ChangeError::Contended { tries });
        if let Some(ready) = ready {
            self.make_live(ready, Reload::IfDifferent).await;
        } else if self.first_time() {
            // An empty table is served too: requests get an honest 404.
            let _ = self.render_again(Reload::IfDifferent).await;
        }
        self.settle_retry();
        self.publish();
        self.finish(stored, records);
    }

    /// Renders the served table again and makes it live.
    pub(super) async fn render_again(&mut self, force: Reload) -> Result<(), String> {
        if let Some(why) = self.not_loaded() {
            return Err(ChangeError::Starting { why }.to_string());
        }
        match self.carrier.check(&self.served).await {
            Ok(candidate) => {
                let table = self.served.clone();
                self.make_live(Ready { candidate, table }, force).await;
            }
            Err(error) => self.failure = Some(chain(&error).into()),
        }
        self.settle_retry();
        self.publish();
        match &self.failure {
            Some(why) => Err(why.to_string()),
            None => Ok(()),
        }
    }

    fn look(&mut self) {
        let view = self.store.view();
        if view.seq > self.view.seq {
            self.view = view;
        }
    }

    fn not_loaded(&self) -> Option<String> {
        match &self.view.condition {
            StoreCondition::Starting => Some("the store has not answered yet".to_owned()),
            _ => None,
        }
    }

    /// Whether HAProxy was never asked to run.
    fn first_time(&self) -> bool {
        self.not_loaded().is_none()
            && self.failure.is_none()
            && self.carrier.condition() == crate::carrier::CarrierCondition::NotStarted
    }

    /// Plans each request on top of those before it. What cannot be planned is answered; what
    /// changes nothing is done already.
    fn plan_round(&self, open: &mut Vec<Pending>, stored: &mut Vec<Pending>) {
        let mut table = self.view.stored.table().clone();
        for mut pending in std::mem::take(open) {
            match plan(&table, pending.rest()) {
                Ok(plan) => {
                    if pending.done == 0 {
                        pending.planned = plan.changes;
                    }
                    (pending.conflicts, pending.dead) = (plan.conflicts, plan.dead);
                    table = plan.after;
                    if plan.effect == Effect::None {
                        stored.push(pending);
                    } else {
                        open.push(pending);
                    }
                }
                Err(error) => pending.answer(Err(error.into())),
            }
        }
    }

    /// Checks what the store brought together with what is asked. What the store brought and
    /// HAProxy will not take is quarantined; what is asked and it will not take is refused.
    async fn check_round(
        &mut self,
        open: &mut Vec<Pending>,
        incoming: &[Change],
    ) -> Result<Ready<C::Candidate>, CheckError> {
        let mut groups: Vec<&[Change]> = incoming.iter().map(std::slice::from_ref).collect();
        groups.extend(open.iter().map(Pending::rest));
        let Isolated {
            candidate,
            table,
            culprits,
        } = isolate(&*self.carrier, &self.served, &groups).await?;
        for change in incoming {
            self.quarantine.remove(change.service_name());
        }
        // From the back, so that the indices in front stay true.
        for (index, words) in culprits.into_iter().rev() {
            if let Some(change) = incoming.get(index) {
                let name = change.service_name().clone();
                tracing::error!(service = %name, why = words, "quarantined: its stored version is not valid here");
                let held = Held {
                    change: change.clone(),
                    why: words,
                };
                self.quarantine.insert(name, held);
            } else {
                let culprit = open.remove(index - incoming.len());
                culprit.answer(Err(ChangeError::Rejected { words }));
            }
        }
        Ok(Ready { candidate, table })
    }

    /// Commits what is asked, in as many commits as the store needs.
    async fn store_round(
        &mut self,
        open: &mut Vec<Pending>,
        stored: &mut Vec<Pending>,
        records: &mut Vec<Arc<CommitRecord>>,
    ) -> Stored {
        let changes: Vec<Change> = open.iter().flat_map(|p| p.rest().iter().cloned()).collect();
        let mut rest = changes.as_slice();
        while !rest.is_empty() {
            match self.store.commit(&self.view, rest).await {
                Ok(committed) => {
                    let taken = committed.taken.clamp(1, rest.len());
                    rest = rest.get(taken..).unwrap_or_default();
                    self.view = committed.view;
                    records.push(committed.record);
                    count_down(open, stored, taken);
                }
                Err(CommitError::LostRace { view }) => {
                    self.metrics.lost_race();
                    self.view = view;
                    return Stored::LostRace;
                }
                Err(error) => {
                    for pending in open.drain(..) {
                        let refusal = store_refusal(&error, pending.commits);
                        pending.answer(Err(refusal));
                    }
                    return Stored::Failed;
                }
            }
        }
        Stored::All
    }

    async fn make_live(&mut self, ready: Ready<C::Candidate>, force: Reload) {
        let started = std::time::Instant::now();
        // Without quarantine the table is the store's own, whose past it shares: later differences
        // are then cheap to find.
        self.served = match self.view.stored.table() {
            table if *table == ready.table => table.clone(),
            _ => ready.table,
        };
        match self.carrier.apply(ready.candidate, force).await {
            Ok(applied) => {
                self.failure = None;
                self.metrics.applied(applied, started.elapsed());
                if applied != Applied::Unchanged {
                    let revision = self.view.revision.map(|r| r.number);
                    let services = self.served.len();
                    tracing::info!(revision, services, ?applied, "the table is live");
                }
            }
            Err(error) => {
                let why = chain(&error);
                tracing::error!(why, "the table is not live; it is tried again");
                self.metrics.apply_failed();
                self.failure = Some(why.into());
            }
        }
    }

    /// Tells the peers and answers the callers; those who wait for the peers are answered by a task
    /// of their own, so that the next turn can begin.
    fn finish(&mut self, stored: Vec<Pending>, records: Vec<Arc<CommitRecord>>) {
        let announcement = self.announcement(&stored, records);
        let revision = self.view.revision;
        let failure = self.failure.clone();
        let (waiting, at_once): (Vec<_>, Vec<_>) = stored
            .into_iter()
            .partition(|p| p.request.distribute == Distribute::Yes);
        for pending in at_once {
            pending.succeed(revision, failure.clone(), Vec::new());
        }
        if announcement.is_empty() {
            return;
        }
        let announce = Arc::clone(&self.announce);
        self.tasks.spawn(async move {
            let rows = announce.announce(announcement, failure.as_deref()).await;
            for pending in waiting {
                pending.succeed(revision, failure.clone(), rows.clone());
            }
        });
    }

    fn announcement(&self, stored: &[Pending], records: Vec<Arc<CommitRecord>>) -> Announcement {
        let waited_for = stored
            .iter()
            .filter(|p| p.request.distribute == Distribute::Yes);
        let repeated = waited_for
            .flat_map(|p| &p.request.changes)
            .map(|change| match change {
                Change::Put(service) => {
                    let document = Document::from_service(Arc::clone(service)).ok();
                    (service.name().clone(), document.map(Arc::new))
                }
                other => (other.service_name().clone(), None),
            });
        Announcement::new(self.view.revision, records, repeated.collect())
    }
}

// === impl Pending ===

impl Pending {
    pub(super) fn new(request: ChangeRequest, reply: Reply) -> Self {
        Self {
            request,
            reply,
            done: 0,
            commits: 0,
            planned: Vec::new(),
            conflicts: Vec::new(),
            dead: Vec::new(),
        }
    }

    /// The changes that are not stored yet.
    fn rest(&self) -> &[Change] {
        self.request.changes.get(self.done..).unwrap_or_default()
    }

    fn answer(self, answer: Result<Answer, ChangeError>) {
        // A caller that hung up needs no answer; its change stands.
        let _ = self.reply.send(answer);
    }

    fn succeed(
        mut self,
        revision: Option<Revision>,
        failure: Option<Arc<str>>,
        replicas: Vec<super::ReplicaRow>,
    ) {
        let answer = Answer {
            changes: std::mem::take(&mut self.planned),
            conflicts: std::mem::take(&mut self.conflicts),
            dead: std::mem::take(&mut self.dead),
            revision,
            commits: self.commits,
            failure,
            replicas,
        };
        self.answer(Ok(answer));
    }
}

/// Notes that the first `taken` changes of the open requests are stored, and moves those that are
/// stored whole.
fn count_down(open: &mut Vec<Pending>, stored: &mut Vec<Pending>, mut taken: usize) {
    for mut pending in std::mem::take(open) {
        let part = pending.rest().len().min(taken);
        taken -= part;
        pending.done += part;
        pending.commits += usize::from(part > 0);
        if pending.rest().is_empty() {
            stored.push(pending);
        } else {
            open.push(pending);
        }
    }
}

fn store_refusal(error: &CommitError, commits: usize) -> ChangeError {
    let mut why = chain(error);
    if commits > 0 {
        why = format!("{commits} commits of this change are stored, the rest is not: {why}");
    }
    match error {
        CommitError::Unknown { id, .. } => ChangeError::Unknown { id: *id, why },
        CommitError::Unavailable { .. } => ChangeError::Unavailable { why, commits },
        _ => ChangeError::StoreRefused { why, commits },
    }
}

fn refuse_all(open: &mut Vec<Pending>, why: &ChangeError) {
    for pending in open.drain(..) {
        pending.answer(Err(why.clone()));
    }
}
