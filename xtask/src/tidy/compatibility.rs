//! The table of what Docker Flow Proxy accepts against the names there are and the tests that prove
//! them.

use std::collections::{BTreeMap, BTreeSet};

use super::TextFile;

mod names;

/// The document.
const TABLE: &str = "docs/compatibility.md";

/// One row of a table.
#[derive(Debug)]
struct Row<'a> {
    name: &'a str,
    here: &'a str,
    proof: &'a str,
}

pub(super) fn check(files: &[TextFile]) -> Vec<String> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![format!("{TABLE}: is missing")];
    };
    let tests = tests(files);
    let sections = sections(&table.text);
    let mut problems = Vec::new();
    for (heading, names) in names::SECTIONS {
        let rows = sections.get(heading).map(Vec::as_slice).unwrap_or_default();
        problems.extend(against(heading, names, rows));
        for row in rows {
            problems.extend(proven(row, &tests));
        }
    }
    problems
}

/// The rows of each section, by its heading.
fn sections(text: &str) -> BTreeMap<&str, Vec<Row<'_>>> {
    let mut sections: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
    let mut heading = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.trim();
        } else if line.starts_with("| `") {
            sections.entry(heading).or_default().extend(row(line));
        }
    }
    sections
}

fn row(line: &str) -> Option<Row<'_>> {
    let mut cells = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|');
    let name = cells.next()?.trim().trim_matches('`');
    let here = cells.next()?.trim();
    let proof = cells.next_back()?.trim();
    Some(Row { name, here, proof })
}

/// Each name has one row, and no row is about something else.
fn against(heading: &str, names: &[&str], rows: &[Row<'_>]) -> Vec<String> {
    let mut problems = Vec::new();
    for name in names {
        let found = rows.iter().filter(|row| row.name == *name).count();
        if found != 1 {
            problems.push(format!(
                "{TABLE}: `{name}` has {found} rows below {heading}, and must have one"
            ));
        }
    }
    let unknown = rows.iter().filter(|row| !names.contains(&row.name));
    problems.extend(unknown.map(|row| {
        let name = row.name;
        format!("{TABLE}: `{name}` below {heading} is no name of Docker Flow Proxy")
    }));
    problems
}

/// A row says what happens and names tests that exist.
fn proven(row: &Row<'_>, tests: &BTreeSet<&str>) -> Vec<String> {
    let Row { name, here, proof } = row;
    if here.is_empty() {
        return vec![format!("{TABLE}: `{name}` does not say what happens")];
    }
    let mut problems = Vec::new();
    let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
    if named.is_empty() {
        problems.push(format!("{TABLE}: `{name}` names no test"));
    }
    let missing = named.iter().filter(|test| !tests.contains(**test));
    problems.extend(
        missing.map(|test| format!("{TABLE}: `{name}` names `{test}`, and there is no such test")),
    );
    problems
}

/// The name of every function that is a test, and of those that `cargo xtask swarm` goes through.
fn tests(files: &[TextFile]) -> BTreeSet<&str> {
    let mut tests = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let swarm = file.path.starts_with("xtask/src/swarm/");
        let mut marked = false;
        for line in file.text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some(name) = function(line) {
                if marked || swarm {
                    tests.insert(name);
                }
                marked = false;
            }
        }
    }
    tests
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let (head, rest) = line.split_once("fn ")?;
    let words = ["", "async", "pub(super)", "pub(crate)", "pub"];
    head.split(' ')
        .all(|word| words.contains(&word))
        .then_some(())?;
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_row_names_a_test_that_exists() {
        let source =
            "#[test]\nfn it_works() {}\nfn helper() {}\n#[tokio::test]\nasync fn it_waits() {}\n";
        let files = [file("a.rs", source)];
        let tests = tests(&files);
        let problems = |line| proven(&row(line).unwrap(), &tests);
        assert!(problems("| `a` | kept | `it_works`, `it_waits` |").is_empty());
        for bad in [
            "| `a` | kept | `helper` |",
            "| `a` | kept | `it_works`, `gone` |",
            "| `a` | kept | surely |",
            "| `a` | not yet | not yet |",
            "| `a` |  | `it_works` |",
        ] {
            assert_eq!(problems(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn every_name_has_one_row() {
        let text =
            "## Labels\n\n| `a` | kept | `t` |\n| `b` | kept | `t` |\n| `b` | kept | `t` |\n";
        let sections = sections(text);
        let problems = against("Labels", &["a", "b", "c"], &sections["Labels"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        let problems = against("Labels", &["b"], &sections["Labels"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
