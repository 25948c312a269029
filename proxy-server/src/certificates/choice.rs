//! Which of the certificates that are good by themselves are shown: those that HAProxy takes together with
//! the whole configuration. Of one that it does not take the version before is shown on.
//!
//! What is chosen changes in the engine's turns alone, so that a search for what HAProxy does not take never
//! has two causes.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::RouteTable;
use proxy_haproxy::{
    Certificate, CertificateList, CertificateName, CertificateSet, ClientAuthorities, Glob,
};
use tokio::time::Instant;

mod proof;
mod refused;
mod search;

use super::{Certificates, Shown, Source};
use proof::Vain;
pub(super) use refused::{REFUSED_FOR, with_before};
use refused::{Refused, RefusedWhen};
pub(crate) use search::{Fruitless, find_culprits};

/// Certificates that are shown together, and those of whose authorities clients are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Showing {
    pub(super) certificates: BTreeMap<CertificateName, Shown>,
    pub(super) authorities: Option<ClientAuthorities>,
    /// The order that an operator's list gives them, and what it says of each.
    pub(super) list: CertificateList,
}

/// One thing that is to be shown instead of what is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A certificate, or that there is none of the name any more.
    Certificate(CertificateName, Option<Shown>),
    /// Those whose certificates clients may show.
    Authorities(Option<ClientAuthorities>),
    /// The list that says how certificates are shown, with the files that only one of the two lists names: what
    /// is done with those is right with the new list alone.
    List(CertificateList, BTreeMap<CertificateName, Option<Shown>>),
}

/// What a [`Step`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Certificate(CertificateName),
    Authorities,
    List,
}

/// What is to be shown and is not yet.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// What is shown, or was in the last run.
    pub(crate) base: Showing,
    /// What leads to what is to be shown, in an order that is the same on every replica.
    pub(crate) steps: Vec<Step>,
    /// All that was to be shown when it was made: what is wanted may change before it is judged.
    pub(super) wanted: Showing,
}

/// What is to be shown, and what of it is.
#[derive(Debug, Default)]
pub(super) struct Choice {
    wanted: Showing,
    taken: Showing,
    /// What was wanted when that was offered.
    taken_of: Showing,
    /// What HAProxy is known to have loaded: at the start, what is still wanted by name of what it showed last.
    proven: Showing,
    set: CertificateSet,
    refused: BTreeMap<Subject, Refused>,
    /// What HAProxy judged them with.
    table: RouteTable,
    /// Whether something was taken ever.
    begun: bool,
    /// Whether HAProxy has loaded something in this run.
    loaded: bool,
    /// It does not load what is shown, and no certificate was found to blame.
    vain: Option<Vain>,
}

// === impl Showing ===

impl Showing {
    /// This, after some steps.
    pub(crate) fn with(&self, steps: &[Step]) -> Self {
        let mut showing = self.clone();
        for step in steps {
            match step.clone() {
                Step::Certificate(name, shown) => showing.put(name, shown),
                Step::Authorities(authorities) => showing.authorities = authorities,
                Step::List(list, files) => {
                    showing.list = list;
                    for (name, shown) in files {
                        showing.put(name, shown);
                    }
                }
            }
        }
        showing
    }

    fn put(&mut self, name: CertificateName, shown: Option<Shown>) {
        match shown {
            Some(shown) => self.certificates.insert(name, shown),
            None => self.certificates.remove(&name),
        };
    }

    /// As HAProxy gets the certificates.
    pub(crate) fn set(&self, preferred: &[Glob]) -> CertificateSet {
        let files = self.certificates.iter();
        let files = files.map(|(name, shown)| shown.certificate.file(name.clone()));
        CertificateSet::listed(files, preferred, &self.list)
    }

    /// Every certificate that is shown, by name.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Shown> {
        self.certificates.values()
    }

    /// What an operator's list says of them.
    pub(crate) fn list(&self) -> &CertificateList {
        &self.list
    }

    pub(crate) fn authorities(&self) -> Option<&ClientAuthorities> {
        self.authorities.as_ref()
    }

    fn certificate(&self, name: &CertificateName) -> Option<&Certificate> {
        self.certificates.get(name).map(|shown| &shown.certificate)
    }

    /// What leads to another.
    fn steps_to(&self, other: &Self) -> Vec<Step> {
        let names: BTreeSet<_> = self
            .certificates
            .keys()
            .chain(other.certificates.keys())
            .collect();
        let differs = |name: &&CertificateName| self.certificate(name) != other.certificate(name);
        let differing = names.into_iter().filter(differs);
        let differing = differing.map(|name| (name.clone(), other.certificates.get(name).cloned()));
        let (listed, alone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            differing.partition(|(name, _)| self.goes_with_the_list_to(other, name));
        let alone = alone.into_iter();
        let mut steps: Vec<_> = alone
            .map(|(name, shown)| Step::Certificate(name, shown))
            .collect();
        if self.authorities != other.authorities {
            steps.push(Step::Authorities(other.authorities.clone()));
        }
        if self.list != other.list {
            steps.push(Step::List(other.list.clone(), listed));
        }
        steps
    }

    /// Whether a name is a file's that only one of two lists names. What callers gave is shown without a list too,
    /// and where there was no list before there is nothing that would be left in place.
    fn goes_with_the_list_to(&self, other: &Self, name: &CertificateName) -> bool {
        let shown = [self, other].map(|it| it.certificates.get(name));
        let mut shown = shown.into_iter().flatten();
        let is_file = shown.all(|shown| matches!(shown.source, Source::File(_)));
        let [before, after] = [self, other].map(|it| it.list.has(name));
        let is_there = self.list != CertificateList::default();
        is_there && is_file && before != after
    }
}

// === impl Step ===

impl Step {
    /// A certificate under a name.
    pub(crate) fn show(shown: Shown) -> Self {
        Self::Certificate(shown.name.clone(), Some(shown))
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Certificate(name, _) => Subject::Certificate(name.clone()),
            Self::Authorities(_) => Subject::Authorities,
            Self::List(..) => Subject::List,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate(name, a), Self::Certificate(of, b)) => {
                name == of && certificate_of(a) == certificate_of(b)
            }
            (Self::Authorities(a), Self::Authorities(b)) => a == b,
            (Self::List(a, files), Self::List(b, others)) => {
                let files = files.iter().map(|(name, it)| (name, certificate_of(it)));
                let others = others.iter().map(|(name, it)| (name, certificate_of(it)));
                a == b && files.eq(others)
            }
            _ => false,
        }
    }
}

fn certificate_of(shown: &Option<Shown>) -> Option<&Certificate> {
    shown.as_ref().map(|shown| &shown.certificate)
}

// === impl Choice ===

impl Choice {
    /// What is to be shown. Whether it is another than before.
    pub(super) fn want(&mut self, wanted: Showing) -> bool {
        let is_another = !self.wanted.steps_to(&wanted).is_empty();
        self.wanted = wanted;
        self.vain = self.vain.take().filter(|_| !is_another);
        // Where a certificate comes from may change while it stays the same.
        for (name, shown) in &mut self.taken.certificates {
            if let Some(wanted) = self.wanted.certificates.get(name)
                && wanted.certificate == shown.certificate
            {
                *shown = wanted.clone();
            }
        }
        let steps = self.taken.steps_to(&self.wanted);
        self.refused
            .retain(|_, refused| steps.iter().any(|step| step.is_same(&refused.step)));
        is_another
    }

    pub(super) fn taken(&self) -> &Showing {
        &self.taken
    }

    pub(super) fn set(&self) -> CertificateSet {
        self.set.clone()
    }

    /// What is to be shown and is not; none where there is nothing that HAProxy did not refuse lately. Before anything
    /// was shown it is on top of what the last run showed, be it with no step.
    fn offer(&self, now: Instant) -> Option<Offer> {
        let base = match self.begun {
            true => &self.taken,
            false => &self.proven,
        };
        let mut steps = base.steps_to(&self.wanted);
        steps.retain(|step| {
            let refused = self.refused.get(&step.subject());
            refused.is_none_or(|old| !old.step.is_same(step) || self.is_due(old, now))
        });
        // HAProxy may be another than in the last run: what that showed is judged too where nothing changed.
        let is_unjudged = !self.begun && !base.certificates.is_empty();
        (is_unjudged || !steps.is_empty()).then(|| Offer {
            base: base.clone(),
            steps,
            wanted: self.wanted.clone(),
        })
    }

    /// What is shown of what was wanted, and what was refused beside that.
    fn take(
        &mut self,
        wanted: Showing,
        taken: Showing,
        refused: Vec<(Step, String)>,
        when: RefusedWhen,
        now: Instant,
        preferred: &[Glob],
    ) {
        if !self.taken.steps_to(&taken).is_empty() {
            self.try_refused_again(now);
            self.vain = None;
        }
        self.doubt(&refused);
        for (step, why) in refused {
            let subject = step.subject();
            let before = self.refused.get(&subject);
            let refused = Refused::new((step, why), &wanted, when, now, before);
            self.refused.insert(subject, refused);
        }
        self.show(taken, preferred);
        self.taken_of = wanted;
        self.begun = true;
        let steps = self.taken.steps_to(&self.wanted);
        self.refused
            .retain(|_, refused| steps.iter().any(|step| step.is_same(&refused.step)));
    }

    /// What HAProxy is asked with from now on.
    fn judge_with(&mut self, table: &RouteTable, now: Instant) {
        self.serves(table, now);
        if self.table != *table {
            self.table = table.clone();
        }
    }
}

// === impl Certificates ===

impl Certificates {
    /// Whether something was shown already. Before that nothing is known to be good with the whole.
    pub(crate) fn is_begun(&self) -> bool {
        self.held().choice.begun
    }

    /// What is shown.
    pub(crate) fn showing(&self) -> Showing {
        self.held().choice.taken.clone()
    }

    /// Judges what is to be shown with a table from now on.
    pub(crate) fn judge_with(&self, table: &RouteTable) {
        self.held().choice.judge_with(table, Instant::now());
    }

    /// What is to be shown and is not. Before anything was shown it is on top of what the last run showed, be it with
    /// no step.
    pub(crate) fn offer(&self) -> Option<Offer> {
        self.held().choice.offer(Instant::now())
    }

    /// What is shown from now on, and what HAProxy did not take of what was offered.
    pub(crate) fn take(&self, offer: Offer, taken: Showing, refused: Vec<(Step, String)>) {
        self.take_refused(offer.wanted, taken, refused, RefusedWhen::Checked);
    }

    fn take_refused(
        &self,
        wanted: Showing,
        taken: Showing,
        refused: Vec<(Step, String)>,
        when: RefusedWhen,
    ) {
        let mut held = self.held();
        for (step, why) in &refused {
            if held.choice.is_known(step, why) {
                continue;
            }
            let subject = step.subject();
            tracing::error!(
                ?subject,
                why,
                "HAProxy does not take it with the whole configuration; what was shown before is shown on, where there was something"
            );
        }
        let preferred = &self.settings.preferred;
        let now = Instant::now();
        let choice = &mut held.choice;
        choice.take(wanted, taken, refused, when, now, preferred);
        let left_out = held.choice.taken.left_out(preferred);
        for (name, why) in &left_out {
            if held.left_out.get(name) != Some(why) {
                tracing::warn!(%name, why, "a certificate is not shown for a name of its own");
            }
        }
        held.left_out = left_out;
        let ends = held.choice.taken.certificates.values();
        let ends = ends.map(|one| (one.name.as_str(), one.certificate.not_after()));
        self.metrics.certificates(ends);
    }

    /// Shows all that is to be shown, as far as it is not known to be bad: nobody could say.
    pub(crate) fn take_all(&self) {
        let wanted = self.held().choice.wanted.clone();
        self.take_refused(wanted.clone(), wanted, Vec::new(), RefusedWhen::Checked);
    }

    /// Shows nothing again, as before the start.
    pub(crate) fn take_back(&self) {
        let mut held = self.held();
        let nothing = Showing::default;
        let (when, now) = (RefusedWhen::Checked, Instant::now());
        let choice = &mut held.choice;
        choice.take(nothing(), nothing(), Vec::new(), when, now, &[]);
        held.choice.begun = false;
    }

    /// What HAProxy's list is sorted by.
    pub(crate) fn preferred(&self) -> &[Glob] {
        &self.settings.preferred
    }
}

#[cfg(test)]
mod tests;
