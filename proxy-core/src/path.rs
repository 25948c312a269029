//! The paths that a route is for.

use std::{
    cmp::Ordering,
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::words;

/// The longest path pattern in bytes. HAProxy reads lines of at most 2048 words and, by default, a
/// request line of about 15 KiB (`tune.bufsize` less `tune.maxrewrite`), so longer ones match nothing.
pub const MAX_PATH_BYTES: usize = 2048;

/// The most memory one compiled regular expression may take. One of a route's size takes some
/// kilobytes; every replica holds all of them.
const MAX_REGEX_BYTES: usize = 64 * 1024;

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
#[derive(Clone)]
pub struct PathPattern {
    kind: PathKind,
    text: Arc<str>,
    /// Compiled once, where the kind is [`PathKind::Regex`]. No part of the identity.
    regex: Option<Arc<Regex>>,
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
            regex: None,
        }
    }

    /// What a default backend takes: every request, also one whose path is no path. No parameter gives
    /// it, and every other pattern ranks before it.
    pub(crate) fn everything() -> &'static Self {
        static EVERYTHING: LazyLock<PathPattern> = LazyLock::new(|| PathPattern {
            kind: PathKind::Prefix,
            text: "".into(),
            regex: None,
        });
        &EVERYTHING
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
        let mut regex = None;
        match kind {
            PathKind::Exact | PathKind::Prefix if !text.starts_with('/') => {
                return Err(PathError::NoSlash);
            }
            PathKind::Dir if text.bytes().all(|b| b == b'/') => {
                return Err(PathError::NoDirectory);
            }
            PathKind::Regex => {
                let compiled = compile(text);
                let compiled = compiled.map_err(|problem| PathError::BadRegex(problem.to_string()));
                regex = Some(Arc::new(compiled?));
            }
            _ => {}
        }
        Ok(Self {
            kind,
            text: text.into(),
            regex,
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

    /// The same, shared.
    pub(crate) fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// Whether a request for this path (the bytes as sent, without the query) is meant.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let text = self.text.as_bytes();
        match self.kind {
            PathKind::Exact => path == text,
            PathKind::Prefix => path.starts_with(text),
            PathKind::Suffix => path.ends_with(text),
            PathKind::Substring => contains(path, text),
            PathKind::Dir => words::has(path, text, b'/'),
            PathKind::Regex => self
                .regex
                .as_ref()
                .is_some_and(|regex| regex.is_match(path)),
        }
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathPattern {}

impl PartialOrd for PathPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.kind, &self.text).cmp(&(other.kind, &other.text))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.text {
            "" => f.write_str("all that no route takes"),
            text => write!(f, "{} {text}", self.kind),
        }
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
fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(MAX_REGEX_BYTES)
        .build()
}

fn contains(path: &[u8], text: &[u8]) -> bool {
    path.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: PathKind, text: &str) -> PathPattern {
        PathPattern::new(kind, text).unwrap()
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
