//! The methods that a destination takes.

use serde::{Deserialize, Serialize};

use crate::{name::text_newtype, options::is_default};

/// The longest name of a method in bytes.
pub const MAX_METHOD_BYTES: usize = 32;

/// The most methods that one destination may allow, and deny. HAProxy reads 64 words a line.
pub const MAX_METHODS: usize = 40;

/// Why a text is no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// There was no text at all.
    #[error("it is empty")]
    Empty,
    /// The text is longer than [`MAX_METHOD_BYTES`].
    #[error("it is {0} bytes long; at most {MAX_METHOD_BYTES} are allowed")]
    TooLong(usize),
    /// A character that is no capital letter. Methods are compared with regard to case.
    #[error("the character {0:?} is not allowed; capital letters, '-' and '_' are")]
    BadCharacter(char),
}

text_newtype!(
    /// The method of a request, as `GET`.
    Method,
    MethodError,
    check
);

/// Which methods a destination takes. Others are answered with 403.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct MethodRules {
    /// The only ones it takes; none means all.
    #[serde(skip_serializing_if = "is_default")]
    pub allowed: Vec<Method>,
    /// Those it does not take, although they may be allowed.
    #[serde(skip_serializing_if = "is_default")]
    pub denied: Vec<Method>,
}

fn check(text: &str) -> Result<(), MethodError> {
    if text.is_empty() {
        return Err(MethodError::Empty);
    }
    if text.len() > MAX_METHOD_BYTES {
        return Err(MethodError::TooLong(text.len()));
    }
    let allowed = |c: char| c.is_ascii_uppercase() || matches!(c, '_' | '-');
    match text.chars().find(|c| !allowed(*c)) {
        Some(bad) => Err(MethodError::BadCharacter(bad)),
        // HAProxy would read a flag.
        None if text.starts_with('-') => Err(MethodError::BadCharacter('-')),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_written_in_capitals() {
        for good in ["GET", "M-SEARCH", "MKCOL"] {
            assert_eq!(good.parse::<Method>().unwrap().as_str(), good);
        }
        for bad in ["", "get", "G T", "-m", "-M", "GET\n", "É"] {
            assert!(bad.parse::<Method>().is_err(), "{bad:?}");
        }
    }
}
