//! Reading parameters one by one while collecting everything that is wrong with them.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::{
    params::Params,
    reconfigure::{Separator, parameters},
};

pub(crate) const BOOL_GRAMMAR: &str = "true or false";

/// How much of a refused value an error repeats.
const SHOWN_VALUE_CHARS: usize = 80;

/// One parameter that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldError {
    /// The parameter.
    pub parameter: String,
    /// Its value, cut to 80 characters, control characters escaped; none where it is missing.
    pub value: Option<String>,
    /// What is wrong with it.
    pub problem: String,
    /// What is allowed.
    pub allowed: &'static str,
}

/// Everything that is wrong with the parameters of one request. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldErrors {
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// Each parameter that was refused; never empty.
    pub errors: Vec<FieldError>,
}

/// What kind of refusal it is, for those who answer with a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// A parameter is missing or wrong.
    Invalid,
    /// The service has neither a path nor a domain, which Docker Flow Proxy's listener takes as
    /// "not for the proxy, do not try again".
    NoRoute,
}

/// Something that is accepted and worth saying.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamWarning {
    /// The parameter is not known and has no effect.
    Unknown {
        /// Its name.
        parameter: String,
    },
    /// The parameter is known and has no effect here.
    NoEffect {
        /// Its name.
        parameter: &'static str,
        /// Why.
        why: &'static str,
    },
    /// It has no effect here, and would be refused where it had one.
    WouldBeRefused {
        /// What is wrong with it.
        error: FieldError,
    },
}

/// What was asked, and what is worth saying about how it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parsed<T> {
    /// What was asked.
    pub value: T,
    /// What is worth saying.
    pub warnings: Vec<ParamWarning>,
}

/// Reads parameters, remembers which were asked for, and collects errors.
pub(crate) struct Fields<'a> {
    params: &'a Params,
    known: BTreeSet<String>,
    errors: Vec<FieldError>,
    separator: &'a str,
}

// === impl Parsed ===

impl<T> Parsed<T> {
    pub(crate) fn new(value: T, warnings: Vec<ParamWarning>) -> Self {
        Self { value, warnings }
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(crate) fn new(params: &'a Params) -> Self {
        Self {
            params,
            known: BTreeSet::new(),
            errors: Vec::new(),
            separator: Separator::COMMA,
        }
    }

    /// The same, with another text between the items of lists.
    pub(crate) fn parted_by(self, separator: &'a str) -> Self {
        Self { separator, ..self }
    }

    /// The text of a parameter, which counts as known from now on.
    pub(crate) fn text(&mut self, name: &str) -> Option<&'a str> {
        // Whoever describes the parameters would miss it.
        debug_assert!(
            parameters::find(name).is_some(),
            "{name} is not in PARAMETERS"
        );
        self.known.insert(name.to_owned());
        self.params.get(name)
    }

    pub(crate) fn optional<T>(&mut self, name: &str, allowed: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(name)?;
        self.parse(name, text, allowed, str::parse)
    }

    pub(crate) fn required<T>(&mut self, name: &str, allowed: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if self.text(name).is_none() {
            self.missing(name, "it is missing", allowed);
        }
        self.optional(name, allowed)
    }

    /// A yes or no; no where it is absent.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.given_flag(name).unwrap_or_default()
    }

    /// The empty text of a parameter that is given and empty, for whom that is not as good as none.
    pub(crate) fn empty(&self, name: &str) -> Option<&'static str> {
        let is_given = self.params.names().any(|given| given == name);
        (is_given && self.params.get(name).is_none()).then_some("")
    }

    /// A yes or no, where it is given.
    pub(crate) fn given_flag(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        let parse = |text: &str| match text {
            "true" | "True" | "TRUE" | "1" => Ok(true),
            "false" | "False" | "FALSE" | "0" => Ok(false),
            _ => Err("it is neither true nor false"),
        };
        self.parse(name, text, BOOL_GRAMMAR, parse)
    }

    /// A comma-separated list; white space around an item and empty items are dropped.
    pub(crate) fn list<T, E: fmt::Display>(
        &mut self,
        name: &str,
        allowed: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let separator = self.separator;
        self.parted(name, allowed, |text| text.split(separator).collect(), parse)
    }

    /// A list whose items are parted in some way where the operator does not say by what; white space
    /// around an item and empty items are dropped.
    pub(crate) fn list_of<T, E: fmt::Display>(
        &mut self,
        name: &str,
        allowed: &'static str,
        items: impl Fn(&str) -> Vec<&str>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        match self.separator {
            Separator::COMMA => self.parted(name, allowed, items, parse),
            _ => self.list(name, allowed, parse),
        }
    }

    /// A list of words. Docker Flow Proxy's own are parted by white space, as HAProxy's are; what parts other
    /// lists does as well.
    pub(crate) fn words<T, E: fmt::Display>(
        &mut self,
        name: &str,
        allowed: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let separator = self.separator;
        self.parted(
            name,
            allowed,
            |text| text.split(separator).flat_map(at_blanks).collect(),
            parse,
        )
    }

    /// The same where nobody chooses what parts the items.
    pub(crate) fn parted<T, E: fmt::Display>(
        &mut self,
        name: &str,
        allowed: &'static str,
        items: impl Fn(&str) -> Vec<&str>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        items(self.text(name).unwrap_or_default())
            .into_iter()
            .map(|item| item.trim_matches([' ', '\t']))
            .filter(|item| !item.is_empty())
            .filter_map(|item| self.parse(name, item, allowed, &parse))
            .collect()
    }

    /// The list, where it is no longer than this; else it is refused.
    pub(crate) fn at_most<T>(
        &mut self,
        name: &str,
        most: usize,
        allowed: &'static str,
        list: Vec<T>,
    ) -> Vec<T> {
        if list.len() <= most {
            return list;
        }
        let problem = format!("it has {} items; at most {most} are allowed", list.len());
        self.refuse(name, self.params.get(name), problem, allowed);
        Vec::new()
    }

    /// What is wrong with parameters that have no effect here, which is no reason to refuse anything.
    pub(crate) fn would_refuse(&mut self, read: impl FnOnce(&mut Self)) -> Vec<FieldError> {
        let before = self.errors.len();
        read(self);
        self.errors.split_off(before)
    }

    /// The name of a destination's parameter: suffixed, else unsuffixed where only that is given. Both
    /// count as known.
    pub(crate) fn suffixed(&mut self, name: &str, index: u16) -> String {
        if index == 0 {
            return name.to_owned();
        }
        let suffixed = format!("{name}.{index}");
        match (self.text(&suffixed), self.text(name)) {
            (None, Some(_)) => name.to_owned(),
            _ => suffixed,
        }
    }

    pub(crate) fn parse<T, E: fmt::Display>(
        &mut self,
        name: &str,
        text: &str,
        allowed: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(text)
            .map_err(|problem| self.refuse(name, Some(text), problem.to_string(), allowed))
            .ok()
    }

    pub(crate) fn missing(&mut self, name: &str, problem: &str, allowed: &'static str) {
        self.refuse(name, None, problem.to_owned(), allowed);
    }

    pub(crate) fn refuse(
        &mut self,
        name: &str,
        value: Option<&str>,
        problem: String,
        allowed: &'static str,
    ) {
        self.errors.push(FieldError {
            parameter: name.to_owned(),
            value: value.map(shown),
            problem,
            allowed,
        });
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(crate) fn into_errors(self, kind: RefusalKind) -> FieldErrors {
        FieldErrors {
            kind,
            errors: self.errors,
        }
    }

    /// The parameters that nothing asked for.
    pub(crate) fn unknown(&self) -> Vec<ParamWarning> {
        self.params
            .names()
            .filter(|name| !self.known.contains(*name))
            .map(|name| ParamWarning::Unknown {
                parameter: shown(name),
            })
            .collect()
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_VALUE_CHARS)
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(SHOWN_VALUE_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

// === impl FieldErrors ===

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.parameter, self.problem)?;
        if let Some(value) = &self.value {
            write!(f, " (given: {value})")?;
        }
        write!(f, "; allowed: {}", self.allowed)
    }
}

// === impl ParamWarning ===

impl fmt::Display for ParamWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { parameter } => {
                write!(
                    f,
                    "the parameter {parameter} is not known and has no effect"
                )
            }
            Self::NoEffect { parameter, why } => {
                write!(f, "the parameter {parameter} has no effect: {why}")
            }
            Self::WouldBeRefused {
                error:
                    FieldError {
                        parameter,
                        value,
                        problem,
                        allowed,
                    },
            } => {
                let value = value.as_deref().unwrap_or_default();
                write!(
                    f,
                    "the parameter {parameter} would be refused where it had an effect: {value:?}: {problem} (allowed: {allowed})"
                )
            }
        }
    }
}

/// The parts of a text between blanks.
fn at_blanks(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t'])
}
