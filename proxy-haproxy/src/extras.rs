//! What an operator adds to every configuration, whatever its services: error pages, the form of the
//! access log, captured headers, and lines of HAProxy's own language.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use proxy_core::{HeaderName, RawLines};

/// The longest captured part of a header in bytes: more would not fit into a line of the log.
const MAX_CAPTURE_BYTES: u16 = 1024;
/// The longest form of a line of the log in bytes.
const MAX_FORMAT_BYTES: usize = 4096;
/// The statuses that HAProxy answers itself (configuration manual, "errorfile").
const STATUSES: [u16; 16] = [
    200, 400, 401, 403, 404, 405, 407, 408, 410, 425, 429, 500, 501, 502, 503, 504,
];

/// What an operator adds to every configuration. The default adds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extras {
    /// The files that hold the answers that HAProxy gives itself, by status.
    pub error_files: BTreeMap<ErrorStatus, PathBuf>,
    /// Which lines the access log has, and in which form.
    pub log: LogLines,
    /// Headers of requests that stand in the access log.
    pub captures: Vec<Capture>,
    /// Lines for the section `global`.
    pub global: RawLines,
    /// Lines for the frontend that takes requests, before its own rules.
    pub frontend: RawLines,
}

/// The access log, where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLines {
    /// Which requests and connections have a line.
    pub which: Logged,
    /// The form of a request's line; none: HAProxy's own (`option httplog`).
    pub http: Option<LogFormat>,
    /// The form of a connection's line; none: HAProxy's own (`option tcplog`).
    pub tcp: Option<LogFormat>,
}

/// Which requests and connections have a line in the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Logged {
    /// All.
    #[default]
    All,
    /// Those that went wrong: errors, timeouts, retries, and answers of 500 and above.
    Errors,
}

/// The form of a line in the access log (configuration manual, section 8.2.4, "Custom log format").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFormat(String);

/// Why a text is no [`LogFormat`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be 1 to {MAX_FORMAT_BYTES} printable characters")]
pub struct LogFormatError;

/// A status that HAProxy answers itself and has a file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorStatus(u16);

/// A header of requests whose beginning stands in the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    name: HeaderName,
    length: u16,
}

/// Why a text is no [`Capture`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a captured header is written as Name:length, with at most {MAX_CAPTURE_BYTES} bytes")]
pub struct CaptureError;

// === impl LogFormat ===

impl LogFormat {
    /// The text, one word of HAProxy's once it is quoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = !text.is_empty() && text.len() <= MAX_FORMAT_BYTES;
        match fits && !text.chars().any(char::is_control) {
            true => Ok(Self(text.to_owned())),
            false => Err(LogFormatError),
        }
    }
}

// === impl ErrorStatus ===

impl ErrorStatus {
    /// The status, where HAProxy can answer it from a file.
    #[must_use]
    pub fn new(status: u16) -> Option<Self> {
        STATUSES.contains(&status).then_some(Self(status))
    }

    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        STATUSES.into_iter().map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

// === impl Capture ===

impl Capture {
    /// The header.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// How many bytes of it.
    #[must_use]
    pub fn length(&self) -> u16 {
        self.length
    }
}

impl FromStr for Capture {
    type Err = CaptureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, length) = text.split_once(':').ok_or(CaptureError)?;
        let length = length.trim().parse().map_err(|_| CaptureError)?;
        match length {
            1..=MAX_CAPTURE_BYTES => Ok(Self {
                name: name.trim().parse().map_err(|_| CaptureError)?,
                length,
            }),
            _ => Err(CaptureError),
        }
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_a_header_and_a_length() {
        let capture: Capture = "X-Request-Id : 40".parse().unwrap();
        assert_eq!(capture.to_string(), "X-Request-Id:40");
        for bad in [
            "", "X", "X:", "X:0", "X:1025", ":5", "a b:5", "X:5:5", "X\0:5",
        ] {
            assert!(bad.parse::<Capture>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_form_of_a_line_is_one_line() {
        assert!("%ci [%tr] \"%r\" %ST".parse::<LogFormat>().is_ok());
        for bad in ["", "a\nb", "a\0"] {
            assert!(bad.parse::<LogFormat>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_what_haproxy_answers_has_a_file() {
        assert!(ErrorStatus::new(503).is_some() && ErrorStatus::new(404).is_some());
        assert!(ErrorStatus::new(302).is_none());
    }
}
