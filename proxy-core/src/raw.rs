//! Raw HAProxy text: lines that an operator writes for HAProxy itself, confined to one section.
//!
//! Everything else that a parameter gives becomes one word of a configuration. These lines are the
//! named exception, and what they cannot do is leave their section: a line that would open another
//! one, or decide which lines count, is refused.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The most bytes that raw text may have.
pub const MAX_RAW_BYTES: usize = 16 * 1024;

/// The most lines that raw text may have.
pub const MAX_RAW_LINES: usize = 500;

/// What opens a section, in HAProxy 2.6 and in the releases since.
const SECTIONS: [&str; 21] = [
    "acme",
    "backend",
    "cache",
    "crt-store",
    "defaults",
    "fcgi-app",
    "frontend",
    "global",
    "healthcheck",
    "http-errors",
    "listen",
    "log-forward",
    "log-profile",
    "mailers",
    "namespace_list",
    "peers",
    "program",
    "resolvers",
    "ring",
    "traces",
    "userlist",
];

/// Lines of HAProxy's own language that stay within the section they are put into.
///
/// ```
/// use proxy_core::RawLines;
///
/// let lines: RawLines = r"http-check expect status 200\nretries 2".parse()?;
/// assert_eq!(lines.iter().collect::<Vec<_>>(), ["http-check expect status 200", "retries 2"]);
/// assert!(r"retries 2\nfrontend evil".parse::<RawLines>().is_err());
/// # Ok::<(), proxy_core::RawError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawLines(Vec<Arc<str>>);

/// How much raw text there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLimits {
    bytes: usize,
    lines: usize,
}

/// Whether operators may write raw HAProxy text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RawConfig {
    /// They may, where a parameter is for it.
    #[default]
    Allowed,
    /// They may not.
    Refused,
}

/// Why a text is no [`RawLines`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RawError {
    /// It is longer than is allowed.
    #[error("it is {0} bytes long; at most {1} are allowed")]
    TooLong(usize, usize),
    /// It has more lines than are allowed.
    #[error("it has {0} lines; at most {1} are allowed")]
    TooManyLines(usize, usize),
    /// A character that has no place in a configuration.
    #[error("line {line} holds the control character {character:?}")]
    Control {
        /// The line, from 1.
        line: usize,
        /// The character.
        character: char,
    },
    /// The line would open another section.
    #[error("line {line} opens a section ({word}); raw text must stay in its own")]
    Section {
        /// The line, from 1.
        line: usize,
        /// The word that opens it.
        word: String,
    },
    /// HAProxy would read another first word than stands there.
    #[error(
        "line {line} begins with {word:?}; its first word must be letters, digits, '-', '_' or '.', beginning with a letter"
    )]
    BadStart {
        /// The line, from 1.
        line: usize,
        /// The word.
        word: String,
    },
}

// === impl RawLimits ===

impl RawLimits {
    /// So many bytes and lines at most.
    #[must_use]
    pub const fn new(bytes: usize, lines: usize) -> Self {
        Self { bytes, lines }
    }
}

impl Default for RawLimits {
    /// [`MAX_RAW_BYTES`] and [`MAX_RAW_LINES`].
    fn default() -> Self {
        Self::new(MAX_RAW_BYTES, MAX_RAW_LINES)
    }
}

// === impl RawLines ===

impl RawLines {
    /// The lines, without the white space around them; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|line| &**line)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines of a text as they stand there, with limits of its own: that of a template once it is
    /// rendered.
    ///
    /// # Errors
    /// When a line leaves its section or holds a control character, or there is too much.
    pub fn of_text(text: &str, limits: RawLimits) -> Result<Self, RawError> {
        Self::from_lines(text.split('\n'), limits)
    }

    /// Those that are so, and those that are not.
    #[must_use]
    pub fn partition(self, is_so: impl Fn(&str) -> bool) -> (Self, Self) {
        let (so, not_so) = self.0.into_iter().partition(|line| is_so(line));
        (Self(so), Self(not_so))
    }

    /// Lines that were parted already, each checked.
    fn from_lines<'a>(
        lines: impl Iterator<Item = &'a str>,
        limits: RawLimits,
    ) -> Result<Self, RawError> {
        let (mut kept, mut bytes) = (Vec::new(), 0);
        for (number, line) in (1..).zip(lines) {
            let line = line.trim_matches([' ', '\t']);
            bytes += line.len() + 1;
            check(line, number)?;
            // A comment would say nothing to HAProxy.
            if !line.is_empty() && !line.starts_with('#') {
                kept.push(line.replace('\t', " ").into());
            }
        }
        if bytes > limits.bytes {
            return Err(RawError::TooLong(bytes, limits.bytes));
        }
        if kept.len() > limits.lines {
            return Err(RawError::TooManyLines(kept.len(), limits.lines));
        }
        Ok(Self(kept))
    }
}

impl FromStr for RawLines {
    type Err = RawError;

    /// Lines are parted by line breaks, or by `\n` in two characters, as Docker's labels carry them.
    fn from_str(text: &str) -> Result<Self, RawError> {
        if text.len() > MAX_RAW_BYTES {
            return Err(RawError::TooLong(text.len(), MAX_RAW_BYTES));
        }
        let text = text.replace("\r\n", "\n").replace("\\n", "\n");
        Self::from_lines(text.split('\n'), RawLimits::default())
    }
}

impl fmt::Debug for RawLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl Serialize for RawLines {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for RawLines {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let lines = Vec::<String>::deserialize(from)?;
        let lines = lines.iter().map(String::as_str);
        Self::from_lines(lines, RawLimits::default()).map_err(D::Error::custom)
    }
}

fn check(line: &str, number: usize) -> Result<(), RawError> {
    if let Some(character) = line.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(RawError::Control {
            line: number,
            character,
        });
    }
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    for word in line.split([' ', '\t']).filter(|word| !word.is_empty()) {
        // Quotes, escapes and variables would make another word of it, and a dot at its beginning
        // is a condition on the lines that follow, in whatever section they stand.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !word.starts_with(|c: char| c.is_ascii_alphabetic()) || !word.chars().all(plain) {
            return Err(RawError::BadStart {
                line: number,
                word: word.to_owned(),
            });
        }
        if SECTIONS.contains(&word) {
            return Err(RawError::Section {
                line: number,
                word: word.to_owned(),
            });
        }
        // HAProxy takes these off a line before it reads its first word.
        if !matches!(word, "no" | "default") {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<String>, RawError> {
        let lines = text.parse::<RawLines>()?;
        Ok(lines.iter().map(str::to_owned).collect())
    }

    #[test]
    fn lines_are_parted_by_breaks_and_by_escapes() {
        assert_eq!(
            lines("option httpchk\r\n\n # why\n\ta  b\\nno option x").unwrap(),
            ["option httpchk", "a  b", "no option x"]
        );
        assert!(lines(" \n ").unwrap().is_empty());
    }

    #[test]
    fn no_line_leaves_its_section() {
        for section in SECTIONS {
            let inside = format!("retries 2\n  {section} x");
            assert!(
                matches!(lines(&inside), Err(RawError::Section { line: 2, .. })),
                "{section}"
            );
        }
        for line in [
            "'frontend' x",
            "\"frontend\" x",
            "front\\end x",
            "\\x66rontend x",
            "\"${X}\" x",
            ".if FALSE",
            ".endif",
            "front\"end\" x",
        ] {
            assert!(
                matches!(lines(line), Err(RawError::BadStart { line: 1, .. })),
                "{line}"
            );
        }
        assert!(matches!(
            lines("no frontend x"),
            Err(RawError::Section { .. })
        ));
    }

    #[test]
    fn what_has_no_place_in_a_configuration_is_refused() {
        for bad in ["a\0", "a\rb", "a\u{1b}", "a\u{85}"] {
            assert!(
                matches!(lines(bad), Err(RawError::Control { line: 1, .. })),
                "{bad:?}"
            );
        }
        assert!(matches!(
            lines(&"x".repeat(MAX_RAW_BYTES + 1)),
            Err(RawError::TooLong(..))
        ));
        assert!(matches!(
            lines(&"x\n".repeat(MAX_RAW_LINES + 1)),
            Err(RawError::TooManyLines(..))
        ));
    }

    #[test]
    fn what_is_written_down_is_checked_again() {
        let raw: RawLines = "retries 2\noption x".parse().unwrap();
        let json = serde_json::to_string(&raw).unwrap();
        assert_eq!(json, r#"["retries 2","option x"]"#);
        assert_eq!(serde_json::from_str::<RawLines>(&json).unwrap(), raw);
        for evil in [r#"["a\nfrontend x"]"#, r#"["listen x"]"#] {
            assert!(serde_json::from_str::<RawLines>(evil).is_err(), "{evil}");
        }
    }
}
