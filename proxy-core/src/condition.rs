//! What else a request must have to take a route: headers and user agents.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{header::is_token, name::text_newtype};

/// The longest name or value in bytes.
pub const MAX_CONDITION_BYTES: usize = 512;

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConditionError {
    /// There was no text at all.
    #[error("it is empty")]
    Empty,
    /// The text is longer than [`MAX_CONDITION_BYTES`].
    #[error("it is {0} bytes long; at most {MAX_CONDITION_BYTES} are allowed")]
    TooLong(usize),
    /// Not `Name:value`.
    #[error("it is not written Name:value")]
    NoColon,
    /// A character that cannot stand in the name of a header.
    #[error("the character {0:?} is not allowed in the name of a header")]
    BadName(char),
    /// A character that cannot be compared: a control character, or one outside ASCII.
    #[error("the character {0:?} is not allowed; printable ASCII is")]
    BadCharacter(char),
}

text_newtype!(
    /// A part of a User-Agent header, compared without regard to case.
    UserAgent,
    ConditionError,
    check_value
);

/// A header that a request must have, with this value, compared whole and with regard to case. A
/// request with several headers of the name has it if one of them fits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderMatch {
    name: Arc<str>,
    value: Arc<str>,
}

// === impl UserAgent ===

impl UserAgent {
    /// Whether a User-Agent header contains it.
    #[must_use]
    pub fn matches(&self, header: &[u8]) -> bool {
        let wanted = self.as_str().as_bytes();
        header
            .windows(wanted.len())
            .any(|window| window.eq_ignore_ascii_case(wanted))
    }
}

// === impl HeaderMatch ===

impl HeaderMatch {
    /// The name in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for HeaderMatch {
    type Err = ConditionError;

    /// `Name:value`; the value may contain colons, spaces around both are dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once(':').ok_or(ConditionError::NoColon)?;
        let (name, value) = (name.trim_matches(' '), value.trim_matches(' '));
        check_value(name)?;
        check_value(value)?;
        match name.chars().find(|c| !is_token(*c)) {
            Some(bad) => Err(ConditionError::BadName(bad)),
            None => Ok(Self {
                name: name.to_ascii_lowercase().into(),
                value: value.into(),
            }),
        }
    }
}

impl fmt::Display for HeaderMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.value)
    }
}

impl Serialize for HeaderMatch {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HeaderMatch {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(|problem| {
            serde::de::Error::custom(format!("{text:?} is no header condition: {problem}"))
        })
    }
}

fn check_value(text: &str) -> Result<(), ConditionError> {
    if text.is_empty() {
        return Err(ConditionError::Empty);
    }
    if text.len() > MAX_CONDITION_BYTES {
        return Err(ConditionError::TooLong(text.len()));
    }
    match text.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ')) {
        Some(bad) => Err(ConditionError::BadCharacter(bad)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_names_and_values() {
        let header: HeaderMatch = "X-Version: a:3".parse().unwrap();
        assert_eq!((header.name(), header.value()), ("x-version", "a:3"));
        for bad in [
            "",
            "X-Version",
            ":3",
            "X:",
            "X Y:3",
            "X:é",
            "X:a\n",
            "X\n:a",
        ] {
            assert!(bad.parse::<HeaderMatch>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_agents_are_found_in_any_case() {
        let agent: UserAgent = "Mobile Safari".parse().unwrap();
        assert!(agent.matches(b"Mozilla/5.0 mobile safari/605"));
        assert!(!agent.matches(b"Mobile"));
    }
}
