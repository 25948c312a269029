//! Judging a stored table by loading it, which HAProxy then reads once and not twice.
//!
//! Whoever stored it has checked it. Where HAProxy refuses it here all the same, what ran before runs
//! on (a reload that fails leaves the worker and, on disk, the configuration before it), and the table is
//! checked.

use proxy_core::RouteTable;

use super::{Candidate, HaproxyCarrier, Stage, written::Written};
use crate::carrier::{Carrier as _, LoadError, Reload, places::Places};

impl HaproxyCarrier {
    pub(super) async fn try_to_load(&self, table: &RouteTable) -> Result<Candidate, LoadError> {
        let runs = match &*self.stage.lock().await {
            Stage::Running(_) => true,
            Stage::Before(Some(_)) => false,
            Stage::Before(None) => return Ok(self.check(table).await?),
        };
        if runs {
            self.begin_certificates().await;
            return self.judge_by_loading(table).await;
        }
        // One that is taken over goes on with what it has unless this is known to be good.
        if self.is_left() {
            return Ok(self.check(table).await?);
        }
        let is_new = !self.certificates.is_begun();
        if is_new {
            // The start judges them too.
            self.certificates.take_all();
        }
        let started = self.judge_by_loading(table).await;
        if is_new && started.is_err() {
            // One of them may be to blame: they are judged apart.
            self.certificates.take_back();
        }
        started
    }

    async fn judge_by_loading(&self, table: &RouteTable) -> Result<Candidate, LoadError> {
        self.check_entry(table).await?;
        let places = Places::of(table);
        let newest = self.look_up(&places).await;
        let book = self.without_blamed(table, newest.clone());
        let config = self.render(table, &book)?;
        let written = self.stage(&config).await?;
        let candidate = |staged, loaded| Candidate {
            table: table.clone(),
            config: config.clone(),
            places: places.clone(),
            instances: book.instances().clone(),
            held: self.held_of(&places, &newest, book.instances()),
            staged,
            loaded,
        };
        let staged = match written {
            Written::New(staged) => staged,
            // HAProxy is not to read anything, or takes what it would not read.
            told => {
                self.judge(&told).await?;
                return Ok(candidate(told.into_staged(), None));
            }
        };
        // Where it is refused the check says why in better words than a search by loading could.
        let loaded = self.make_live(candidate(Some(staged), None), Reload::IfDifferent);
        match loaded.await {
            Ok(applied) => {
                self.certificates.prove();
                Ok(candidate(None, Some(applied)))
            }
            Err(error) => Err(error.into()),
        }
    }
}
