//! What HAProxy did not take of what was to be shown, and when it is offered again.

use std::{collections::BTreeMap, time::Duration};

use proxy_core::RouteTable;
use proxy_haproxy::{CertificateList, CertificateName};
use tokio::time::Instant;

use super::{Choice, Showing, Step, Subject};
use crate::certificates::{Certificates, Shown};

/// How long what HAProxy did not take at its check is left alone while nobody changes it or what it is shown with: each
/// try costs checks of the whole configuration.
pub(in crate::certificates) const REFUSED_FOR: Duration = Duration::from_secs(600);

/// How long it is left alone at first where other services are served: it may have clashed with one that is gone. Each
/// time that it is refused again so early doubles it.
pub(super) const EARLY: Duration = Duration::from_secs(10);

/// What becomes of what was refused only when it was loaded.
const LEFT_ALONE: &str = "it passes every check and is not loaded, so it is tried again once it, a list or a certificate with one of its names changes, or where somebody asks for a reload";

/// What HAProxy did not take with the whole configuration.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) step: Step,
    pub(super) why: String,
    /// It is not offered again before, while nothing else changes; not at all where there is none.
    pub(super) until: Option<Instant>,
    pub(super) since: Instant,
    /// It is not offered again before, where other services are served.
    early: Duration,
    pub(super) when: RefusedWhen,
    /// What it may have clashed with, as it was.
    pub(super) beside: Showing,
}

/// When HAProxy did not take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedWhen {
    /// At its check: another try costs that and no more.
    Checked,
    /// Only when it was to load it: another try costs a reload that fails, which HAProxy counts against the worker
    /// that serves.
    Loaded,
}

// === impl Refused ===

impl Refused {
    pub(super) fn new(
        (step, why): (Step, String),
        wanted: &Showing,
        when: RefusedWhen,
        now: Instant,
        before: Option<&Self>,
    ) -> Self {
        let before = before.filter(|it| it.step.is_same(&step));
        let early = before.map_or(EARLY, |it| match now < it.since + REFUSED_FOR {
            true => (it.early * 2).min(REFUSED_FOR),
            false => it.early,
        });
        Self {
            beside: wanted.beside(&step),
            step,
            why,
            until: (when == RefusedWhen::Checked).then_some(now + REFUSED_FOR),
            since: now,
            early,
            when,
        }
    }

    /// Whether this was said of it.
    fn is(&self, step: &Step, why: &str) -> bool {
        self.step.is_same(step) && self.why == why
    }
}

// === impl Showing ===

impl Showing {
    /// What of this a step may clash with, besides what it is about: the certificates that have one of its names, the
    /// list and the authorities; of a list the certificates that it names.
    pub(super) fn beside(&self, step: &Step) -> Self {
        let mut beside = Self {
            certificates: BTreeMap::new(),
            authorities: self.authorities.clone(),
            list: self.list.clone(),
        };
        let all = self.certificates.iter();
        let others: BTreeMap<_, _> = match step {
            Step::Certificate(name, Some(shown)) => {
                let names = shown.certificate.names();
                let shares = |other: &Shown| {
                    let mut others = other.certificate.names().iter();
                    others.any(|other| names.contains(other))
                };
                all.filter(|(other, it)| *other != name && shares(it))
                    .collect()
            }
            Step::Certificate(_, None) => BTreeMap::new(),
            Step::Authorities(_) => {
                beside.authorities = None;
                BTreeMap::new()
            }
            Step::List(list, _) => {
                beside.list = CertificateList::default();
                all.filter(|(name, _)| list.has(name)).collect()
            }
        };
        let others = others.into_iter();
        beside.certificates = others
            .map(|(name, shown)| (name.clone(), shown.clone()))
            .collect();
        beside
    }
}

// === impl Choice ===

impl Choice {
    /// Whether what was refused may be offered again. Of what was refused only when it was loaded what it may clash
    /// with must be another: that which is wanted counts and not what is shown, else two of the kind would end each
    /// other's rest.
    pub(super) fn is_due(&self, refused: &Refused, now: Instant) -> bool {
        let is_over = refused.until.is_some_and(|until| now >= until);
        let is_same = || {
            let beside = self.wanted.beside(&refused.step);
            refused.beside.steps_to(&beside).is_empty()
        };
        is_over || (refused.when == RefusedWhen::Loaded && !is_same())
    }

    /// What was refused at the check is offered again: what it clashed with may be gone. Until then it is named as
    /// before.
    pub(super) fn try_refused_again(&mut self, now: Instant) {
        for refused in self.refused.values_mut() {
            if refused.when == RefusedWhen::Checked {
                refused.until = Some(now);
            }
        }
    }

    /// Other services are served than those that HAProxy judged with: what was refused at its check is offered soon, each
    /// when it is due by itself. A busy table must not have each of its changes cost such a check, nor one that is never
    /// taken have all others judged with it.
    pub(super) fn serves(&mut self, table: &RouteTable, now: Instant) {
        let refused = self.refused.values_mut();
        let mut refused = refused.filter(|it| it.when == RefusedWhen::Checked);
        let Some(first) = refused.next() else { return };
        if self.table == *table {
            return;
        }
        for refused in std::iter::once(first).chain(refused) {
            let early = now.max(refused.since + refused.early);
            refused.until = refused.until.min(Some(early));
        }
    }

    /// All that was refused is offered again: somebody asked for it.
    pub(super) fn try_all_again(&mut self, now: Instant) {
        self.vain = None;
        for refused in self.refused.values_mut() {
            refused.until = Some(now);
        }
    }

    /// As [`Choice::try_refused_again`], of one name that somebody wrote again.
    pub(in crate::certificates) fn try_name_again(&mut self, name: &CertificateName, now: Instant) {
        let subject = Subject::Certificate(name.clone());
        if let Some(refused) = self.refused.get_mut(&subject) {
            refused.until = Some(now);
        }
    }

    /// Whether it was refused before with these words.
    pub(super) fn is_known(&self, step: &Step, why: &str) -> bool {
        let before = self.refused.get(&step.subject());
        before.is_some_and(|before| before.is(step, why))
    }

    /// What HAProxy did not take, by name, and what is shown instead.
    pub(in crate::certificates) fn refused(&self) -> BTreeMap<String, String> {
        let refused = self.refused.iter();
        let said = refused.map(|(subject, refused)| {
            let (name, before) = match subject {
                Subject::Certificate(name) => {
                    (name.to_string(), self.taken.certificate(name).is_some())
                }
                Subject::Authorities => ("CA_FILE".to_owned(), self.taken.authorities.is_some()),
                Subject::List => {
                    let before = self.taken.list != CertificateList::default();
                    ("CRT_LIST_PATH".to_owned(), before)
                }
            };
            let why = match refused.when {
                RefusedWhen::Checked => refused.why.clone(),
                RefusedWhen::Loaded => format!("{}; {LEFT_ALONE}", refused.why),
            };
            (name, with_before(&why, before))
        });
        said.collect()
    }
}

// === impl Certificates ===

impl Certificates {
    /// Offers all that was refused again: somebody asked for it.
    pub(crate) fn try_again(&self) {
        self.held().choice.try_all_again(Instant::now());
    }

    /// HAProxy serves a table: what it refused beside another is looked at soon.
    pub(crate) fn serves(&self, table: &RouteTable) {
        self.held().choice.serves(table, Instant::now());
    }

    /// Why what is kept under a name is not shown, where HAProxy does not take it, and when it is tried again.
    pub(crate) fn unshown(&self, name: &CertificateName) -> Option<String> {
        let held = self.held();
        let why = held.choice.refused().remove(name.as_str())?;
        let refused = held.choice.refused.get(&Subject::Certificate(name.clone()));
        let is_tried = refused.is_none_or(|it| it.when == RefusedWhen::Checked);
        Some(match is_tried {
            true => format!("{why}; this is tried again"),
            false => why,
        })
    }
}

/// What is said of something that is not shown.
pub(in crate::certificates) fn with_before(why: &str, is_there: bool) -> String {
    match is_there {
        true => format!("{why}; the version before is shown"),
        false => why.to_owned(),
    }
}
