//! A configuration as people may see it: without passwords, hashed or not.

use std::borrow::Cow;

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

/// A configuration without the passwords of `user` and `stats auth` lines. Whatever else is secret in raw
/// lines and in a template of one's own, nobody can tell.
///
/// ```
/// let text = "userlist a\n    user ann password $6$x$y groups g\n";
/// assert_eq!(proxy_haproxy::redacted(text), "userlist a\n    user ann password (hidden)\n");
/// ```
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !text.lines().any(has_secret) {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive('\n');
    Cow::Owned(lines.map(hide).collect())
}

fn has_secret(line: &str) -> bool {
    secret_at(line).is_some()
}

/// Where the secret of a line begins. What stands behind it is hidden with it: how a value is quoted is
/// HAProxy's business, and a guess would show half of a password.
fn secret_at(line: &str) -> Option<usize> {
    let mut words = words(line);
    match plain(words.next()?.1).as_str() {
        "user" => {
            let (at, word) = words.find(|(_, word)| is_password(&plain(word)))?;
            Some(at + word.len())
        }
        "stats" => {
            let (at, word) = words.next().filter(|(_, word)| plain(word) == "auth")?;
            Some(at + word.len())
        }
        _ => None,
    }
}

/// The words of a line with where each begins.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut end = 0;
    line.split_ascii_whitespace().map(move |word| {
        let at = line.get(end..).and_then(|rest| rest.find(word));
        let begin = end + at.unwrap_or_default();
        end = begin + word.len();
        (begin, word)
    })
}

/// A word without what may quote it.
fn plain(word: &str) -> String {
    word.replace(['"', '\'', '\\'], "")
}

fn is_password(word: &str) -> bool {
    matches!(word, "password" | "insecure-password")
}

fn hide(line: &str) -> String {
    let Some(shown) = secret_at(line).and_then(|at| line.get(..at)) else {
        return line.to_owned();
    };
    let end = if line.ends_with('\n') { "\n" } else { "" };
    format!("{shown} {HIDDEN}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_nothing_else_is() {
        for (line, shown) in [
            ("  user a password $6$x$y", "  user a password (hidden)"),
            (
                "user a  insecure-password x groups g",
                "user a  insecure-password (hidden)",
            ),
            ("  stats auth ann:geheim", "  stats auth (hidden)"),
            ("\tstats\tauth\tann:geheim", "\tstats\tauth (hidden)"),
            ("user ann\tpassword\tx", "user ann\tpassword (hidden)"),
            (
                "user ann insecure-password \"ge heim\"",
                "user ann insecure-password (hidden)",
            ),
            (
                "'user' ann \"password\" x",
                "'user' ann \"password\" (hidden)",
            ),
            ("  user nobody", "  user nobody"),
            ("  stats enable", "  stats enable"),
            (
                "  http-request set-header password x",
                "  http-request set-header password x",
            ),
        ] {
            let text = format!("global\n{line}\nend");
            assert_eq!(redacted(&text), format!("global\n{shown}\nend"));
        }
    }
}
