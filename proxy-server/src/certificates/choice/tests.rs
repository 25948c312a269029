use std::{collections::BTreeMap, path::PathBuf};

use testkit::tls::Authority;

use super::*;
use crate::certificates::Source;

fn shown(name: &str, domain: &str) -> Shown {
    let issued = Authority::new("a").unwrap().issue(&[domain]).unwrap();
    Shown {
        name: name.parse().unwrap(),
        certificate: Certificate::parse(&issued.bundle()).unwrap(),
        source: Source::Call,
    }
}

fn showing(all: &[&Shown]) -> Showing {
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
        Step::List(_) => "list".to_owned(),
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
    choice.take(offer.base.with(&offer.steps), &[]);
    assert!(choice.offer(now).is_none());
    assert_eq!(choice.set().files().len(), 2);

    // One is renewed, one goes, one comes; the first is refused and the others are taken.
    choice.want(showing(&[&new, &more]));
    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), ["a true", "b false", "c true"]);
    choice.refuse(offer.steps[0].clone(), "no".to_owned(), now);
    choice.take(offer.base.with(&offer.steps[1..]), &[]);
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
    choice.take(offer.base.with(&offer.steps), &[]);
    assert_eq!(choice.taken().certificate(&name), Some(&better.certificate));
}

#[test]
fn a_certificate_that_moves_from_a_file_to_a_call_is_the_same() {
    let given = shown("a", "a.com");
    let mut file = given.clone();
    file.source = Source::File(PathBuf::from("/certs/a"));
    let mut choice = Choice::default();
    choice.want(showing(&[&file]));
    choice.take(showing(&[&file]), &[]);
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
    choice.refuse(Step::show(one), "no".to_owned(), now);
    choice.take(Showing::default(), &[]);
    assert_eq!(
        choice.refused(),
        BTreeMap::from([("a".to_owned(), "no".to_owned())])
    );
    // Nobody wants it any more.
    choice.want(Showing::default());
    assert_eq!(choice.refused(), BTreeMap::new());
}
