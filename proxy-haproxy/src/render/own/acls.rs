//! The ACLs that a service's template declares in the frontend that services share.
//!
//! HAProxy joins ACLs of one name by "or", whoever declared them: what one service's template says of a
//! name would decide for another one that has the same, or for the rules that are made from routes. So
//! every name that a template declares is the service's own, `<service>::<name>`, there and wherever the
//! template asks for it. No name that is made has two colons in it, and no service's name has one.

use std::collections::BTreeSet;

use super::ServiceTemplateProblem;
use crate::line::{OPEN, Word, declared_acl, is_name_char, words};

/// Puts the service before the name of every ACL that these lines declare.
pub(super) fn made_own(
    lines: &[&str],
    service: &str,
) -> Result<Vec<String>, ServiceTemplateProblem> {
    let lines: Vec<(&str, Vec<Word>)> = lines.iter().map(|line| (*line, words(line))).collect();
    let mut declared = BTreeSet::new();
    for (number, (_, words)) in (1..).zip(&lines) {
        if let Some(word) = declared_acl(words) {
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

/// The line with the service before every name that is declared. What stands before the name's own characters
/// needs no quotes of its own: a service's name is plain.
fn renamed(line: &str, words: &[Word], declared: &BTreeSet<String>, service: &str) -> String {
    let whole: Vec<&Word> = match declared_acl(words) {
        Some(name) => vec![name],
        None => asked(words),
    };
    let whole = whole.into_iter().flat_map(|word| name(&word.chars));
    let within = words.iter().flat_map(|word| in_expressions(&word.chars));
    let mut places: Vec<usize> = whole
        .chain(within)
        .filter(|(_, name)| declared.contains(name))
        .map(|(at, _)| at)
        .collect();
    places.sort_unstable();
    let mut renamed = String::with_capacity(line.len());
    let mut from = 0;
    for at in places {
        renamed.push_str(line.get(from..at).unwrap_or_default());
        renamed.push_str(&format!("{service}::"));
        from = at;
    }
    renamed.push_str(line.get(from..).unwrap_or_default());
    renamed
}

/// The name of an ACL without what says that it must not hold, and where it begins in the line.
fn name(chars: &[(usize, char)]) -> Option<(usize, String)> {
    let begin = chars.iter().position(|(_, c)| !"! ".contains(*c))?;
    let chars = chars.get(begin..)?;
    let name: String = chars.iter().map(|(_, c)| c).collect();
    Some((chars.first()?.0, name.trim_end().to_owned()))
}

/// The names that expressions ask for with `acl(a,!b)`, which HAProxy has since 2.9. An expression is a word, or
/// stands in the brackets of one.
fn in_expressions(chars: &[(usize, char)]) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut before = '[';
    for (nth, (_, c)) in chars.iter().enumerate() {
        let begins = std::mem::replace(&mut before, *c) == '[';
        let rest = chars.get(nth..).unwrap_or_default();
        let is_acl = rest.iter().map(|(_, c)| *c).take(4).eq("acl(".chars());
        if let (true, true, Some(rest)) = (begins, is_acl, rest.get(4..)) {
            let end = rest.iter().position(|(_, c)| *c == ')');
            let asked = rest.get(..end.unwrap_or(0)).unwrap_or_default();
            names.extend(asked.split(|(_, c)| *c == ',').filter_map(name));
        }
    }
    names
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
                    "acl  'web::a' path /",
                    "use_backend x if \"!web::a\" web::\\x61 'b c'",
                ],
            ),
            (
                vec![
                    "acl a path /a",
                    "acl b acl(a) -m bool",
                    "use_backend x if { acl(a,!b,c) } a",
                    "http-request set-header acl(x) '%[acl(!a)]<a>%{+Q}[acl( b ),iif(a,b)]'",
                    "http-request set-var(txn.a) \"acl(\"'b',\\a) unless { str(acl(a)) }",
                    "http-request set-header a xacl(a) # acl(a)",
                ],
                vec![
                    "acl web::a path /a",
                    "acl web::b acl(web::a) -m bool",
                    "use_backend x if { acl(web::a,!web::b,c) } web::a",
                    "http-request set-header acl(x) '%[acl(!web::a)]<a>%{+Q}[acl( web::b ),iif(a,b)]'",
                    "http-request set-var(txn.a) \"acl(\"'web::b',web::\\a) unless { str(acl(a)) }",
                    "http-request set-header a xacl(a) # acl(a)",
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
