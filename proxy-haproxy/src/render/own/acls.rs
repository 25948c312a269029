//! The ACLs that a service's template declares in the frontend that services share.
//!
//! HAProxy joins ACLs of one name by "or", whoever declared them: what one service's template says of a
//! name would decide for another one that has the same, or for the rules that are made from routes. So
//! every name that a template declares is the service's own, `<service>::<name>`, there and wherever the
//! template asks for it. No name that is made has two colons in it, and no service's name has one.

use std::collections::BTreeSet;

use super::ServiceTemplateProblem;
use crate::line::{OPEN, Word, is_name_char, words};

/// Puts the service before the name of every ACL that these lines declare.
pub(super) fn made_own(
    lines: &[&str],
    service: &str,
) -> Result<Vec<String>, ServiceTemplateProblem> {
    let lines: Vec<(&str, Vec<Word>)> = lines.iter().map(|line| (*line, words(line))).collect();
    let mut declared = BTreeSet::new();
    for (number, (_, words)) in (1..).zip(&lines) {
        if let Some(word) = declares(words) {
            let name = word.text();
            if !name.chars().all(is_name_char) {
                return Err(ServiceTemplateProblem::AclName { line: number, name });
            }
            declared.insert(name);
        }
    }
    let own = |(line, words): &(&str, Vec<Word>)| renamed(line, words, &declared, service);
    Ok(lines.iter().map(own).collect())
}

/// The word that names what the line declares.
fn declares(words: &[Word]) -> Option<&Word> {
    let [first, name, ..] = words else {
        return None;
    };
    (first.text() == "acl").then_some(name)
}

fn renamed(line: &str, words: &[Word], declared: &BTreeSet<String>, service: &str) -> String {
    let named: Vec<&Word> = match declares(words) {
        Some(name) => vec![name],
        None => asked(words),
    };
    let mut renamed = String::with_capacity(line.len());
    let mut from = 0;
    for word in named {
        let text = word.text();
        let name = text.trim_start_matches('!');
        if declared.contains(name) {
            let not = text.strip_suffix(name).unwrap_or_default();
            renamed.push_str(line.get(from..word.span.start).unwrap_or_default());
            renamed.push_str(&format!("{not}{service}::{name}"));
            from = word.span.end;
        }
    }
    renamed.push_str(line.get(from..).unwrap_or_default());
    renamed
}

/// The words of a condition that may be names.
fn asked(words: &[Word]) -> Vec<&Word> {
    let begins = |word: &&Word| !matches!(&*word.text(), "if" | "unless");
    let mut in_braces = false;
    words
        .iter()
        .skip_while(begins)
        .filter(|word| match &*word.text() {
            "}" => std::mem::take(&mut in_braces),
            open if OPEN.contains(&open) => {
                in_braces = true;
                false
            }
            _ => !in_braces,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_declares_is_called_by_its_service_and_nothing_else_is() {
        for (lines, wanted) in [
            (
                vec!["acl a path /a", "use_backend a if a", "acl a path /b"],
                vec![
                    "acl web::a path /a",
                    "use_backend a if web::a",
                    "acl web::a path /b",
                ],
            ),
            (
                vec![
                    "acl a path a if a",
                    "http-request deny unless !a or ! a || b { path a } !{ path a } a # a",
                ],
                vec![
                    "acl web::a path a if a",
                    "http-request deny unless !web::a or ! web::a || b { path a } !{ path a } web::a # a",
                ],
            ),
            (
                vec!["acl  'a' path /", "use_backend x if \"!a\" \\x61 'b c'"],
                vec![
                    "acl  web::a path /",
                    "use_backend x if !web::a web::a 'b c'",
                ],
            ),
            (
                vec!["http-request set-header a a", "use_backend x if a", "acl"],
                vec!["http-request set-header a a", "use_backend x if a", "acl"],
            ),
        ] {
            assert_eq!(made_own(&lines, "web").unwrap(), wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_name_that_only_haproxy_could_read_is_refused() {
        for line in [
            "acl \"$A\" path /",
            "acl 'a b' path /",
            "acl \"${A[*]}\" path /",
        ] {
            let refused = made_own(&["retries 2", line], "web").unwrap_err();
            assert!(
                matches!(refused, ServiceTemplateProblem::AclName { line: 2, .. }),
                "{refused}"
            );
        }
    }
}
