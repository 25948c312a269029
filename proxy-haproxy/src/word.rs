//! One HAProxy word from any text, or a reason why there is none.

/// Why a text cannot be one word of an HAProxy configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WordError {
    /// HAProxy takes an empty word for the end of the line.
    #[error("it is empty")]
    Empty,
    /// A line break ends the line whatever stands around it, and the other control characters have
    /// no place in a configuration.
    #[error("it holds the control character {0:?}")]
    Control(char),
}

/// Quotes a text so that HAProxy reads it as one word (configuration manual, section 2.2). Between
/// strong quotes nothing has a meaning but the strong quote itself, so that one is written outside.
pub(crate) fn quote(text: &str) -> Result<String, WordError> {
    if text.is_empty() {
        return Err(WordError::Empty);
    }
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(WordError::Control(control));
    }
    if text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            '/' | '.'
                | '_'
                | '-'
                | ':'
                | '*'
                | '@'
                | '+'
                | '='
                | ','
                | '~'
                | '['
                | ']'
                | '('
                | ')'
                | '!'
                | '|'
                | '?'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_stay_bare() {
        for plain in ["*:80", "[::1]:80", "!url", "var(txn.host)"] {
            assert_eq!(quote(plain).unwrap(), plain);
        }
        for special in [
            "a b", "#", "$HOME", "\"", "\\", "a;b", "%[x]", "%", "é", "^/a$",
        ] {
            assert_eq!(quote(special).unwrap(), format!("'{special}'"));
        }
        assert_eq!(quote("'").unwrap(), r"''\'''");
    }

    #[test]
    fn what_ends_a_line_or_a_word_list_is_refused() {
        assert_eq!(quote(""), Err(WordError::Empty));
        for bad in ["\n", "a\r\n", "\0", "\t", "\u{1b}", "\u{85}"] {
            assert!(matches!(quote(bad), Err(WordError::Control(_))), "{bad:?}");
        }
    }
}
