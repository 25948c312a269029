//! Which form a table is rendered in.

/// How routes are compiled into HAProxy's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Routing {
    /// The readable form while it costs next to nothing, the map form beyond.
    #[default]
    Auto,
    /// Always [`RoutingForm::Acl`].
    Acl,
    /// Always [`RoutingForm::Map`].
    Map,
}

/// The form of a configuration's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RoutingForm {
    /// ACLs and a `use_backend` for each destination: readable, and every request walks them.
    Acl,
    /// One map file: a request costs the same however many services there are.
    Map,
}

/// Why a word is no [`Routing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of auto, acl, map")]
pub struct RoutingError;

/// With [`Routing::Auto`], a table of more rules than this is rendered as a map.
///
/// Measured on HAProxy 2.6 in instructions of the worker for one request (`tests/real/cost.rs` measures
/// time, which agrees and is noisier): 33,400 with one rule and about 780 for each further one, 35,000
/// with a map of paths, 40,000 with a map of domains where one rule for a domain costs 36,300. 60 %
/// of a request's CPU time is the kernel's, so five rules are about 2 % slower than a map of paths and
/// seven about 4 %; with domains five are as fast as the map.
pub const MAX_ACL_RULES: usize = 5;

/// With [`Routing::Auto`], a map form goes back to the readable form at this many rules or fewer: where
/// both cost the same. The gap keeps a table at the border from changing its form, which is a reload,
/// with every change.
pub const MIN_MAP_RULES: usize = 3;

/// The form for a table that has this many rules in the readable form. `in_use` is the form that is
/// served now, where there is one.
pub(crate) fn form(routing: Routing, rules: usize, in_use: Option<RoutingForm>) -> RoutingForm {
    let most = match in_use {
        Some(RoutingForm::Map) => MIN_MAP_RULES,
        _ => MAX_ACL_RULES,
    };
    match routing {
        Routing::Acl => RoutingForm::Acl,
        Routing::Map => RoutingForm::Map,
        Routing::Auto if rules <= most => RoutingForm::Acl,
        Routing::Auto => RoutingForm::Map,
    }
}

// === impl Routing ===

impl std::str::FromStr for Routing {
    type Err = RoutingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "acl" => Self::Acl,
            "map" => Self::Map,
            _ => return Err(RoutingError),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_at_the_border_keeps_its_form() {
        use RoutingForm::{Acl, Map};
        let auto = |rules, in_use| form(Routing::Auto, rules, in_use);
        assert_eq!(auto(0, None), Acl);
        assert_eq!(auto(MAX_ACL_RULES, None), Acl);
        assert_eq!(auto(MAX_ACL_RULES + 1, None), Map);
        for border in MIN_MAP_RULES + 1..=MAX_ACL_RULES {
            assert_eq!(auto(border, Some(Acl)), Acl);
            assert_eq!(auto(border, Some(Map)), Map);
        }
        assert_eq!(auto(MAX_ACL_RULES + 1, Some(Acl)), Map);
        assert_eq!(auto(MIN_MAP_RULES, Some(Map)), Acl);
    }

    #[test]
    fn a_form_can_be_forced() {
        for in_use in [None, Some(RoutingForm::Acl), Some(RoutingForm::Map)] {
            assert_eq!(form(Routing::Acl, 10_000, in_use), RoutingForm::Acl);
            assert_eq!(form(Routing::Map, 0, in_use), RoutingForm::Map);
        }
        assert_eq!("map".parse(), Ok(Routing::Map));
        assert_eq!("Map".parse::<Routing>(), Err(RoutingError));
    }
}
