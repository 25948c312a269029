//! Making sure that what a caller asks for is what the store holds.

use proxy_core::{CommitError, ServiceName, StoreView};
use tokio::time::timeout_at;

use super::{
    Shared,
    commit::{Trouble, unavailable},
    read::{Caught, ReadError},
    step::{History, Step},
};
use crate::txn::{MAX_TXN_OPS, Txn, TxnOutcome};

impl Shared {
    /// Reads the head, to know that nothing was committed on top of `base`, and the documents of these services, to
    /// know that nobody changed them without a commit. It costs two requests, and the whole table where they are
    /// more than one transaction reads, or where one of them is not what it was.
    pub(super) async fn confirm(
        &self,
        base: &StoreView,
        services: &[ServiceName],
    ) -> Result<(), CommitError> {
        let looked = timeout_at(self.deadline(), self.look(base, services)).await;
        match looked.map_err(|_| unavailable(self.out_of_time()))? {
            Ok(Caught::Up) => {}
            Ok(_) => {
                let why = "the store is empty or is being filled again".to_owned();
                return Err(unavailable(Trouble::NotWhole(why)));
            }
            Err(why) => return Err(why.of_commit()),
        }
        let view = self.view();
        let is_same = |name: &ServiceName| {
            let (now, then) = (&view.stored, &base.stored);
            now.document(name) == then.document(name)
                && now.degraded().get(name) == then.degraded().get(name)
        };
        match services.iter().all(is_same) {
            true => view.confirm(base),
            false => Err(CommitError::LostRace { view }),
        }
    }

    async fn look(&self, base: &StoreView, services: &[ServiceName]) -> Result<Caught, ReadError> {
        let caught = self.catch_up(None).await?;
        let is_up = matches!(caught, Caught::Up);
        if !is_up || self.view().revision != base.revision || self.holds(base, services).await? {
            return Ok(caught);
        }
        self.catch_up_from(Step::ReadAll(History::Mine)).await
    }

    /// Whether the documents of these services are those of `base`, as far as that is cheap to know.
    async fn holds(&self, base: &StoreView, services: &[ServiceName]) -> Result<bool, ReadError> {
        let held = services
            .iter()
            .filter_map(|name| base.stored.document(name));
        let held: Vec<_> = held.map(|it| (self.keys.service(it.name()), it)).collect();
        if held.is_empty() {
            return Ok(true);
        }
        if held.len() > MAX_TXN_OPS {
            return Ok(false);
        }
        let mut txn = Txn::new();
        if held.iter().any(|(key, _)| txn.get(key).is_err()) {
            return Ok(false);
        }
        let TxnOutcome::Applied(entries) = self.client.txn(&txn).await?.value else {
            return Ok(false);
        };
        let is_there = |(key, document): &(String, &std::sync::Arc<proxy_core::Document>)| {
            let mut entries = entries.iter();
            entries.any(|it| it.key == *key && it.value == document.raw().as_bytes())
        };
        Ok(held.iter().all(is_there))
    }
}
