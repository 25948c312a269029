//! The settings about the parameters of services.

use proxy_core::{Compression, PlainHttp, RawConfig, ReconfigureRules};

use super::Reader;

impl Reader<'_> {
    /// The rules with what the settings say about raw text and requests without TLS.
    pub(super) fn with_services(&mut self, rules: ReconfigureRules) -> Option<ReconfigureRules> {
        let raw = match self.switch("ALLOW_RAW_CONFIG")? {
            true => RawConfig::Allowed,
            false => RawConfig::Refused,
        };
        let plain_http = match self.switch("HTTPS_ONLY")? {
            true => PlainHttp::Redirected,
            false => PlainHttp::Served,
        };
        Some(rules.with_raw(raw).with_plain_http(plain_http))
    }

    pub(super) fn compression(&mut self) -> Compression {
        let mut compression = Compression::default();
        let algos = self.words("COMPRESSION_ALGO");
        compression.algos = algos.unwrap_or_default();
        let types = self.words("COMPRESSION_TYPE");
        compression.types = types.unwrap_or_default();
        compression
    }

    /// Words parted by commas, or by spaces as in HAProxy's configuration.
    fn words<T>(&mut self, name: &'static str) -> Option<Vec<T>>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.parse(name, |text| {
            let words = text.split([',', ' ', '\t', '\n']);
            let words = words.filter(|word| !word.is_empty());
            words
                .map(|word| {
                    word.parse()
                        .map_err(|problem| format!("{word:?}: {problem}"))
                })
                .collect::<Result<Vec<T>, String>>()
        })
    }
}
