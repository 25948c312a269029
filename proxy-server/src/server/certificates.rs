//! The certificates of a replica, from its settings.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use proxy_haproxy::{CertificateProbe, Validator};
use proxy_peers::{Broadcast, BroadcastSettings, Peers, Sealer};

use crate::{
    api::MAX_TABLE_BODY,
    certificates::{
        CertificateExchange, Certificates, CertificatesSettings, read_authorities, read_list,
    },
    files::RepeatedRead,
    metrics::Metrics,
    settings::Settings,
};

pub(super) fn all(settings: &Settings, metrics: &Arc<Metrics>) -> Arc<Certificates> {
    let given = &settings.certificates;
    let probe = CertificateProbe::new(
        Validator::new(settings.haproxy.program()),
        given.tls.clone(),
        settings.state_path.clone(),
    );
    let sources = CertificatesSettings {
        certs_path: given.certs_path.clone(),
        secrets_path: given.secrets_path.clone(),
        state_path: settings.state_path.clone(),
        configs_path: settings.haproxy.configs_path.clone(),
        crt_list: given.crt_list.clone(),
        preferred: given.preferred.clone(),
        client_authorities: given.client_authorities.clone(),
    };
    Arc::new(Certificates::new(sources, probe, Arc::clone(metrics)))
}

/// Whether the files that are named can be used: later they are only read again.
pub(super) async fn check_files(settings: &Settings) -> anyhow::Result<()> {
    let given = &settings.certificates;
    check("CRT_LIST_PATH", given.crt_list.as_ref(), read_list).await?;
    check(
        "CA_FILE",
        given.client_authorities.as_ref(),
        read_authorities,
    )
    .await
}

async fn check<T: Send + 'static>(
    setting: &str,
    path: Option<&PathBuf>,
    read: fn(&Path) -> Result<T, String>,
) -> anyhow::Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    let file = path.clone();
    let read = RepeatedRead::default().read(move || read(&file)).await;
    let read = read.and_then(|read| read).map_err(anyhow::Error::msg);
    read.with_context(|| format!("{setting}: {} cannot be used", path.display()))?;
    Ok(())
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
