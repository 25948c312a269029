//! A list of certificates that an operator keeps, in the form of HAProxy's `crt-list`.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use super::set::{CertificateName, CertificateNameError};

/// The most bytes and certificates of a list.
const MAX_LIST_BYTES: usize = 1024 * 1024;
const MAX_LISTED: usize = 1_000;

/// Certificates in an order that somebody chose, each with how its binds speak TLS and the names that it is
/// shown for, where the list says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateList {
    entries: Arc<[ListedCertificate]>,
    /// Where each of them is: who looks for all certificates must not walk the list for each.
    places: Arc<BTreeMap<CertificateName, usize>>,
}

/// One line of a [`CertificateList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCertificate {
    path: String,
    name: CertificateName,
    /// What stands behind the file: options in brackets, and names.
    rest: String,
}

/// Why a text is no [`CertificateList`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateListError {
    /// It is too long.
    #[error("it has more than {MAX_LIST_BYTES} bytes or {MAX_LISTED} certificates")]
    TooLong,
    /// A line is none of a list.
    #[error("line {line}: {problem}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

// === impl CertificateList ===

impl CertificateList {
    /// Its lines, in order.
    #[must_use]
    pub fn entries(&self) -> &[ListedCertificate] {
        &self.entries
    }

    /// Whether it has a certificate of this name.
    #[must_use]
    pub fn has(&self, name: &CertificateName) -> bool {
        self.places.contains_key(name)
    }

    /// The names that a certificate is shown for in place of its own, each as the list has it (`!` before one that is
    /// left out); none where the list does not say.
    #[must_use]
    pub fn names_of(&self, name: &CertificateName) -> Vec<&str> {
        let rest = self.place_of(name).map(|(_, rest)| rest);
        let names = rest.map(|rest| rest.rsplit(']').next().unwrap_or_default());
        names.unwrap_or_default().split_whitespace().collect()
    }

    /// Where a certificate stands, and what the list says of it.
    pub(super) fn place_of(&self, name: &CertificateName) -> Option<(usize, &str)> {
        let place = *self.places.get(name)?;
        let entry = self.entries.get(place)?;
        Some((place, &*entry.rest))
    }
}

impl FromStr for CertificateList {
    type Err = CertificateListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_LIST_BYTES {
            return Err(CertificateListError::TooLong);
        }
        let mut entries: Vec<ListedCertificate> = Vec::new();
        let mut places = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let wrong = |problem: String| CertificateListError::Line { line, problem };
            let entry: ListedCertificate = text.parse().map_err(wrong)?;
            if places.insert(entry.name.clone(), entries.len()).is_some() {
                let name = &entry.name;
                return Err(wrong(format!("there is a certificate called {name} above")));
            }
            if entries.len() == MAX_LISTED {
                return Err(CertificateListError::TooLong);
            }
            entries.push(entry);
        }
        Ok(Self {
            entries: entries.into(),
            places: places.into(),
        })
    }
}

// === impl ListedCertificate ===

impl ListedCertificate {
    /// Its file, as the list has it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it is called: as its file, without the folder.
    #[must_use]
    pub fn name(&self) -> &CertificateName {
        &self.name
    }
}

impl FromStr for ListedCertificate {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        if let Some(control) = line.chars().find(|c| c.is_control() && *c != '\t') {
            return Err(format!("it holds the control character {control:?}"));
        }
        let (path, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim();
        let (options, names) = match rest.strip_prefix('[') {
            None => ("", rest),
            Some(inside) => match inside.split_once(']') {
                Some((options, names)) => (options.trim(), names),
                None => return Err("its options have no end (])".to_owned()),
            },
        };
        if options.contains(['[', '#', '\\', '"', '\'']) {
            return Err(format!("its options [{options}] are more than plain words"));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
        let is_name = |name: &&str| {
            let bare = name.strip_prefix('!').unwrap_or(name);
            !bare.is_empty() && bare.chars().all(fits)
        };
        let names: Vec<&str> = names.split_whitespace().collect();
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(format!("{bad:?} is no name that clients could ask for"));
        }
        let file = path.rsplit('/').next().unwrap_or_default();
        let name = file
            .parse()
            .map_err(|why: CertificateNameError| format!("{path:?}: {why}"))?;
        let mut rest = match options {
            "" => String::new(),
            options => {
                let words: Vec<&str> = options.split_whitespace().collect();
                format!("[{}]", words.join(" "))
            }
        };
        for name in names {
            if !rest.is_empty() {
                rest.push(' ');
            }
            rest.push_str(name);
        }
        Ok(Self {
            path: path.to_owned(),
            name,
            rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_file_options_and_names() {
        let list: CertificateList = "# mine\n\n/a/b.pem\nc.pem [alpn h2  ssl-min-ver TLSv1.3] *.c.com !x.c.com\nd.pem\td.com\n"
            .parse()
            .unwrap();
        let entries: Vec<_> = list
            .entries()
            .iter()
            .map(|entry| (entry.path(), entry.name().as_str(), &*entry.rest))
            .collect();
        assert_eq!(
            entries,
            [
                ("/a/b.pem", "b.pem", ""),
                (
                    "c.pem",
                    "c.pem",
                    "[alpn h2 ssl-min-ver TLSv1.3] *.c.com !x.c.com"
                ),
                ("d.pem", "d.pem", "d.com"),
            ]
        );
        let place = list.place_of(&"d.pem".parse().unwrap());
        assert_eq!(place, Some((2, "d.com")));
        assert_eq!(list.place_of(&"e.pem".parse().unwrap()), None);
        let names = |name: &str| list.names_of(&name.parse().unwrap());
        assert_eq!(names("c.pem"), ["*.c.com", "!x.c.com"]);
        assert_eq!(names("d.pem"), ["d.com"]);
        assert!(names("b.pem").is_empty() && names("e.pem").is_empty());
    }

    #[test]
    fn what_is_no_line_is_named() {
        for (line, text) in [
            (1, "a.pem [alpn h2"),
            (2, "a.pem\nb.pem x.com [alpn h2]"),
            (3, "\n\na.pem a b/c"),
            (1, "../"),
            (2, "a.pem\n/other/a.pem"),
            (1, "a.pem [alpn \"h2\"]"),
            (1, "a.pem \u{1b}"),
        ] {
            let refused = text.parse::<CertificateList>().unwrap_err();
            assert!(
                matches!(refused, CertificateListError::Line { line: at, .. } if at == line),
                "{text:?}: {refused}"
            );
        }
        let long: String = (0..=MAX_LISTED).map(|n| format!("{n}.pem\n")).collect();
        assert_eq!(
            long.parse::<CertificateList>(),
            Err(CertificateListError::TooLong)
        );
    }
}
