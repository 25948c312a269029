//! Rules for single files: a head that says what the module is for, a length that a
//! reader can hold, and no words that belong to one machine.

use super::TextFile;

/// More than this in one file, and it has more than one subject.
const MAX_LINES: usize = 500;

/// Tests are lists of cases, and may be longer.
const MAX_TEST_LINES: usize = 800;

/// Words that name a package registry or this or that machine. They are written in
/// halves, so that this file passes its own rule.
const FORBIDDEN: [(&str, &str); 11] = [
    ("crates", ".io"),
    ("npmjs", ".org"),
    ("pypi", ".org"),
    ("deb.debian", ".org"),
    ("security.debian", ".org"),
    ("archive.ubuntu", ".com"),
    ("docker", ".io"),
    ("ghcr", ".io"),
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    (".cargo/reg", "istry"),
];

/// Written by cargo, not by us.
const GENERATED: [&str; 1] = ["Cargo.lock"];

pub(super) fn check(file: &TextFile) -> Vec<String> {
    let mut problems = Vec::new();
    if GENERATED.iter().any(|name| file.path.ends_with(name)) {
        return problems;
    }
    if file.path.ends_with(".rs") {
        // Unit tests in a file of their own belong to the module beside them.
        let unit_tests = file.path.ends_with("/tests.rs");
        let tests = unit_tests || file.path.contains("/tests/");
        if !unit_tests && !file.text.starts_with("//!") {
            problems.push(format!(
                "{}: does not open with `//!` (what, for whom)",
                file.path
            ));
        }
        if file.path.ends_with("/mod.rs") {
            problems.push(format!(
                "{}: is a mod.rs; write foo.rs beside foo/",
                file.path
            ));
        }
        let lines = file.text.lines().count();
        let most = if tests { MAX_TEST_LINES } else { MAX_LINES };
        if lines > most {
            problems.push(format!(
                "{}: has {lines} lines, at most {most} are allowed",
                file.path
            ));
        }
    }
    for (number, line) in file.text.lines().enumerate() {
        for (head, tail) in FORBIDDEN {
            let word = format!("{head}{tail}");
            if holds(line, &word) {
                problems.push(format!("{}:{}: holds {word:?}", file.path, number + 1));
            }
        }
    }
    problems
}

/// Whether a line holds a word that is not a part of a longer one: `target/work/x`
/// names no machine.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|character| character.is_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        check(&TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn a_module_needs_a_head() {
        assert!(problems("a/src/b.rs", "//! B, for all.\n").is_empty());
        assert_eq!(problems("a/src/b.rs", "use x;\n").len(), 1);
        assert!(problems("a/src/b/tests.rs", "use super::*;\n").is_empty());
        assert!(problems("a/README.md", "# A\n").is_empty());
    }

    #[test]
    fn a_long_file_is_too_long() {
        let head = "//! A.\n";
        let page = format!("{head}{}", "\n".repeat(MAX_LINES - 1));
        assert!(problems("a.rs", &page).is_empty());
        assert_eq!(problems("a.rs", &format!("{page}\n")).len(), 1);
        assert!(problems("a.md", &format!("{page}\n")).is_empty());
    }

    #[test]
    fn words_of_one_machine_are_named_with_their_line() {
        let registry = ["crates", ".io"].concat();
        let folder = ["/wo", "rk/x"].concat();
        let text = format!("# A\nsee {registry}\n`{folder}`\ntarget{folder}\n");
        let found = problems("a/README.md", &text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a/README.md:2:"), "{found:?}");
        assert!(found[1].starts_with("a/README.md:3:"), "{found:?}");
        assert!(problems("Cargo.lock", &text).is_empty());
    }

    #[test]
    fn the_old_way_to_name_a_module_is_refused() {
        assert_eq!(problems("a/src/b/mod.rs", "//! B.\n").len(), 1);
    }
}
