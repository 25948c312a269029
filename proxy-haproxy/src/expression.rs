//! What templates may write where HAProxy reads a language of its own within a word.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use minijinja::{Value, value::Serde};
use serde::{Serialize, Serializer};

/// A word in one of HAProxy's languages (an expression, a format, a condition) that was made here, or whose
/// parameter is for nothing else. To templates it is a text like any other, which they compare with others and write
/// as one word; and they write it wherever they like: it is not held to where it came to stand, as the values of
/// services are. What a template makes of it (a filter, a concatenation) is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression(Arc<str>);

/// The expressions of one model. A text of a template is one of them where it is the very same: it begins at the same
/// address, and all of them stay where they are for as long as this lives. A value with the same characters does not.
#[derive(Debug, Default)]
pub(crate) struct Expressions(HashMap<usize, Arc<str>>);

thread_local! {
    /// Those of the model that is read in this thread, where somebody asks for them.
    static READ: RefCell<Option<Expressions>> = const { RefCell::new(None) };
}

// === impl Expression ===

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

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        READ.with_borrow_mut(|read| {
            if let Some(read) = read {
                read.0.insert(address(&self.0), Arc::clone(&self.0));
            }
        });
        // The engine keeps this very text, and does not copy it.
        Value::from(Arc::clone(&self.0)).serialize(to)
    }
}

// === impl Expressions ===

impl Expressions {
    /// A model as templates see it, and the expressions in it.
    pub(crate) fn of(model: impl Serialize) -> (Value, Self) {
        let outer = READ.replace(Some(Self::default()));
        let value = Value::from(Serde(model));
        let read = READ.replace(outer);
        (value, read.unwrap_or_default())
    }

    /// Whether it is one of these, and nothing that was made of one.
    pub(crate) fn have(&self, value: &Value) -> bool {
        let text = value.as_str();
        text.is_some_and(|text| {
            let known = self.0.get(&address(text));
            known.is_some_and(|known| **known == *text)
        })
    }
}

fn address(text: &str) -> usize {
    text.as_ptr().addr()
}
