//! The difference between two maps, and an order in which it can be made one key at a time.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
};

use super::{DomainLevel, Lookup};

/// What becomes of keys of a map: their new values, and none for those that are gone.
pub(crate) type Edits = BTreeMap<String, Option<String>>;

/// One key of a map that has another value, or none, in another map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edit<'a> {
    pub(crate) key: &'a str,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
}

/// The text of a map after some edits. Its lines are in the order of their keys.
pub(crate) fn edited(text: &str, edits: &Edits) -> String {
    let mut new = String::with_capacity(text.len() + 64);
    let mut edits = edits.iter().peekable();
    let mut write = |key: &str, value: &str| new.extend([key, " ", value, "\n"]);
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        while let Some((edited, value)) = edits.next_if(|(edited, _)| edited.as_str() < key) {
            if let Some(value) = value {
                write(edited, value);
            }
        }
        match edits.next_if(|(edited, _)| edited.as_str() == key) {
            Some((_, Some(value))) => write(key, value),
            Some((_, None)) => {}
            None => write(key, value),
        }
    }
    for (key, value) in edits {
        if let Some(value) = value {
            write(key, value);
        }
    }
    new
}

/// The keys in which two maps differ; none where there are more than `most`. Their lines are in the
/// order of their keys.
pub(crate) fn between<'a>(old: &'a str, new: &'a str, most: usize) -> Option<Vec<Edit<'a>>> {
    fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
        text.lines()
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
    }
    let mut edits = Vec::new();
    let (mut old, mut new) = (entries(old).peekable(), entries(new).peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((before, _)), Some((after, _))) => before.cmp(after),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Some(edits),
        };
        let before = order.is_le().then(|| old.next()).flatten();
        let after = order.is_ge().then(|| new.next()).flatten();
        let (from, to) = (
            before.map(|(_, value)| value),
            after.map(|(_, value)| value),
        );
        if let Some((key, _)) = before.or(after)
            && from != to
        {
            if edits.len() == most {
                return None;
            }
            edits.push(Edit { key, from, to });
        }
    }
}

/// The order in which edits can be made one after the other, so that at each moment every request gets
/// the answer of the old map or of the new one, and once it got the new one never the old one again.
/// None where no order does that for all requests at once: several keys lead elsewhere, and whoever
/// looks at two of them would see half a change.
///
/// New keys come first, the most specific first, and keys that go come last, the least specific
/// first. Why that is right: in the map that holds all keys, old and new, let a request hit `k`. If `k`
/// is new, the new map answers with it too; nothing more specific matches, so the answer changes once,
/// when `k` is added, from that of the old map (what was added before is more specific than `k` and
/// does not match). If `k` stays, it is the answer of both maps, and nothing that is added or goes takes
/// its place. If `k` goes, it is the old answer until it goes; by then all that goes and is less
/// specific has gone, and what it falls to is the new map's.
pub(crate) fn in_order<'a>(edits: &[Edit<'a>]) -> Option<Vec<Edit<'a>>> {
    let specific = |edit: &Edit<'_>| (Lookup::of_key(edit.key), Reverse(edit.key.len()));
    let (mut added, mut gone, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for edit in edits {
        match (edit.from, edit.to) {
            (None, _) => added.push(*edit),
            (Some(_), None) => gone.push(*edit),
            (Some(_), Some(_)) => moved.push(*edit),
        }
    }
    if moved.len() > 1 {
        return None;
    }
    added.sort_by_key(specific);
    gone.sort_by_key(|edit| Reverse(specific(edit)));
    Some([added, moved, gone].concat())
}

impl Lookup {
    /// The question that finds a key.
    fn of_key(key: &str) -> Self {
        let (head, _) = key.split_once('/').unwrap_or((key, ""));
        let parts: Vec<&str> = head.split('|').collect();
        let (any_port, domain) = match parts.as_slice() {
            [_port, domain, _] => (false, *domain),
            [domain, _] => (true, *domain),
            _ => (true, ""),
        };
        let domain = match domain.strip_prefix("*.") {
            _ if domain.is_empty() => DomainLevel::Any,
            None => DomainLevel::Exact,
            Some(suffix) => DomainLevel::Suffix(Reverse(suffix.split('.').count())),
        };
        Self { any_port, domain }
    }
}

#[cfg(test)]
mod tests;
