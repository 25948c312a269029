//! How a backend holds and fills its connections: modes, timeouts, compression.

use serde::{Deserialize, Serialize};

use crate::{closed::closed_set, mode::Seconds, name::text_newtype, options::is_default};

/// The longest media type in bytes.
pub const MAX_MEDIA_TYPE_BYTES: usize = 128;

/// The most media types that are compressed. HAProxy reads 64 words a line.
pub const MAX_MEDIA_TYPES: usize = 50;

closed_set! {
    /// What becomes of a connection after a response: HAProxy's options of the same names.
    ConnectionMode {
        /// Both sides are kept open.
        KeepAlive = "http-keep-alive",
        /// The service's side is closed.
        ServerClose = "http-server-close",
        /// Both sides are closed.
        Close = "httpclose",
        /// The same, by its name before HAProxy 2.0.
        ForceClose = "forceclose",
    }
}

closed_set! {
    /// How responses are compressed.
    CompressionAlgo {
        /// Not at all; for tests.
        Identity = "identity",
        /// As gzip.
        Gzip = "gzip",
        /// As deflate within zlib's format.
        Deflate = "deflate",
        /// As deflate alone.
        RawDeflate = "raw-deflate",
    }
}

text_newtype!(
    /// A media type, as `text/html`.
    MediaType,
    MediaTypeError,
    check_media_type
);

/// Why a text is no media type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not written type/subtype, as text/html, in at most {MAX_MEDIA_TYPE_BYTES} bytes")]
pub struct MediaTypeError;

/// Which responses are compressed, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Compression {
    /// The algorithms that are offered to clients; none: nothing is compressed.
    #[serde(skip_serializing_if = "is_default")]
    pub algos: Vec<CompressionAlgo>,
    /// The media types that are compressed; none: all.
    #[serde(skip_serializing_if = "is_default")]
    pub types: Vec<MediaType>,
}

/// How long a backend waits, where it is not what the settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct BackendTimeouts {
    /// For a silent service.
    #[serde(skip_serializing_if = "is_default")]
    pub server: Option<Seconds>,
    /// For a silent tunnel (WebSocket).
    #[serde(skip_serializing_if = "is_default")]
    pub tunnel: Option<Seconds>,
}

// === impl ConnectionMode ===

impl ConnectionMode {
    /// HAProxy's option for it, in all releases.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Self::ForceClose => Self::Close.as_str(),
            other => other.as_str(),
        }
    }
}

fn check_media_type(text: &str) -> Result<(), MediaTypeError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-*".contains(c);
    let token = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
    };
    match text.split_once('/') {
        Some((kind, of)) if text.len() <= MAX_MEDIA_TYPE_BYTES && token(kind) && token(of) => {
            Ok(())
        }
        _ => Err(MediaTypeError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_closed_set() {
        let mode: ConnectionMode = "forceclose".parse().unwrap();
        assert_eq!(mode.option(), "httpclose");
        let refused = "tunnel".parse::<ConnectionMode>().unwrap_err();
        assert!(refused.to_string().contains("http-keep-alive"), "{refused}");
        assert_eq!(serde_json::to_string(&mode).unwrap(), "\"forceclose\"");
        for bad in [
            "",
            "text",
            "text/",
            "/html",
            "a b/c",
            "text/html\n",
            "text/a;b",
        ] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad:?}");
        }
        assert!("application/vnd.api+json".parse::<MediaType>().is_ok());
    }
}
