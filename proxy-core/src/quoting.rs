//! Values that their writers quoted for HAProxy.
//!
//! Docker Flow Proxy copies values into HAProxy's configuration as they are, so those who wrote them
//! wrote HAProxy's quoting and escapes, and now and then a condition behind the value. Here a value is
//! a value: its quoting is undone as HAProxy undoes it, and a condition is refused and not taken for a
//! part of the value.

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotingError {
    /// A quote that is opened and not closed.
    #[error("the quote {0} is not closed; write \\{0} for the character itself")]
    Open(char),
    /// An escape that stands for a control character, or for none.
    #[error("the escape \\{0} is not known; a backslash itself is \\\\")]
    Escape(String),
    /// A variable of HAProxy's environment.
    #[error("a variable of the environment is not read here; write \\$ or use single quotes")]
    Variable,
    /// The value goes on with a condition.
    #[error(
        "a condition ({0}) is not read here; quote the value if it is a part of it, else use backendExtra"
    )]
    Condition(String),
}

/// The value as HAProxy reads it. White space at both ends is dropped; within, it is kept.
///
/// # Errors
/// When the quoting is not complete, or the value would go on with something else.
pub fn unquote(text: &str) -> Result<String, QuotingError> {
    let text = text.trim_matches([' ', '\t']);
    let mut value = String::with_capacity(text.len());
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                word.push('\'');
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => value.push(c),
                        None => return Err(QuotingError::Open('\'')),
                    }
                }
            }
            '"' => {
                word.push('"');
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => value.push(escaped(chars.next(), r#"\"$"#)?),
                        Some('$') => return Err(QuotingError::Variable),
                        Some(c) => value.push(c),
                        None => return Err(QuotingError::Open('"')),
                    }
                }
            }
            '\\' => {
                let c = escaped(chars.next(), r#"\"'# ,$"#)?;
                word.push('\\');
                value.push(c);
            }
            ' ' | '\t' => {
                condition(&word)?;
                word.clear();
                value.push(c);
            }
            c => {
                word.push(c);
                value.push(c);
            }
        }
    }
    condition(&word)?;
    Ok(value)
}

/// Refuses a word that begins a condition. What was quoted or escaped holds a mark and is none.
fn condition(word: &str) -> Result<(), QuotingError> {
    match word {
        "if" | "unless" => Err(QuotingError::Condition(word.to_owned())),
        _ => Ok(()),
    }
}

fn escaped(c: Option<char>, allowed: &str) -> Result<char, QuotingError> {
    match c {
        Some(c) if allowed.contains(c) => Ok(c),
        other => Err(QuotingError::Escape(
            other.map(String::from).unwrap_or_default(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_undone() {
        for (text, value) in [
            ("a", "a"),
            (" a  b ", "a  b"),
            (r#""a b"c"#, "a bc"),
            (r"'a \ $b'", r"a \ $b"),
            (r#"a\ b\"\'\\"#, r#"a b"'\"#),
            (r#""\"\\\$""#, r#""\$"#),
            ("'if' x", "if x"),
            ("iffy unlessly", "iffy unlessly"),
            (r"\#", "#"),
        ] {
            assert_eq!(unquote(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        for bad in [
            "it's",
            "\"a",
            r"\n",
            r"\x41",
            "a\\",
            r#""$HOME""#,
            "a if { ssl_fc }",
            "a unless x",
            "if",
        ] {
            assert!(unquote(bad).is_err(), "{bad}");
        }
    }
}
