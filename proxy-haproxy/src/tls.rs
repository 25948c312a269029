//! TLS at the binds: which certificates HAProxy shows, in which order, and how strict it is. For whoever
//! hands certificates to the renderer.

#[cfg(feature = "certificates")]
mod certificate;
mod list;
#[cfg(feature = "certificates")]
mod pem;
#[cfg(feature = "run")]
mod probe;
mod set;
mod settings;

#[cfg(feature = "certificates")]
pub use certificate::{Certificate, CertificateError, KeyKind};
pub use list::{CertificateList, CertificateListError, ListedCertificate};
#[cfg(feature = "certificates")]
pub use pem::MAX_BUNDLE_BYTES;
#[cfg(feature = "run")]
pub use probe::{CertificateProbe, ProbeError};
pub use set::{
    CertificateFile, CertificateName, CertificateNameError, CertificateSet, Glob, GlobError,
};
pub use settings::{
    Alpn, BindOption, BindOptionError, CipherList, CipherListError, ClientAuthorities, TlsSettings,
};

use serde::Serialize;

use crate::{
    rendered::{FileName, RenderedConfig},
    settings::{RenderSettings, TlsMode},
};

/// The name of the file that lists the certificates, in configurations that have any.
pub const CRT_LIST_FILE: &str = "crt-list.txt";

/// The name of the file of those whose certificates clients may show.
const AUTHORITIES_FILE: &str = "client-authorities.crt";

/// What templates see of TLS; none where nothing speaks it.
#[derive(Debug, Serialize)]
pub(crate) struct TlsModel {
    /// Those of `binds` that speak TLS.
    binds: Vec<String>,
    crt_list: &'static str,
    alpn: &'static str,
    /// One word each.
    options: Vec<&'static str>,
    ciphers: Option<String>,
    /// The file of those whose certificates clients may show.
    client_authorities: Option<&'static str>,
}

// === impl TlsModel ===

impl TlsModel {
    /// What these settings come to: nothing speaks TLS before there is a certificate.
    pub(crate) fn new(settings: &RenderSettings) -> Option<Self> {
        let speaks = |tls| tls == TlsMode::TlsWhenCertificate;
        let binds = settings.binds.iter().filter(|bind| speaks(bind.tls));
        let binds: Vec<_> = binds.map(ToString::to_string).collect();
        // A template of somebody's own may know nothing of it.
        let is_none =
            settings.certificates.is_empty() || binds.is_empty() || !settings.template.reads("tls");
        let TlsSettings {
            alpn,
            options,
            ciphers,
            client_authorities,
        } = &settings.tls;
        (!is_none).then(|| Self {
            binds,
            crt_list: CRT_LIST_FILE,
            alpn: alpn.protocols(),
            options: options.iter().flat_map(|option| option.words()).collect(),
            ciphers: ciphers.as_ref().map(ToString::to_string),
            client_authorities: client_authorities.as_ref().map(|_| AUTHORITIES_FILE),
        })
    }
}

/// The configuration with its certificates beside it.
pub(crate) fn with_certificates(
    config: RenderedConfig,
    certificates: &CertificateSet,
    settings: &TlsSettings,
) -> RenderedConfig {
    let mut list = String::new();
    let mut config = config;
    if let Some(authorities) = &settings.client_authorities {
        config = config.with_file(FileName::known(AUTHORITIES_FILE), authorities.pem());
    }
    for file in certificates.files() {
        let name = file.name().file_name();
        list.push_str(name.as_str());
        if !file.listed_as().is_empty() {
            list.push(' ');
            list.push_str(file.listed_as());
        }
        list.push('\n');
        config = config.with_secret(name, file.shared_pem());
    }
    config.with_file(FileName::known(CRT_LIST_FILE), list)
}
