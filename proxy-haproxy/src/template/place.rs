//! Whether each value stands where HAProxy reads it as a value, in what a template gives.
//!
//! Quoting makes a value one word. Within words HAProxy has languages of its own: expressions
//! (`str(a),lower`), texts with expressions (`by %[src]`), conditions with flags and names. What they
//! mean by a character depends on where it stands, so it is looked at where the value came to stand, as
//! HAProxy reads the line (configuration manual, sections 2.2, 7.1, 7.3 and 8.2.4).

use std::{
    borrow::Cow,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rayon::prelude::*;

use crate::line::{self, OPEN, words};

mod why;

pub(super) use self::why::{Misplaced, Why};

/// What joins or ends conditions, wherever it stands alone.
const OF_CONDITIONS: [&str; 7] = ["if", "unless", "or", "||", "!", "{", "}"];
/// What takes an expression, and nothing that a value could be.
const EXPRESSIONS: [&str; 12] = [
    "capture",
    "match",
    "on",
    "pool-conn-name",
    "set-dst",
    "set-dst-port",
    "set-priority-class",
    "set-priority-offset",
    "set-src",
    "set-src-port",
    "sni",
    "store-request",
];
/// What has a name as its first argument, which may be any word; and how that is read.
const NAMED: [(&str, Name); 3] = [
    ("server", Name::Argument),
    ("server-template", Name::Argument),
    ("user", Name::Text),
];
/// What a rule for requests or answers does with a header, whose name follows.
const OF_HEADERS: [&str; 6] = [
    "add-header",
    "del-header",
    "early-hint",
    "replace-header",
    "replace-value",
    "set-header",
];
/// What compares numbers, where it stands alone in a pattern's place.
const OPERATORS: [&str; 5] = ["eq", "ge", "gt", "le", "lt"];
/// What is a text to HAProxy, also by a part of it: nothing is compared there.
const TEXTS: [&str; 5] = ["hdr", "path", "req.fhdr", "req.hdr", "url"];
const PARTS: [&str; 6] = ["_beg", "_dir", "_dom", "_end", "_reg", "_sub"];
/// The methods of `-m` that know those.
const NUMERIC: [&str; 3] = ["int", "len", "ver"];

/// So many lines are looked at by all threads; fewer are done before others have begun.
const MANY: usize = 4_000;

/// What a template gives, and which parts of it came from values.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    text: Vec<u8>,
    values: Vec<Range<usize>>,
    is_value: Arc<AtomicBool>,
}

/// A line of what a template gives.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    /// From 1.
    number: usize,
    text: &'a str,
    /// Where it begins in the whole.
    begin: usize,
    /// What came from values, at least within it.
    values: &'a [Range<usize>],
}

/// A word as HAProxy reads it.
#[derive(Clone, Copy, Debug)]
struct Word<'a> {
    read: &'a line::Word,
    line: Line<'a>,
}

/// What the words that follow are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// What an action, a server or an option takes.
    Arguments,
    /// Names of ACLs, and what joins them.
    Condition,
    /// A name is declared.
    Name,
    /// The expression of an ACL.
    Criterion,
    /// The flags and patterns of an ACL.
    Patterns {
        flags: Flags,
        /// Values and numbers cannot be mistaken for each other.
        is_text: bool,
    },
}

/// How a word is read that is a name wherever it stands, also one like `if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// As an argument.
    Argument,
    /// As it is, whatever it holds.
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flags {
    May,
    /// What stands here belongs to a flag: to `-m`, and to another one.
    Method,
    File,
    /// `--` stands before.
    Ended,
}

// === impl Recorder ===

impl Recorder {
    /// Whether what is written next is a value.
    pub(super) fn is_value(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_value)
    }

    /// What was written, unless some value is misplaced.
    pub(super) fn finish(self) -> Result<String, Misplaced> {
        let text = String::from_utf8(self.text)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        check(&text, &self.values)?;
        Ok(text)
    }
}

impl io::Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let from = self.text.len();
        self.text.extend_from_slice(bytes);
        if self.is_value.load(Ordering::Relaxed) {
            self.values.push(from..self.text.len());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Reading ===

impl Reading {
    /// How the words behind this one are read, where this one is the author's own.
    fn behind(self, word: &str) -> Self {
        match (self, word) {
            (Self::Arguments, "if" | "unless") => Self::Condition,
            (Self::Condition, open) if OPEN.contains(&open) => Self::Criterion,
            (Self::Name, _) => Self::Criterion,
            (Self::Criterion, asked) => Self::Patterns {
                flags: Flags::May,
                is_text: is_text(asked),
            },
            (Self::Patterns { flags, is_text }, _) => {
                let (flags, is_text) = match (flags, word) {
                    (Flags::May, "-m") => (Flags::Method, is_text),
                    (Flags::May, "-f" | "-u") => (Flags::File, is_text),
                    (Flags::May, "--") => (Flags::Ended, is_text),
                    (Flags::Method, method) => (Flags::May, !NUMERIC.contains(&method)),
                    (Flags::File, _) => (Flags::May, is_text),
                    (flags, _) => (flags, is_text),
                };
                Self::Patterns { flags, is_text }
            }
            (reading, _) => reading,
        }
    }

    /// Whether a word with a value in it may stand here.
    fn check(self, word: &Word<'_>, text: &str) -> Result<(), Why> {
        match self {
            Self::Arguments | Self::Condition if OF_CONDITIONS.contains(&text) => {
                Err(Why::Condition)
            }
            Self::Arguments => argument(word, text),
            Self::Patterns { flags, is_text } => match flags {
                Flags::Method | Flags::File => within(word),
                Flags::May if text.starts_with(['-', '(']) => Err(Why::Flag),
                _ if !is_text && OPERATORS.contains(&text) => Err(Why::Operator),
                _ => Ok(()),
            },
            Self::Condition | Self::Name | Self::Criterion => within(word),
        }
    }
}

// === impl Word ===

impl Word<'_> {
    /// Its characters, and whether each came from a value.
    fn chars(&self) -> impl Iterator<Item = (char, bool)> {
        // Both stand in the order of the line.
        let mut values = self.line.values.iter().peekable();
        self.read.chars.iter().map(move |(at, c)| {
            let at = self.line.begin + at;
            while values.next_if(|value| value.end <= at).is_some() {}
            (*c, values.peek().is_some_and(|value| value.start <= at))
        })
    }

    /// Whether a part of it came from a value.
    fn has_value(&self) -> bool {
        self.chars().any(|(_, is_value)| is_value)
    }
}

/// Looks at every line that has a value.
fn check(text: &str, values: &[Range<usize>]) -> Result<(), Misplaced> {
    let lines = with_values(text, values);
    let misplaced = match lines.len() < MANY {
        true => lines.iter().find_map(|line| check_line(*line).err()),
        false => lines
            .par_iter()
            .find_map_first(|line| check_line(*line).err()),
    };
    misplaced.map_or(Ok(()), Err)
}

/// The lines that have a value. Nothing that came from one goes on in the next line: no value holds a line's end.
fn with_values<'a>(text: &'a str, mut values: &'a [Range<usize>]) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let mut begin = 0;
    for (number, text) in (1..).zip(text.split('\n')) {
        let end = begin + text.len();
        let own = values.partition_point(|value| value.start < end);
        let (own, rest) = values.split_at(own);
        values = rest;
        if !own.is_empty() {
            lines.push(Line {
                number,
                text,
                begin,
                values: own,
            });
        }
        begin = end + 1;
    }
    lines
}

fn check_line(line: Line<'_>) -> Result<(), Misplaced> {
    let mut reading = Reading::Arguments;
    let (mut is_first, mut in_braces) = (true, false);
    let (mut directive, mut before) = (Cow::from(""), Cow::from(""));
    // What the next word is, where it is a name.
    let mut name = None;
    for read in &words(line.text) {
        let (word, text) = (Word { read, line }, read.text_in(line.text));
        let has_value = word.has_value();
        if has_value {
            let judged = match reading {
                _ if is_first => Err(Why::Directive),
                _ if name == Some(Name::Text) => Ok(()),
                _ if name.is_some() => argument(&word, &text),
                _ if in_braces && text == "}" => Err(Why::Condition),
                Reading::Arguments if takes_expression(&before) => Err(Why::Expression),
                reading => reading.check(&word, &text),
            };
            judged.map_err(|why| Misplaced {
                line: line.number,
                word: text.to_string(),
                why,
            })?;
        }
        if is_first {
            // HAProxy takes these off a line before it reads its first word.
            is_first = matches!(&*text, "no" | "default");
            let of_this = NAMED.iter().find(|(named, _)| *named == text);
            name = of_this.map(|(_, name)| *name);
            if text == "acl" {
                reading = Reading::Name;
            }
            directive = text;
        } else if name.take().is_some() {
            // It says nothing of what follows.
        } else if in_braces && text == "}" {
            (reading, in_braces) = (Reading::Condition, false);
        } else {
            in_braces |= reading == Reading::Condition && OPEN.contains(&&*text);
            if !has_value && reading == Reading::Arguments {
                name = named_behind(&directive, &before, &text);
            }
            reading = reading.behind(&text);
            before = text;
        }
    }
    Ok(())
}

/// How the word behind this one is read, where it is a name. `before` is what stands between the directive and it.
fn named_behind(directive: &str, before: &str, word: &str) -> Option<Name> {
    match word {
        "realm" if before == "auth" || directive == "stats" => Some(Name::Argument),
        word if OF_HEADERS.contains(&word) => {
            let is_action = before.is_empty() && directive.starts_with("http-");
            is_action.then_some(Name::Text)
        }
        _ => None,
    }
}

/// Whether what an ACL asks for is a text as it comes. (What a converter makes of it could be a number.)
fn is_text(criterion: &str) -> bool {
    let whole = criterion.strip_suffix(')').unwrap_or(criterion);
    let name = match whole.split_once('(') {
        Some((name, argument)) if !argument.contains([',', '(', ')']) => name,
        Some(_) => return false,
        None => whole,
    };
    let part = PARTS.iter().find_map(|part| name.strip_suffix(part));
    TEXTS.contains(&part.unwrap_or(name))
}

/// Whether HAProxy reads what stands behind this word as an expression.
fn takes_expression(before: &str) -> bool {
    EXPRESSIONS.contains(&before)
        || ["set-var(", "track-sc"]
            .iter()
            .any(|it| before.starts_with(it))
}

/// What an action, a server or an option takes: a text, which may have expressions in it, or all sorts of
/// expressions.
fn argument(word: &Word<'_>, text: &str) -> Result<(), Why> {
    if is_address(text) {
        return Ok(());
    }
    let mut own = word.chars().filter(|(_, is_value)| !is_value);
    if own.any(|(c, _)| matches!(c, '%' | '(' | '[' | '{')) {
        return within(word);
    }
    let mut values = word.chars().filter(|(_, is_value)| *is_value);
    match values.find(|(c, _)| matches!(c, '%' | '(' | ')' | '[' | ']' | '\\')) {
        Some((c, _)) => Err(Why::Bare(c)),
        None => Ok(()),
    }
}

/// In an expression, and where a word is more than a value: nothing that ends or goes on there.
fn within(word: &Word<'_>) -> Result<(), Why> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._~:/@*+=-".contains(c);
    // An odd number of them begins a reference (`%ci`), which a value would name.
    let mut percents = 0_usize;
    for (c, is_value) in word.chars() {
        if is_value && (!plain(c) || percents % 2 == 1) {
            return Err(Why::Within(c));
        }
        percents = if c == '%' { percents + 1 } else { 0 };
    }
    Ok(())
}

/// Brackets around an address of IPv6 are no expression.
fn is_address(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let is_v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    text.parse::<std::net::SocketAddrV6>().is_ok() || bare.is_some_and(is_v6)
}

#[cfg(test)]
mod tests;
