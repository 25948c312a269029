//! What the settings say of TLS.

use proxy_haproxy::{Alpn, BindOption, CipherList, Glob, TlsSettings};

use super::Reader;
use crate::settings::CertificateSettings;

impl Reader<'_> {
    pub(super) fn certificates(&mut self) -> Option<CertificateSettings> {
        let preferred = self.list("PREFERRED_CERTIFICATE", |item| {
            let glob = item.parse::<Glob>();
            glob.map_err(|problem| format!("{item:?}: {problem}"))
        });
        let alpn = self.parse("ENABLE_H2", |text| match text {
            "true" | "1" => Ok(Alpn::Http2),
            "false" | "0" => Ok(Alpn::Http1),
            _ => Err("it is neither true nor false"),
        });
        let options = self.parse("SSL_BIND_OPTIONS", BindOption::list);
        let ciphers = self.parse("SSL_BIND_CIPHERS", str::parse::<CipherList>);
        let mut tls = TlsSettings::default();
        tls.alpn = alpn?;
        tls.options = options.unwrap_or_default();
        tls.ciphers = ciphers;
        Some(CertificateSettings {
            client_authorities: self.optional_path("CA_FILE"),
            certs_path: self.path("CERTS_PATH"),
            secrets_path: self.path("SECRETS_PATH"),
            preferred: preferred.unwrap_or_default(),
            tls,
        })
    }
}
