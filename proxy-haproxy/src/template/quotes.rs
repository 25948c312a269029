//! Whether each value of a template stands where quoting it is enough.
//!
//! A value is quoted by itself. Between quotes that the author opened, or behind a backslash, its own quotes
//! would end those, and what it holds would become words. So no quote may be open where a value stands;
//! nor where a block begins or a line ends, so that this holds whichever way a template goes.

/// Where a value is not safe, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenQuote {
    /// The line, from 1.
    pub(super) line: usize,
    /// What stands where a quote is open.
    pub(super) what: What,
}

/// What stands where a quote is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Value,
    Block,
    End,
}

/// What the text so far leaves open, as HAProxy reads it (configuration manual, section 2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Strong,
    Weak,
    Comment,
}

#[derive(Default)]
struct Reader {
    open: Open,
    /// A backslash came last.
    escaped: bool,
    /// What came last is white space behind a backslash, which `{{-` would take away and leave that.
    escaped_space: bool,
}

// === impl What ===

impl What {
    /// What is wrong with it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Value => {
                "a value stands between quotes, or behind a backslash: it becomes one word by itself; close the quotes before it ('by '{{ value }})"
            }
            Self::Block => {
                "a quote is open where {% begins: close it before, and open it again behind"
            }
            Self::End => "the line opens a quote, or ends with a backslash, and does not close it",
        }
    }
}

// === impl Reader ===

impl Reader {
    fn take(&mut self, c: char) {
        let escaped = std::mem::take(&mut self.escaped);
        self.escaped_space = c.is_whitespace() && (escaped || self.escaped_space);
        self.open = match (self.open, c) {
            (_, '\n') => Open::Nothing,
            (open, _) if escaped => open,
            (open @ (Open::Nothing | Open::Weak), '\\') => {
                self.escaped = true;
                open
            }
            (Open::Nothing, '\'') => Open::Strong,
            (Open::Nothing, '"') => Open::Weak,
            (Open::Nothing, '#') => Open::Comment,
            (Open::Strong, '\'') | (Open::Weak, '"') => Open::Nothing,
            (open, _) => open,
        };
    }

    fn expect_closed(&self, what: What) -> Result<(), What> {
        let is_open = matches!(self.open, Open::Strong | Open::Weak) || self.escaped;
        if is_open { Err(what) } else { Ok(()) }
    }
}

/// Reads a template that can be read, and says where it leaves a quote open.
pub(super) fn check(text: &str) -> Result<(), OpenQuote> {
    let mut reader = Reader::default();
    let mut rest = text;
    let mut is_raw = false;
    while let Some(c) = rest.chars().next() {
        let read = step(&mut reader, &mut is_raw, rest, c);
        rest = read.map_err(|what| {
            let before = text.strip_suffix(rest).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            OpenQuote { line, what }
        })?;
    }
    reader.expect_closed(What::End).map_err(|what| OpenQuote {
        line: text.trim_end_matches('\n').matches('\n').count() + 1,
        what,
    })
}

/// Reads one thing, and gives what is left behind it.
fn step<'a>(
    reader: &mut Reader,
    is_raw: &mut bool,
    rest: &'a str,
    c: char,
) -> Result<&'a str, What> {
    let taken_away = |inside: &str| inside.starts_with('-') && reader.escaped_space;
    if let Some(inside) = rest.strip_prefix("{%") {
        let (tag, behind) = until(inside, "%}");
        let word = tag.trim_matches(|c: char| c.is_whitespace() || "-+".contains(c));
        if !*is_raw || word == "endraw" {
            if taken_away(inside) {
                return Err(What::Block);
            }
            reader.expect_closed(What::Block)?;
            // Another way through the template may have no comment here.
            *reader = Reader::default();
            *is_raw = word == "raw";
            return Ok(behind);
        }
    } else if let Some(inside) = rest.strip_prefix("{#").filter(|_| !*is_raw) {
        if taken_away(inside) {
            return Err(What::Block);
        }
        return Ok(inside.split_once("#}").map_or("", |(_, behind)| behind));
    } else if let Some(inside) = rest.strip_prefix("{{").filter(|_| !*is_raw) {
        if taken_away(inside) {
            return Err(What::Value);
        }
        reader.expect_closed(What::Value)?;
        reader.escaped_space = false;
        return Ok(until(inside, "}}").1);
    }
    if c == '\n' {
        reader.expect_closed(What::End)?;
    }
    reader.take(c);
    let mut behind = rest.chars();
    behind.next();
    Ok(behind.as_str())
}

/// What stands in a tag, and what behind it. Texts and brackets in it may hold what would end it.
fn until<'a>(inside: &'a str, end: &str) -> (&'a str, &'a str) {
    let mut text = None;
    let mut escaped = false;
    let mut depth = 0_usize;
    for (at, c) in inside.char_indices() {
        let (before, from) = inside.split_at(at);
        if text.is_none()
            && depth == 0
            && let Some(behind) = from.strip_prefix(end)
        {
            return (before, behind);
        }
        match (text, c) {
            (Some(_), _) if std::mem::take(&mut escaped) => {}
            (Some(_), '\\') => escaped = true,
            (Some(quote), c) if quote == c => text = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => text = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    (inside, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_between_quotes_are_found() {
        for (text, line, what) in [
            ("a\nb 'by {{ v }}'", 2, What::Value),
            ("b \"by {{ v }}\"", 1, What::Value),
            ("b it\\'s 'a'\"b{{ v }}", 1, What::Value),
            ("b \\{{ v }}", 1, What::Value),
            ("b \\ {{- v }}", 1, What::Value),
            ("b \\ {#- a #}{{ v }}", 1, What::Block),
            ("b \"\\\"{{ v }}\"", 1, What::Value),
            ("{{ '\"' }} '{{ v }}'", 1, What::Value),
            ("{{ {'a': {'b': 1}} }} '{{ v }}'", 1, What::Value),
            ("{# ' #}'{{ v }}'", 1, What::Value),
            ("{% raw %}{{ ' }}{% endraw %} {{ v }}", 1, What::Block),
            ("{% raw %}' {{ x }}{% endraw %}{{ v }}", 1, What::Block),
            ("{% if a %}\"{% else %}\"{% endif %}{{ v }}", 1, What::Block),
            ("{% if a %}#{% endif %}'{{ v }}'", 1, What::Value),
            ("a\n\"a {# #}\n{{ v }}", 2, What::End),
            ("\"a {# b #}\n", 1, What::End),
            ("a\nb '", 2, What::End),
            ("a \\", 1, What::End),
        ] {
            assert_eq!(check(text), Err(OpenQuote { line, what }), "{text}");
        }
    }

    #[test]
    fn values_beside_quotes_are_safe() {
        for text in [
            "",
            "b {{ v }}:{{ w }}",
            "b 'by '{{ v }}'.'",
            "b \"it's \"{{ v }} \\\"",
            "b \\ {{ v }} \\\\{{ v }}",
            "b 'a \\'{{ v }}",
            "# it's {{ v }}\nb {{ v }}",
            "b {{ v ~ \"'\" }}{{ '}}' }} {{ v }} '{}'",
            "{# it's \" #}{{ v }}",
            "{% if v == \"it's\" %}'a'{% endif %} {{ v }}",
            "{% raw %}'{{'{% endraw %}{{ v }}",
            "b '%[req.hdr(\"a\")]' # it's",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
