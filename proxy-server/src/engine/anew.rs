//! What is served does not pass any more (a template or HAProxy itself changed): every stored service is judged
//! anew, in as many searches as that takes.

use std::collections::BTreeMap;

use proxy_core::{Change, RouteTable, ServiceName};

use super::{
    Engine, Refused,
    isolate::{Checking, Searched},
    live::Ready,
    quarantine::is_stored,
};
use crate::{
    carrier::{Carrier, CheckError},
    culprits::isolate,
};

/// How far that has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Anew {
    /// What passed.
    whole: RouteTable,
    /// What did not, with HAProxy's words.
    culprits: BTreeMap<ServiceName, (Change, String)>,
}

// === impl Anew ===

impl Anew {
    /// As far as it is about what is stored now.
    fn of(mut self, stored: &RouteTable) -> Self {
        for change in stored.changes_since(&self.whole) {
            self.whole
                .apply(&Change::Remove(change.service_name().clone()));
        }
        self.culprits
            .retain(|_, (refused, _)| is_stored(stored, refused));
        self
    }

    /// What is left to judge of what it is about.
    fn rest(&self, stored: &RouteTable) -> Vec<Change> {
        let mut rest = stored.changes_since(&self.whole);
        rest.retain(|change| !self.culprits.contains_key(change.service_name()));
        rest
    }
}

// === impl Engine ===

impl<C: Carrier> Engine<C> {
    /// Judges every stored service anew, on top of nothing. Those that do not pass are quarantined
    /// and are not served until they do. None where HAProxy serves what it did before and not all is judged yet: what
    /// is not judged would be missing.
    pub(super) async fn check_anew(&mut self) -> Result<Option<Ready<C::Candidate>>, CheckError> {
        let before = self.anew.take().unwrap_or_default();
        let mut found = before.clone().of(self.view.stored.table());
        let searched = match self.search_anew(&found).await {
            // What passed by itself does no more.
            Err(CheckError::Rejected { .. }) if !found.whole.is_empty() => {
                found = Anew::default();
                self.search_anew(&found).await
            }
            Err(unable) => {
                self.anew = Some(before);
                return Err(unable);
            }
            searched => searched,
        };
        let (ready, culprits, left) = searched?;
        found.culprits.extend(culprits);
        if !left.is_empty() && self.carrier.serves() {
            let (judged, refused) = (ready.table.len(), found.culprits.len());
            tracing::warn!(
                judged,
                refused,
                left = left.len(),
                "the stored services are judged anew; HAProxy serves what it did until then"
            );
            found.whole = ready.table;
            self.anew = Some(found);
            return Ok(None);
        }
        self.quarantine.clear();
        for (change, words) in found.culprits.into_values() {
            self.hold(change, words, Refused::AtCheck);
        }
        self.put_aside(&left);
        Ok(Some(ready))
    }

    /// Judges some more: gives what passed, what did not, and what is left.
    async fn search_anew(&self, found: &Anew) -> Result<Step<C::Candidate>, CheckError> {
        let mut rest = found.rest(self.view.stored.table());
        let groups: Vec<&[Change]> = rest.iter().map(std::slice::from_ref).collect();
        let (judge, bound) = (Checking(&*self.carrier), self.bound(Searched::Stored));
        let isolated = isolate(&judge, &found.whole, &groups, None, &bound).await?;
        let culprits = isolated.culprits.into_iter().filter_map(|(index, words)| {
            let change = rest.get(index)?.clone();
            Some((change.service_name().clone(), (change, words)))
        });
        let culprits = culprits.collect();
        let left = rest.split_off(isolated.judged.min(rest.len()));
        let ready = Ready::checked(isolated.candidate, isolated.whole);
        Ok((ready, culprits, left))
    }
}

/// What passed, what did not, and what was not judged.
type Step<T> = (
    Ready<T>,
    BTreeMap<ServiceName, (Change, String)>,
    Vec<Change>,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::service;

    #[test]
    fn what_was_found_of_an_older_version_is_said_of_no_newer_one() {
        let put = |name, path| {
            Change::Put(service(&format!(
                "serviceName={name}&servicePath={path}&port=80"
            )))
        };
        let mut stored = RouteTable::new();
        for name in ["bad", "good", "mended", "other", "gone"] {
            stored.apply(&put(name, "/"));
        }
        let refused = |name| (put(name, "/"), "no".to_owned());
        let culprits = ["bad", "mended", "gone"].map(|name| (name.parse().unwrap(), refused(name)));
        let mut found = Anew {
            whole: RouteTable::new(),
            culprits: culprits.into(),
        };
        for name in ["good", "other"] {
            found.whole.apply(&put(name, "/"));
        }
        stored.apply(&put("mended", "/mended"));
        stored.apply(&put("other", "/other"));
        stored.apply(&Change::Remove("gone".parse().unwrap()));

        let found = found.of(&stored);
        let names: Vec<_> = found.culprits.keys().map(ServiceName::as_str).collect();
        assert_eq!(names, ["bad"]);
        let whole: Vec<_> = found.whole.iter().map(|s| s.name().to_string()).collect();
        assert_eq!(whole, ["good"]);
        let rest = found.rest(&stored);
        assert_eq!(rest, [put("mended", "/mended"), put("other", "/other")]);
    }
}
