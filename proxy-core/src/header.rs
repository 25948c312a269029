//! Headers that a backend adds, sets or deletes.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    name::text_newtype,
    options::is_default,
    quoting::{QuotingError, unquote},
};

/// The longest name of a header in bytes.
pub const MAX_HEADER_NAME_BYTES: usize = 256;

/// The longest value of a header in bytes.
pub const MAX_HEADER_VALUE_BYTES: usize = 4096;

/// The most headers of a kind that one service may add, set or delete.
pub const MAX_HEADERS: usize = 100;

/// Why a text is no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// There was no text at all.
    #[error("it is empty")]
    Empty,
    /// The name is longer than [`MAX_HEADER_NAME_BYTES`].
    #[error("the name is {0} bytes long; at most {MAX_HEADER_NAME_BYTES} are allowed")]
    NameTooLong(usize),
    /// The value is longer than [`MAX_HEADER_VALUE_BYTES`].
    #[error("the value is {0} bytes long; at most {MAX_HEADER_VALUE_BYTES} are allowed")]
    ValueTooLong(usize),
    /// A character that cannot stand in the name of a header.
    #[error("the character {0:?} is not allowed in the name of a header")]
    BadName(char),
    /// A character that cannot stand in a value: a control character, or one outside ASCII.
    #[error("the character {0:?} is not allowed in a value; printable ASCII is")]
    BadValue(char),
    /// There is a name and no value.
    #[error("it has no value: write the name, a space, and the value")]
    NoValue,
    /// The value's quoting is not complete, or means something that is not read here.
    #[error(transparent)]
    Quoting(#[from] QuotingError),
}

text_newtype!(
    /// The name of a header.
    HeaderName,
    HeaderError,
    check_name
);

/// A header with its value: `Name value`.
///
/// The value is a format of HAProxy, in which `%[...]` gives what an expression finds in the request,
/// and `%%` a percent sign. What was written in HAProxy's quoting is read as HAProxy does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderLine {
    name: HeaderName,
    value: Arc<str>,
}

/// What becomes of the headers of a service's requests and responses. Deleted ones go first, then some
/// are set, then some are added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct HeaderRules {
    /// Added to requests, whether they have one or not.
    #[serde(skip_serializing_if = "is_default")]
    pub add_request: Vec<HeaderLine>,
    /// Set in requests, in place of what they have.
    #[serde(skip_serializing_if = "is_default")]
    pub set_request: Vec<HeaderLine>,
    /// Deleted from requests.
    #[serde(skip_serializing_if = "is_default")]
    pub delete_request: Vec<HeaderName>,
    /// Added to responses, whether they have one or not.
    #[serde(skip_serializing_if = "is_default")]
    pub add_response: Vec<HeaderLine>,
    /// Set in responses, in place of what they have.
    #[serde(skip_serializing_if = "is_default")]
    pub set_response: Vec<HeaderLine>,
    /// Deleted from responses.
    #[serde(skip_serializing_if = "is_default")]
    pub delete_response: Vec<HeaderName>,
}

// === impl HeaderLine ===

impl HeaderLine {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The value, a format of HAProxy.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether the value is more than a text: HAProxy looks things up for it.
    #[must_use]
    pub fn is_format(&self) -> bool {
        self.value.replace("%%", "").contains('%')
    }

    /// A name and a value that was unquoted already.
    fn new(name: &str, value: &str) -> Result<Self, HeaderError> {
        let name = name.parse()?;
        if value.is_empty() {
            return Err(HeaderError::NoValue);
        }
        if value.len() > MAX_HEADER_VALUE_BYTES {
            return Err(HeaderError::ValueTooLong(value.len()));
        }
        match value.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ')) {
            Some(bad) => Err(HeaderError::BadValue(bad)),
            None => Ok(Self {
                name,
                value: value.into(),
            }),
        }
    }
}

impl FromStr for HeaderLine {
    type Err = HeaderError;

    /// `Name value`, the value quoted or not.
    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let text = text.trim_matches([' ', '\t']);
        let (name, value) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let name_alone = name.parse::<HeaderName>()?;
        Self::new(name_alone.as_str(), &unquote(value)?)
    }
}

impl fmt::Display for HeaderLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.value)
    }
}

impl Serialize for HeaderLine {
    /// `Name value`, without any quoting.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HeaderLine {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let (name, value) = text.split_once(' ').unwrap_or((&text, ""));
        Self::new(name, value).map_err(|problem| {
            serde::de::Error::custom(format!("{text:?} is no header with a value: {problem}"))
        })
    }
}

fn check_name(text: &str) -> Result<(), HeaderError> {
    if text.is_empty() {
        return Err(HeaderError::Empty);
    }
    if text.len() > MAX_HEADER_NAME_BYTES {
        return Err(HeaderError::NameTooLong(text.len()));
    }
    match text.chars().find(|c| !is_token(*c)) {
        Some(bad) => Err(HeaderError::BadName(bad)),
        None => Ok(()),
    }
}

/// The characters of a token: RFC 9110, section 5.6.2.
pub(crate) fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<(String, String), HeaderError> {
        let line: HeaderLine = text.parse()?;
        Ok((line.name().to_string(), line.value().to_owned()))
    }

    #[test]
    fn a_name_is_followed_by_its_value() {
        for (text, name, value) in [
            ("X-A b", "X-A", "b"),
            ("X-A \t b c ", "X-A", "b c"),
            ("X-A %[src]", "X-A", "%[src]"),
            (
                r#"Strict-Transport-Security "max-age=1; preload""#,
                "Strict-Transport-Security",
                "max-age=1; preload",
            ),
            (r"X-A a\ b", "X-A", "a b"),
        ] {
            assert_eq!(line(text).unwrap(), (name.to_owned(), value.to_owned()));
        }
        for bad in [
            "", "X-A", "X-A ", "X-A ''", "X-A: b", "X-A é", "X-A a\nb", "é b",
        ] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_format_is_told_from_a_text() {
        let is_format = |text: &str| text.parse::<HeaderLine>().unwrap().is_format();
        assert!(is_format("X-A %[src]") && is_format("X-A %ci"));
        assert!(!is_format("X-A 100%%") && !is_format("X-A b"));
    }

    #[test]
    fn what_is_written_down_reads_the_same() {
        let headers = HeaderRules {
            set_request: vec![r#"X-A 'a "b" if'"#.parse().unwrap()],
            delete_response: vec!["Server".parse().unwrap()],
            ..HeaderRules::default()
        };
        let json = serde_json::to_string(&headers).unwrap();
        assert_eq!(
            json,
            r#"{"setRequest":["X-A a \"b\" if"],"deleteResponse":["Server"]}"#
        );
        assert_eq!(serde_json::from_str::<HeaderRules>(&json).unwrap(), headers);
        for evil in ["X-A a\\nb", "X-A", "X A\\u0000"] {
            let json = format!(r#"{{"setRequest":["{evil}"]}}"#);
            assert!(
                serde_json::from_str::<HeaderRules>(&json).is_err(),
                "{evil}"
            );
        }
    }
}
