//! The template engine's set-up: strict, and unable to turn a value into syntax.

mod place;
mod quotes;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use minijinja::{
    Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Serde, ValueKind},
};
use serde::Serialize;

use self::place::{Misplaced, Recorder};
use crate::{expression::Expressions, raw::RawLine, word};

const NAME: &str = "haproxy.cfg";
/// The suite's own text without what it writes for each backend, which stands in a text of its own.
const AROUND: &str = "haproxy.cfg around the backends";
const BACKENDS: &str = "backends of haproxy.cfg";
const BACKENDS_TEXT: &str = include_str!("render/backends.cfg.j2");
/// Stands where the backends go: no value can hold it.
const HERE: char = '\u{1}';

/// What a template of a service may take: one for each step, and for each 64 bytes that it makes. 1,000
/// instances with ten values each take a fifth of it.
const FUEL: u64 = 200_000;

/// The text that a configuration is rendered from.
///
/// The language is Jinja's. Every `{{ value }}` becomes one HAProxy word, or part of one, whatever
/// the value holds: it is quoted where it needs to be, and a value that no quoting can hold (a line
/// break, a control character, nothing at all) fails the rendering, as does a name that does not
/// exist. So is a value between quotes that the text opened, which its own would close: those end before
/// it (`'by '{{ value }}`). So does a value that HAProxy would read as more than a value where it came to stand, as
/// `%[env(TOKEN)]` behind `set-header X`. Text outside the braces is the author's own and is left as it is, as are the
/// lines of the parameters and settings whose purpose is raw HAProxy text; expressions that the model gives as such may
/// stand anywhere.
///
#[doc = include_str!("template/names.md")]
#[derive(Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    in_parts: bool,
}

/// What is wrong with a template, or with a value that it was given.
#[derive(Debug, thiserror::Error)]
#[error("the template cannot be {}{}: {message}", if *.compiled { "rendered" } else { "read" }, at(*.line))]
pub struct TemplateError {
    /// The line of the template, from 1; 0 where the engine does not know.
    line: usize,
    message: String,
    compiled: bool,
    #[source]
    source: Option<Box<Error>>,
}

// === impl Template ===

impl Template {
    /// The text of the suite's own template, to begin one's own with.
    pub const DEFAULT_TEXT: &str = concat!(
        include_str!("render/global.cfg.j2"),
        include_str!("render/frontend.cfg.j2"),
        include_str!("render/userlists.cfg.j2"),
        include_str!("render/backends.cfg.j2"),
        include_str!("render/tcp.cfg.j2"),
    );

    /// Reads a template.
    ///
    /// # Errors
    /// When the text is no template, or a value stands between quotes; says the line.
    pub fn new(text: impl Into<String>) -> Result<Self, TemplateError> {
        Self::read(Environment::new(), text.into())
    }

    /// Reads a template that anybody may have written: what it does when it is rendered is bounded.
    pub(crate) fn bounded(text: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        Self::read(environment, text.to_owned())
    }

    /// Whether both were read at once.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.environment, &other.environment)
    }

    fn read(mut environment: Environment<'static>, text: String) -> Result<Self, TemplateError> {
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_formatter(format_word);
        environment.set_syntax(syntax().map_err(|error| TemplateError::new(error, false))?);
        let open = quotes::check(&text);
        let in_parts = text == Self::DEFAULT_TEXT;
        let around = in_parts.then(|| text.replacen(BACKENDS_TEXT, &HERE.to_string(), 1));
        let mut texts = vec![(NAME, text)];
        if let Some(around) = around {
            texts.extend([(AROUND, around), (BACKENDS, BACKENDS_TEXT.to_owned())]);
        }
        for (name, text) in texts {
            environment
                .add_template_owned(name, text)
                .map_err(|error| TemplateError::new(error, false))?;
        }
        open.map_err(|quotes::OpenQuote { line, what }| TemplateError {
            line,
            message: what.words().to_owned(),
            compiled: false,
            source: None,
        })?;
        Ok(Self {
            environment: Arc::new(environment),
            in_parts,
        })
    }

    /// Whether its backends can be rendered apart from the rest: it is the suite's own.
    pub(crate) fn is_in_parts(&self) -> bool {
        self.in_parts
    }

    /// Renders some backends, as they stand one after the other. Only in parts.
    pub(crate) fn render_backends(&self, model: impl Serialize) -> Result<String, TemplateError> {
        self.render_named(BACKENDS, model)
    }

    /// Renders the rest, and puts the backends where they belong. Only in parts.
    pub(crate) fn render_around(
        &self,
        model: impl Serialize,
        backends: &[impl AsRef<str>],
    ) -> Result<String, TemplateError> {
        let rest = self.render_named(AROUND, model)?;
        let (before, after) = rest.split_once(HERE).unwrap_or((&rest, ""));
        let mut text = String::with_capacity(
            rest.len() + backends.iter().map(|it| it.as_ref().len()).sum::<usize>(),
        );
        text.push_str(before);
        text.extend(backends.iter().map(AsRef::as_ref));
        text.push_str(after);
        Ok(text)
    }

    fn render_named(&self, name: &str, model: impl Serialize) -> Result<String, TemplateError> {
        let template = self.environment.get_template(name);
        template
            .and_then(|template| template.render(Serde(model)))
            .map_err(|error| TemplateError::new(error, true))
    }

    /// Whether it reads this name of the model.
    pub(crate) fn reads(&self, name: &str) -> bool {
        let template = self.environment.get_template(NAME);
        template.is_ok_and(|template| template.undeclared_variables(false).contains(name))
    }

    /// Whether it has this text anywhere. What a loop reads of its items cannot be asked for by name.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        let template = self.environment.get_template(NAME);
        template.is_ok_and(|template| template.source().contains(text))
    }

    /// Renders values, each where HAProxy reads it as one. (The suite's own template in its parts needs nobody to look:
    /// it was written so.)
    pub(crate) fn render(&self, model: impl Serialize) -> Result<String, TemplateError> {
        let mut recorder = Recorder::default();
        let is_value = recorder.is_value();
        let (model, expressions) = Expressions::of(model);
        let mut environment = Environment::clone(&self.environment);
        environment.set_formatter(move |out, state, value| {
            let is_said = is_text(value) && !expressions.have(value);
            is_value.store(is_said, Ordering::Relaxed);
            let written = format_word(out, state, value);
            is_value.store(false, Ordering::Relaxed);
            written
        });
        let rendered = environment.get_template(NAME);
        let rendered = rendered.and_then(|template| {
            let rendered = template.render_captured_to(model, &mut recorder);
            rendered.map(drop)
        });
        rendered.map_err(|error| TemplateError::new(error, true))?;
        recorder.finish().map_err(TemplateError::misplaced)
    }
}

impl Default for Template {
    /// The template of the suite: [`Template::DEFAULT_TEXT`].
    #[expect(
        clippy::expect_used,
        reason = "the text is a part of the program, and a test reads it"
    )]
    fn default() -> Self {
        Self::new(Self::DEFAULT_TEXT).expect("the default template is valid")
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").finish_non_exhaustive()
    }
}

// === impl TemplateError ===

impl TemplateError {
    fn new(error: Error, compiled: bool) -> Self {
        Self {
            line: error.line().unwrap_or_default(),
            message: error
                .detail()
                .map_or_else(|| error.kind().to_string(), str::to_owned),
            compiled,
            source: Some(Box::new(error)),
        }
    }

    fn misplaced(misplaced: Misplaced) -> Self {
        let Misplaced { line, word, why } = misplaced;
        Self {
            line: 0,
            message: format!("in line {line} of what it gives, {word:?} {}", why.words()),
            compiled: true,
            source: None,
        }
    }

    /// The line of the template, from 1; 0 where it is not known.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
}

fn at(line: usize) -> String {
    match line {
        0 => String::new(),
        line => format!(" (line {line})"),
    }
}

fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
}

/// Whether it is written as a text, which somebody may have said.
fn is_text(value: &Value) -> bool {
    let is_raw = value.downcast_object_ref::<RawLine>().is_some();
    let is_number = matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    !(is_raw || is_number)
}

/// Writes a value as (part of) one HAProxy word. A value marked as safe is quoted like any other; the one
/// way around it is a [`RawLine`], which no template can make.
fn format_word(out: &mut Output, _state: &mut State, value: &Value) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::new(ErrorKind::BadEscape, why));
    if let Some(line) = value.downcast_object_ref::<RawLine>() {
        return match line.as_str().chars().find(|c| c.is_control()) {
            Some(control) => refuse(format!(
                "a raw line holds the control character {control:?}"
            )),
            None => out.write_str(line.as_str()).map_err(Error::from),
        };
    }
    if let Some(text) = value.as_str() {
        return match word::quote(text) {
            Ok(quoted) => out.write_str(&quoted).map_err(Error::from),
            Err(problem) => refuse(format!("{text:?} cannot be one HAProxy word: {problem}")),
        };
    }
    match value.kind() {
        ValueKind::Number | ValueKind::Bool => write!(out, "{value}").map_err(Error::from),
        ValueKind::String => refuse("a value that is not UTF-8 cannot be written".to_owned()),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        other => refuse(format!(
            "{other} cannot be one HAProxy word; write its parts"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use minijinja::context;

    use super::*;
    use crate::{expression::Expression, raw::RawText};

    fn render(text: &str, value: &str) -> Result<String, TemplateError> {
        Template::new(text)?.render(context! { value, list => [1, 2] })
    }

    #[test]
    fn the_names_that_a_template_may_use_are_those_that_the_suites_own_reads() {
        let listed: Vec<&str> = include_str!("template/names.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
            .flat_map(|names| names.split([',', '`']).map(str::trim))
            .filter(|name| !name.is_empty())
            .collect();
        let own = Template::default();
        let own = own.environment.get_template(NAME).unwrap();
        let firsts = listed.iter().map(|name| {
            let first = name.split(['.', '[']).next();
            first.unwrap().to_owned()
        });
        let firsts: std::collections::HashSet<String> = firsts.collect();
        assert_eq!(firsts, own.undeclared_variables(false));
        for name in listed {
            let read = match name.rsplit_once('.') {
                Some((_, member)) => format!(".{member}"),
                None => name.to_owned(),
            };
            assert!(own.source().contains(&read), "{name}");
        }
    }

    #[test]
    fn a_value_is_one_word() {
        assert_eq!(render("a {{ value }}\n", "/x").unwrap(), "a /x\n");
        assert_eq!(render("a {{ value }}", "b c # d").unwrap(), "a 'b c # d'");
        assert_eq!(render("a {{ value }}", "it's").unwrap(), r"a 'it'\''s'");
        assert_eq!(render("a {{ value|safe }}", "a b").unwrap(), "a 'a b'");
        assert_eq!(
            render("a {{ value }}", "{{ 7 * 7 }}").unwrap(),
            "a '{{ 7 * 7 }}'"
        );
    }

    #[test]
    fn what_no_quoting_can_hold_is_refused() {
        for bad in ["", "a\nb", "a\0", "\u{7f}", "a\r"] {
            let error = render("x {{ value }}", bad).unwrap_err();
            assert_eq!(error.line(), 1, "{bad:?}");
        }
        for text in [
            "{{ nothing }}",
            "{{ value.nothing }}",
            "{{ list }}",
            "{{ none }}",
        ] {
            assert!(render(text, "x").is_err(), "{text}");
        }
        assert!(Template::new("{% if %}").is_err());
    }

    #[test]
    fn raw_lines_are_written_as_they_are_and_what_is_made_of_them_is_not() {
        let lines: proxy_core::RawLines = "http-request set-header X \"a b\"\nretries 2"
            .parse()
            .unwrap();
        let render = |text: &str| {
            let model = BTreeMap::from([("extra", RawText::from(&lines))]);
            Template::new(text)?.render(model)
        };
        assert_eq!(
            render("{% for line in extra %}\n    {{ line }}\n{% endfor %}").unwrap(),
            "    http-request set-header X \"a b\"\n    retries 2\n"
        );
        assert_eq!(render("a {{ extra[1] ~ '' }}").unwrap(), "a 'retries 2'");
        assert!(render("{{ extra }}").is_err());
    }

    #[test]
    fn an_expression_may_stand_anywhere_and_what_is_made_of_it_may_not() {
        #[derive(Serialize)]
        struct Seen {
            ask: Expression,
            test: Vec<Expression>,
            same: &'static str,
            same_flag: &'static str,
        }
        let render = |text: &str| {
            let model = Seen {
                ask: Expression::from("http_auth(a b)"),
                test: ["path_beg", "-m"].map(Expression::from).into(),
                same: "http_auth(a b)",
                same_flag: "-m",
            };
            Template::new(text)?.render(model)
        };
        for (text, wanted) in [
            ("x unless { {{ ask }} }", "x unless { 'http_auth(a b)' }"),
            ("{{ ask }}", "'http_auth(a b)'"),
            ("{% set x = ask %}{{ x }}", "'http_auth(a b)'"),
            ("acl a path {{ test[1] }} str x", "acl a path -m str x"),
            ("{% if ask %}x{% endif %}", "x"),
            ("{% if test[0] == 'path_beg' %}x{% endif %}", "x"),
            ("{% if ask == same and '-m' in test %}x{% endif %}", "x"),
            ("{% if test == ['path_beg', '-m'] %}x{% endif %}", "x"),
        ] {
            assert_eq!(render(text).unwrap(), wanted);
        }
        for text in [
            "{{ ask ~ '' }}",
            "{{ ask|upper }}",
            "{{ ask|trim }}",
            "{{ ask[:] }}",
            "{{ [ask]|join }}",
            "{% set x %}{{ ask }}{% endset %}{{ x }}",
            "x %[{{ ask ~ ')' }}]",
            "x unless { {{ same }} }",
            "acl a path {{ same_flag }} str x",
            "acl a path {{ '-m' }} str x",
        ] {
            assert!(render(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_template_is_one() {
        let _ = Template::default();
    }
}
