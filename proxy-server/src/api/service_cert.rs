//! `serviceCert`: a certificate that comes with a service. It is no part of the service, and takes no name
//! away from another.

use axum::http::StatusCode;
use proxy_core::{Params, RouteTable, Service};
use proxy_haproxy::{Certificate, CertificateName};
use secrecy::zeroize::Zeroizing;

use super::{
    Api,
    answer::Answered,
    cert::{Good, good, lane, refused},
};
use crate::{certificates::Shown, chain::chain, engine::WaitFor};

/// The certificate that came with a service, where one did.
#[derive(Default)]
pub(super) struct GivenCertificate(Option<Zeroizing<String>>);

/// How a certificate is for a domain, the better the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It has a name with a star that the domain fits.
    Wildcard,
    /// It has the very name.
    Name,
}

/// A domain that would change hands.
struct Taken {
    domain: String,
    from: String,
}

// === impl GivenCertificate ===

impl GivenCertificate {
    /// Takes it out of the parameters, which are read without it.
    pub(super) fn take(params: &mut Params) -> Self {
        let text = params.take("serviceCert").filter(|text| !text.is_empty());
        // In a URL the line ends of a PEM text are written as two characters.
        Self(text.map(|text| Zeroizing::new(text.replace("\\n", "\n"))))
    }

    /// Whether there is one.
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// It is kept under the first domain of the service that it is for; under the service's name where the
    /// service has none.
    pub(super) async fn good(
        self,
        api: &Api,
        service: &Service,
        who: WaitFor,
    ) -> Result<Option<Good>, Answered> {
        let Some(text) = self.0 else {
            return Ok(None);
        };
        let bad = |why: String| {
            let message = format!("serviceCert: {why}; nothing was changed");
            Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false)
        };
        let certificate = Certificate::parse(&text).map_err(|error| bad(chain(&error)))?;
        let name = name_of(service, &certificate).map_err(bad)?;
        let lane = lane(api, &name).await?;
        let table = api.engine.snapshot().view.stored.table().clone();
        let shown = api.certificates.shown();
        if let Some(Taken { domain, from }) = taken(&table, service, &name, &certificate, &shown) {
            let why = format!(
                "it would change the certificate of {domain}, a domain of the service {from}; give it with PUT cert where that is wanted"
            );
            return Err(refused(StatusCode::CONFLICT, &name, &why));
        }
        good(api, lane, name, certificate, who).await.map(Some)
    }
}

/// What the certificate is kept under.
fn name_of(service: &Service, certificate: &Certificate) -> Result<CertificateName, String> {
    let domains: Vec<_> = domains_of(service).collect();
    let covered = domains
        .iter()
        .find(|domain| fit(certificate, domain).is_some());
    let name = match (covered, domains.is_empty()) {
        (Some(domain), _) => domain.clone(),
        (None, true) => service.name().to_string(),
        (None, false) => {
            return Err(format!(
                "it is for {} and for no domain of the service ({})",
                certificate.names().join(", "),
                domains.join(", ")
            ));
        }
    };
    let plain = |c: char| match c.is_ascii_alphanumeric() || "._-".contains(c) {
        true => c,
        false => '_',
    };
    let name: String = name.chars().map(plain).take(100).collect();
    let parsed = name.parse::<CertificateName>();
    parsed.map_err(|error| format!("{name:?}: {error}"))
}

/// A domain of another service that had a certificate and would have another, or none.
fn taken(
    table: &RouteTable,
    service: &Service,
    name: &CertificateName,
    certificate: &Certificate,
    shown: &[Shown],
) -> Option<Taken> {
    let own: Vec<_> = domains_of(service).collect();
    let (same, others): (Vec<_>, Vec<_>) = shown.iter().partition(|one| one.name == *name);
    let (known, rivals): (Vec<_>, Vec<_>) = others
        .iter()
        .partition(|one| one.certificate == *certificate);
    let best = |all: &[&Shown], domain: &str| {
        let fits = all.iter().map(|one| fit(&one.certificate, domain));
        fits.max().flatten()
    };
    let other_services = table.iter().filter(|other| other.name() != service.name());
    for other in other_services {
        for domain in asked_for(other, certificate).filter(|domain| !own.contains(domain)) {
            let (now, rival) = (fit(certificate, &domain), best(&rivals, &domain));
            let before = best(&same, &domain).max(best(&known, &domain));
            let loses = before.is_some() && now.is_none() && rival.is_none();
            // Beside others it is shown to some clients at least: those with its kind of key.
            let reaches = now.is_some() && rival.is_some() && now >= rival;
            let stood_there = before >= now;
            if loses || (reaches && !stood_there) {
                let from = other.name().to_string();
                return Some(Taken { domain, from });
            }
        }
    }
    None
}

/// The domains of a service, and what a certificate names of those that end as one of them.
fn asked_for<'a>(
    service: &'a Service,
    certificate: &'a Certificate,
) -> impl Iterator<Item = String> + 'a {
    domains_of(service).flat_map(|domain| {
        let names = certificate.names().iter();
        let end = domain.strip_prefix('*').map(str::to_owned);
        let below = names.filter(move |name| {
            let end = end.as_ref();
            end.is_some_and(|end| name.ends_with(end.as_str()))
        });
        let below: Vec<_> = below.cloned().collect();
        std::iter::once(domain).chain(below)
    })
}

fn domains_of(service: &Service) -> impl Iterator<Item = String> + '_ {
    let domains = service.destinations().iter().flat_map(|to| to.domains());
    domains.map(|domain| domain.to_string().to_ascii_lowercase())
}

/// How a certificate is for a domain, if it is. Of those that fit HAProxy shows the best, and of several that
/// fit as well the first of its list with a kind of key that the client knows.
fn fit(certificate: &Certificate, domain: &str) -> Option<Fit> {
    let has = |wanted: &str| certificate.names().iter().any(|name| name == wanted);
    if has(domain) {
        return Some(Fit::Name);
    }
    let (_, parent) = domain.split_once('.')?;
    has(&format!("*.{parent}")).then_some(Fit::Wildcard)
}

#[cfg(test)]
mod tests {
    use proxy_core::{Change, parse_reconfigure};
    use testkit::tls::Authority;

    use super::*;
    use crate::certificates::Source;

    fn service(query: &str) -> std::sync::Arc<Service> {
        let params = Params::from_query(query).unwrap();
        parse_reconfigure(&params).unwrap().value.service
    }

    fn issued(names: &[&str]) -> Certificate {
        let issued = Authority::new("a").unwrap().issue(names).unwrap();
        Certificate::parse(&issued.bundle()).unwrap()
    }

    fn shown(name: &str, names: &[&str]) -> Shown {
        Shown {
            name: name.parse().unwrap(),
            certificate: issued(names),
            source: Source::Call,
        }
    }

    #[test]
    fn it_is_kept_under_a_domain_that_it_is_for() {
        let two = service("serviceName=two&serviceDomain=a.com,b.com&port=80");
        let none = service("serviceName=none&servicePath=/&port=80");
        let name = |service, names: &[&str]| {
            let name = name_of(service, &issued(names));
            name.map(|name| name.to_string())
        };
        assert_eq!(name(&two, &["b.com"]).unwrap(), "b.com");
        assert_eq!(name(&two, &["b.com", "a.com"]).unwrap(), "a.com");
        assert_eq!(name(&none, &["b.com"]).unwrap(), "none");
        let refused = name(&two, &["c.com"]).unwrap_err();
        assert!(
            refused.contains("c.com") && refused.contains("a.com, b.com"),
            "{refused}"
        );
        let deep = service("serviceName=deep&serviceDomain=x.a.com&port=80");
        assert_eq!(name(&deep, &["*.a.com"]).unwrap(), "x.a.com");
        assert!(name(&deep, &["*.com"]).is_err(), "a star is one label");
    }

    #[test]
    fn it_takes_no_domain_of_another_service_away() {
        let mut table = RouteTable::new();
        table.apply(&Change::Put(service(
            "serviceName=one&serviceDomain=one.com,both.com&port=80",
        )));
        let two = service("serviceName=two&serviceDomain=two.com,both.com&port=80");
        let from = |kept: &str, names: &[&str], shown: &[Shown]| {
            let kept = kept.parse().unwrap();
            let taken = taken(&table, &two, &kept, &issued(names), shown);
            taken.map(|taken| format!("{} of {}", taken.domain, taken.from))
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
            let kept = "two.com".parse().unwrap();
            let taken = taken(&table, &service(query), &kept, &issued(names), &wild);
            taken.map(|taken| taken.domain)
        };
        let two = "serviceName=two&serviceDomain=two.com&port=80";
        let lost = Some("x.acme.com".to_owned());
        assert_eq!(from(two, &["two.com", "x.acme.com"]), lost);
        assert_eq!(from(two, &["two.com", "x.other.com"]), None);
        let own = "serviceName=two&serviceDomain=two.com,x.acme.com&port=80";
        assert_eq!(from(own, &["two.com", "x.acme.com"]), None);
    }
}
