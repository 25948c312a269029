//! The routes for one port and one domain, by path: for the index.

use std::{cmp::Reverse, sync::Arc};

use imbl::OrdMap;

use super::{
    ByText,
    claimant::{Claimant, Claimants, Step},
};
use crate::{
    path::{PathKind, PathPattern},
    route::{RequestHead, Route, RouteOrder},
};

/// The routes for one port and one domain.
#[derive(Clone, Default)]
pub(super) struct Level {
    exact: ByText<Claimants>,
    prefix: ByText<Claimants>,
    /// The lengths that prefixes have, ascending, and how many have each.
    pub(super) lengths: Arc<Vec<(usize, usize)>>,
    /// Longest first: the order of ranks.
    other: OrdMap<(Reverse<usize>, PathPattern), Claimants>,
}

// === impl Level ===

impl Level {
    pub(super) fn resolve(&self, request: &RequestHead) -> Option<Route<'_>> {
        let path = request.path.as_slice();
        // A path that is not ASCII equals no pattern and begins with none beyond its ASCII part.
        let ascii = path
            .iter()
            .position(|b| !b.is_ascii())
            .unwrap_or(path.len());
        let text = std::str::from_utf8(path.get(..ascii).unwrap_or_default()).unwrap_or_default();
        if ascii == path.len()
            && let Some(found) = self.exact.get(text).and_then(|c| c.first(request))
        {
            return Some(found);
        }
        if let Some(found) = self.in_others(request) {
            return Some(found);
        }
        let fitting = self.lengths.partition_point(|(length, _)| *length <= ascii);
        let mut lengths = self.lengths.iter().take(fitting).rev();
        lengths.find_map(|(length, _)| self.prefix.get(text.get(..*length)?)?.first(request))
    }

    /// Comparisons that no map holds, longest first. Several of one length are of one rank so far,
    /// and the rest of the rank decides between their winners.
    fn in_others(&self, request: &RequestHead) -> Option<Route<'_>> {
        let mut best: Option<Route<'_>> = None;
        for ((_, pattern), claimants) in &self.other {
            if best.is_some_and(|best| best.path.text().len() > pattern.text().len()) {
                break;
            }
            if pattern.matches(&request.path)
                && let Some(found) = claimants.first(request)
                && best.is_none_or(|best| {
                    found.rank(RouteOrder::Specific) < best.rank(RouteOrder::Specific)
                })
            {
                best = Some(found);
            }
        }
        best
    }

    pub(super) fn claimants(&self, path: &PathPattern) -> Option<&Claimants> {
        match path.kind() {
            PathKind::Exact => self.exact.get(path.text()),
            PathKind::Prefix => self.prefix.get(path.text()),
            _ => self.other.get(&(Reverse(path.text().len()), path.clone())),
        }
    }

    /// Paths that nobody claims are dropped.
    pub(super) fn change(&mut self, path: &PathPattern, claimant: &Claimant, step: Step) {
        let key = || path.shared_text();
        match path.kind() {
            PathKind::Exact => {
                in_claimants(&mut self.exact, key(), claimant, step);
            }
            PathKind::Prefix => {
                let before = self.prefix.len();
                in_claimants(&mut self.prefix, key(), claimant, step);
                if before != self.prefix.len() {
                    self.count(path.text().len(), step);
                }
            }
            _ => {
                let key = (Reverse(path.text().len()), path.clone());
                let claimants = self.other.entry(key.clone()).or_default();
                claimants.change(claimant, step);
                if claimants.is_empty() {
                    self.other.remove(&key);
                }
            }
        }
    }

    /// One more or one less prefix of this length.
    fn count(&mut self, length: usize, step: Step) {
        let lengths = Arc::make_mut(&mut self.lengths);
        let at = lengths.binary_search_by_key(&length, |(known, _)| *known);
        match (at, step) {
            (Err(at), Step::Enter) => lengths.insert(at, (length, 1)),
            (Err(_), Step::Leave) => {}
            (Ok(at), _) => {
                if let Some((_, count)) = lengths.get_mut(at) {
                    *count = match step {
                        Step::Enter => *count + 1,
                        Step::Leave => count.saturating_sub(1),
                    };
                }
                lengths.retain(|(_, count)| *count > 0);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty() && self.other.is_empty()
    }
}

fn in_claimants(paths: &mut ByText<Claimants>, text: Arc<str>, claimant: &Claimant, step: Step) {
    let claimants = paths.entry(Arc::clone(&text)).or_default();
    claimants.change(claimant, step);
    if claimants.is_empty() {
        paths.remove(&text);
    }
}
