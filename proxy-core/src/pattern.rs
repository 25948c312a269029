//! What a route matches: domains and paths.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::host::{HostError, HostName};

/// The longest path pattern in bytes. HAProxy reads lines of at most 2048 words and, by default, a
/// request line of about 15 KiB (`tune.bufsize` less `tune.maxrewrite`), so longer ones match nothing.
pub const MAX_PATH_BYTES: usize = 2048;

/// A domain that a route is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DomainPattern {
    /// `acme.com`: this domain and no other.
    Exact(Domain),
    /// `*.acme.com`: every domain that ends in `.acme.com`, however deep, and not `acme.com`.
    Wildcard(Domain),
}

/// A domain name in lower case, as the Host header is compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

/// Why a text is no domain pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// What stands there, or stands behind `*.`, is no host name.
    #[error(transparent)]
    Name(#[from] HostError),
    /// A star that is not the whole first label.
    #[error("a wildcard is written *.example.com: the star is the whole first label")]
    BadWildcard,
}

/// How a path is compared. The words of `pathType` are HAProxy's (configuration manual, section
/// 7.3.6, "path").
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[non_exhaustive]
pub enum PathKind {
    /// The whole path is the text.
    #[serde(rename = "path")]
    Exact,
    /// The path begins with the text, as a string: `/api` also matches `/apiary`.
    #[default]
    #[serde(rename = "path_beg")]
    Prefix,
    /// The path ends in the text.
    #[serde(rename = "path_end")]
    Suffix,
    /// The text stands somewhere in the path.
    #[serde(rename = "path_sub")]
    Substring,
    /// The text, without slashes at its ends, stands in the path between slashes or its ends.
    #[serde(rename = "path_dir")]
    Dir,
    /// The text is a regular expression that matches somewhere in the path.
    #[serde(rename = "path_reg")]
    Regex,
}

/// Why a word is no path kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of path_beg, path, path_end, path_sub, path_dir, path_reg")]
pub struct PathKindError;

/// A path pattern: how to compare and with what.
///
/// The text is the bytes as a client sends them: printable ASCII without spaces, undecoded. A path
/// with other characters arrives percent-encoded, so the pattern is written percent-encoded too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern {
    kind: PathKind,
    text: Arc<str>,
}

/// Why a text is no path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// There was no text at all.
    #[error("it is empty")]
    Empty,
    /// The text is longer than [`MAX_PATH_BYTES`].
    #[error("it is {0} bytes long; at most {MAX_PATH_BYTES} are allowed")]
    TooLong(usize),
    /// A prefix or an exact path that no request has.
    #[error("a path begins with '/'")]
    NoSlash,
    /// A character that no request path carries.
    #[error(
        "the character {0:?} never occurs in the path of a request; write it percent-encoded, as clients send it"
    )]
    BadCharacter(char),
    /// A `path_dir` of nothing but slashes.
    #[error("a path_dir needs a name between its slashes")]
    NoDirectory,
    /// A regular expression that does not compile, and why.
    #[error("the regular expression does not compile: {0}")]
    BadRegex(String),
}

// === impl DomainPattern ===

impl DomainPattern {
    /// The domain, without the star.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        match self {
            Self::Exact(domain) | Self::Wildcard(domain) => domain,
        }
    }

    /// Whether a request for this domain (lower case, no port) is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(domain) => domain.as_str() == host,
            Self::Wildcard(domain) => host
                .strip_suffix(domain.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty()),
        }
    }
}

impl FromStr for DomainPattern {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(DomainError::BadWildcard);
        }
        let name: HostName = name.to_ascii_lowercase().parse()?;
        let domain = Domain(name.as_str().trim_end_matches('.').into());
        Ok(if wildcard {
            Self::Wildcard(domain)
        } else {
            Self::Exact(domain)
        })
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(domain) => domain.fmt(f),
            Self::Wildcard(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl Serialize for DomainPattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DomainPattern {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(|problem| {
            serde::de::Error::custom(format!("{text:?} is no domain: {problem}"))
        })
    }
}

// === impl Domain ===

impl Domain {
    /// The domain in lower case, without a trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

// === impl PathKind ===

impl PathKind {
    /// HAProxy's name of the comparison, which is also the value of `pathType`.
    #[must_use]
    pub fn fetch(self) -> &'static str {
        match self {
            Self::Exact => "path",
            Self::Prefix => "path_beg",
            Self::Suffix => "path_end",
            Self::Substring => "path_sub",
            Self::Dir => "path_dir",
            Self::Regex => "path_reg",
        }
    }
}

impl FromStr for PathKind {
    type Err = PathKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "path" => Self::Exact,
            "path_beg" => Self::Prefix,
            "path_end" => Self::Suffix,
            "path_sub" => Self::Substring,
            "path_dir" => Self::Dir,
            "path_reg" => Self::Regex,
            _ => return Err(PathKindError),
        })
    }
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fetch())
    }
}

// === impl PathPattern ===

impl PathPattern {
    /// Every path: the prefix `/`.
    #[must_use]
    pub fn root() -> Self {
        Self {
            kind: PathKind::Prefix,
            text: "/".into(),
        }
    }

    /// A pattern, once the text is one that a request can match.
    ///
    /// # Errors
    /// Says what is wrong with the text; nothing is changed on the way.
    pub fn new(kind: PathKind, text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong(text.len()));
        }
        if let Some(bad) = text.chars().find(|c| !is_allowed(kind, *c)) {
            return Err(PathError::BadCharacter(bad));
        }
        match kind {
            PathKind::Exact | PathKind::Prefix if !text.starts_with('/') => {
                return Err(PathError::NoSlash);
            }
            PathKind::Dir if text.bytes().all(|b| b == b'/') => {
                return Err(PathError::NoDirectory);
            }
            PathKind::Regex => {
                compile(text).map_err(|problem| PathError::BadRegex(problem.to_string()))?;
            }
            _ => {}
        }
        Ok(Self {
            kind,
            text: text.into(),
        })
    }

    /// How the path is compared.
    #[must_use]
    pub fn kind(&self) -> PathKind {
        self.kind
    }

    /// What it is compared with.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a request for this path (the bytes as sent, without the query) is meant.
    ///
    /// A regular expression is compiled for the call; callers that ask often keep
    /// [`PathPattern::regex`].
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let text = self.text.as_bytes();
        match self.kind {
            PathKind::Exact => path == text,
            PathKind::Prefix => path.starts_with(text),
            PathKind::Suffix => path.ends_with(text),
            PathKind::Substring => contains(path, text),
            PathKind::Dir => has_dir(path, text),
            PathKind::Regex => self.regex().is_some_and(|regex| regex.is_match(path)),
        }
    }

    /// The compiled expression of a [`PathKind::Regex`].
    #[must_use]
    pub fn regex(&self) -> Option<regex::bytes::Regex> {
        match self.kind {
            PathKind::Regex => compile(&self.text).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.text)
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.text)
    }
}

/// `?` and `#` end a path; a space ends the request target. In a regular expression `?` is syntax.
fn is_allowed(kind: PathKind, c: char) -> bool {
    c.is_ascii_graphic() && (kind == PathKind::Regex || !matches!(c, '?' | '#'))
}

/// Bytes and no Unicode classes, so that a class means to us what it means to HAProxy's PCRE.
fn compile(text: &str) -> Result<regex::bytes::Regex, regex::Error> {
    regex::bytes::RegexBuilder::new(text)
        .unicode(false)
        .size_limit(1 << 20)
        .build()
}

fn contains(path: &[u8], text: &[u8]) -> bool {
    path.windows(text.len()).any(|window| window == text)
}

/// HAProxy's `path_dir`: the slashes at both ends of the pattern are dropped, and what is left must
/// stand between slashes or the ends of the path (HAProxy source, `match_word`).
fn has_dir(path: &[u8], text: &[u8]) -> bool {
    let text = trim_slashes(text);
    let mut from = 0;
    while let Some(window) = path.get(from..from + text.len()) {
        let before = from == 0 || path.get(from - 1) == Some(&b'/');
        let after = matches!(path.get(from + text.len()), None | Some(b'/'));
        if window == text && before && after {
            return true;
        }
        from += 1;
    }
    false
}

fn trim_slashes(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| *b != b'/').unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|b| *b != b'/')
        .map_or(start, |i| i + 1);
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: PathKind, text: &str) -> PathPattern {
        PathPattern::new(kind, text).unwrap()
    }

    #[test]
    fn domains_are_compared_whole() {
        let exact: DomainPattern = "Acme.com".parse().unwrap();
        assert!(exact.matches("acme.com"));
        assert!(!exact.matches("acme.com.evil.tld"));
        let wildcard: DomainPattern = "*.acme.com".parse().unwrap();
        assert!(wildcard.matches("a.b.acme.com"));
        for not in ["acme.com", ".acme.com", "xacme.com", "acme.com.evil.tld"] {
            assert!(!wildcard.matches(not), "{not}");
        }
        for bad in ["*acme.com", "a.*.com", "*", "*.", "", "acme.com:80", "a b"] {
            assert!(bad.parse::<DomainPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_kind_compares_as_haproxy_does() {
        assert!(path(PathKind::Prefix, "/api").matches(b"/apiary"));
        assert!(!path(PathKind::Exact, "/api").matches(b"/api/"));
        assert!(path(PathKind::Suffix, ".php").matches(b"/x/index.php"));
        assert!(path(PathKind::Substring, "-x-").matches(b"/a-x-b"));
        let dir = path(PathKind::Dir, "/img/");
        assert!(dir.matches(b"/a/img/b") && dir.matches(b"/img") && !dir.matches(b"/imgs"));
        assert!(path(PathKind::Regex, "^/v[0-9]+/").matches(b"/v12/x"));
    }

    #[test]
    fn a_path_that_no_request_has_is_refused() {
        assert_eq!(
            PathPattern::new(PathKind::Prefix, "api"),
            Err(PathError::NoSlash)
        );
        assert_eq!(
            PathPattern::new(PathKind::Dir, "//"),
            Err(PathError::NoDirectory)
        );
        for bad in ["/a b", "/a?b", "/a#b", "/é", "/a\n", "/\0"] {
            assert!(
                matches!(
                    PathPattern::new(PathKind::Prefix, bad),
                    Err(PathError::BadCharacter(_))
                ),
                "{bad:?}"
            );
        }
        assert!(matches!(
            PathPattern::new(PathKind::Regex, "(["),
            Err(PathError::BadRegex(_))
        ));
    }
}
