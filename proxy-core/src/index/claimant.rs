//! Who claims one domain and path: for the index.

use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

use imbl::OrdSet;

use crate::{
    destination::Destination,
    route::{RequestHead, Route},
    service::Service,
};

/// Who claims one domain and path, in the order of ranks. Nearly always it is one, which is found
/// without following a pointer.
#[derive(Clone)]
pub(super) enum Claimants {
    One(Claimant),
    Many(OrdSet<Claimant>),
}

/// One route of a service by where it stands in it, ordered as it is among those for the same domain and
/// path. A service has no more than [`MAX_ROUTES`](crate::MAX_ROUTES), so the numbers fit.
#[derive(Clone)]
pub(super) struct Claimant {
    service: Arc<Service>,
    destination: u16,
    domain: Option<u16>,
    path: u16,
    /// Here and not only in the destination, which is memory that nobody else may have looked at.
    is_conditional: bool,
}

/// What becomes of a claimant.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Enter,
    Leave,
}

// === impl Claimants ===

impl Claimants {
    /// The route of the first claimant that admits a request.
    pub(super) fn first(&self, request: &RequestHead) -> Option<Route<'_>> {
        self.iter().find_map(|claimant| {
            let route = claimant.route()?;
            let admits = !claimant.is_conditional || route.destination.admits(request);
            admits.then_some(route)
        })
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route<'_>> {
        self.iter().filter_map(Claimant::route)
    }

    fn iter(&self) -> impl Iterator<Item = &Claimant> {
        let (one, many) = match self {
            Self::One(claimant) => (Some(claimant), None),
            Self::Many(claimants) => (None, Some(claimants)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(super) fn change(&mut self, claimant: &Claimant, step: Step) {
        let mut claimants = match self {
            Self::One(one) => OrdSet::unit(one.clone()),
            Self::Many(many) => std::mem::take(many),
        };
        match step {
            Step::Enter => claimants.insert(claimant.clone()),
            Step::Leave => claimants.remove(claimant),
        };
        let one = claimants.get_min().filter(|_| claimants.len() == 1);
        *self = match one {
            Some(one) => Self::One(one.clone()),
            None => Self::Many(claimants),
        };
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Many(claimants) if claimants.is_empty())
    }
}

impl Default for Claimants {
    fn default() -> Self {
        Self::Many(OrdSet::new())
    }
}

// === impl Claimant ===

impl Claimant {
    /// One for every route of a service.
    pub(super) fn of(service: &Arc<Service>) -> impl Iterator<Item = Self> {
        let destinations = (0_u16..).zip(service.destinations());
        destinations.flat_map(move |(number, destination)| {
            let any = destination.domains().is_empty().then_some(None);
            let domains = (0_u16..).zip(destination.domains()).map(|(at, _)| Some(at));
            domains.chain(any).flat_map(move |domain| {
                let paths = (0_u16..).zip(destination.paths());
                paths.map(move |(path, _)| Self {
                    service: Arc::clone(service),
                    destination: number,
                    domain,
                    path,
                    is_conditional: destination.is_conditional(),
                })
            })
        })
    }

    pub(super) fn route(&self) -> Option<Route<'_>> {
        let destination = self.destination()?;
        Some(Route {
            service: &self.service,
            destination,
            domain: match self.domain {
                None => None,
                Some(at) => Some(destination.domains().get(usize::from(at))?),
            },
            path: destination.paths().get(usize::from(self.path))?,
        })
    }

    fn destination(&self) -> Option<&Destination> {
        let destinations = self.service.destinations();
        destinations.get(usize::from(self.destination))
    }
}

impl Ord for Claimant {
    fn cmp(&self, other: &Self) -> Ordering {
        fn standing(claimant: &Claimant) -> impl Ord {
            let destination = claimant.destination();
            (
                Reverse(destination.map(Destination::condition_count)),
                claimant.service.acl_name(),
                destination.map(Destination::index),
                claimant.service.name(),
            )
        }
        standing(self).cmp(&standing(other))
    }
}

impl PartialOrd for Claimant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Claimant {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Claimant {}
