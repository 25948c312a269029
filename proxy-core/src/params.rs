//! Parameters as they arrive: named texts, decoded, with nothing understood yet.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

/// The most parameters one request may carry.
pub const MAX_PARAMS: usize = 1_000;
/// The longest value of one parameter in bytes, decoded. A document is 64 KiB at most, so a longer
/// value could not be stored.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// The longest name of a parameter in bytes.
pub const MAX_PARAM_NAME_BYTES: usize = 128;

/// The parameters of one request by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, String>);

/// Why parameters cannot even be read. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// More than [`MAX_PARAMS`].
    #[error("there are more than {MAX_PARAMS} parameters")]
    TooMany,
    /// A name longer than [`MAX_PARAM_NAME_BYTES`].
    #[error(
        "the name of a parameter is {0} bytes long; at most {MAX_PARAM_NAME_BYTES} are allowed"
    )]
    NameTooLong(usize),
    /// A value longer than [`MAX_VALUE_BYTES`].
    #[error("the parameter {name} is {bytes} bytes long; at most {MAX_VALUE_BYTES} are allowed")]
    ValueTooLong {
        /// The parameter.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// A name or value that is not UTF-8 once decoded.
    #[error("the parameter {name} is not UTF-8 once its percent-encoding is decoded")]
    NotUtf8 {
        /// The parameter, as far as it can be read.
        name: String,
    },
    /// One parameter with two values.
    #[error("the parameter {name} is given twice with different values")]
    Contradiction {
        /// The parameter.
        name: String,
    },
}

// === impl Params ===

impl Params {
    /// Reads the query of a URL or the body of a form: `name=value` joined by `&`, with `%XX` and
    /// `+` decoded.
    ///
    /// # Errors
    /// When a limit is passed, a text is not UTF-8, or a parameter contradicts itself.
    pub fn from_query(query: impl AsRef<[u8]>) -> Result<Self, ParamsError> {
        let mut params = Self::default();
        params.extend_from_query(query)?;
        Ok(params)
    }

    /// Adds the parameters of another query or form body to these.
    ///
    /// # Errors
    /// As [`Params::from_query`].
    pub fn extend_from_query(&mut self, query: impl AsRef<[u8]>) -> Result<(), ParamsError> {
        for pair in query.as_ref().split(|b| *b == b'&') {
            if pair.is_empty() {
                continue;
            }
            let mut parts = pair.splitn(2, |b| *b == b'=');
            let name = decode(parts.next().unwrap_or_default());
            let value = decode(parts.next().unwrap_or_default());
            if name.len() > MAX_PARAM_NAME_BYTES {
                return Err(ParamsError::NameTooLong(name.len()));
            }
            let readable = || String::from_utf8_lossy(&name).into_owned();
            if value.len() > MAX_VALUE_BYTES {
                return Err(ParamsError::ValueTooLong {
                    name: readable(),
                    bytes: value.len(),
                });
            }
            let (Ok(name), Ok(value)) = (String::from_utf8(name.clone()), String::from_utf8(value))
            else {
                return Err(ParamsError::NotUtf8 { name: readable() });
            };
            self.insert(name, value)?;
        }
        Ok(())
    }

    /// Adds one parameter.
    ///
    /// # Errors
    /// When there are too many, or it has another value already.
    pub fn insert(&mut self, name: String, value: String) -> Result<(), ParamsError> {
        match self.0.get(&name) {
            Some(old) if *old == value => Ok(()),
            Some(_) => Err(ParamsError::Contradiction { name }),
            None if self.0.len() >= MAX_PARAMS => Err(ParamsError::TooMany),
            None => {
                self.0.insert(name, value);
                Ok(())
            }
        }
    }

    /// Takes a parameter out, for a layer that reads it before the rest is read.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    /// The value of a parameter. An empty value counts as none, as in Docker Flow Proxy.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The names that were given, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn decode(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_strictly() {
        let params = Params::from_query("a=1&b=x%20y+z&&c=&a=1").unwrap();
        assert_eq!(params.get("a"), Some("1"));
        assert_eq!(params.get("b"), Some("x y z"));
        assert_eq!(params.get("c"), None);
        assert_eq!(
            Params::from_query("a=%ff"),
            Err(ParamsError::NotUtf8 { name: "a".into() })
        );
        assert!(matches!(
            Params::from_query("a=1&a=2"),
            Err(ParamsError::Contradiction { .. })
        ));
    }

    #[test]
    fn queries_have_bounds() {
        let many: Vec<String> = (0..10_000).map(|i| format!("p{i}=x")).collect();
        assert_eq!(
            Params::from_query(many.join("&")),
            Err(ParamsError::TooMany)
        );
        let long = format!("a={}", "x".repeat(1 << 20));
        assert!(matches!(
            Params::from_query(long),
            Err(ParamsError::ValueTooLong { .. })
        ));
    }
}
