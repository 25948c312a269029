use proptest::{prelude::*, sample::subsequence};

use super::*;

type Map = BTreeMap<String, String>;

fn text(map: &Map) -> String {
    map.iter()
        .map(|(key, value)| format!("{key} {value}\n"))
        .collect()
}

/// Maps over a few keys of every level, nested in each other.
fn map() -> impl Strategy<Value = Map> {
    let keys = [
        "/",
        "/?",
        "/a",
        "/a?",
        "/a/b",
        "/b",
        "x.com|/",
        "x.com|/a",
        "*.com|/",
        "*.com|/a/b",
        "*.x.com|/",
        "*.x.com|/a",
        "80||/a",
        "80||/",
        "80|x.com|/a",
        "80|*.com|/a/b?",
        "80|*.com|/",
    ];
    let value = prop_oneof![Just("0|p"), Just("0|q"), Just("1|q")];
    subsequence(keys.to_vec(), 0..keys.len())
        .prop_flat_map(move |keys| {
            let count = keys.len();
            (Just(keys), prop::collection::vec(value.clone(), count))
        })
        .prop_map(|(keys, values)| {
            let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            keys.into_iter().zip(values).map(owned).collect()
        })
}

/// What HAProxy finds for a request: the longest key at the first level that has one.
fn hit<'a>(map: &'a Map, port: &str, host: Option<&str>, path: &str) -> Option<&'a str> {
    let mut heads = Vec::new();
    for port in [format!("{port}|"), String::new()] {
        let mut domains: Vec<String> = Vec::new();
        if let Some(host) = host {
            domains.push(host.to_owned());
            let dots = host.match_indices('.');
            domains.extend(dots.map(|(at, _)| format!("*{}", &host[at..])));
        }
        heads.extend(domains.iter().map(|domain| format!("{port}{domain}|")));
        heads.push(if port.is_empty() {
            port
        } else {
            format!("{port}|")
        });
    }
    heads.iter().find_map(|head| {
        let asked = format!("{head}{path}?");
        let found = map.iter().filter(|(key, _)| {
            let same_head = key.split('/').next() == Some(head);
            same_head && asked.starts_with(key.as_str())
        });
        found
            .max_by_key(|(key, _)| key.len())
            .map(|(_, value)| value.as_str())
    })
}

const REQUESTS: [(&str, Option<&str>, &str); 14] = [
    ("80", None, "/"),
    ("80", None, "/a"),
    ("80", None, "/a/b"),
    ("81", None, "/a/b/c"),
    ("81", None, "/b"),
    ("80", Some("x.com"), "/"),
    ("81", Some("x.com"), "/a"),
    ("81", Some("x.com"), "/a/b"),
    ("80", Some("x.com"), "/a/b"),
    ("80", Some("y.x.com"), "/a/b"),
    ("81", Some("y.x.com"), "/a"),
    ("81", Some("y.x.com"), "/"),
    ("81", Some("z.com"), "/a/b"),
    ("80", Some("z.com"), "/c"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Edit by edit, every request gets the old answer and from some point on the new one.
    #[test]
    fn every_answer_is_the_old_or_the_new_one(old in map(), new in map()) {
        let (before, after) = (text(&old), text(&new));
        let edits = between(&before, &after, usize::MAX).unwrap();
        let moved = edits.iter().filter(|edit| edit.from.is_some() && edit.to.is_some());
        let Some(ordered) = in_order(&edits) else {
            prop_assert!(moved.count() > 1);
            return Ok(());
        };
        let mut now = old.clone();
        let mut is_new = [false; REQUESTS.len()];
        for edit in ordered {
            match edit.to {
                Some(value) => now.insert(edit.key.to_owned(), value.to_owned()),
                None => now.remove(edit.key),
            };
            for ((port, host, path), is_new) in REQUESTS.into_iter().zip(&mut is_new) {
                let [was, will, is] = [&old, &new, &now].map(|map| hit(map, port, host, path));
                prop_assert!(is == will || (is == was && !*is_new),
                    "{edit:?}: {port} {host:?} {path}: {is:?} and not {was:?} or {will:?}");
                *is_new |= is == will && was != will;
            }
        }
        prop_assert_eq!(now, new);
    }

    #[test]
    fn edits_make_one_map_out_of_another(old in map(), new in map()) {
        let (before, after) = (text(&old), text(&new));
        let edits = between(&before, &after, usize::MAX).unwrap();
        let edits: Edits = edits
            .iter()
            .map(|edit| (edit.key.to_owned(), edit.to.map(str::to_owned)))
            .collect();
        prop_assert_eq!(edited(&before, &edits), after);
    }
}

#[test]
fn many_edits_are_too_many() {
    assert_eq!(between("a 1\nb 1\n", "a 2\nb 2\n", 1), None);
    assert_eq!(between("a 1\nb 1\n", "a 2\nb 2\n", 2).unwrap().len(), 2);
    assert!(between("a 1\n", "a 1\n", 0).unwrap().is_empty());
}
