//! The certificates of a replica, from its settings.

use std::sync::Arc;

use proxy_haproxy::{CertificateProbe, Validator};
use proxy_peers::{Broadcast, Peers, Sealer};

use crate::{
    certificates::{CertificateExchange, Certificates, CertificatesSettings},
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
        state_path: settings.state_path.clone(),
        preferred: given.preferred.clone(),
    };
    Arc::new(Certificates::new(sources, probe, Arc::clone(metrics)))
}

/// How they travel between replicas.
pub(super) fn exchange(
    settings: &Settings,
    certificates: &Arc<Certificates>,
    peers: Option<Arc<Peers>>,
    broadcast: Broadcast,
    own_address: String,
) -> Arc<CertificateExchange> {
    let sealer = settings.peers.secret.as_ref().map(Sealer::new);
    let certificates = Arc::clone(certificates);
    let exchange = CertificateExchange::new(certificates, peers, broadcast, sealer, own_address);
    Arc::new(exchange)
}
