//! What HAProxy is known to load of certificates, in this run or in the last: what each falls back to that passes every
//! check and is not loaded all the same, or that is bad when the server starts.

use proxy_haproxy::Glob;

use super::{Choice, Offer, RefusedWhen, Showing, Step};
use crate::certificates::{Certificates, Last, Shown};

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

    /// Takes it that nothing was good before. Whether something was.
    pub(super) fn forget_last(&mut self) -> bool {
        if self.begun {
            // It is what this run has loaded.
            return false;
        }
        let last = std::mem::take(&mut self.proven);
        !last.certificates.is_empty()
    }

    /// Shows something, be it for a try.
    pub(super) fn show(&mut self, taken: Showing, preferred: &[Glob]) {
        self.set = taken.set(preferred);
        self.taken = taken;
    }

    /// What is shown and was not loaded yet; none where all of it was.
    pub(super) fn unproven(&self) -> Option<Offer> {
        let steps = self.proven.steps_to(&self.taken);
        (!steps.is_empty()).then(|| Offer {
            base: self.proven.clone(),
            steps,
        })
    }
}

// === impl Certificates ===

impl Certificates {
    /// Takes it that nothing was good before. Whether something was; once HAProxy shows something nothing is
    /// forgotten.
    pub(crate) fn forget_last(&self) -> bool {
        self.held().choice.forget_last()
    }

    /// As [`Certificates::take`], of what HAProxy loaded, and what it did not load.
    pub(crate) fn take_loaded(&self, loaded: Showing, refused: Vec<(Step, String)>) {
        self.take_refused(loaded, refused, RefusedWhen::Loaded);
        self.prove();
    }

    /// HAProxy has loaded what is shown.
    pub(crate) fn prove(&self) {
        let mut held = self.held();
        held.choice.proven = held.choice.taken.clone();
    }

    /// What is shown and was not loaded yet, on top of what was.
    pub(crate) fn unproven(&self) -> Option<Offer> {
        self.held().choice.unproven()
    }

    /// Shows something for a try.
    pub(crate) fn show(&self, showing: Showing) {
        let preferred = &self.settings.preferred;
        self.held().choice.show(showing, preferred);
    }
}
