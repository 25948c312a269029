//! For whom a call is: the replicas that belong together, by the name that they share.
//!
//! An address may lead to somebody else: one that was given to another replica since it was found, or
//! that something between leads astray. Where that one holds the same secret, it would take the call
//! for its own and answer it. So a call says in its query for whom it is and who makes it,
//!
//! ```text
//! <path>?realm=<name>&from=<instance>
//! ```
//!
//! which a signature is over. The receiver refuses what is not for it ([`Realm::check`]). A receiver of
//! a release before that did takes such a call as any other, since a query changes nothing for it.

use std::fmt;

/// The parameter that names the realm.
const REALM: &str = "realm";
/// The parameter that names the instance which calls.
const FROM: &str = "from";

/// The replicas that belong together, by a name of ASCII letters, digits, `.`, `_` and `-`.
#[derive(Clone, PartialEq, Eq)]
pub struct Realm(String);

/// A text that names no realm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name of a realm: it holds letters, digits, '.', '_' and '-', and one at least"
)]
pub struct RealmError {
    name: String,
}

/// A call is for others. It was not heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is for replicas of {called:?}, and this is one of {own:?}")]
pub struct OtherRealm {
    called: String,
    own: String,
}

// === impl Realm ===

impl Realm {
    /// The replicas that share this name.
    ///
    /// # Errors
    /// When it holds what a query would have to escape, or nothing.
    pub fn new(name: &str) -> Result<Self, RealmError> {
        if is_plain(name) {
            Ok(Self(name.to_owned()))
        } else {
            let name = name.to_owned();
            Err(RealmError { name })
        }
    }

    /// Whether a call with this query is for this realm. One that names none is made by a release before
    /// that did, and taken.
    ///
    /// # Errors
    /// When it is for another.
    pub fn check(&self, query: Option<&str>) -> Result<(), OtherRealm> {
        match said(query, REALM) {
            Some(called) if called != self.0 => Err(OtherRealm {
                called: called.to_owned(),
                own: self.0.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The instance that makes a call with this query, where it says so.
    pub fn caller(query: Option<&str>) -> Option<&str> {
        said(query, FROM)
    }

    /// What a call for this realm says in its query.
    pub(crate) fn query(&self, from: Option<&str>) -> String {
        match from.filter(|from| is_plain(from)) {
            Some(from) => format!("{REALM}={self}&{FROM}={from}"),
            None => format!("{REALM}={self}"),
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Whether a text stands in a query as it is.
fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(plain)
}

/// The first value of a parameter. What would have to be unescaped is no plain text and stays as it is.
fn said<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_taken_by_those_that_it_is_for_and_by_all_where_it_says_nothing() {
        let realm = Realm::new("docker-flow").unwrap();
        let query = realm.query(Some("host-1"));
        assert_eq!(query, "realm=docker-flow&from=host-1");
        assert_eq!(realm.check(Some(&query)), Ok(()));
        assert_eq!(Realm::caller(Some(&query)), Some("host-1"));
        assert_eq!(realm.check(Some("a=b&realm=docker-flow")), Ok(()));
        for none in [None, Some(""), Some("a=b"), Some("realm"), Some("xrealm=y")] {
            assert_eq!(realm.check(none), Ok(()), "{none:?}");
            assert_eq!(Realm::caller(none), None);
        }
        for other in [
            "staging",
            "",
            "docker-flow2",
            "docker%2Dflow",
            "Docker-Flow",
        ] {
            let error = realm.check(Some(&format!("realm={other}&from=x")));
            let words = error.unwrap_err().to_string();
            let expected =
                format!("it is for replicas of {other:?}, and this is one of \"docker-flow\"");
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn what_would_be_another_query_is_no_name() {
        for name in ["", "a b", "a&from=b", "a%20", "ä", "a\n"] {
            assert!(Realm::new(name).is_err(), "{name:?}");
            assert_eq!(Realm::new("a").unwrap().query(Some(name)), "realm=a");
        }
    }
}
