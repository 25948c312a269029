//! Every parameter of a `reconfigure`, for whoever describes them: the API's document and the command line's flags.
//!
//! The parser reads no parameter that is missing here, and every one that is here: its tests hold it to that.

mod list;

pub use list::PARAMETERS;

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Whether each destination may have its own.
    pub level: ParameterLevel,
    /// What its value is.
    pub kind: ParameterKind,
    /// What becomes of it.
    pub standing: ParameterStanding,
    /// What is allowed, as refusals say it.
    pub allowed: &'static str,
    /// What it means.
    pub about: &'static str,
}

/// Whether each destination may have its own value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterLevel {
    /// One for the service.
    Service,
    /// With a suffix `.1`, `.2`, ... for one destination; without, the default of all.
    Destination,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterKind {
    /// A text with a grammar of its own.
    Text,
    /// A name, as services have them.
    Name,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number {
        /// The least.
        least: u32,
        /// The greatest.
        most: u32,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Several texts, joined by this one.
    List(&'static str),
    /// What nobody else may read.
    Secret,
}

/// What becomes of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterStanding {
    /// It has an effect.
    Used,
    /// It has the same effect as another, which is to be preferred.
    Older(&'static str),
    /// It is taken and does nothing.
    NoEffect,
    /// It is refused.
    Refused,
}

/// The parameter of this name, with or without a destination's suffix.
pub(crate) fn find(name: &str) -> Option<&'static Parameter> {
    let (base, suffix) = match name.rsplit_once('.') {
        Some((base, suffix)) if suffix.parse::<u16>().is_ok() => (base, Some(suffix)),
        _ => (name, None),
    };
    let fits = |it: &Parameter| suffix.is_none() || it.level == ParameterLevel::Destination;
    PARAMETERS.iter().find(|it| it.name == base && fits(it))
}

const fn of_service(
    name: &'static str,
    kind: ParameterKind,
    allowed: &'static str,
    about: &'static str,
) -> Parameter {
    Parameter {
        name,
        level: ParameterLevel::Service,
        kind,
        standing: ParameterStanding::Used,
        allowed,
        about,
    }
}

const fn of_destination(
    name: &'static str,
    kind: ParameterKind,
    allowed: &'static str,
    about: &'static str,
) -> Parameter {
    Parameter {
        level: ParameterLevel::Destination,
        ..of_service(name, kind, allowed, about)
    }
}

// === impl Parameter ===

impl Parameter {
    const fn standing(self, standing: ParameterStanding) -> Self {
        Self { standing, ..self }
    }
}

#[cfg(test)]
mod tests;
