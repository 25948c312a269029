//! What is shown is what the definition says, whatever was given, stands in files and is said by a list.

use std::sync::OnceLock;

use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use proxy_core::Stamp;

use super::*;
use crate::testing::issued;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// What a line of the list says behind the file, and the names that the certificate is shown for by it.
const SAID: [(&str, &[&str]); 5] = [
    ("", &[]),
    ("[alpn h2]", &[]),
    ("One.com", &["one.com"]),
    ("[alpn h2] *.two.com !x.two.com", &["*.two.com"]),
    (
        "[ssl-min-ver TLSv1.3] one.com three.com",
        &["one.com", "three.com"],
    ),
];
const PREFERRED: [&str; 4] = ["f", "b*", "?", "x"];

/// What is known of one name, by numbers of certificates.
#[derive(Clone, Debug)]
struct Known {
    /// What a caller gave, or that it was taken away.
    given: Option<Option<usize>>,
    is_unfit: bool,
    file: Option<usize>,
    stand_in: Option<usize>,
}

fn pool() -> &'static [Certificate] {
    static POOL: OnceLock<Vec<Certificate>> = OnceLock::new();
    POOL.get_or_init(|| {
        ["one.com", "two.com", "*.two.com"]
            .map(|it| issued(&[it]))
            .into()
    })
}

fn known() -> impl Strategy<Value = Known> {
    let one = || 0..3_usize;
    let all = (
        option::of(option::of(one())),
        any::<bool>(),
        option::of(one()),
        option::of(one()),
    );
    all.prop_map(|(given, is_unfit, file, stand_in)| Known {
        // Something is written over what cannot be read.
        stand_in: stand_in.filter(|_| given.is_none()),
        given,
        is_unfit: is_unfit && matches!(given, Some(Some(_))),
        file,
    })
}

/// What is shown under a name: what was given, unless HAProxy does not show it any more; else the file; else what
/// stands in for what cannot be read.
fn defined(known: &Known) -> Option<(usize, &'static str)> {
    if let (Some(Some(given)), false) = (known.given, known.is_unfit) {
        return Some((given, "call"));
    }
    match (known.file, known.stand_in) {
        (Some(file), _) => Some((file, "file")),
        (None, Some(stand_in)) => Some((stand_in, "call")),
        (None, None) => None,
    }
}

/// In the order of the list, then of the first pattern that fits, then of the alphabet.
fn place(name: &str, list: &[(&str, usize)], preferred: &[&str]) -> (usize, usize, String) {
    let listed = list.iter().position(|(it, _)| *it == name);
    let fits = |pattern: &&str| match *pattern {
        "?" => true,
        "b*" => name.starts_with('b'),
        other => other == name,
    };
    let first = preferred.iter().position(fits);
    let (listed, first) = (listed.unwrap_or(usize::MAX), first.unwrap_or(usize::MAX));
    match listed {
        usize::MAX => (listed, first, name.to_owned()),
        _ => (listed, 0, String::new()),
    }
}

fn held(all: &[Known], list: &str) -> Held {
    let mut held = Held {
        list: list.parse().unwrap(),
        ..Held::default()
    };
    let certificate = |number: usize| pool()[number].clone();
    for (text, known) in NAMES.iter().zip(all) {
        let name: CertificateName = text.parse().unwrap();
        if let Some(number) = known.file {
            let path = PathBuf::from("/certs").join(text);
            let certificate = certificate(number);
            held.found.insert(name.clone(), Found { certificate, path });
        }
        if let Some(given) = known.given {
            let stamp = Stamp::new(1, "me".parse().unwrap());
            let certificate = given.map(certificate);
            held.kept.insert(name.clone(), Kept { stamp, certificate });
        }
        if let Some(number) = known.stand_in {
            held.in_its_place.insert(name.clone(), certificate(number));
        }
        if known.is_unfit {
            held.unfit.insert(name, "weak".to_owned());
        }
    }
    held
}

proptest! {
    #[test]
    fn what_is_shown_is_what_the_definition_says(
        all in vec(known(), NAMES.len()),
        listed in subsequence(&NAMES[..], 0..=NAMES.len()).prop_shuffle(),
        said in vec(0..SAID.len(), NAMES.len()),
        preferred in subsequence(&PREFERRED[..], 0..=PREFERRED.len()).prop_shuffle(),
    ) {
        let list: Vec<_> = listed.into_iter().zip(said).collect();
        let lines = list.iter().map(|(name, said)| format!("{name} {}\n", SAID[*said].0));
        let held = held(&all, &lines.collect::<String>());
        let globs: Vec<Glob> = preferred.iter().map(|it| it.parse().unwrap()).collect();

        let certificates = held.wanted();
        let mut expected: Vec<_> = NAMES.iter().zip(&all).collect();
        expected.retain(|(_, known)| defined(known).is_some());
        prop_assert_eq!(certificates.certificates().count(), expected.len());
        for (name, known) in &expected {
            let shown = certificates.certificates().find(|it| it.name.as_str() == **name);
            let (number, source) = defined(known).unwrap();
            let shown = shown.unwrap();
            prop_assert_eq!(&shown.certificate, &pool()[number]);
            prop_assert_eq!(shown.source.word(), source);
            let own = pool()[number].names();
            let said = list.iter().find(|(it, _)| it == *name).map(|(_, said)| SAID[*said].1);
            let names: Vec<_> = match said {
                Some(names) if !names.is_empty() => names.iter().map(|it| (*it).to_owned()).collect(),
                _ => own.to_vec(),
            };
            let presented = Presented::new(&shown.name, &shown.certificate, certificates.list());
            prop_assert_eq!(presented.names(), names);
        }
        expected.sort_by_key(|(name, _)| place(name, &list, &preferred));
        let order: Vec<_> = expected.iter().map(|(name, _)| **name).collect();
        let set = certificates.set(&globs);
        let files: Vec<_> = set.files().iter().map(|file| file.name().as_str()).collect();
        prop_assert_eq!(files, order);
    }
}
