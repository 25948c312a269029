//! Which keys can be asked for.
//!
//! A key is part of a URL, and Consul's HTTP server tidies paths before it looks at them, after the percent signs
//! are decoded: `a/../b` reads and writes `b`, `../agent/self` leaves the keys altogether, and `a//b` is answered
//! with a redirect. A transaction takes the same keys as they are. So such keys are refused before anything is
//! sent, by both.

use std::fmt;

/// What keeps a key, a prefix or the name of a service from being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProblem {
    /// It is empty. A prefix may be: it is all keys.
    Empty,
    /// It begins with a slash.
    LeadingSlash,
    /// Two slashes follow each other.
    EmptySegment,
    /// A part between slashes is `.` or `..`.
    Dots,
    /// It holds a control character.
    Control,
}

// === impl KeyProblem ===

impl KeyProblem {
    /// What is wrong with a key. One slash at its end is right: folders have it.
    pub(crate) fn of_key(key: &str) -> Option<Self> {
        if key.is_empty() {
            return Some(Self::Empty);
        }
        Self::of_prefix(key)
    }

    /// What is wrong with the beginning of keys.
    pub(crate) fn of_prefix(prefix: &str) -> Option<Self> {
        if prefix.starts_with('/') {
            return Some(Self::LeadingSlash);
        }
        if prefix.contains("//") {
            return Some(Self::EmptySegment);
        }
        if prefix.split('/').any(|part| matches!(part, "." | "..")) {
            return Some(Self::Dots);
        }
        prefix
            .chars()
            .any(char::is_control)
            .then_some(Self::Control)
    }
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::LeadingSlash => "it begins with a slash, which Consul's keys do not",
            Self::EmptySegment => "it holds two slashes in a row, which Consul makes one of",
            Self::Dots => "a part of it is `.` or `..`, which Consul takes for another place",
            Self::Control => "it holds a control character",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_consul_would_take_for_another_is_told() {
        for (key, problem) in [
            ("", KeyProblem::Empty),
            ("/", KeyProblem::LeadingSlash),
            ("/a", KeyProblem::LeadingSlash),
            ("a//b", KeyProblem::EmptySegment),
            ("a//", KeyProblem::EmptySegment),
            (".", KeyProblem::Dots),
            ("..", KeyProblem::Dots),
            ("../agent/self", KeyProblem::Dots),
            ("a/../b", KeyProblem::Dots),
            ("a/./b", KeyProblem::Dots),
            ("a/..", KeyProblem::Dots),
            ("a\nb", KeyProblem::Control),
            ("a\u{7f}", KeyProblem::Control),
        ] {
            assert_eq!(KeyProblem::of_key(key), Some(problem), "{key:?}");
        }
        for key in ["a", "a/", "a/b", ".a/..b/c..", "...", "a b?c#d%2e%2e", "é"] {
            assert_eq!(KeyProblem::of_key(key), None, "{key:?}");
        }
        assert_eq!(KeyProblem::of_prefix(""), None, "all keys");
        assert_eq!(KeyProblem::of_prefix("a/.."), Some(KeyProblem::Dots));
    }
}
