//! What is taken and serves nobody all the same, which its caller should hear: a service that shuts everybody out, or of
//! which there is nothing in the catalog.

use std::collections::BTreeSet;

use proxy_core::{
    ClientCertificates, Destination, ForwardedProto, Leg, PlainHttp, Service, ServiceOptions,
};

use super::super::{Api, answer::Answered};

/// Whether there is a certificate to speak TLS with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certificate {
    /// The call brings one.
    ComesToo,
    /// There are those that are shown, if any.
    AsShown,
}

/// The answer, with a warning for each reason why nobody will be served.
pub(super) async fn unserved(
    api: &Api,
    service: &Service,
    certificate: Certificate,
    answered: Answered,
) -> Answered {
    let speaks_tls = certificate == Certificate::ComesToo || !api.certificates.shown().is_empty();
    let mut said = Vec::new();
    if !api.certificates.asks_clients() && of_requests(service).any(wants_certificates) {
        said.push("verifyClientSsl: this proxy has no CA_FILE and asks no client for a certificate, so all of them are answered with 403".to_owned());
    }
    if !speaks_tls {
        said.extend(plain_only(service));
    }
    if answered.outcome() != "refused" {
        said.extend(unregistered(api, service).await);
    }
    let said = said.into_iter();
    said.fold(answered, |answered, said| answered.warn(Some(said)))
}

fn of_requests(service: &Service) -> impl Iterator<Item = &Destination> {
    let all = service.destinations().iter();
    all.filter(|destination| !destination.mode().is_tcp())
}

fn wants_certificates(destination: &Destination) -> bool {
    destination.options().tls.clients == ClientCertificates::Required
}

/// What is to be said of a service for TLS alone where no port speaks it.
fn plain_only(service: &Service) -> Option<String> {
    let ServiceOptions {
        forwarded_proto, ..
    } = service.options();
    let any = |plain: PlainHttp| {
        of_requests(service).any(|destination| {
            // Of what came in on the port for HTTPS nothing is redirected.
            let is_leg = destination.leg() == Leg::Https && plain == PlainHttp::Redirected;
            !is_leg && destination.options().redirects.plain_http == plain
        })
    };
    let why = "this proxy has no certificate and speaks no TLS, so";
    let until = "until it has one (PUT cert, serviceCert or CERTS_PATH)";
    if any(PlainHttp::Denied) {
        return Some(format!(
            "denyHttp: {why} all requests are answered with 403 {until}"
        ));
    }
    // Elsewhere somebody in front may speak it, and say so.
    let redirected = any(PlainHttp::Redirected) && *forwarded_proto == ForwardedProto::Ignored;
    redirected.then(|| {
        format!("httpsOnly: {why} all requests are redirected to where nobody answers them {until}")
    })
}

/// What is to be said of servers that are looked for in the catalog and are not there. What could not be asked is no
/// reason to say so.
async fn unregistered(api: &Api, service: &Service) -> Vec<String> {
    let Some(catalog) = &api.catalog else {
        return Vec::new();
    };
    let keys = service.destinations().iter();
    let keys: BTreeSet<_> = keys.filter_map(|to| service.catalog_key(to)).collect();
    let mut said = Vec::new();
    for key in catalog.unregistered(&keys).await {
        let name = &key.service;
        let port = match key.port {
            None => "; give the parameter port where it is not for the catalog",
            Some(_) => "",
        };
        said.push(format!(
            "nothing is registered as {name} in Consul's catalog, or CONSUL_TOKEN may not read it, so requests are answered with 503 until something is{port}"
        ));
    }
    said
}
