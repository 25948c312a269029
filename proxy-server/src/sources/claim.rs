//! Which of its services a source writes, and when: once for each wish of its own.
//!
//! A source reads the same wishes again and again, and so do its like on other replicas, other sources and
//! operators who want something else of the same service. If each wrote what it reads, they would overwrite
//! each other at every look. So a wish is written when it is new: another than the one that this replica saw
//! at its last look or, for one that has just started, than what the table says the source wanted. In between,
//! whoever wrote last is right.

use proxy_core::Service;

/// Why a source looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is time, or something happened.
    OfItself,
    /// An operator asked for what it says: that is an operator's word too.
    Asked,
}

/// Whether a source writes what it wants of a service: `wish` bears its mark, `before` is what it wanted at
/// the last look, and `there` what the table holds.
pub(super) fn is_due(
    wish: &Service,
    before: Option<&Service>,
    there: Option<&Service>,
    look: Look,
) -> bool {
    let Some(there) = there else {
        // Nothing is left to say who took it away, or whether the store lost it: what is wanted is there.
        return true;
    };
    if there.says_the_same_as(wish) {
        // It becomes the source's, which then also takes it away; but not from another source.
        return there.source().is_none();
    }
    match before {
        _ if look == Look::Asked => true,
        Some(before) => before != wish,
        // This is the first look of this replica.
        None => match (there.source(), there.overruled()) {
            (Some(source), _) => Some(source) == wish.source(),
            (None, Some(overruled)) => {
                Some(overruled.source()) == wish.source() && !overruled.is(wish)
            }
            // No source ever had it.
            (None, None) => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxy_core::{Params, Source, parse_reconfigure};

    use super::*;

    fn service(port: u16, source: Option<Source>) -> Arc<Service> {
        let query = format!("serviceName=a&servicePath=/a&port={port}");
        let params = Params::from_query(&query).unwrap();
        let service = parse_reconfigure(&params).unwrap().value.service;
        Arc::new(Arc::unwrap_or_clone(service).with_source(source))
    }

    fn ours(port: u16) -> Arc<Service> {
        service(port, Some(Source::Docker))
    }

    fn theirs(port: u16) -> Arc<Service> {
        service(port, Some(Source::Listener))
    }

    /// What an operator put in the place of something.
    fn over(there: &Arc<Service>, port: u16) -> Arc<Service> {
        service(port, None).put_over(Some(there))
    }

    #[test]
    fn a_wish_is_written_once() {
        let operators = service(9, None);
        let (over_us, over_them) = (over(&ours(1), 9), over(&theirs(1), 9));
        for (what, before, there, due) in [
            ("what is not there", Some(ours(1)), None, true),
            ("what is so", None, Some(ours(1)), false),
            (
                "what an operator has put as it is",
                Some(ours(1)),
                Some(service(1, None)),
                true,
            ),
            (
                "what another source has put as it is",
                None,
                Some(theirs(1)),
                false,
            ),
            // A later look.
            (
                "what an operator changed",
                Some(ours(1)),
                Some(over_us.clone()),
                false,
            ),
            (
                "what another source changed",
                Some(ours(1)),
                Some(theirs(9)),
                false,
            ),
            (
                "what another replica read otherwise",
                Some(ours(1)),
                Some(ours(9)),
                false,
            ),
            ("a new wish", Some(ours(2)), Some(ours(2)), true),
            (
                "a new wish after an operator's word",
                Some(ours(2)),
                Some(over(&ours(2), 9)),
                true,
            ),
            (
                "a new wish after another source's",
                Some(ours(2)),
                Some(theirs(9)),
                true,
            ),
            // The first look.
            (
                "what changed while nobody looked",
                None,
                Some(ours(2)),
                true,
            ),
            (
                "what an operator has overruled",
                None,
                Some(over_us.clone()),
                false,
            ),
            (
                "another wish than was overruled",
                None,
                Some(over(&ours(2), 9)),
                true,
            ),
            ("what another source has", None, Some(theirs(9)), false),
            (
                "what an operator has of another source",
                None,
                Some(over_them),
                false,
            ),
            ("what no source had", None, Some(operators.clone()), true),
        ] {
            let is_due = |look| is_due(&ours(1), before.as_deref(), there.as_deref(), look);
            assert_eq!(is_due(Look::OfItself), due, "{what}");
            let same = there
                .as_ref()
                .is_some_and(|there| there.says_the_same_as(&ours(1)));
            assert_eq!(is_due(Look::Asked), due || !same, "{what}, asked for");
        }
    }
}
