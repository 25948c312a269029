//! One turn: the way of one batch of changes, from plan to answer.
//!
//! plan -> check (render and validate) -> store -> make live here and tell the peers -> publish ->
//! answer. What the store's watch brings takes the same way and skips the store and the peers.

use std::{collections::BTreeSet, sync::Arc};

use proxy_core::{Change, CommitError, CommitRecord, Order, plan};

use super::{
    ChangeError, Engine, Refused,
    isolate::{Checking, sort, with_groups},
    live::Ready,
    pending::{Pending, count_down, last_of_each},
};
use crate::{
    announce::OwnEnding,
    carrier::{Carrier, CheckError, Reload},
    chain::chain,
    culprits::Bound,
};

/// How often a batch is planned again because another replica committed first. Each loss means that
/// somebody else made progress; a batch that loses this often is better told to its callers.
const MAX_RACES: usize = 64;

/// What became of an attempt to store a round.
enum Stored {
    All,
    LostRace,
    Failed,
}

/// What is said while it is found out which services what is served must do without.
const JUDGED_ANEW: &str = "what is served does not pass HAProxy's check any more; its services are judged one after another, and HAProxy runs what it did until then";

/// The view is not the newest: plan again.
struct LostRace;

/// What was judged.
enum Checked<T> {
    /// What the store brought and what is asked.
    All(Ready<T>),
    /// What the store has, anew: nothing of what is asked.
    StoredAlone(Ready<T>),
    /// Some of what the store has, anew: nothing can be said of anything yet.
    NotYet,
}

// === impl Engine ===

impl<C: Carrier> Engine<C> {
    /// Brings what is pending, and whatever the store has that is not live yet, into effect.
    pub(super) async fn turn(&mut self, mut open: Vec<Pending>) {
        let mut stored = Vec::new();
        let own = OwnEnding::new();
        let before = self.served.clone();
        // Nobody is served before the first time, and what is not judged would be missing then. Where that took longer
        // all the same, who asks for something waits no longer for the rest than at any other time.
        self.first = (!self.proven && self.anew.is_none()).then(Bound::first);
        let mut tries = 0;
        loop {
            // Each round has a bound of its own; how many are needed is up to what the store holds.
            self.pulse.begin();
            let mut records = Vec::new();
            let ready = self.round(&mut open, &mut stored, &mut records).await;
            self.answer_early(&mut stored);
            self.tell_peers(&mut stored, records, &own);
            if let Some(ready) = ready {
                self.make_live(ready, Reload::IfDifferent).await;
            }
            tries += 1;
            if open.is_empty() && self.incoming().is_empty() && self.first_time() {
                // What was served last may not pass any more, and an empty table is served too: requests
                // get an honest 404.
                self.render_served(Reload::IfDifferent).await;
            }
            // A view may already hold more than this turn brought into it: that goes in another round.
            let done = open.is_empty() && (self.failure.is_some() || self.incoming().is_empty());
            if done || self.not_loaded().is_some() {
                break;
            }
            // Nobody waits for what is left, and it is judged at the next start.
            if open.is_empty() && stored.is_empty() && self.stop.is_cancelled() {
                break;
            }
            if tries >= MAX_RACES {
                refuse_all(&mut open, |commits| ChangeError::Contended {
                    tries,
                    commits,
                });
                if !self.incoming().is_empty() {
                    self.failure = Some(
                        "other replicas change the table faster than it can be applied here".into(),
                    );
                }
                break;
            }
        }
        self.first = None;
        if !self.quarantine.is_empty() {
            self.free(&before);
        }
        self.settle_retry();
        self.publish();
        self.finish(stored, &own);
    }

    /// Plans, checks and stores what is open on top of the newest view. Gives a configuration that
    /// is to go live, where there is one.
    async fn round(
        &mut self,
        open: &mut Vec<Pending>,
        stored: &mut Vec<Pending>,
        records: &mut Vec<Arc<CommitRecord>>,
    ) -> Option<Ready<C::Candidate>> {
        self.look();
        if let Some(why) = self.not_loaded() {
            refuse_all(open, |_| why.clone());
            return None;
        }
        self.plan_round(open);
        if let Err(LostRace) = self.confirm_unchanged(open, stored).await {
            return None;
        }
        let incoming = self.incoming();
        if open.is_empty() && incoming.is_empty() {
            return None;
        }
        let checked = match self.check_round(open, &incoming).await {
            Ok(checked) => checked,
            Err(error) => {
                let why = chain(&error);
                if self.stop.is_cancelled() {
                    open.drain(..).for_each(Pending::end);
                    self.failure = Some(why.into());
                    return None;
                }
                refuse_all(open, |commits| ChangeError::Unable {
                    why: why.clone(),
                    commits,
                });
                if !incoming.is_empty() {
                    tracing::error!(
                        why,
                        "what is stored could not be checked; it is tried again"
                    );
                    self.metrics.apply_failed(self.reason);
                    self.failure = Some(why.into());
                }
                return None;
            }
        };
        let checked = match checked {
            // What is asked is judged on top of it, in another round.
            Checked::StoredAlone(ready) => return Some(ready),
            Checked::NotYet => {
                self.wait_on(std::mem::take(open));
                self.failure = Some(JUDGED_ANEW.into());
                return None;
            }
            Checked::All(ready) => ready,
        };
        if open.is_empty() {
            return Some(checked);
        }
        match self.store_round(open, stored, records).await {
            Stored::All => Some(checked),
            Stored::LostRace | Stored::Failed => None,
        }
    }

    fn look(&mut self) {
        let view = self.store.view();
        if view.seq > self.view.seq {
            self.show(view);
        }
    }

    pub(super) fn not_loaded(&self) -> Option<ChangeError> {
        ChangeError::not_loaded(&self.view.condition)
    }

    /// Whether nothing was made live in this run: what HAProxy runs may be older than all that is
    /// known here.
    fn first_time(&self) -> bool {
        self.not_loaded().is_none() && self.failure.is_none() && !self.proven
    }

    /// Plans each request on top of those before it. What cannot be planned is answered; what
    /// changes nothing is marked, but only if it changes nothing in what is stored: a request that
    /// repeats one before it shares that one's fate.
    fn plan_round(&self, open: &mut Vec<Pending>) {
        let before = self.view.stored.table();
        let mut table = before.in_order(self.carrier.route_order());
        for mut pending in std::mem::take(open) {
            if pending.is_overtaken(&table) {
                pending.answer(Err(ChangeError::Overtaken));
                continue;
            }
            if let Err(error) = pending.complete(&self.view, &table) {
                pending.answer(Err(error));
                continue;
            }
            match plan(&table, pending.rest()) {
                Ok(plan) => {
                    if pending.commits == 0 {
                        pending.planned = plan.changes;
                    }
                    (pending.conflicts, pending.dead) = (plan.conflicts, plan.dead);
                    table = plan.after;
                    // Without one order for all replicas nobody can say that it is the newest.
                    pending.unchanged =
                        self.store.order() == Order::Total && self.is_stored(pending.rest());
                    open.push(pending);
                }
                Err(error) => {
                    let commits = pending.commits;
                    pending.answer(Err(ChangeError::Plan { error, commits }));
                }
            }
        }
    }

    /// Moves the requests that change nothing to those that are stored, once the store says that the
    /// view which shows that is its newest: another replica may have changed it since.
    async fn confirm_unchanged(
        &mut self,
        open: &mut Vec<Pending>,
        stored: &mut Vec<Pending>,
    ) -> Result<(), LostRace> {
        if !open.iter().any(|pending| pending.unchanged) {
            return Ok(());
        }
        let unchanged = open.iter().filter(|pending| pending.unchanged);
        let asked = unchanged.flat_map(Pending::rest);
        let asked: BTreeSet<_> = asked.map(Change::service_name).cloned().collect();
        let asked: Vec<_> = asked.into_iter().collect();
        let confirmed = self.store.confirm(&self.view, &asked).await;
        if let Err(CommitError::LostRace { view }) = confirmed {
            self.metrics.lost_race();
            self.show(view);
            return Err(LostRace);
        }
        for pending in open.extract_if(.., |pending| pending.unchanged) {
            match &confirmed {
                Ok(()) => stored.push(pending),
                Err(error) => {
                    let refusal = store_refusal(error, pending.commits);
                    pending.answer(Err(refusal));
                }
            }
        }
        Ok(())
    }

    /// Whether the store holds these changes already, and shows it: a document that it lost or that
    /// cannot be read is written again.
    fn is_stored(&self, changes: &[Change]) -> bool {
        let stored = &self.view.stored;
        changes.iter().all(|change| {
            let name = change.service_name();
            !stored.degraded().contains_key(name)
                && match change {
                    Change::Put(service) => stored.table().get(name) == Some(service),
                    _ => stored.document(name).is_none(),
                }
        })
    }

    /// Checks what the store brought together with what is asked. What the store brought and
    /// HAProxy will not take is quarantined; what is asked and it will not take is refused.
    async fn check_round(
        &mut self,
        open: &mut Vec<Pending>,
        incoming: &[Change],
    ) -> Result<Checked<C::Candidate>, CheckError> {
        let stored: Vec<&[Change]> = incoming.iter().map(std::slice::from_ref).collect();
        // What is asked is checked before it is stored; what is stored already need not be.
        if open.is_empty() {
            let table = match self.quarantine.is_empty() {
                true => self.view.stored.table().clone(),
                false => with_groups(&self.served, &stored),
            };
            if let Some(ready) = self.load_stored(&table).await {
                for change in incoming {
                    self.quarantine.remove(change.service_name());
                }
                return Ok(Checked::All(ready));
            }
        }
        // What an earlier run left serves something of which nothing is known: it goes on until all is judged.
        if self.served.is_empty() && !self.proven && !incoming.is_empty() && self.carrier.serves() {
            return self.judge_anew().await;
        }
        let asked: Vec<&[Change]> = open.iter().map(Pending::rest).collect();
        let sorted = match sort(
            &Checking(&*self.carrier),
            &self.served,
            &stored,
            &asked,
            |searched| self.bound(searched),
        )
        .await
        {
            Err(CheckError::Rejected { words }) if !self.served.is_empty() => {
                // What is served does not pass any more (a template or HAProxy itself changed):
                // each of its services is judged anew, so that one cannot block all.
                tracing::error!(
                    why = words,
                    "what is served does not pass any more; looking for the culprits"
                );
                return self.judge_anew().await;
            }
            sorted => sorted?,
        };
        let (judged, unjudged) = incoming.split_at(sorted.stored.judged.min(incoming.len()));
        for change in judged {
            self.quarantine.remove(change.service_name());
        }
        for (index, words) in sorted.stored.culprits {
            if let Some(change) = incoming.get(index) {
                self.hold(change.clone(), words, Refused::AtCheck);
            }
        }
        self.put_aside(unjudged);
        let unjudged = open.split_off(sorted.asked.judged.min(open.len()));
        // From the back, so that the indices in front stay true.
        for (index, words) in sorted.asked.culprits.into_iter().rev() {
            let culprit = open.remove(index);
            let commits = culprit.commits;
            culprit.answer(Err(ChangeError::Rejected { words, commits }));
        }
        self.wait_on(unjudged);
        let ready = Ready::checked(sorted.candidate, sorted.table);
        Ok(Checked::All(ready))
    }

    async fn judge_anew(&mut self) -> Result<Checked<C::Candidate>, CheckError> {
        let ready = self.check_anew().await?;
        Ok(ready.map_or(Checked::NotYet, Checked::StoredAlone))
    }

    /// Leaves what was not come to for the next batch, in front of what came after it; who has waited too long is told.
    fn wait_on(&mut self, unjudged: Vec<Pending>) {
        let (late, waiting): (Vec<_>, Vec<_>) = unjudged.into_iter().partition(Pending::is_late);
        self.waiting.splice(0..0, waiting);
        for pending in late {
            let (waited, commits) = (pending.request.wait.most.as_secs(), pending.commits);
            let why = format!(
                "others before it are looked for that HAProxy would not take, and that took longer than {waited} s (`timeout`)"
            );
            pending.answer(Err(ChangeError::Unable { why, commits }));
        }
    }

    /// Commits what is asked, in as many commits as the store needs.
    async fn store_round(
        &mut self,
        open: &mut Vec<Pending>,
        stored: &mut Vec<Pending>,
        records: &mut Vec<Arc<CommitRecord>>,
    ) -> Stored {
        let changes = last_of_each(open);
        let mut rest = changes.as_slice();
        while !rest.is_empty() {
            match self.store.commit(&self.view, rest).await {
                Ok(committed) => {
                    let taken = committed.taken.clamp(1, rest.len());
                    let (done, left) = rest.split_at(taken);
                    rest = left;
                    self.show(committed.view);
                    records.push(committed.record);
                    count_down(open, stored, done);
                }
                Err(CommitError::LostRace { view }) => {
                    self.metrics.lost_race();
                    self.show(view);
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
}

fn store_refusal(error: &CommitError, commits: usize) -> ChangeError {
    // Its own words say that nothing was changed, which is true of this commit and maybe not of the change.
    match error {
        CommitError::Unknown { id, .. } => ChangeError::Unknown {
            id: *id,
            why: chain(error),
            commits,
        },
        CommitError::Unavailable { why } => ChangeError::Unavailable {
            why: format!("no store could be asked: {}", chain(&**why)),
            commits,
        },
        CommitError::Refused { why } => ChangeError::StoreRefused {
            why: format!("the store refused the change: {}", chain(&**why)),
            commits,
        },
        CommitError::Denied { why } => ChangeError::StoreDenied {
            why: format!("the store denied the change: {}", chain(&**why)),
            commits,
        },
        _ => ChangeError::StoreRefused {
            why: chain(error),
            commits,
        },
    }
}

fn refuse_all(open: &mut Vec<Pending>, why: impl Fn(usize) -> ChangeError) {
    for pending in open.drain(..) {
        let refusal = why(pending.commits);
        pending.answer(Err(refusal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_in_part_is_not_said_to_have_changed_nothing() {
        let why = || "no server".into();
        let refusals = |commits| {
            let refused = CommitError::Refused { why: why() };
            let denied = CommitError::Denied { why: why() };
            let unavailable = CommitError::Unavailable { why: why() };
            [refused, denied, unavailable].map(|error| store_refusal(&error, commits).to_string())
        };
        for text in refusals(0) {
            assert_eq!(text.matches("nothing was changed").count(), 1, "{text}");
        }
        for text in refusals(2) {
            assert!(
                text.contains(": no server; 2 commits of this change"),
                "{text}"
            );
            assert!(!text.contains("nothing was changed"), "{text}");
        }
    }
}
