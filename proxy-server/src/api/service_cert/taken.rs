//! Whether a certificate that comes with a service would change what clients of another are shown.

use proxy_core::{RouteTable, Service};
use proxy_haproxy::KeyKind;

use super::domains_of;
use crate::certificates::{Fit, Presented, Showing};

/// A domain that would change hands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) domain: String,
    pub(super) from: String,
}

/// Clients by the kinds of keys that they know, the best first.
const CLIENTS: [&[KeyKind]; 2] = [
    &[KeyKind::Ecdsa, KeyKind::Rsa, KeyKind::Other],
    &[KeyKind::Rsa, KeyKind::Other],
];

/// A domain of another service that had a certificate and would have another, or none, for some clients.
pub(super) fn taken(
    table: &RouteTable,
    service: &Service,
    new: &Presented<'_>,
    showing: &Showing,
) -> Option<Taken> {
    let own: Vec<_> = domains_of(service).collect();
    let shown = showing.certificates();
    let shown = shown.map(|it| Presented::new(&it.name, &it.certificate, showing.list()));
    let (same, others): (Vec<_>, Vec<_>) = shown.partition(|one| one.name() == new.name());
    let (known, rivals): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|one| one.certificate() == new.certificate());
    let case = Case {
        new,
        same: &same,
        known: &known,
        rivals: &rivals,
    };
    let other_services = table.iter().filter(|other| other.name() != service.name());
    for other in other_services {
        for domain in asked_for(other, new).filter(|domain| !own.contains(domain)) {
            if CLIENTS.iter().any(|kinds| case.takes(&domain, kinds)) {
                let from = other.name().to_string();
                return Some(Taken { domain, from });
            }
        }
    }
    None
}

/// The domains of a service, and the names below those with a star that a certificate is shown for.
fn asked_for(service: &Service, certificate: &Presented<'_>) -> impl Iterator<Item = String> {
    domains_of(service).flat_map(|domain| {
        let below: Vec<_> = match domain.strip_prefix('*') {
            Some(end) => {
                let below = certificate
                    .names()
                    .iter()
                    .filter(|name| name.ends_with(end));
                below.cloned().collect()
            }
            None => Vec::new(),
        };
        std::iter::once(domain).chain(below)
    })
}

/// A new certificate among those that are shown.
struct Case<'a> {
    new: &'a Presented<'a>,
    /// What is shown under its name now.
    same: &'a [Presented<'a>],
    /// The same certificate under other names.
    known: &'a [Presented<'a>],
    rivals: &'a [Presented<'a>],
}

// === impl Case ===

impl Case<'_> {
    /// Whether clients that know these kinds of keys would be shown the new certificate in place of another's, or
    /// none in place of one.
    fn takes(&self, domain: &str, kinds: &[KeyKind]) -> bool {
        let new = std::slice::from_ref(self.new);
        let before = shown_kind([self.same, self.known, self.rivals], domain, kinds);
        let Some(after) = shown_kind([new, self.known, self.rivals], domain, kinds) else {
            return before.is_some();
        };
        if after != self.new.kind() {
            return false;
        }
        let now = self.new.fit(domain);
        // Of those that fit as well it may be the first.
        let reaches = now.is_some() && now >= best(self.rivals, domain, after);
        let had_another = shown_kind([self.rivals, &[], &[]], domain, kinds).is_some();
        let stood_there =
            best(self.same, domain, after).max(best(self.known, domain, after)) >= now;
        reaches && had_another && !stood_there
    }
}

/// How the best of some certificates with one kind of key is for a domain.
fn best(all: &[Presented<'_>], domain: &str, kind: KeyKind) -> Option<Fit> {
    let of_kind = all.iter().filter(|one| one.kind() == kind);
    of_kind.map(|one| one.fit(domain)).max().flatten()
}

/// Which kind of key clients that know these, the best first, are shown for a domain. A better name of a worse kind
/// does not count.
fn shown_kind(all: [&[Presented<'_>]; 3], domain: &str, kinds: &[KeyKind]) -> Option<KeyKind> {
    let fits = |kind: &KeyKind| all.iter().any(|all| best(all, domain, *kind).is_some());
    kinds.iter().copied().find(fits)
}

#[cfg(test)]
mod tests {
    use proxy_core::Change;
    use proxy_haproxy::Certificate;
    use testkit::tls::Authority;

    use super::*;
    use crate::{
        certificates::{Shown, Source, Step},
        testing::{issued, service},
    };

    fn issued_rsa(names: &[&str]) -> Certificate {
        let issued = Authority::new("a").unwrap().issue_rsa(names).unwrap();
        Certificate::parse(&issued.bundle()).unwrap()
    }

    fn under(name: &str, certificate: Certificate) -> Shown {
        Shown {
            name: name.parse().unwrap(),
            certificate,
            source: Source::Call,
        }
    }

    fn shown(name: &str, names: &[&str]) -> Shown {
        under(name, issued(names))
    }

    fn showing(shown: &[Shown], list: &str) -> Showing {
        let steps = shown.iter().cloned().map(Step::show);
        let list = Step::List(list.parse().unwrap(), Default::default());
        let steps: Vec<_> = steps.chain([list]).collect();
        Showing::default().with(&steps)
    }

    /// The domain that a certificate would take, and from whom.
    fn from(
        table: &RouteTable,
        service: &Service,
        (kept, certificate): (&str, Certificate),
        showing: &Showing,
    ) -> Option<String> {
        let kept = kept.parse().unwrap();
        let new = Presented::new(&kept, &certificate, showing.list());
        let taken = taken(table, service, &new, showing);
        taken.map(|taken| format!("{} of {}", taken.domain, taken.from))
    }

    #[test]
    fn it_takes_no_domain_of_another_service_away() {
        let mut table = RouteTable::new();
        table.apply(&Change::Put(service(
            "serviceName=one&serviceDomain=one.com,both.com&port=80",
        )));
        let two = service("serviceName=two&serviceDomain=two.com,both.com&port=80");
        let from = |kept: &str, names: &[&str], shown: &[Shown]| {
            let showing = showing(shown, "");
            from(&table, &two, (kept, issued(names)), &showing)
        };
        // The name is free, or what is there is for nobody else.
        assert_eq!(from("two.com", &["two.com"], &[]), None);
        let old = [shown("two.com", &["two.com", "gone.com"])];
        assert_eq!(from("two.com", &["two.com"], &old), None);
        // It replaces one that another service needs.
        let shared = [shown("both.com", &["both.com", "one.com"])];
        let lost = Some("one.com of one".to_owned());
        assert_eq!(from("both.com", &["both.com"], &shared), lost);
        assert_eq!(from("both.com", &["both.com", "one.com"], &shared), None);
        let [shared] = shared;
        let elsewhere = [shared, shown("wild", &["*.com"])];
        assert_eq!(
            from("both.com", &["both.com"], &elsewhere),
            None,
            "others have it"
        );
        // It has the very name that another certificate is shown for.
        let other = [shown("one.com", &["one.com"])];
        assert_eq!(from("two.com", &["two.com", "one.com"], &other), lost);
        assert_eq!(from("two.com", &["two.com", "*.com"], &other), None);
        // HAProxy shows the very name before a wildcard, and of two wildcards one or the other.
        let wild = [shown("wild", &["*.com"])];
        assert_eq!(from("two.com", &["two.com", "one.com"], &wild), lost);
        assert_eq!(from("two.com", &["two.com", "*.com"], &wild), lost);
        assert_eq!(from("two.com", &["two.com"], &wild), None);
        // Where it stood already it is renewed.
        let [one] = &other;
        let beside = [one.clone(), shown("two.com", &["two.com", "one.com"])];
        assert_eq!(from("two.com", &["two.com", "one.com"], &beside), None);
        let beside = [one.clone(), shown("two.com", &["two.com", "*.com"])];
        assert_eq!(from("two.com", &["two.com", "one.com"], &beside), lost);
        // What is its own too, it may change.
        let both = [shown("other", &["both.com"])];
        assert_eq!(from("two.com", &["two.com", "both.com"], &both), None);
    }

    #[test]
    fn it_takes_nothing_below_a_domain_with_a_star() {
        let mut table = RouteTable::new();
        table.apply(&Change::Put(service(
            "serviceName=one&serviceDomain=*.acme.com&port=80",
        )));
        let wild = [shown("acme", &["*.acme.com"])];
        let from = |query: &str, names: &[&str]| {
            let showing = showing(&wild, "");
            from(
                &table,
                &service(query),
                ("two.com", issued(names)),
                &showing,
            )
        };
        let two = "serviceName=two&serviceDomain=two.com&port=80";
        let lost = Some("x.acme.com of one".to_owned());
        assert_eq!(from(two, &["two.com", "x.acme.com"]), lost);
        assert_eq!(from(two, &["two.com", "x.other.com"]), None);
        let own = "serviceName=two&serviceDomain=two.com,x.acme.com&port=80";
        assert_eq!(from(own, &["two.com", "x.acme.com"]), None);
    }

    #[test]
    fn keys_of_two_kinds_stand_side_by_side() {
        let mut table = RouteTable::new();
        let one = service("serviceName=one&serviceDomain=one.com&port=80");
        table.apply(&Change::Put(one));
        let two = service("serviceName=two&serviceDomain=two.com&port=80");
        let both = ["two.com", "one.com"];
        let lost = Some("one.com of one".to_owned());
        let (ecdsa, rsa) = (issued(&["one.com"]), issued_rsa(&["one.com"]));
        let from = |new: Certificate, shown: &[&Certificate]| {
            let shown = (1..)
                .zip(shown)
                .map(|(nth, one)| under(&format!("c{nth}"), (*one).clone()));
            let shown: Vec<_> = shown.collect();
            from(&table, &two, ("two.com", new), &showing(&shown, ""))
        };
        // Whoever knows ECDSA is shown that, and before there was nothing for the others.
        assert_eq!(from(issued_rsa(&both), &[&ecdsa]), None);
        assert_eq!(
            from(issued(&both), &[&rsa]),
            lost,
            "most clients know ECDSA"
        );
        assert_eq!(from(issued(&both), &[&ecdsa]), lost);
        assert_eq!(from(issued_rsa(&both), &[&rsa]), lost);
        assert_eq!(from(issued_rsa(&both), &[&ecdsa, &rsa]), lost);
        // A name with a star of the better kind goes before the very name.
        let wild = ["two.com", "*.com"];
        assert_eq!(from(issued(&wild), &[&rsa]), lost);
        assert_eq!(from(issued(&wild), &[&ecdsa]), None);
        assert_eq!(from(issued_rsa(&wild), &[&ecdsa]), None);
    }

    #[test]
    fn a_list_says_what_names_are_shown_for() {
        let mut table = RouteTable::new();
        let one = service("serviceName=one&serviceDomain=one.com&port=80");
        table.apply(&Change::Put(one));
        let two = service("serviceName=two&serviceDomain=two.com&port=80");
        let lost = Some("one.com of one".to_owned());
        let from = |names: &[&str], shown: &[Shown], list: &str| {
            let showing = showing(shown, list);
            from(&table, &two, ("two.com", issued(names)), &showing)
        };
        let other = [shown("other", &["one.com"])];
        let both = ["two.com", "one.com"];
        assert_eq!(from(&both, &other, "other"), lost);
        // The new one is shown for less than it is for, or for more.
        assert_eq!(from(&both, &other, "two.com [alpn h2] TWO.com"), None);
        assert_eq!(from(&["two.com"], &other, "two.com two.com one.com"), lost);
        assert_eq!(from(&["two.com"], &other, "two.com *.com"), None);
        // What is shown is not for the domain, so nobody loses it; or it is, by the list alone.
        assert_eq!(from(&both, &other, "other else.com"), None);
        let other = [shown("other", &["other.com"])];
        assert_eq!(from(&both, &other, "other"), None);
        assert_eq!(from(&both, &other, "other ONE.com"), lost);
        assert_eq!(from(&both, &other, "other *.com"), lost);
        assert_eq!(from(&both, &other, "other *.com !one.com"), None);
    }
}
