//! The licences of everything that is built in: each must leave a choice that we accept.

use std::{fs, path::Path};

use serde_json::Value;

use crate::workspace::LIBRARIES;

/// Both licences ask for their text to go with what is published.
const TEXTS: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Licences that ask for no more than their text and names being kept, and the MPL,
/// which binds its own files alone: we use them unchanged. `deny.toml` holds the same
/// list for cargo-deny.
const ACCEPTED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "MPL-2.0+",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn check(metadata: &Value) -> Vec<String> {
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let name = package["name"].as_str().unwrap_or_default();
            match package["license"].as_str() {
                None => Some(format!("{name}: says nothing of its licence")),
                Some(licence) if accepts(licence) => None,
                Some(licence) => Some(format!("{name}: its licence {licence:?} is not accepted")),
            }
        })
        .collect()
}

/// Whether each published crate brings the texts of its licences: those of the root.
pub(super) fn check_texts(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for name in LIBRARIES {
        for text in TEXTS {
            let ours = fs::read(root.join(text)).ok();
            if ours.is_none() || fs::read(root.join(name).join(text)).ok() != ours {
                problems.push(format!("{name}: its {text} is not the root's"));
            }
        }
    }
    problems
}

/// Whether an SPDX expression leaves an accepted choice. An expression that cannot
/// be read is not accepted.
fn accepts(expression: &str) -> bool {
    // An older way to write OR.
    let expression = expression.replace('/', " OR ");
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let mut words = Words {
        words: spaced.split_whitespace().collect(),
        next: 0,
    };
    let accepted = words.any();
    accepted == Some(true) && words.next == words.words.len()
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl Words<'_> {
    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.next) == Some(&word);
        self.next += usize::from(found);
        found
    }

    /// Terms joined by OR.
    fn any(&mut self) -> Option<bool> {
        let mut accepted = self.all()?;
        while self.take("OR") {
            accepted |= self.all()?;
        }
        Some(accepted)
    }

    /// Terms joined by AND.
    fn all(&mut self) -> Option<bool> {
        let mut accepted = self.term()?;
        while self.take("AND") {
            accepted &= self.term()?;
        }
        Some(accepted)
    }

    fn term(&mut self) -> Option<bool> {
        if self.take("(") {
            let accepted = self.any()?;
            return self.take(")").then_some(accepted);
        }
        let mut licence = (*self.words.get(self.next)?).to_owned();
        self.next += 1;
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.words.get(self.next)?);
            self.next += 1;
        }
        Some(ACCEPTED.contains(&licence.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_choice_is_enough_and_a_sum_needs_all() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
            "ISC AND (MIT OR (GPL-3.0 AND MIT))",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT",
            "MIT)",
            "",
            "MIT OR",
            "Apache-2.0 WITH x",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    #[test]
    fn a_crate_without_its_licences_is_named() {
        let root = tempfile::tempdir().unwrap();
        for folder in LIBRARIES.iter().map(|name| root.path().join(name)) {
            fs::create_dir(&folder).unwrap();
            for text in TEXTS {
                fs::write(root.path().join(text), text).unwrap();
                fs::write(folder.join(text), text).unwrap();
            }
        }
        assert_eq!(check_texts(root.path()), [""; 0]);
        fs::remove_file(root.path().join("proxy-peers/LICENSE-MIT")).unwrap();
        fs::write(root.path().join("proxy-core/LICENSE-APACHE"), "").unwrap();
        assert_eq!(
            check_texts(root.path()),
            [
                "proxy-core: its LICENSE-APACHE is not the root's",
                "proxy-peers: its LICENSE-MIT is not the root's"
            ]
        );
    }

    #[test]
    fn who_has_which_is_named() {
        let problems = check(&json!({"packages": [
            {"name": "a", "license": "MIT"},
            {"name": "b", "license": "GPL-3.0"},
            {"name": "c", "license": null},
        ]}));
        assert_eq!(
            problems,
            [
                "b: its licence \"GPL-3.0\" is not accepted",
                "c: says nothing of its licence"
            ]
        );
    }
}
