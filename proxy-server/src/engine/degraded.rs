//! The log of services that are not served as the store has them: once when it is found, and once when it is over.

use std::collections::BTreeMap;

use proxy_core::{Degradation, ServiceName, StoreView};

/// How many services are named one by one: a release that is too old may read none of thousands.
const MOST_NAMED: usize = 20;

/// Says what is otherwise in a view than in the one before.
pub(super) fn tell(before: &StoreView, after: &StoreView) {
    let (known, found) = (before.degraded(), after.degraded());
    let new: Vec<_> = new(known, found).collect();
    for (service, why) in new.iter().take(MOST_NAMED) {
        let why = why.told(after.stored.service(service));
        tracing::warn!(%service, why, "a service is not served as the store has it");
    }
    if let Some(more) = new.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        tracing::warn!(
            more,
            "services more are not served as the store has them; see status"
        );
    }
    let over: Vec<_> = known
        .keys()
        .filter(|name| !found.contains_key(*name))
        .collect();
    for service in over.iter().take(MOST_NAMED) {
        tracing::info!(%service, "what the store has of a service can be read again, or is gone");
    }
}

/// What is degraded now, and was not for the same reason.
fn new<'a>(
    known: &'a BTreeMap<ServiceName, Degradation>,
    found: &'a BTreeMap<ServiceName, Degradation>,
) -> impl Iterator<Item = (&'a ServiceName, &'a Degradation)> {
    let found = found.iter();
    found.filter(|(name, why)| known.get(*name) != Some(*why))
}

#[cfg(test)]
mod tests {
    use proxy_core::Document;

    use super::*;

    #[test]
    fn a_service_is_told_of_once_and_again_only_for_another_reason() {
        let name: ServiceName = "a".parse().unwrap();
        let nonsense = Degradation::NoDocument(Document::parse(b"rubbish").unwrap_err());
        let one = |why: &Degradation| BTreeMap::from([(name.clone(), why.clone())]);
        let (none, lost, broken) = (BTreeMap::new(), one(&Degradation::Missing), one(&nonsense));
        for (known, found, told) in [
            (&none, &lost, 1),
            (&lost, &lost, 0),
            (&lost, &broken, 1),
            (&broken, &none, 0),
        ] {
            assert_eq!(new(known, found).count(), told, "{known:?} {found:?}");
        }
    }
}
