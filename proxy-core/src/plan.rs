//! Planning: what a change would do to a table, before anything is done.

use crate::{
    name::{AclName, ServiceName},
    path::{PathKind, PathPattern},
    route::Route,
    service::Service,
    table::{Change, Claim, RouteTable},
};

/// The most conflicts, and the most dead routes, that a plan lists. A thousand services that claim
/// one path have half a million.
pub const MAX_CONFLICTS: usize = 100;

/// What some changes would do to a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The table after the changes.
    pub after: RouteTable,
    /// What becomes of each service that was named, in the order given.
    pub changes: Vec<PlannedChange>,
    /// Routes that a named service shares with another; at most [`MAX_CONFLICTS`].
    pub conflicts: Vec<Conflict>,
    /// Routes of a named service that can never match, because it excludes all of them itself.
    pub dead: Vec<DeadRoute>,
    /// What must be done to HAProxy.
    pub effect: Effect,
}

/// What becomes of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedChange {
    /// The service.
    pub service: ServiceName,
    /// What becomes of it.
    pub kind: ChangeKind,
}

/// What becomes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was not there and is.
    Added,
    /// It was there and is different.
    Replaced,
    /// It was there and is not.
    Removed,
    /// It is as it was.
    Unchanged,
}

/// What a plan costs HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing: the table stays as it is.
    None,
    /// A new configuration and a reload.
    Reload,
}

/// Two services that claim the same requests. The change is accepted; the rank decides.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The service that was named in the change.
    pub service: ServiceName,
    /// The service that claims the same.
    pub other: ServiceName,
    /// What both claim.
    pub claim: Claim,
    /// Who gets the requests.
    pub outcome: ConflictOutcome,
}

/// A route that can never match: its service excludes every path that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadRoute {
    /// The service.
    pub service: ServiceName,
    /// What the route claims.
    pub claim: Claim,
    /// The excluded path that covers it.
    pub excluded: PathPattern,
}

/// Who gets the requests that two services claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictOutcome {
    /// The named service, all of them: the other's route can never match.
    HidesOther,
    /// The other service, all of them: the named one's route can never match.
    Hidden,
    /// Each some: the one with more conditions those that meet them.
    Shared,
}

/// Why changes cannot be made. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The ACL name would stand for two services, whose backends would collide.
    #[error(
        "aclName {acl_name} of the service {service} is already used by the service {holder}; choose another"
    )]
    AclNameTaken {
        /// The service that was named in the change.
        service: ServiceName,
        /// The name that both use.
        acl_name: AclName,
        /// The service that has it.
        holder: ServiceName,
    },
}

/// Plans changes, in order, on top of a table.
///
/// ```
/// use proxy_core::{Change, Effect, Params, RouteTable, plan, parse_reconfigure};
///
/// let params = Params::from_query("serviceName=go-demo&servicePath=/demo&port=8080")?;
/// let asked = parse_reconfigure(&params)?;
/// let before = RouteTable::new();
/// let plan = plan(&before, &[Change::Put(asked.value.service)])?;
/// assert_eq!(plan.effect, Effect::Reload);
/// assert_eq!(plan.after.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the changes cannot all be made. The table given is never altered.
pub fn plan(before: &RouteTable, changes: &[Change]) -> Result<Plan, PlanError> {
    let mut after = before.clone();
    let mut planned = Vec::with_capacity(changes.len());
    let (mut conflicts, mut dead) = (Vec::new(), Vec::new());
    for change in changes {
        let name = change.service_name();
        let old = after.get(name);
        let kind = match (change, old) {
            (Change::Put(new), Some(old)) if new == old => ChangeKind::Unchanged,
            (Change::Put(_), Some(_)) => ChangeKind::Replaced,
            (Change::Put(_), None) => ChangeKind::Added,
            (Change::Remove(_), Some(_)) => ChangeKind::Removed,
            (Change::Remove(_), None) => ChangeKind::Unchanged,
        };
        if kind != ChangeKind::Unchanged {
            after.apply(change);
        }
        planned.push(PlannedChange {
            service: name.clone(),
            kind,
        });
    }
    // Judged at the end: a group of changes may pass a name or a route from one service to another.
    for change in changes {
        let Some(service) = after.get(change.service_name()) else {
            continue;
        };
        if let Some(holder) = after.acl_name_holder(service) {
            return Err(PlanError::AclNameTaken {
                service: service.name().clone(),
                acl_name: service.acl_name().clone(),
                holder: holder.clone(),
            });
        }
        let left = MAX_CONFLICTS - conflicts.len();
        conflicts.extend(after.rivals(service, left));
        let left = MAX_CONFLICTS - dead.len();
        dead.extend(dead_routes(service).take(left));
    }
    let effect = if planned
        .iter()
        .all(|change| change.kind == ChangeKind::Unchanged)
    {
        Effect::None
    } else {
        Effect::Reload
    };
    Ok(Plan {
        after,
        changes: planned,
        conflicts,
        dead,
        effect,
    })
}

fn dead_routes(service: &Service) -> impl Iterator<Item = DeadRoute> {
    Route::of(service).filter_map(|route| {
        let mut excluded = route.destination.excluded_paths().iter();
        let covering = excluded.find(|excluded| covers(excluded, route.path))?;
        Some(DeadRoute {
            service: service.name().clone(),
            claim: Claim::of(&route),
            excluded: covering.clone(),
        })
    })
}

/// Whether every path that the second matches is one that the first matches. Says no where it
/// cannot tell.
fn covers(outer: &PathPattern, inner: &PathPattern) -> bool {
    let (a, b) = (outer.text(), inner.text());
    match (outer.kind(), inner.kind()) {
        (_, PathKind::Exact) => outer.matches(b.as_bytes()),
        (PathKind::Prefix, PathKind::Prefix) => b.starts_with(a),
        (PathKind::Suffix, PathKind::Suffix) => b.ends_with(a),
        (PathKind::Substring, PathKind::Prefix | PathKind::Suffix | PathKind::Substring) => {
            b.contains(a)
        }
        _ => outer == inner,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{params::Params, parse_reconfigure};

    fn put(query: &str) -> Change {
        let params = Params::from_query(query).unwrap();
        Change::Put(Arc::clone(
            &parse_reconfigure(&params).unwrap().value.service,
        ))
    }

    #[test]
    fn the_same_again_costs_nothing() {
        let change = put("serviceName=a&servicePath=/a&port=80");
        let first = plan(&RouteTable::new(), std::slice::from_ref(&change)).unwrap();
        assert_eq!(first.changes[0].kind, ChangeKind::Added);
        let again = plan(&first.after, &[change]).unwrap();
        assert_eq!(
            (again.effect, again.changes[0].kind),
            (Effect::None, ChangeKind::Unchanged)
        );
        assert_eq!(again.after, first.after);
    }

    #[test]
    fn removing_what_is_not_there_costs_nothing() {
        let gone = plan(&RouteTable::new(), &[Change::Remove("a".parse().unwrap())]).unwrap();
        assert_eq!(gone.effect, Effect::None);
    }

    #[test]
    fn a_shared_route_is_accepted_and_named() {
        let a = put("serviceName=a&servicePath=/x&port=80");
        let b = put("serviceName=b&servicePath=/x,/y&port=80");
        let plan = plan(&RouteTable::new().with(&a), &[b]).unwrap();
        assert_eq!(plan.conflicts.len(), 1);
        assert_eq!(plan.conflicts[0].other.as_str(), "a");
        assert_eq!(plan.conflicts[0].outcome, ConflictOutcome::Hidden);
    }

    #[test]
    fn who_gets_the_requests_is_told() {
        let plain = put("serviceName=m&servicePath=/x&port=80");
        let table = RouteTable::new().with(&plain);
        for (query, expected) in [
            (
                "serviceName=a&servicePath=/x&port=80",
                ConflictOutcome::HidesOther,
            ),
            (
                "serviceName=z&servicePath=/x&port=80",
                ConflictOutcome::Hidden,
            ),
            (
                "serviceName=z&servicePath=/x&port=80&userAgent=A",
                ConflictOutcome::Shared,
            ),
            (
                "serviceName=a&servicePath=/x&port=80&servicePathExclude=/x/y",
                ConflictOutcome::Shared,
            ),
        ] {
            let plan = plan(&table, &[put(query)]).unwrap();
            assert_eq!(plan.conflicts[0].outcome, expected, "{query}");
        }
    }

    #[test]
    fn conflicts_are_bounded() {
        let changes: Vec<_> = (0..300)
            .map(|i| put(&format!("serviceName=s{i}&servicePath=/x&port=80")))
            .collect();
        let plan = plan(&RouteTable::new(), &changes).unwrap();
        assert_eq!(plan.conflicts.len(), MAX_CONFLICTS);
    }

    #[test]
    fn a_route_that_its_service_excludes_is_dead() {
        let dead = |paths: &str, excluded: &str| {
            let query =
                format!("serviceName=a&port=80&servicePath={paths}&servicePathExclude={excluded}");
            plan(&RouteTable::new(), &[put(&query)]).unwrap().dead.len()
        };
        assert_eq!(dead("/x/y,/z", "/x"), 1);
        assert_eq!(dead("/x", "/x/y"), 0);
    }

    #[test]
    fn an_acl_name_stands_for_one_service() {
        let a = put("serviceName=a&servicePath=/x&port=80&aclName=z");
        let b = put("serviceName=b&servicePath=/y&port=80&aclName=z");
        let before = RouteTable::new().with(&a);
        let refused = plan(&before, std::slice::from_ref(&b)).unwrap_err();
        assert!(
            matches!(refused, PlanError::AclNameTaken { holder, .. } if holder.as_str() == "a")
        );
        // Together with the removal of its holder the name is free.
        assert!(plan(&before, &[b, Change::Remove("a".parse().unwrap())]).is_ok());
    }
}
