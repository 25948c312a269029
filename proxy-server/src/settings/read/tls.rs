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
        let alpn = self.switch("ENABLE_H2").map(|on| match on {
            true => Alpn::Http2,
            false => Alpn::Http1,
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
            crt_list: self.optional_path("CRT_LIST_PATH"),
            preferred: preferred.unwrap_or_default(),
            tls,
        })
    }
}
