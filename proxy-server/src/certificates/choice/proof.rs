//! What HAProxy is known to load of certificates, in this run or in the last: what each falls back to that passes every
//! check and is not loaded all the same, or that is bad when the server starts.

use std::time::Duration;

use proxy_haproxy::Glob;
use tokio::time::Instant;

use super::{
    Choice, Offer, RefusedWhen, Showing, Step,
    refused::{EARLY, REFUSED_FOR},
};
use crate::certificates::{Certificates, Last, Shown};

/// A search for certificates that are not loaded came to nothing: something else was to blame.
#[derive(Debug)]
pub(super) struct Vain {
    /// There is none again before, while nothing changes.
    until: Instant,
    wait: Duration,
}

// === impl Choice ===

impl Choice {
    /// What was shown in the last run, as far as its names are still to be shown: what each falls back to.
    pub(in crate::certificates) fn recall(&mut self, last: Last) {
        let wanted = &self.wanted.certificates;
        let still = last.into_iter().filter_map(|(name, certificate)| {
            let shown = wanted.get(&name)?.clone();
            Some((
                name,
                Shown {
                    certificate,
                    ..shown
                },
            ))
        });
        if !self.begun {
            self.proven.certificates.extend(still);
        }
    }

    /// What HAProxy refused at the start is nothing to fall back to, whatever the last run showed.
    pub(super) fn doubt(&mut self, refused: &[(Step, String)]) {
        if self.begun {
            // It is what this run has loaded.
            return;
        }
        for (step, _) in refused {
            if let Step::Certificate(name, Some(shown)) = step
                && self.proven.certificate(name) == Some(&shown.certificate)
            {
                self.proven.certificates.remove(name);
            }
        }
    }

    /// A search came to nothing. Nobody says when what was to blame is gone, and a certificate may be by then: so there
    /// is another after a while, and after twice as long each time.
    pub(super) fn searched_in_vain(&mut self, now: Instant) {
        let wait = self.vain.as_ref().map(|vain| vain.wait * 2);
        let wait = wait.map_or(EARLY, |wait| wait.min(REFUSED_FOR));
        let until = now + wait;
        self.vain = Some(Vain { until, wait });
    }

    pub(super) fn is_search_vain(&self, now: Instant) -> bool {
        self.vain.as_ref().is_some_and(|vain| now < vain.until)
    }

    /// Shows something, be it for a try.
    pub(super) fn show(&mut self, taken: Showing, preferred: &[Glob]) {
        self.set = taken.set(preferred);
        self.taken = taken;
    }

    /// What is shown and was not loaded yet, on top of what was.
    pub(super) fn unproven(&self) -> Offer {
        Offer {
            base: self.proven.clone(),
            steps: self.proven.steps_to(&self.taken),
            wanted: self.taken_of.clone(),
        }
    }
}

// === impl Offer ===

impl Offer {
    /// The same on top of nothing: first what was shown, then what leads on from there, so that of two versions of
    /// one the better is found.
    pub(crate) fn anew(self) -> Self {
        let nothing = Showing::default();
        let mut steps = nothing.steps_to(&self.base);
        steps.extend(self.steps);
        Self {
            base: nothing,
            steps,
            wanted: self.wanted,
        }
    }

    /// The same on top of one certificate, of which two are tried: where HAProxy loads neither it is hardly a
    /// certificate that is to blame. None where there is one in all, which is shown on.
    pub(crate) fn on_top_of_one(self) -> Vec<Self> {
        let is_one = |step: &Step| matches!(step, Step::Certificate(_, Some(_)));
        let first = self.steps.iter().position(is_one);
        let last = self.steps.iter().rposition(is_one);
        if first == last {
            return Vec::new();
        }
        let on_one = [first, last].into_iter().flatten().map(|index| {
            let mut steps = self.steps.clone();
            let one = steps.remove(index);
            Self {
                base: self.base.with(&[one]),
                steps,
                wanted: self.wanted.clone(),
            }
        });
        on_one.collect()
    }
}

// === impl Certificates ===

impl Certificates {
    /// As [`Certificates::take`], of what HAProxy loaded, and what it did not load.
    pub(crate) fn take_loaded(&self, offer: Offer, loaded: Showing, refused: Vec<(Step, String)>) {
        self.take_refused(offer.wanted, loaded, refused, RefusedWhen::Loaded);
        self.prove();
    }

    /// HAProxy has loaded what is shown.
    pub(crate) fn prove(&self) {
        let mut held = self.held();
        held.choice.proven = held.choice.taken.clone();
        (held.choice.loaded, held.choice.vain) = (true, None);
    }

    /// HAProxy does not load what is shown, and no certificate is to blame: a search costs reloads that fail, so there is
    /// none again for a while, until others are to be shown or somebody asks for a reload.
    pub(crate) fn are_blameless(&self) {
        self.held().choice.searched_in_vain(Instant::now());
    }

    /// Whether a search for certificates that are not loaded came to nothing lately, and nothing changed since.
    pub(crate) fn is_search_vain(&self) -> bool {
        self.held().choice.is_search_vain(Instant::now())
    }

    /// Whether HAProxy has loaded something in this run.
    pub(crate) fn is_loaded(&self) -> bool {
        self.held().choice.loaded
    }

    /// What is shown and was not loaded yet, on top of what was.
    pub(crate) fn unproven(&self) -> Offer {
        self.held().choice.unproven()
    }

    /// Shows something for a try.
    pub(crate) fn show(&self, showing: Showing) {
        let preferred = &self.settings.preferred;
        self.held().choice.show(showing, preferred);
    }
}
