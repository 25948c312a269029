//! Which certificates are offered, taken and refused.

mod proof;
mod refused;

use std::{collections::BTreeMap, path::PathBuf};

use testkit::tls::Authority;

use super::*;
use crate::certificates::Source;

pub(super) fn shown(name: &str, domain: &str) -> Shown {
    let issued = Authority::new("a").unwrap().issue(&[domain]).unwrap();
    Shown {
        name: name.parse().unwrap(),
        certificate: Certificate::parse(&issued.bundle()).unwrap(),
        source: Source::Call,
    }
}

pub(super) fn showing(all: &[&Shown]) -> Showing {
    let certificates = all.iter().map(|one| (one.name.clone(), (*one).clone()));
    Showing {
        certificates: certificates.collect(),
        authorities: None,
        list: CertificateList::default(),
    }
}

fn named(steps: &[Step]) -> Vec<String> {
    let name = |step: &Step| match step {
        Step::Certificate(name, shown) => format!("{name} {}", shown.is_some()),
        Step::Authorities(_) => "authorities".to_owned(),
        Step::List(_, files) => format!("list {}", files.len()),
    };
    steps.iter().map(name).collect()
}

#[test]
fn what_is_wanted_is_offered_name_by_name_until_it_is_taken_or_refused() {
    let now = Instant::now();
    let (old, new) = (shown("a", "a.com"), shown("a", "a.com"));
    let (other, more) = (shown("b", "b.com"), shown("c", "c.com"));
    let mut choice = Choice::default();
    assert!(choice.offer(now).is_none());
    assert!(choice.want(showing(&[&old, &other])));
    assert!(!choice.want(showing(&[&old, &other])), "it is the same");
    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), ["a true", "b true"]);
    choice.take(
        choice.wanted.clone(),
        offer.base.with(&offer.steps),
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    assert!(choice.offer(now).is_none());
    assert_eq!(choice.set().files().len(), 2);

    // One is renewed, one goes, one comes; the first is refused and the others are taken.
    choice.want(showing(&[&new, &more]));
    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), ["a true", "b false", "c true"]);
    let refused = vec![(offer.steps[0].clone(), "no".to_owned())];
    choice.take(
        choice.wanted.clone(),
        offer.base.with(&offer.steps[1..]),
        refused,
        RefusedWhen::Checked,
        now,
        &[],
    );
    assert_eq!(
        choice.refused(),
        BTreeMap::from([("a".to_owned(), "no; the version before is shown".to_owned())])
    );
    let name = old.name.clone();
    assert_eq!(choice.taken().certificate(&name), Some(&old.certificate));
    assert!(
        choice.offer(now + REFUSED_FOR / 2).is_none(),
        "it is left alone"
    );
    let offer = choice.offer(now + REFUSED_FOR).unwrap();
    assert_eq!(named(&offer.steps), ["a true"], "and tried again");

    // A better version is tried at once, and the refused one is forgotten with it.
    let better = shown("a", "a.com");
    choice.want(showing(&[&better, &more]));
    assert_eq!(choice.refused(), BTreeMap::new());
    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), ["a true"]);
    choice.take(
        choice.wanted.clone(),
        offer.base.with(&offer.steps),
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    assert_eq!(choice.taken().certificate(&name), Some(&better.certificate));
}

#[test]
fn a_certificate_that_moves_from_a_file_to_a_call_is_the_same() {
    let given = shown("a", "a.com");
    let mut file = given.clone();
    file.source = Source::File(PathBuf::from("/certs/a"));
    let mut choice = Choice::default();
    choice.want(showing(&[&file]));
    choice.take(
        choice.wanted.clone(),
        showing(&[&file]),
        Vec::new(),
        RefusedWhen::Checked,
        Instant::now(),
        &[],
    );
    assert!(!choice.want(showing(&[&given])));
    assert!(choice.offer(Instant::now()).is_none());
    let source = choice.taken().certificates.values().next().unwrap();
    assert_eq!(source.source, Source::Call);
}

#[test]
fn what_was_never_shown_is_refused_without_a_version_before() {
    let now = Instant::now();
    let one = shown("a", "a.com");
    let mut choice = Choice::default();
    choice.want(showing(&[&one]));
    let refused = vec![(Step::show(one), "no".to_owned())];
    choice.take(
        choice.wanted.clone(),
        Showing::default(),
        refused,
        RefusedWhen::Checked,
        now,
        &[],
    );
    assert_eq!(
        choice.refused(),
        BTreeMap::from([("a".to_owned(), "no".to_owned())])
    );
    // Nobody wants it any more.
    choice.want(Showing::default());
    assert_eq!(choice.refused(), BTreeMap::new());
}

#[test]
fn a_list_and_the_files_that_it_alone_names_are_one_step() {
    let now = Instant::now();
    let file = |name: &str| {
        let mut file = shown(name, "a.com");
        file.source = Source::File(PathBuf::from("/certs").join(name));
        file
    };
    let listed = |list: &str, all: &[&Shown]| Showing {
        list: list.parse().unwrap(),
        ..showing(all)
    };
    let (a, new_a, b, c) = (file("a"), file("a"), file("b"), file("c"));
    let given = shown("given", "given.com");
    let before = listed("a\nb b.com", &[&a, &b]);
    let mut choice = Choice::default();
    choice.want(before.clone());
    // At first each counts by itself: a bad one must not leave the others out.
    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), ["a true", "b true", "list 0"]);
    choice.take(
        choice.wanted.clone(),
        before,
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    // One goes and one comes with the list; one is renewed whatever becomes of it, and so is one that was given.
    choice.want(listed("c\na [bad]\ngiven", &[&new_a, &c, &given]));
    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), ["a true", "given true", "list 2"]);
    let refused = vec![(offer.steps[2].clone(), "no".to_owned())];
    choice.take(
        choice.wanted.clone(),
        offer.base.with(&offer.steps[..2]),
        refused,
        RefusedWhen::Checked,
        now,
        &[],
    );
    let taken: Vec<_> = choice.taken().certificates.keys().collect();
    assert_eq!(taken, [&a.name, &b.name, &given.name]);
    assert_eq!(choice.taken().list, "a\nb b.com".parse().unwrap());
    assert!(choice.refused().contains_key("CRT_LIST_PATH"));
    assert!(choice.offer(now).is_none(), "it is left alone");
    // A better file is tried at once, and a better list.
    let new_c = file("c");
    choice.want(listed("c\na [bad]\ngiven", &[&new_a, &new_c, &given]));
    assert_eq!(named(&choice.offer(now).unwrap().steps), ["list 2"]);
    choice.want(listed("c\na\ngiven", &[&new_a, &new_c, &given]));
    let offer = choice.offer(now).unwrap();
    choice.take(
        choice.wanted.clone(),
        offer.base.with(&offer.steps),
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    let taken: Vec<_> = choice.taken().certificates.keys().collect();
    assert_eq!(taken, [&a.name, &c.name, &given.name]);
}
