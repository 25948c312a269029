//! How strict HAProxy is where it speaks TLS.

use std::{fmt, str::FromStr, sync::Arc};

/// How binds speak TLS. By default: TLS 1.2 and newer, HTTP/2 offered, HAProxy's own ciphers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSettings {
    /// What clients are offered.
    pub alpn: Alpn,
    /// HAProxy's `ssl-default-bind-options`, after the floor of TLS 1.2.
    pub options: Vec<BindOption>,
    /// HAProxy's `ssl-default-bind-ciphers`, for TLS 1.2 and older.
    pub ciphers: Option<CipherList>,
    /// Whose certificates clients may show. Given, every client is asked for one; only destinations that
    /// want one refuse those without.
    pub client_authorities: Option<ClientAuthorities>,
}

/// The certificates of authorities, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthorities {
    pem: Arc<str>,
}

/// What clients are offered by ALPN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alpn {
    /// HTTP/2, else HTTP/1.1.
    #[default]
    Http2,
    /// HTTP/1.1 alone.
    Http1,
}

/// One of HAProxy's `ssl-default-bind-options`, a version with those that take one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindOption {
    word: &'static str,
    version: Option<&'static str>,
}

/// Why a text is no list of [`BindOption`]s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{word:?} is none of {}, and none of {} with one of {}",
    OPTIONS.join(", "),
    VERSIONED.join(", "),
    VERSIONS.join(", ")
)]
pub struct BindOptionError {
    word: String,
}

/// An OpenSSL cipher list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CipherList(String);

/// Why a text is no [`CipherList`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds something else than names of ciphers joined by ':', with '+', '-', '!' and '@'")]
pub struct CipherListError;

const OPTIONS: [&str; 13] = [
    "no-sslv3",
    "no-tlsv10",
    "no-tlsv11",
    "no-tlsv12",
    "no-tlsv13",
    "no-tls-tickets",
    "force-tlsv10",
    "force-tlsv11",
    "force-tlsv12",
    "force-tlsv13",
    "force-sslv3",
    "prefer-client-ciphers",
    "strict-sni",
];
const VERSIONED: [&str; 2] = ["ssl-min-ver", "ssl-max-ver"];
const VERSIONS: [&str; 4] = ["TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

// === impl Alpn ===

impl Alpn {
    /// As HAProxy's `alpn` wants them.
    pub(crate) fn protocols(self) -> &'static str {
        match self {
            Self::Http2 => "h2,http/1.1",
            Self::Http1 => "http/1.1",
        }
    }
}

// === impl ClientAuthorities ===

impl ClientAuthorities {
    /// Those of a text that was found good.
    #[cfg(feature = "certificates")]
    pub(super) fn known(pem: Arc<str>) -> Self {
        Self { pem }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }
}

// === impl BindOption ===

impl BindOption {
    /// Reads a list, joined by blanks.
    ///
    /// # Errors
    /// When a word is not known.
    pub fn list(text: &str) -> Result<Vec<Self>, BindOptionError> {
        fn known(set: &[&'static str], word: &str) -> Option<&'static str> {
            set.iter().copied().find(|known| *known == word)
        }
        let mut words = text.split_whitespace();
        let mut options = Vec::new();
        while let Some(word) = words.next() {
            let option = match (known(&OPTIONS, word), known(&VERSIONED, word)) {
                (Some(word), _) => Some((word, None)),
                (None, Some(word)) => {
                    let version = words.next().and_then(|next| known(&VERSIONS, next));
                    version.map(|version| (word, Some(version)))
                }
                (None, None) => None,
            };
            let (word, version) = option.ok_or_else(|| BindOptionError {
                word: word.to_owned(),
            })?;
            options.push(Self { word, version });
        }
        Ok(options)
    }

    /// Its words, as HAProxy wants them.
    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.word).chain(self.version)
    }
}

impl fmt::Display for BindOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)?;
        self.version
            .map_or(Ok(()), |version| write!(f, " {version}"))
    }
}

// === impl CipherList ===

impl FromStr for CipherList {
    type Err = CipherListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |c: char| c.is_ascii_alphanumeric() || ":+-!@=_.".contains(c);
        if text.is_empty() || !text.chars().all(known) {
            return Err(CipherListError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CipherList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_known_words() {
        let list = BindOption::list("no-sslv3  ssl-min-ver TLSv1.3 no-tls-tickets").unwrap();
        let words: Vec<_> = list.iter().flat_map(|option| option.words()).collect();
        assert_eq!(
            words,
            ["no-sslv3", "ssl-min-ver", "TLSv1.3", "no-tls-tickets"]
        );
        assert!(BindOption::list("").unwrap().is_empty());
        for bad in [
            "verify none",
            "ssl-min-ver",
            "ssl-min-ver SSLv2",
            "no-sslv3,x",
            "crt /x",
        ] {
            assert!(BindOption::list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ciphers_are_one_word() {
        assert!(
            "ECDHE+AESGCM:!aNULL:@STRENGTH"
                .parse::<CipherList>()
                .is_ok()
        );
        for bad in ["", "a b", "a\nb", "a#b", "a'b"] {
            assert!(bad.parse::<CipherList>().is_err(), "{bad:?}");
        }
    }
}
