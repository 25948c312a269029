//! The one way around the template's quoting: lines that were checked to stay in their section.

use std::{fmt, sync::Arc};

use minijinja::{Value, value::Object};
use proxy_core::RawLines;
use serde::{Serialize, Serializer};

/// A line of raw text, as templates hold it. Whatever a template makes of it (a filter, a
/// concatenation) is a text like any other and quoted; only the line itself is written as it is.
#[derive(Debug)]
pub(crate) struct RawLine(Box<str>);

/// Raw lines in the model of a template, each on a line of its own in one section:
/// `{% for line in lines %}    {{ line }}\n{% endfor %}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RawText(RawLines);

impl Object for RawLine {
    /// The text that a template's filters get.
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RawLine {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&RawLines> for RawText {
    fn from(lines: &RawLines) -> Self {
        Self(lines.clone())
    }
}

impl Serialize for RawText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(
            self.0
                .iter()
                .map(|line| Value::from_object(RawLine(line.into()))),
        )
    }
}
