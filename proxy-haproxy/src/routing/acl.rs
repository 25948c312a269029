//! The readable form: ACLs and `use_backend` lines in an order whose first match is the answer of
//! [`RouteTable::resolve`].
//!
//! A destination becomes one rule, as a person would write it, wherever that cannot change an
//! answer; otherwise its routes become rules of their own, at their ranks.

use std::collections::BTreeMap;

use proxy_core::{Route, RouteTable};

use super::{
    overlap::may_overlap,
    rule::{Acls, Place, Rule, UnknownDomain, place},
};

/// How many pairs of routes are compared, for the whole table, to find destinations that can be one
/// rule. Past it, destinations are split into rules of one route each, which is always right. Where
/// a table is that large and that interleaved, nobody reads its rules.
const MAX_COMPARISONS: usize = 5_000_000;

/// The rules of a table. `backends` gives the name of each destination's backend.
///
/// # Errors
/// When a route has a domain pattern that this crate does not know: leaving the condition out would
/// send other domains' requests there.
pub(crate) fn compile(
    table: &RouteTable,
    backends: &BTreeMap<Place<'_>, String>,
) -> Result<Vec<Rule>, UnknownDomain> {
    let routes = table.routes_by_rank();
    let mut acls = Acls::default();
    let mut rules = Vec::new();
    for run in runs(&routes) {
        let Some(first) = run.first() else { continue };
        let Some(backend) = backends.get(&place(first)) else {
            continue;
        };
        rules.extend(acls.rules(&run, backend)?);
    }
    Ok(rules)
}

/// Routes that share a rule, in the order of their first rank.
fn runs<'a>(routes: &[Route<'a>]) -> Vec<Vec<Route<'a>>> {
    let mut positions: BTreeMap<Place<'_>, Vec<usize>> = BTreeMap::new();
    for (position, route) in routes.iter().enumerate() {
        positions.entry(place(route)).or_default().push(position);
    }
    let mut budget = MAX_COMPARISONS;
    let whole: BTreeMap<Place<'_>, bool> = positions
        .iter()
        .map(|(place, own)| (*place, can_stand_together(routes, *place, own, &mut budget)))
        .collect();

    let mut runs: Vec<Vec<Route<'a>>> = Vec::new();
    let mut run_of: BTreeMap<Place<'_>, usize> = BTreeMap::new();
    let mut previous = None;
    for route in routes {
        let place = place(route);
        let is_whole = whole.get(&place).copied().unwrap_or(false);
        // A split destination goes on in its last run only where nothing came between.
        let goes_on = is_whole || previous == Some(place);
        let known = run_of.get(&place).copied().filter(|_| goes_on);
        match known.and_then(|index| runs.get_mut(index)) {
            Some(run) => run.push(*route),
            None => {
                run_of.insert(place, runs.len());
                runs.push(vec![*route]);
            }
        }
        previous = Some(place);
    }
    runs
}

/// Whether all routes of a destination can move up to its first one: whatever each of them passes
/// on the way must match no request that it matches.
fn can_stand_together(
    routes: &[Route<'_>],
    own_place: Place<'_>,
    own: &[usize],
    budget: &mut usize,
) -> bool {
    let (Some(first), Some(last)) = (own.first(), own.last()) else {
        return true;
    };
    let passed = routes.get(*first..*last).unwrap_or_default();
    let own_routes = || own.iter().filter_map(|at| Some((*at, routes.get(*at)?)));
    for (at, other) in (*first..).zip(passed) {
        if place(other) == own_place {
            continue;
        }
        for (_, mine) in own_routes().filter(|(mine, _)| *mine > at) {
            let Some(left) = budget.checked_sub(1) else {
                return false;
            };
            *budget = left;
            if may_overlap(mine, other) {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests;
