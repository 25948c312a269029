//! A line of a configuration as HAProxy reads it (configuration manual, section 2.2).

use std::{borrow::Cow, ops::Range};

/// What begins an ACL without a name.
pub(crate) const OPEN: [&str; 2] = ["{", "!{"];

/// Whether a character can be part of a name that the configuration gives: of an ACL, a server, a backend.
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')
}

/// Most words are no longer.
const USUAL_CHARS: usize = 24;

/// One word of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    /// What HAProxy reads, without quotes and escapes; and the byte of the line where each character stands.
    pub(crate) chars: Vec<(usize, char)>,
    /// The bytes of the line that it is, quotes and all.
    pub(crate) span: Range<usize>,
}

// === impl Word ===

impl Word {
    /// What HAProxy reads.
    pub(crate) fn text(&self) -> String {
        self.chars.iter().map(|(_, c)| c).collect()
    }

    /// The same, of the line that it is a word of: where it stands there as it is read, nothing is copied.
    pub(crate) fn text_in<'a>(&self, line: &'a str) -> Cow<'a, str> {
        // A quote, an escape or a longer character has more bytes than characters that are read.
        let plain = line.get(self.span.clone());
        match plain.filter(|plain| plain.len() == self.chars.len()) {
            Some(plain) => plain.into(),
            None => self.text().into(),
        }
    }
}

/// The words of a line.
pub(crate) fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = Word::default();
    let mut quote = None;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        let read = match (quote, c) {
            (None, '#') => break,
            (None, ' ' | '\t') => {
                words.push(std::mem::take(&mut word));
                continue;
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                None
            }
            (Some(open), c) if open == c => {
                quote = None;
                None
            }
            (None | Some('"'), '\\') => match chars.next() {
                Some((_, 'x')) => {
                    let digits: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                    Some(u8::from_str_radix(&digits, 16).map_or('x', char::from))
                }
                escaped => escaped.map(|(_, c)| c),
            },
            (_, c) => Some(c),
        };
        if word.span.is_empty() {
            word.span.start = at;
            word.chars.reserve(USUAL_CHARS);
        }
        word.span.end = line.len() - chars.as_str().len();
        word.chars.extend(read.map(|read| (at, read)));
    }
    words.push(word);
    words.retain(|word| !word.span.is_empty());
    words
}

/// The word that names the ACL that a line declares, where it does.
pub(crate) fn declared_acl(words: &[Word]) -> Option<&Word> {
    let [first, name, ..] = words else {
        return None;
    };
    (first.text() == "acl").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_haproxy_reads_them() {
        let read = |line: &str| -> Vec<(String, String)> {
            let words = words(line);
            let both = words
                .iter()
                .map(|word| (word.text(), line[word.span.clone()].to_owned()));
            both.collect()
        };
        for (line, wanted) in [
            ("", vec![]),
            (" \t a  b ", vec![("a", "a"), ("b", "b")]),
            ("'a b'c \"d'\"", vec![("a bc", "'a b'c"), ("d'", "\"d'\"")]),
            (
                r#"a\ b '\' "\"" \x28"#,
                vec![
                    ("a b", r"a\ b"),
                    (r"\", r"'\'"),
                    ("\"", r#""\"""#),
                    ("(", r"\x28"),
                ],
            ),
            ("é '' # a", vec![("é", "é"), ("", "''")]),
            ("a#b", vec![("a", "a")]),
        ] {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect();
            assert_eq!(read(line), wanted, "{line}");
            for word in words(line) {
                assert_eq!(word.text_in(line), word.text(), "{line}");
            }
        }
    }
}
