//! The `backend` sections as text, each rendered once for as long as it stays as it is: nearly all of a
//! large configuration, of which a change alters little.

use std::{collections::HashMap, net::SocketAddr};

use rayon::prelude::*;
use serde::Serialize;

use super::{backend::Backend, own::Texts};
use crate::template::{Template, TemplateError};

/// About so many backends are kept and rendered together: enough that what a rendering costs by itself is
/// little beside them, and few enough that one more costs little.
const IN_A_GROUP: u32 = 32;
/// So many backends are rendered by all threads; fewer are done before others have begun.
const MANY: usize = 1_000;

/// What was rendered last, of one [`RenderSettings`](crate::RenderSettings).
#[derive(Debug, Default)]
pub(crate) struct Sections {
    groups: Vec<Group>,
    /// The templates of services.
    pub(super) texts: Texts,
}

#[derive(Debug)]
struct Group {
    backends: Vec<Backend>,
    text: String,
}

/// What the template of the backends sees.
#[derive(Serialize)]
struct Model<'a> {
    backends: &'a [Backend],
    nameservers: &'a [SocketAddr],
}

// === impl Sections ===

impl Sections {
    /// The texts of these backends, in their order. After an error nothing is known.
    pub(super) fn render(
        &mut self,
        template: &Template,
        nameservers: &[SocketAddr],
        backends: Vec<Backend>,
    ) -> Result<Vec<&str>, TemplateError> {
        let known = std::mem::take(&mut self.groups).into_iter();
        let mut known: HashMap<String, Group> = known
            .filter_map(|group| Some((group.first()?, group)))
            .collect();
        let mut groups = grouped(backends);
        for group in &mut groups {
            let before = group.first().and_then(|name| known.remove(&name));
            if let Some(before) = before.filter(|before| before.backends == group.backends) {
                *group = before;
            }
        }
        let mut new: Vec<_> = groups.iter_mut().filter(|it| it.text.is_empty()).collect();
        render_all(&mut new, template, nameservers)?;
        self.groups = groups;
        let texts = self.groups.iter().map(|group| group.text.as_str());
        Ok(texts.collect())
    }
}

/// Parts backends into groups. Where one begins follows from its first name alone, so that a backend
/// that comes or goes alters its own group and no other.
fn grouped(backends: Vec<Backend>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for backend in backends {
        match groups.last_mut() {
            Some(group) if !backend.begins_one_in(IN_A_GROUP) => group.backends.push(backend),
            _ => groups.push(Group {
                backends: vec![backend],
                text: String::new(),
            }),
        }
    }
    groups
}

fn render_all(
    groups: &mut [&mut Group],
    template: &Template,
    nameservers: &[SocketAddr],
) -> Result<(), TemplateError> {
    let backends: usize = groups.iter().map(|group| group.backends.len()).sum();
    match backends < MANY {
        true => groups
            .iter_mut()
            .try_for_each(|group| group.render(template, nameservers)),
        false => groups
            .par_iter_mut()
            .try_for_each(|group| group.render(template, nameservers)),
    }
}

// === impl Group ===

impl Group {
    fn first(&self) -> Option<String> {
        self.backends.first().map(Backend::name)
    }

    fn render(
        &mut self,
        template: &Template,
        nameservers: &[SocketAddr],
    ) -> Result<(), TemplateError> {
        self.text = template.render_backends(Model {
            backends: &self.backends,
            nameservers,
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
