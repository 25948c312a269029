//! `serviceCert`: a certificate that comes with a service. It is no part of the service, and takes no name
//! away from another.

use axum::http::StatusCode;
use proxy_core::{Params, Service};
use proxy_haproxy::{Certificate, CertificateName};
use secrecy::zeroize::Zeroizing;

use super::{
    Api,
    answer::Answered,
    cert::{Good, good, lane, refused},
};
use crate::{
    certificates::{Presented, fits},
    chain::chain,
    engine::WaitFor,
};

mod taken;

use taken::{Taken, taken};

/// The certificate that came with a service, where one did.
#[derive(Default)]
pub(super) struct GivenCertificate(Option<Zeroizing<String>>);

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
        let showing = api.certificates.showing();
        let new = Presented::new(&name, &certificate, showing.list());
        if let Some(Taken { domain, from }) = taken(&table, service, &new, &showing) {
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
        .find(|domain| fits(certificate.names(), domain));
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

/// The domains of a service, in lower case.
fn domains_of(service: &Service) -> impl Iterator<Item = String> + '_ {
    let domains = service.destinations().iter().flat_map(|to| to.domains());
    domains.map(|domain| domain.to_string().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{issued, service};

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
}
