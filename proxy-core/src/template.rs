//! Templates of somebody's own for parts of a service's configuration: `templateFePath` and
//! `templateBePath`.
//!
//! A template is a part of the service, text and all: every replica renders the same, whatever files it
//! has itself. What it says is raw HAProxy text once it is rendered.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::options::is_default;

/// The most bytes that the text of a template may have: a document holds two of them.
pub const MAX_TEMPLATE_BYTES: usize = 16 * 1024;
/// The longest name of a template's file.
pub const MAX_TEMPLATE_PATH_BYTES: usize = 1024;

/// The templates of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Templates {
    /// Lines for the frontend that takes requests.
    #[serde(skip_serializing_if = "is_default")]
    pub frontend: Option<ServiceTemplate>,
    /// Lines for each of its backends, in place of the servers.
    #[serde(skip_serializing_if = "is_default")]
    pub backend: Option<ServiceTemplate>,
}

/// One template: its text, and the file that it was read from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct ServiceTemplate {
    path: Arc<str>,
    text: Arc<str>,
}

/// Why a text is no [`ServiceTemplate`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceTemplateError {
    /// The name of its file is longer than [`MAX_TEMPLATE_PATH_BYTES`], or holds a control character.
    #[error("the name of its file is too long, or holds a control character")]
    Path,
    /// It is longer than [`MAX_TEMPLATE_BYTES`].
    #[error("it is {0} bytes long; at most {MAX_TEMPLATE_BYTES} are allowed")]
    TooLong(usize),
    /// A character that has no place in a configuration.
    #[error("line {line} holds the control character {character:?}")]
    Control {
        /// The line, from 1.
        line: usize,
        /// The character.
        character: char,
    },
}

/// What is known of a file that a parameter names, for [`ReconfigureRules`](crate::ReconfigureRules).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateSource {
    /// Nobody looked.
    #[default]
    NotRead,
    /// It cannot be read, and why.
    Unreadable(String),
    /// What stands in it.
    Text(String),
}

/// The files that `templateFePath` and `templateBePath` name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateSources {
    /// That of `templateFePath`.
    pub frontend: TemplateSource,
    /// That of `templateBePath`.
    pub backend: TemplateSource,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    path: String,
    text: String,
}

// === impl Templates ===

impl Templates {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// === impl ServiceTemplate ===

impl ServiceTemplate {
    /// A template with the text of a file. Line breaks become those of Unix.
    ///
    /// # Errors
    /// When the text is too long or holds a control character, or the name of the file does.
    pub fn new(path: &str, text: &str) -> Result<Self, ServiceTemplateError> {
        if path.len() > MAX_TEMPLATE_PATH_BYTES || path.chars().any(char::is_control) {
            return Err(ServiceTemplateError::Path);
        }
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(ServiceTemplateError::TooLong(text.len()));
        }
        let text = text.replace("\r\n", "\n");
        for (number, line) in (1..).zip(text.split('\n')) {
            if let Some(character) = line.chars().find(|c| c.is_control() && *c != '\t') {
                let line = number;
                return Err(ServiceTemplateError::Control { line, character });
            }
        }
        Ok(Self {
            path: path.into(),
            text: text.into(),
        })
    }

    /// The name of the file, as it was given.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ServiceTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceTemplate").field(&self.path).finish()
    }
}

impl TryFrom<Unchecked> for ServiceTemplate {
    type Error = ServiceTemplateError;

    fn try_from(unchecked: Unchecked) -> Result<Self, Self::Error> {
        Self::new(&unchecked.path, &unchecked.text)
    }
}

impl From<ServiceTemplate> for Unchecked {
    fn from(template: ServiceTemplate) -> Self {
        Self {
            path: template.path().to_owned(),
            text: template.text().to_owned(),
        }
    }
}

// === impl TemplateSources ===

impl TemplateSources {
    /// These two.
    #[must_use]
    pub fn new(frontend: TemplateSource, backend: TemplateSource) -> Self {
        Self { frontend, backend }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_within_bounds() {
        let template = ServiceTemplate::new("/t/a", "a\r\n\tb {{ host }}\n").unwrap();
        assert_eq!(template.text(), "a\n\tb {{ host }}\n");
        let json = serde_json::to_string(&template).unwrap();
        assert_eq!(
            serde_json::from_str::<ServiceTemplate>(&json).unwrap(),
            template
        );
        assert!(ServiceTemplate::new("/t/a", &"x".repeat(MAX_TEMPLATE_BYTES)).is_ok());
        assert!(matches!(
            ServiceTemplate::new("/t/a", &"x".repeat(MAX_TEMPLATE_BYTES + 1)),
            Err(ServiceTemplateError::TooLong(_))
        ));
        for (line, evil) in [(1, "a\0"), (2, "\nb\rc"), (3, "\n\n\u{1b}")] {
            let refused = ServiceTemplate::new("/t/a", evil).unwrap_err();
            assert!(
                matches!(refused, ServiceTemplateError::Control { line: at, .. } if at == line),
                "{evil:?}: {refused}"
            );
        }
        for path in ["/t/\n", &"x".repeat(MAX_TEMPLATE_PATH_BYTES + 1)] {
            assert!(ServiceTemplate::new(path, "").is_err());
        }
        let evil = json.replace("host }}", "host }}\\u0000");
        assert!(serde_json::from_str::<ServiceTemplate>(&evil).is_err());
    }
}
