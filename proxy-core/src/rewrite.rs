//! Paths that are changed on their way to the service.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// The longest expression, and the longest replacement, in bytes.
pub const MAX_REWRITE_BYTES: usize = 512;

/// The most rewrites that one service, and each destination, may have.
pub const MAX_REWRITES: usize = 50;

/// What an expression finds first in a path is replaced.
///
/// The expression is HAProxy's own kind (PCRE, where it was built with it), and HAProxy checks it. `\1` to
/// `\9` in the replacement are what the expression's groups found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathRewrite {
    search: String,
    replace: String,
}

/// Why a text is no rewrite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// There is nothing to search for.
    #[error("there is nothing to search for")]
    Empty,
    /// One of the two is longer than [`MAX_REWRITE_BYTES`].
    #[error("it is {0} bytes long; at most {MAX_REWRITE_BYTES} are allowed")]
    TooLong(usize),
    /// A character that no path holds.
    #[error("the character {0:?} is not allowed; printable ASCII is")]
    BadCharacter(char),
    /// Not `search,replace`.
    #[error("it is not written search,replace")]
    NoPair,
    /// There is more than a search and a replacement.
    #[error("it has more than one comma; a comma within the expression is written \\,")]
    ManyCommas,
}

// === impl PathRewrite ===

impl PathRewrite {
    /// Replaces what an expression finds.
    ///
    /// # Errors
    /// When there is nothing to search for, or one of the two cannot be in a configuration.
    pub fn new(search: &str, replace: &str) -> Result<Self, RewriteError> {
        if search.is_empty() {
            return Err(RewriteError::Empty);
        }
        for text in [search, replace] {
            if text.len() > MAX_REWRITE_BYTES {
                return Err(RewriteError::TooLong(text.len()));
            }
            if let Some(bad) = text.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ')) {
                return Err(RewriteError::BadCharacter(bad));
            }
        }
        Ok(Self {
            search: search.to_owned(),
            replace: replace.to_owned(),
        })
    }

    /// What is searched for.
    #[must_use]
    pub fn search(&self) -> &str {
        &self.search
    }

    /// What takes its place.
    #[must_use]
    pub fn replace(&self) -> &str {
        &self.replace
    }
}

impl FromStr for PathRewrite {
    type Err = RewriteError;

    /// `search,replace`.
    fn from_str(text: &str) -> Result<Self, RewriteError> {
        match split_unescaped(text, ',').as_slice() {
            [search, replace] => Self::new(search, replace),
            [_] | [] => Err(RewriteError::NoPair),
            _ => Err(RewriteError::ManyCommas),
        }
    }
}

impl<'de> Deserialize<'de> for PathRewrite {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            search: String,
            replace: String,
        }
        let wire = Wire::deserialize(from)?;
        Self::new(&wire.search, &wire.replace).map_err(serde::de::Error::custom)
    }
}

/// Parts a text at a character, but not where a backslash stands before it. The backslash stays: to a
/// regular expression `\,` is a comma, and so it is to a replacement.
pub(crate) fn split_unescaped(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, c) in text.char_indices() {
        if c == at && !escaped {
            parts.push(text.get(start..index).unwrap_or_default());
            start = index + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_parts_and_an_escaped_one_does_not() {
        let parse = |text: &str| {
            let rewrite: PathRewrite = text.parse()?;
            Ok::<_, RewriteError>((rewrite.search().to_owned(), rewrite.replace().to_owned()))
        };
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(parse("^/a/(.*),/\\1"), pair("^/a/(.*)", "/\\1"));
        assert_eq!(parse("a{1\\,2},"), pair("a{1\\,2}", ""));
        assert_eq!(parse("a"), Err(RewriteError::NoPair));
        assert_eq!(parse("a,b,c"), Err(RewriteError::ManyCommas));
        assert_eq!(parse(",b"), Err(RewriteError::Empty));
        assert!(parse("a\n,b").is_err() && parse("a,é").is_err());
        assert_eq!(split_unescaped("a,b\\:c:d", ':'), ["a,b\\:c", "d"]);
        assert_eq!(split_unescaped("a\\\\:b", ':'), ["a\\\\", "b"]);
    }
}
