//! Names of services, ACLs and instances: parsed once, safe everywhere after.
//!
//! A name becomes a key in the store, a word in HAProxy's configuration, a label of a metric and a
//! part of a URL. One grammar fits them all: ASCII letters, digits, `.`, `_` and `-`, at most
//! [`MAX_NAME_BYTES`] long, beginning with a letter, a digit or `_`. It is HAProxy's own grammar for
//! the names of proxies (configuration manual, section 2.2 "Quoting and escaping" and section 4)
//! and a superset of Docker's for services.

use std::sync::Arc;

/// The longest name in bytes. Docker allows 63; generated names (stack, service, port) are longer.
pub const MAX_NAME_BYTES: usize = 128;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There was no text at all.
    #[error("it is empty")]
    Empty,
    /// The text is longer than [`MAX_NAME_BYTES`].
    #[error("it is {0} bytes long; at most {MAX_NAME_BYTES} are allowed")]
    TooLong(usize),
    /// The first character is not a letter, digit or `_`.
    #[error("it must begin with a letter, a digit or _")]
    BadStart,
    /// A character outside `[A-Za-z0-9._-]`.
    #[error("the character {0:?} is not allowed; letters, digits, '.', '_' and '-' are")]
    BadCharacter(char),
}

/// What every name accepts, for messages.
pub(crate) const NAME_GRAMMAR: &str =
    "letters, digits, '.', '_' and '-', beginning with a letter, a digit or '_'";

pub(crate) fn check(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong(text.len()));
    }
    if let Some(bad) = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        return Err(NameError::BadCharacter(bad));
    }
    if matches!(first, '.' | '-') {
        return Err(NameError::BadStart);
    }
    Ok(())
}

/// A newtype over a checked, cheaply cloned text.
macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $error:ty, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The text, as it was parsed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(|problem| {
                    serde::de::Error::custom(format!("{text:?} is no {}: {problem}", stringify!($name)))
                })
            }
        }
    };
}
pub(crate) use text_newtype;

text_newtype!(
    /// The name of a service: the key of the table, and the host name of its backends unless
    /// `outboundHostname` says otherwise.
    ServiceName,
    NameError,
    check
);

text_newtype!(
    /// The name that a service's ACLs and backends carry in HAProxy's configuration, and the last
    /// tie-break between routes. By default the service's name.
    AclName,
    NameError,
    check
);

text_newtype!(
    /// The colour of a blue-green deployment: it picks `<service>-<colour>` where services come
    /// from a catalog.
    Color,
    NameError,
    check
);

text_newtype!(
    /// Who made a commit: one running replica, told apart from its siblings and from its own past
    /// runs.
    InstanceId,
    NameError,
    check
);

impl From<&ServiceName> for AclName {
    fn from(name: &ServiceName) -> Self {
        Self(Arc::clone(&name.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_syntax() {
        for good in [
            "go-demo",
            "a",
            "_x",
            "7",
            "stack_service.v2",
            &"x".repeat(128),
        ] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            ".x",
            "..",
            "a b",
            "a\n",
            "a/b",
            "a#",
            "{{",
            "é",
            "a\0",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_breaks_the_grammar_does_not_deserialize() {
        assert!(serde_json::from_str::<ServiceName>("\"a b\"").is_err());
        assert_eq!(
            serde_json::from_str::<ServiceName>("\"a\"").unwrap(),
            "a".parse().unwrap()
        );
    }
}
