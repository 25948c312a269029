//! Which certificates HAProxy takes with the whole configuration.

use async_trait::async_trait;
use proxy_core::RouteTable;
use proxy_haproxy::{AddressBook, RenderedConfig, render};

use super::{HaproxyCarrier, NAMES_DEADLINE, dry_run::blocking, written::Written};
use crate::{
    carrier::{Applied, ApplyError, Carrier as _, CheckError, Reload, places::Places},
    certificates::{Fruitless, Showing, Step, find_culprits},
    chain::chain,
    culprits::{Bound, Judge, isolate},
};

/// Judges what is shown together with a table. Changes nothing that is live.
struct Beside<'a> {
    carrier: &'a HaproxyCarrier,
    table: &'a RouteTable,
    book: AddressBook,
}

/// Judges what is shown by loading it with a table, for what passes the check and is not loaded all the same. What is
/// judged good is live.
struct Loading<'a> {
    carrier: &'a HaproxyCarrier,
    table: &'a RouteTable,
}

// === impl HaproxyCarrier ===

impl HaproxyCarrier {
    /// Takes up what is to be shown, before the first configuration. It is judged with no service, so that
    /// none can be to blame.
    pub(super) async fn begin_certificates(&self) {
        if self.certificates.is_begun() {
            return;
        }
        if let Err(error) = self.renew_certificates(&RouteTable::new()).await {
            // Without them a port that speaks TLS would speak none.
            let why = chain(&error);
            tracing::warn!(
                why,
                "it cannot be checked which certificates HAProxy takes; all are shown"
            );
            self.certificates.take_all();
        }
    }

    /// Shows what HAProxy takes with this table of what is to be shown.
    pub(super) async fn renew_certificates(&self, table: &RouteTable) -> Result<(), CheckError> {
        self.certificates.judge_with(table);
        let is_begun = self.certificates.is_begun();
        let Some(mut offer) = self.certificates.offer() else {
            if !is_begun {
                self.certificates.take_all();
            }
            return Ok(());
        };
        let beside = Beside::of(self, table).await;
        // What it does not come to is offered again with the next look.
        let bound = match is_begun {
            true => Bound::slice(),
            false => Bound::first(),
        };
        let isolated = match isolate(&beside, &offer.base, &offer.steps, None, &bound).await {
            // HAProxy itself may be another than in the last run: each is judged anew, whether it changed or not.
            Err(CheckError::Rejected { words }) if !is_begun => {
                offer = offer.anew();
                let base = Showing::default();
                isolate(&beside, &base, &offer.steps, Some(words), &bound).await
            }
            isolated => isolated,
        }?;
        let refused = steps_of(&offer.steps, isolated.culprits);
        self.certificates.take(offer, isolated.whole, refused);
        Ok(())
    }

    /// Makes a table live with which HAProxy did not load what is shown, without the certificates that are to blame:
    /// of those the version before is shown on. Where none is, it is as it was.
    pub(super) async fn without_unloadable(
        &self,
        table: &RouteTable,
        words: String,
    ) -> Result<Applied, ApplyError> {
        if self.certificates.is_search_vain() {
            return Err(ApplyError::Refused { words });
        }
        let offer = self.certificates.unproven();
        // Until something is loaded in this run what the last one showed may be to blame too: HAProxy may be another.
        let is_first = !self.certificates.is_loaded();
        let serves = self.shown().haproxy.is_some();
        if offer.steps.is_empty() && !is_first {
            return Err(ApplyError::Refused { words });
        }
        let shown = self.certificates.showing();
        let loading = Loading {
            carrier: self,
            table,
        };
        let anew = match (is_first, serves) {
            (false, _) => Vec::new(),
            (true, false) => vec![offer.clone().anew()],
            // It speaks TLS, and is to do so all the while.
            (true, true) => offer.clone().anew().on_top_of_one(),
        };
        let bound = match is_first {
            true => Bound::first(),
            false => Bound::slice(),
        };
        let found = find_culprits(&loading, offer.clone(), anew, words.clone(), &bound).await;
        let (offer, isolated) = match found {
            Ok(found) => found,
            Err(Fruitless {
                error,
                loaded: Some(loaded),
            }) => {
                let why = chain(&error);
                tracing::error!(
                    why,
                    "the search for a certificate that is not loaded broke off; those that were loaded by then are shown, and the others are tried again"
                );
                self.certificates.take_loaded(offer, loaded, Vec::new());
                return Err(ApplyError::Unable { why: why.into() });
            }
            Err(Fruitless {
                error,
                loaded: None,
            }) => {
                let why = chain(&error);
                tracing::debug!(why, "no certificate is to blame for what is not loaded");
                self.certificates.show(shown);
                if is_first && serves && matches!(error, CheckError::Rejected { .. }) {
                    self.certificates.are_blameless();
                }
                return Err(ApplyError::Refused { words });
            }
        };
        let refused = steps_of(&offer.steps, isolated.culprits);
        self.certificates
            .take_loaded(offer, isolated.whole, refused);
        Ok(isolated.candidate)
    }

    /// Whether HAProxy would take a table with something else that is shown.
    pub(super) async fn try_certificate(
        &self,
        table: &RouteTable,
        step: Step,
    ) -> Result<(), CheckError> {
        let beside = Beside::of(self, table).await;
        let now = self.certificates.showing();
        let refused = match beside.judge(&now.with(&[step])).await {
            Err(CheckError::Rejected { words }) => CheckError::Rejected { words },
            judged => return judged,
        };
        // It is not to blame for what does not pass without it either.
        match beside.judge(&now).await {
            Err(CheckError::Rejected { words }) => Err(CheckError::Unable {
                why: format!("what is served now does not pass the check either: {words}").into(),
            }),
            _ => Err(refused),
        }
    }

    /// Renders a table, and writes it beside what is live.
    pub(super) async fn write_beside(
        &self,
        table: &RouteTable,
        book: &AddressBook,
        showing: &Showing,
    ) -> Result<(RenderedConfig, Written), CheckError> {
        let settings = self.settings.render.clone();
        let settings = settings
            .with_form_in_use(self.form())
            .with_client_authorities(showing.authorities().cloned())
            .with_certificates(showing.set(self.certificates.preferred()));
        let (table, book) = (table.clone(), book.clone());
        // The whole table is rendered, which takes long enough to keep others waiting.
        let config = blocking(move || render(&table, &settings, &book)).await?;
        let config = config.map_err(|error| CheckError::Rejected {
            words: chain(&error),
        })?;
        let written = self.stage(&config).await?;
        Ok((config, written))
    }

    /// What is known of where everything is, for a table that may never be served.
    pub(super) async fn look_up_once(&self, table: &RouteTable) -> AddressBook {
        let places = Places::of(table);
        let names = self.names.look_up_once(&places.hosts, NAMES_DEADLINE);
        let book = names.await;
        match &self.catalog {
            Some(catalog) => {
                let known = catalog.look_up_once(&places, NAMES_DEADLINE).await;
                self.without_blamed(table, known.beside(book))
            }
            None => book,
        }
    }
}

/// The steps that did not pass, with HAProxy's words.
fn steps_of(steps: &[Step], culprits: Vec<(usize, String)>) -> Vec<(Step, String)> {
    let culprits = culprits.into_iter();
    let found = culprits.filter_map(|(index, words)| Some((steps.get(index)?.clone(), words)));
    found.collect()
}

// === impl Beside ===

impl<'a> Beside<'a> {
    async fn of(carrier: &'a HaproxyCarrier, table: &'a RouteTable) -> Self {
        let book = carrier.look_up_once(table).await;
        Self {
            carrier,
            table,
            // What the catalog shows now may be to blame, and is no certificate's fault.
            book: carrier.holding_back(&book).unwrap_or(book),
        }
    }
}

#[async_trait]
impl Judge for Beside<'_> {
    type Whole = Showing;
    type Step = Step;
    type Good = ();

    async fn judge(&self, showing: &Showing) -> Result<(), CheckError> {
        let (_, written) = self
            .carrier
            .write_beside(self.table, &self.book, showing)
            .await?;
        // A certificate under a known name is told to HAProxy while it runs, and checked all the same.
        match written.into_staged() {
            Some(staged) => self.carrier.validate(&staged).await.map(|_| ()),
            None => Ok(()),
        }
    }

    fn with(&self, showing: &Showing, steps: &[Step]) -> Showing {
        showing.with(steps)
    }
}

#[async_trait]
impl Judge for Loading<'_> {
    type Whole = Showing;
    type Step = Step;
    type Good = Applied;

    async fn judge(&self, showing: &Showing) -> Result<Applied, CheckError> {
        self.carrier.certificates.show(showing.clone());
        let candidate = self.carrier.check(self.table).await?;
        // A certificate that HAProxy is told while it serves was not loaded.
        match self.carrier.make_live(candidate, Reload::Anew).await {
            Ok(applied) => Ok(applied),
            Err(ApplyError::Refused { words }) => Err(CheckError::Rejected { words }),
            Err(ApplyError::Unable { why }) => Err(CheckError::Unable { why }),
        }
    }

    fn with(&self, showing: &Showing, steps: &[Step]) -> Showing {
        showing.with(steps)
    }
}
