//! Templates of services, read once for each text: many services have one file's.

use std::collections::{HashMap, hash_map::Entry};

use crate::template::{Template, TemplateError};

/// What was read, by its text; of what the last rendering asked for.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashMap<Box<str>, Read>);

#[derive(Debug)]
struct Read {
    template: Template,
    is_asked_for: bool,
}

// === impl Texts ===

impl Texts {
    /// The template with this text. One that cannot be read is not kept.
    pub(super) fn read(&mut self, text: &str) -> Result<&Template, TemplateError> {
        let read = match self.0.entry(text.into()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Read {
                template: Template::bounded(text)?,
                is_asked_for: true,
            }),
        };
        read.is_asked_for = true;
        Ok(&read.template)
    }

    /// Forgets what was not asked for since the last time.
    pub(crate) fn forget_others(&mut self) {
        self.0
            .retain(|_, read| std::mem::take(&mut read.is_asked_for));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_once_for_as_long_as_it_is_asked_for() {
        let mut texts = Texts::default();
        let first = texts.read("retries 3").unwrap().clone();
        assert!(!texts.read("retries 4").unwrap().is_same(&first));
        for _ in 0..2 {
            assert!(texts.read("retries 3").unwrap().is_same(&first));
            texts.forget_others();
        }
        assert_eq!(texts.0.len(), 1, "the other was not asked for again");
        texts.forget_others();
        assert!(!texts.read("retries 3").unwrap().is_same(&first));
    }

    #[test]
    fn a_text_that_is_no_template_is_refused_each_time() {
        let mut texts = Texts::default();
        for _ in 0..2 {
            assert!(texts.read("{% if %}").is_err());
        }
        assert!(texts.0.is_empty());
    }
}
