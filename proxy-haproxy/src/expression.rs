//! What templates may write where HAProxy reads a language of its own within a word.

use std::{fmt, sync::Arc};

use minijinja::{
    Value,
    value::{Object, ObjectRepr},
};
use serde::{Serialize, Serializer};

/// A word in one of HAProxy's languages (an expression, a format, a condition) that was made here, or whose
/// parameter is for nothing else. Templates write it as one word like any other, and wherever they like: it
/// is not held to where it came to stand, as the values of services are. What a template makes of it (a filter,
/// a concatenation) is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression(Box<str>);

// === impl Expression ===

impl Expression {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Expression {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Expression {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Object for Expression {
    /// Nothing of it can be asked for, and it is there.
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    /// The text that a template's filters get.
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Value::from_object(self.clone()).serialize(to)
    }
}
