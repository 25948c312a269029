//! Following a change of the table in the map alone, at the cost of the change.

use std::{collections::BTreeMap, sync::Arc};

use proxy_core::{Route, RouteOrder, RouteTable, Service};

use super::{Edits, Lookup, Value, is_exact, plain};

/// What of a map form is needed to follow a change without compiling the table again.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// How the map is asked, most specific first, and how many routes want it so.
    lookups: BTreeMap<Lookup, usize>,
    /// How many routes in the map have an exact path.
    exact: usize,
    /// Where the rules stand among all routes, least rank first.
    groups: Vec<Group>,
    /// How many rules there are.
    rules: usize,
}

/// Rules that stand together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    service: Arc<Service>,
    /// Which of its routes is the first of the group.
    route: usize,
    /// How many rules stand before it.
    before: usize,
}

// === impl Followed ===

impl Followed {
    pub(super) fn new(
        lookups: BTreeMap<Lookup, usize>,
        exact: usize,
        groups: Vec<Group>,
        rules: usize,
    ) -> Self {
        Self {
            lookups,
            exact,
            groups,
            rules,
        }
    }

    /// Whether the path that is asked for must say where it ends.
    pub(super) fn has_exact_paths(&self) -> bool {
        self.exact > 0
    }

    pub(super) fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.lookups.keys()
    }

    /// Follows services that became others, in a table that holds the new ones. `backend` gives the
    /// name of a route's backend, which must be what it was. None, and nothing is changed, where a rule
    /// or a lookup comes or goes, or the first exact path or the last: then more than the map changes.
    pub(crate) fn follow(
        &mut self,
        changed: &[(&Service, &Service)],
        table: &RouteTable,
        backend: impl Fn(&Route<'_>) -> String,
    ) -> Option<Edits> {
        let (mut lookups, mut exact) = (self.lookups.clone(), self.exact);
        let mut edits = Edits::new();
        for (old, new) in changed {
            for route in Route::of(new) {
                let (_, lookup) = plain(&route)?;
                *lookups.entry(lookup).or_insert(0) += 1;
                exact += usize::from(is_exact(&route));
            }
            for route in Route::of(old) {
                let (_, lookup) = plain(&route)?;
                let count = lookups.get_mut(&lookup)?;
                *count = count.checked_sub(1)?;
                if *count == 0 {
                    lookups.remove(&lookup);
                }
                exact = exact.checked_sub(usize::from(is_exact(&route)))?;
            }
            for route in Route::of(new).chain(Route::of(old)) {
                let (key, _) = plain(&route)?;
                edits.entry(key).or_insert_with(|| {
                    let mut claimants = table.claimants(&route);
                    let winner = claimants.find(|route| !route.destination.is_conditional())?;
                    let value = Value {
                        rules_before: self.rules_before(&winner),
                        backend: &backend(&winner),
                    };
                    Some(value.text(self.rules))
                });
            }
        }
        if !lookups.keys().eq(self.lookups.keys()) || (exact > 0) != self.has_exact_paths() {
            return None;
        }
        self.lookups = lookups;
        self.exact = exact;
        Some(edits)
    }

    fn rules_before(&self, route: &Route<'_>) -> usize {
        let rank = route.rank(RouteOrder::Specific);
        let ranks_before = |group: &Group| {
            group
                .route()
                .is_some_and(|first| first.rank(RouteOrder::Specific) < rank)
        };
        let next = self.groups.partition_point(ranks_before);
        self.groups
            .get(next)
            .map_or(self.rules, |group| group.before)
    }
}

// === impl Group ===

impl Group {
    pub(super) fn new(table: &RouteTable, first: &Route<'_>, before: usize) -> Option<Self> {
        let service = Arc::clone(table.get(first.service.name())?);
        let rank = first.rank(RouteOrder::Specific);
        let route =
            Route::of(&service).position(|route| route.rank(RouteOrder::Specific) == rank)?;
        Some(Self {
            service,
            route,
            before,
        })
    }

    fn route(&self) -> Option<Route<'_>> {
        Route::of(&self.service).nth(self.route)
    }
}
