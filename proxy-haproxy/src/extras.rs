//! What an operator adds to every configuration, whatever its services: error pages, the form of the
//! access log, captured headers, and lines of HAProxy's own language.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use proxy_core::{ConnectionMode, HeaderName, Port, RawLines, UserList};

/// The longest captured part of a header in bytes: more would not fit into a line of the log.
const MAX_CAPTURE_BYTES: u16 = 1024;
/// The longest beginning of a request for the page of figures in bytes.
const MAX_URI_BYTES: usize = 256;
/// The largest answer that HAProxy gives itself in bytes.
const MAX_ANSWER_BYTES: usize = 15 * 1024;
/// The longest form of a line of the log in bytes.
const MAX_FORMAT_BYTES: usize = 4096;
/// The statuses that HAProxy answers itself (configuration manual, "errorfile").
const STATUSES: [u16; 16] = [
    200, 400, 401, 403, 404, 405, 407, 408, 410, 425, 429, 500, 501, 502, 503, 504,
];

/// What uses HAProxy's own HTTP client stands in lines of `global` that hold one of these
/// (configuration manual, "httpclient", "lua-load", "ocsp-update" and "acme").
const HTTP_CLIENT_USERS: [&str; 4] = ["httpclient", "lua", "ocsp", "acme"];

/// What an operator adds to every configuration. The default adds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extras {
    /// The answers that HAProxy gives itself, by status.
    pub error_files: BTreeMap<ErrorStatus, ErrorAnswer>,
    /// Which lines the access log has, and in which form.
    pub log: LogLines,
    /// Headers of requests that stand in the access log.
    pub captures: Vec<Capture>,
    /// Lines for the section `global`.
    pub global: RawLines,
    /// Lines for the frontend that takes requests, before its own rules.
    pub frontend: RawLines,
    /// What becomes of connections after a request, where a service does not say it.
    pub connection_mode: Option<ConnectionMode>,
    /// HAProxy's own page of figures.
    pub stats: Option<StatsPage>,
}

/// HAProxy's own page of figures (configuration manual, "stats enable").
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsPage {
    /// Where requests begin that are for it.
    pub uri: StatsUri,
    /// Who may see it.
    pub users: UserList,
    /// The port that it has for itself; none: it is on every port that takes requests.
    pub port: Option<Port>,
}

/// How requests for the page of figures begin: a path, and a query where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsUri(String);

/// Why a text is no [`StatsUri`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it must begin with / and be at most {MAX_URI_BYTES} printable characters of ASCII without spaces"
)]
pub struct StatsUriError;

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

/// A whole answer that HAProxy gives itself: a status line, headers, an empty line and the body
/// (configuration manual, "errorfile"). It is written beside each configuration, so that one that was
/// found good does not change.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorAnswer(Arc<str>);

/// Why a text is no [`ErrorAnswer`]. HAProxy would refuse every configuration with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorAnswerError {
    /// It must fit into a buffer of HAProxy's with room to spare.
    #[error("it is {0} bytes long; at most {MAX_ANSWER_BYTES} are allowed")]
    TooLong(usize),
    /// It is no answer.
    #[error("it is no whole HTTP response: {0}")]
    NoResponse(&'static str),
}

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

// === impl Extras ===

impl Extras {
    /// Whether a line of `global` may make HAProxy use its own HTTP client.
    pub(crate) fn may_use_http_client(&self) -> bool {
        let mut lines = self.global.iter();
        lines.any(|line| HTTP_CLIENT_USERS.iter().any(|user| line.contains(user)))
    }
}

// === impl StatsPage ===

impl StatsPage {
    /// A page for these users, on every port that takes requests.
    #[must_use]
    pub fn new(uri: StatsUri, users: UserList) -> Self {
        Self {
            uri,
            users,
            port: None,
        }
    }
}

// === impl StatsUri ===

impl StatsUri {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StatsUri {
    type Err = StatsUriError;

    fn from_str(text: &str) -> Result<Self, StatsUriError> {
        let fits = text.starts_with('/')
            && text.len() <= MAX_URI_BYTES
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or(StatsUriError)
    }
}

// === impl ErrorAnswer ===

impl ErrorAnswer {
    /// A whole answer.
    ///
    /// # Errors
    /// When HAProxy would not take it.
    pub fn new(text: &str) -> Result<Self, ErrorAnswerError> {
        if text.len() > MAX_ANSWER_BYTES {
            return Err(ErrorAnswerError::TooLong(text.len()));
        }
        check_answer(text).map_err(ErrorAnswerError::NoResponse)?;
        Ok(Self(text.into()))
    }

    /// The whole answer.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ErrorAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorAnswer({} bytes)", self.0.len())
    }
}

fn check_answer(text: &str) -> Result<(), &'static str> {
    let mut rest = text;
    let mut line = || {
        let (line, after) = rest.split_once('\n')?;
        rest = after;
        Some(line.strip_suffix('\r').unwrap_or(line))
    };
    let first = line().ok_or("it has no status line")?;
    let mut words = first.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().unwrap_or_default();
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(version, "HTTP/1.0" | "HTTP/1.1") || !is_status {
        return Err("it does not begin with a status line, as HTTP/1.1 503 Service Unavailable");
    }
    let mut length = None;
    loop {
        let header = line().ok_or("its head does not end in an empty line")?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or("a header has no colon")?;
        let name = name.parse::<HeaderName>();
        let name = name.map_err(|_| "the name of a header is none")?;
        if value.chars().any(char::is_control) {
            return Err("the value of a header holds a control character");
        }
        match &*name.as_str().to_ascii_lowercase() {
            "content-length" => length = Some(value.trim().parse::<usize>()),
            "transfer-encoding" => return Err("it has a Transfer-Encoding"),
            _ => {}
        }
    }
    match length {
        Some(Ok(length)) if length == rest.len() => Ok(()),
        Some(_) => Err("its Content-Length is not the length of its body"),
        None => Ok(()),
    }
}

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

    #[test]
    fn an_error_answer_is_whole() {
        let good = "HTTP/1.1 503 Away\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi";
        assert!(ErrorAnswer::new(good).is_ok());
        assert!(ErrorAnswer::new("HTTP/1.0 503 Away\nCache-Control: no-cache\n\nhi").is_ok());
        for bad in [
            "",
            "hi",
            "HTTP/2 503 Away\r\n\r\n",
            "HTTP/1.1 503 Away\r\n",
            "HTTP/1.1 503 Away\r\nnonsense\r\n\r\n",
            "HTTP/1.1 503 Away\r\nContent-Length: 3\r\n\r\nhi",
            "HTTP/1.1 503 Away\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let refused = ErrorAnswer::new(bad);
            assert!(
                matches!(refused, Err(ErrorAnswerError::NoResponse(_))),
                "{bad:?}"
            );
        }
        let long = format!("HTTP/1.1 503 Away\r\n\r\n{}", "x".repeat(MAX_ANSWER_BYTES));
        assert!(matches!(
            ErrorAnswer::new(&long),
            Err(ErrorAnswerError::TooLong(_))
        ));
    }
}
