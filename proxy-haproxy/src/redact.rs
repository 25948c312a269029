//! A configuration as people may see it: without passwords, hashed or not.

use std::borrow::Cow;

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

/// A configuration without the passwords of `user` and `stats auth` lines. Whatever else is secret in raw
/// lines and in a template of one's own, nobody can tell.
///
/// ```
/// let text = "userlist a\n    user ann password $6$x$y groups g\n";
/// assert_eq!(proxy_haproxy::redacted(text), "userlist a\n    user ann password (hidden) groups g\n");
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
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        Some("user") => words.any(is_password),
        Some("stats") => words.next() == Some("auth"),
        _ => false,
    }
}

fn is_password(word: &str) -> bool {
    matches!(word, "password" | "insecure-password")
}

fn hide(line: &str) -> String {
    if !has_secret(line) {
        return line.to_owned();
    }
    let begin = line.len() - line.trim_start().len();
    let (indent, words) = line.split_at(begin);
    let mut shown = Vec::new();
    let mut secret = false;
    for word in words.trim_end().split(' ') {
        let hidden = if !secret || word.is_empty() {
            word.to_owned()
        } else {
            secret = false;
            // `stats auth` has `user:password` in one word.
            match word.split_once(':') {
                Some((user, _)) if shown.first().is_some_and(|it| it == "stats") => {
                    format!("{user}:{HIDDEN}")
                }
                _ => HIDDEN.to_owned(),
            }
        };
        secret |= is_password(word) || (word == "auth" && shown.len() == 1);
        shown.push(hidden);
    }
    let end = if line.ends_with('\n') { "\n" } else { "" };
    format!("{indent}{}{end}", shown.join(" "))
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
                "user a  insecure-password (hidden) groups g",
            ),
            ("  stats auth ann:geheim", "  stats auth ann:(hidden)"),
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
