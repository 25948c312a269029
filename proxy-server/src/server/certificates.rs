//! The certificates of a replica, from its settings.

use std::sync::Arc;

use anyhow::Context as _;
use proxy_haproxy::{CertificateProbe, ClientAuthorities, TlsSettings, Validator};
use proxy_peers::{Broadcast, BroadcastSettings, Peers, Sealer};

use crate::{
    api::MAX_TABLE_BODY,
    certificates::{CertificateExchange, Certificates, CertificatesSettings},
    metrics::Metrics,
    settings::Settings,
};

pub(super) fn all(
    settings: &Settings,
    tls: &TlsSettings,
    metrics: &Arc<Metrics>,
) -> Arc<Certificates> {
    let given = &settings.certificates;
    let probe = CertificateProbe::new(
        Validator::new(&settings.haproxy.binary),
        tls.clone(),
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

/// How TLS is spoken.
pub(super) fn tls(settings: &Settings) -> anyhow::Result<TlsSettings> {
    let given = &settings.certificates;
    let mut tls = given.tls.clone();
    if let Some(path) = &given.client_authorities {
        let shown = path.display();
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("CA_FILE: {shown} cannot be read"))?;
        let authorities = ClientAuthorities::parse(&text);
        let authorities =
            authorities.with_context(|| format!("CA_FILE: {shown} cannot be used"))?;
        tls.client_authorities = Some(authorities);
    }
    Ok(tls)
}

/// How they travel between replicas.
pub(super) fn exchange(
    settings: &Settings,
    certificates: &Arc<Certificates>,
    peers: Option<Arc<Peers>>,
    calls: BroadcastSettings,
    own_address: String,
) -> anyhow::Result<Arc<CertificateExchange>> {
    let sealer = settings.peers.secret.as_ref().map(Sealer::new);
    let certificates = Arc::clone(certificates);
    // Answers hold many certificates.
    let calls = calls.max_reply_bytes(MAX_TABLE_BODY);
    let broadcasts = [
        Broadcast::over_http(calls.clone())?,
        Broadcast::over_http(calls.attempts(1))?,
    ];
    let exchange = CertificateExchange::new(certificates, peers, broadcasts, sealer, own_address);
    Ok(Arc::new(exchange))
}
