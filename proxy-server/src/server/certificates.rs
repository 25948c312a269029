//! The certificates of a replica, from its settings.

use std::sync::Arc;

use proxy_haproxy::{CertificateProbe, Validator};

use crate::{
    certificates::{Certificates, CertificatesSettings},
    metrics::Metrics,
    settings::Settings,
};

pub(super) fn all(settings: &Settings, metrics: &Arc<Metrics>) -> Arc<Certificates> {
    let given = &settings.certificates;
    let probe = CertificateProbe::new(
        Validator::new(&settings.haproxy.binary),
        given.tls.clone(),
        settings.state_path.clone(),
    );
    let sources = CertificatesSettings {
        certs_path: given.certs_path.clone(),
        secrets_path: given.secrets_path.clone(),
        preferred: given.preferred.clone(),
    };
    Arc::new(Certificates::new(sources, probe, Arc::clone(metrics)))
}
