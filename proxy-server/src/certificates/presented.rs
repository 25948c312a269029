//! Which names a certificate is shown for: its own, or those that an operator's list says.

use std::collections::BTreeMap;

use proxy_haproxy::{Certificate, CertificateList, CertificateName, Glob, KeyKind};

use super::Showing;

/// A certificate with the names that it is shown for: its own, or those that an operator's list says.
pub(crate) struct Presented<'a> {
    name: &'a CertificateName,
    certificate: &'a Certificate,
    names: Vec<String>,
    /// What its names with a star leave out.
    except: Vec<String>,
}

/// How a certificate is for a domain, the better the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// It has a name with a star that the domain fits.
    Wildcard,
    /// It has the very name.
    Name,
}

/// The most names that are said.
const MOST_SAID: usize = 10;

/// How names are for a domain, if they are. Of the certificates that fit HAProxy shows the best of each kind of key,
/// and of several that fit as well the first of its list.
fn fit(names: &[String], except: &[String], domain: &str) -> Option<Fit> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has(domain) {
        return Some(Fit::Name);
    }
    let (_, parent) = domain.split_once('.')?;
    let is_left_out = except.iter().any(|name| name == domain);
    (has(&format!("*.{parent}")) && !is_left_out).then_some(Fit::Wildcard)
}

/// Whether one of these names is for a domain.
pub(crate) fn fits(names: &[String], domain: &str) -> bool {
    fit(names, &[], domain).is_some()
}

// === impl Presented ===

impl<'a> Presented<'a> {
    pub(crate) fn new(
        name: &'a CertificateName,
        certificate: &'a Certificate,
        list: &CertificateList,
    ) -> Self {
        let listed = list.names_of(name);
        let (except, names): (Vec<_>, Vec<_>) =
            listed.iter().partition(|name| name.starts_with('!'));
        let lower = |name: &&str| name.trim_start_matches('!').to_ascii_lowercase();
        Self {
            name,
            certificate,
            names: match listed.is_empty() {
                true => certificate.names().to_vec(),
                false => names.iter().map(lower).collect(),
            },
            except: except.iter().map(lower).collect(),
        }
    }

    /// What kind of key it has.
    pub(crate) fn kind(&self) -> KeyKind {
        self.certificate.key_kind()
    }

    /// How it is for a domain, if it is.
    pub(crate) fn fit(&self, domain: &str) -> Option<Fit> {
        fit(&self.names, &self.except, domain)
    }

    pub(crate) fn name(&self) -> &CertificateName {
        self.name
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        self.certificate
    }

    /// The names that it is shown for.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it is shown for some names below one of its own with a star: somebody chose these.
    fn narrows(&self, name: &str) -> bool {
        let below = name.strip_prefix('*');
        below.is_some_and(|end| self.names.iter().any(|it| it.ends_with(end)))
    }
}

// === impl Showing ===

impl Showing {
    /// The certificates that the list shows for less than they are for, where no other is shown for that either, and
    /// what is to be said of each. The first of all is shown to whoever asks for what no other has.
    pub(super) fn left_out(&self, preferred: &[Glob]) -> BTreeMap<CertificateName, String> {
        if *self.list() == CertificateList::default() {
            // Each is shown for all that it is for.
            return BTreeMap::new();
        }
        let set = self.set(preferred);
        let first = set.files().first().map(|file| file.name().clone());
        let shown = self.certificates();
        let shown: Vec<_> = shown
            .map(|it| Presented::new(&it.name, &it.certificate, self.list()))
            .collect();
        // Each is not looked for among all: others wait for this.
        let mut by_name: BTreeMap<&str, Vec<&Presented<'_>>> = BTreeMap::new();
        for one in &shown {
            for name in &one.names {
                by_name.entry(name).or_default().push(one);
            }
        }
        let is_shown = |name: &str| {
            let parent = name
                .split_once('.')
                .map(|(_, parent)| format!("*.{parent}"));
            let below = parent.and_then(|parent| by_name.get(parent.as_str()));
            by_name.contains_key(name)
                || below.is_some_and(|all| all.iter().any(|it| it.fit(name).is_some()))
        };
        let left_out = shown.iter().filter(|one| Some(one.name) != first.as_ref());
        let named = left_out.filter_map(|one| {
            let left = one
                .certificate
                .names()
                .iter()
                .filter(|name| is_domain(name) && !one.narrows(name) && !is_shown(name));
            let left: Vec<_> = left.map(String::as_str).take(MOST_SAID).collect();
            (!left.is_empty()).then(|| (one.name.clone(), said(&left, &one.names)))
        });
        named.collect()
    }
}

/// What is said of names that a list leaves out.
fn said(left: &[&str], names: &[String]) -> String {
    let left = left.join(", ");
    let names: Vec<_> = names.iter().map(String::as_str).take(MOST_SAID).collect();
    let alone = match names.is_empty() {
        true => "no name".to_owned(),
        false => format!("{} alone", names.join(", ")),
    };
    format!(
        "CRT_LIST_PATH has it shown for {alone}; whoever asks for {left} is shown the first certificate of the list, since no other has that name: add it to the line, or take all names off"
    )
}

/// A common name may be any text.
fn is_domain(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        certificates::{Shown, Source, Step},
        testing::issued,
    };

    #[test]
    fn a_list_that_leaves_out_a_name_of_a_certificate_is_told_of() {
        let left_out = |names: &[&str], list: &str, preferred: &[&str]| {
            let shown = |(name, names): (&str, &[&str])| {
                Step::show(Shown {
                    name: name.parse().unwrap(),
                    certificate: issued(names),
                    source: Source::Call,
                })
            };
            let both: [(&str, &[&str]); 2] = [("first", &["first.com"]), ("b", names)];
            let steps = both.map(shown).into_iter();
            let list = Step::List(list.parse().unwrap(), BTreeMap::new());
            let steps: Vec<_> = steps.chain([list]).collect();
            let preferred: Vec<_> = preferred.iter().map(|it| it.parse().unwrap()).collect();
            let mut left = Showing::default().with(&steps).left_out(&preferred);
            let said = left.remove(&"b".parse().unwrap());
            assert!(left.is_empty(), "{left:?}");
            said
        };
        let says = |names: &[&str], list: &str, words: &str| {
            let said = left_out(names, list, &[]).unwrap_or_default();
            assert!(said.contains(words), "{list}: {said}");
        };
        for (names, list) in [
            (&["b.com"][..], ""),
            (&["b.com"], "first\nb"),
            (&["b.com"], "first\nb [alpn h2]"),
            (&["b.com"], "first\nb B.com"),
            (&["b.com"], "first\nb *.com"),
            // Another has it, or whoever asks for a name that none has is shown it.
            (&["b.com"], "first *.com first.com\nb else.com"),
            (&["b.com"], "first *.com !b.com first.com\nb *.com"),
            (&["b.com"], "b else.com\nfirst"),
            // Somebody chose names below it.
            (&["*.b.com"], "first\nb x.b.com"),
        ] {
            assert_eq!(left_out(names, list, &[]), None, "{list}");
        }
        says(&["b.com"], "first\nb else.com", "shown for else.com alone");
        says(
            &["b.com", "www.b.com"],
            "first\nb b.com",
            "asks for www.b.com is",
        );
        says(&["b.com"], "first\nb *.com !b.com", "asks for b.com is");
        says(&["b.com"], "first\nb !b.com", "shown for no name;");
        says(&["*.b.com"], "first\nb b.com", "asks for *.b.com is");
    }
}
