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
fn what_was_refused_is_tried_again_once_something_else_changed() {
    let now = Instant::now();
    let (one, other) = (shown("a", "a.com"), shown("b", "b.com"));
    let refused = || {
        let mut choice = Choice::default();
        choice.want(showing(&[&one]));
        let refused = vec![(Step::show(one.clone()), "no".to_owned())];
        choice.take(
            choice.wanted.clone(),
            Showing::default(),
            refused,
            RefusedWhen::Checked,
            now,
            &[],
        );
        assert!(choice.offer(now).is_none());
        choice
    };
    let is_tried_at = |choice: &Choice, now: Instant| {
        let offer = choice.offer(now).unwrap();
        assert_eq!(named(&offer.steps), ["a true"]);
        // Nobody is told that it is shown meanwhile.
        assert_eq!(choice.refused().len(), 1);
    };
    let is_tried = |choice: &Choice| is_tried_at(choice, now);
    // Something else is shown.
    let mut choice = refused();
    choice.want(showing(&[&one, &other]));
    choice.take(
        choice.wanted.clone(),
        showing(&[&other]),
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    is_tried(&choice);
    // The same is given again.
    let mut choice = refused();
    choice.try_name_again(&other.name, now);
    assert!(choice.offer(now).is_none(), "it is another name");
    choice.try_name_again(&one.name, now);
    is_tried(&choice);
    // Other services are served, and not for the first moment.
    let mut choice = refused();
    choice.serves(&RouteTable::new(), now);
    assert!(choice.offer(now + REFUSED_FOR / 2).is_none(), "the same");
    let mut table = RouteTable::new();
    table.apply(&crate::testing::put("x"));
    choice.serves(&table, now);
    assert!(choice.offer(now).is_none(), "a busy table");
    assert!(choice.offer(now + REFUSED_FOR / 2).is_some());
    choice.serves(&table, now + REFUSED_FOR / 2);
    is_tried_at(&choice, now + REFUSED_FOR / 4);
    // The services are others.
    let mut choice = refused();
    choice.judge_with(&RouteTable::new(), now);
    assert!(choice.offer(now).is_none(), "they are the same");
    let mut table = RouteTable::new();
    table.apply(&crate::testing::put("x"));
    choice.judge_with(&table, now);
    assert!(choice.offer(now).is_none(), "a busy table");
    is_tried_at(&choice, now + REFUSED_FOR / 4);
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

#[test]
fn what_was_not_loaded_is_on_top_of_what_was_and_rests_whatever_else_changes() {
    let now = Instant::now();
    let (old, new) = (shown("a", "a.com"), shown("a", "a.com"));
    let (other, gone) = (shown("b", "b.com"), shown("c", "c.com"));
    let mut choice = Choice::default();
    choice.want(showing(&[&new, &other]));
    let last = [&old, &gone].map(|one| (one.name.clone(), one.certificate.clone()));
    choice.recall(last.into());

    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), ["a true", "b true"]);
    let names: Vec<_> = offer.base.certificates.keys().collect();
    assert_eq!(names, [&old.name], "c is wanted no more");
    let all = offer.base.with(&offer.steps);
    choice.take(
        choice.wanted.clone(),
        all,
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    let offer = choice.unproven();
    assert_eq!(named(&offer.steps), ["a true", "b true"]);
    let refused = vec![(offer.steps[0].clone(), "not loaded".to_owned())];
    let loaded = offer.base.with(&offer.steps[1..]);
    choice.take(
        choice.wanted.clone(),
        loaded,
        refused,
        RefusedWhen::Loaded,
        now,
        &[],
    );
    assert_eq!(
        choice.taken().certificate(&old.name),
        Some(&old.certificate)
    );
    let said = choice.refused().remove("a").unwrap();
    assert!(
        said.starts_with("not loaded; it passes every check"),
        "{said}"
    );
    assert!(said.ends_with("; the version before is shown"), "{said}");

    let more = shown("d", "d.com");
    choice.want(showing(&[&new, &other, &more]));
    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), ["d true"]);
    let both = offer.base.with(&offer.steps);
    choice.take(
        choice.wanted.clone(),
        both,
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    assert!(choice.offer(now).is_none(), "another one is no reason");
    let later = now + REFUSED_FOR * 1_000;
    assert!(choice.offer(later).is_none(), "nor is time");
    choice.try_refused_again(now);
    assert!(choice.offer(now).is_none(), "nor are other services");
    choice.try_name_again(&old.name, now);
    assert!(choice.offer(now).is_some(), "somebody wrote it again");
}

#[test]
fn what_was_not_loaded_is_tried_again_once_it_or_what_it_clashed_with_is_another() {
    let now = Instant::now();
    let bad = shown("a", "a.com");
    let (rival, other) = (shown("b", "a.com"), shown("c", "c.com"));
    let refused = || {
        let mut choice = Choice::default();
        choice.want(showing(&[&bad, &rival, &other]));
        let refused = vec![(Step::show(bad.clone()), "not loaded".to_owned())];
        let taken = showing(&[&rival, &other]);
        choice.take(
            choice.wanted.clone(),
            taken,
            refused,
            RefusedWhen::Loaded,
            now,
            &[],
        );
        assert!(choice.offer(now).is_none());
        choice
    };
    let offers_bad = |choice: &Choice| {
        let offered = choice.offer(now).map(|offer| named(&offer.steps));
        offered.is_some_and(|steps| steps.contains(&"a true".to_owned()))
    };
    let new_other = shown("c", "c.com");
    let (new_rival, new_bad) = (shown("b", "a.com"), shown("a", "a.com"));
    let listed = Showing {
        list: "b\na [alpn h2]".parse().unwrap(),
        ..showing(&[&bad, &rival, &other])
    };
    for (wanted, is_offered) in [
        (showing(&[&bad, &rival, &new_other]), false),
        (showing(&[&bad, &rival]), false),
        (showing(&[&bad, &new_rival, &other]), true),
        (showing(&[&bad, &other]), true),
        (showing(&[&new_bad, &rival, &other]), true),
        (listed, true),
    ] {
        let mut choice = refused();
        choice.want(wanted);
        assert_eq!(offers_bad(&choice), is_offered);
    }
    let mut choice = refused();
    choice.try_all_again(now);
    assert!(offers_bad(&choice), "somebody asked for a reload");
    // Refused once more it rests again.
    let refused = vec![(Step::show(bad.clone()), "not loaded".to_owned())];
    let taken = showing(&[&rival, &other]);
    choice.take(
        choice.wanted.clone(),
        taken,
        refused,
        RefusedWhen::Loaded,
        now,
        &[],
    );
    assert!(!offers_bad(&choice));
}

#[test]
fn what_changes_while_what_was_offered_is_judged_is_a_reason_to_try_it_again() {
    let now = Instant::now();
    let bad = shown("a", "a.com");
    let (rival, new_rival) = (shown("b", "a.com"), shown("b", "a.com"));
    for is_changed_in_search in [true, false] {
        let mut choice = Choice::default();
        choice.want(showing(&[&bad, &rival]));
        let Offer {
            base,
            steps,
            wanted,
        } = choice.offer(now).unwrap();
        let all = base.with(&steps);
        if !is_changed_in_search {
            // Already while it passed its check.
            choice.want(showing(&[&bad, &new_rival]));
        }
        choice.take(wanted, all, Vec::new(), RefusedWhen::Checked, now, &[]);
        let Offer { steps, wanted, .. } = choice.unproven();
        choice.want(showing(&[&bad, &new_rival]));
        let refused = vec![(steps[0].clone(), "not loaded".to_owned())];
        let taken = showing(&[&rival]);
        choice.take(wanted, taken, refused, RefusedWhen::Loaded, now, &[]);
        let offer = choice.offer(now).unwrap();
        assert_eq!(named(&offer.steps), ["a true", "b true"]);
    }
}

#[test]
fn what_haproxy_refuses_of_what_the_last_run_showed_is_nothing_to_fall_back_to() {
    let now = Instant::now();
    let (old, new) = (shown("a", "a.com"), shown("a", "a.com"));
    let other = shown("b", "b.com");
    let begin = || {
        let mut choice = Choice::default();
        choice.want(showing(&[&old]));
        choice.recall([(old.name.clone(), old.certificate.clone())].into());
        choice
    };
    let mut choice = begin();
    let offer = choice.offer(now).unwrap().anew();
    assert!(offer.base.certificates.is_empty());
    assert_eq!(named(&offer.steps), ["a true"]);
    let refused = vec![(offer.steps[0].clone(), "no".to_owned())];
    choice.take(
        choice.wanted.clone(),
        offer.base,
        refused,
        RefusedWhen::Checked,
        now,
        &[],
    );
    assert_eq!(choice.refused()["a"], "no");
    let unproven = choice.unproven();
    assert!(unproven.base.certificates.is_empty() && unproven.steps.is_empty());

    // Of one that was renewed both versions have their turn, the older first.
    let mut choice = begin();
    choice.want(showing(&[&new, &other]));
    let offer = choice.offer(now).unwrap().anew();
    assert_eq!(named(&offer.steps), ["a true", "a true", "b true"]);
    let shown = offer.base.with(&offer.steps[..1]);
    assert_eq!(shown.certificate(&old.name), Some(&old.certificate));

    let mut choice = begin();
    choice.take(
        choice.wanted.clone(),
        showing(&[&old]),
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    assert!(choice.unproven().steps.is_empty(), "it was loaded");
    choice.want(showing(&[&new]));
    choice.take(
        choice.wanted.clone(),
        showing(&[&new]),
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    let base = choice.unproven().base;
    assert_eq!(base.certificate(&old.name), Some(&old.certificate));
}

#[test]
fn what_the_last_run_showed_is_judged_before_it_is_shown_again() {
    let now = Instant::now();
    let one = shown("a", "a.com");
    let mut choice = Choice::default();
    choice.want(showing(&[&one]));
    choice.recall([(one.name.clone(), one.certificate.clone())].into());
    let offer = choice.offer(now).unwrap();
    assert_eq!(named(&offer.steps), <[&str; 0]>::default());
    assert_eq!(offer.base.certificates.len(), 1);
    choice.take(
        choice.wanted.clone(),
        offer.base,
        Vec::new(),
        RefusedWhen::Checked,
        now,
        &[],
    );
    assert!(choice.offer(now).is_none(), "once");
}

#[test]
fn a_search_beside_what_serves_begins_with_one_of_several_certificates() {
    let all = [
        shown("a", "a.com"),
        shown("b", "b.com"),
        shown("c", "c.com"),
    ];
    let on_one = |all: &[&Shown]| {
        let base = showing(all);
        let wanted = base.clone();
        let offer = Offer {
            base,
            steps: Vec::new(),
            wanted,
        };
        let offers = offer.anew().on_top_of_one().into_iter();
        let bases = offers.map(|it| {
            let base: Vec<_> = it
                .base
                .certificates
                .keys()
                .map(ToString::to_string)
                .collect();
            (base.join(" "), named(&it.steps).join(" "))
        });
        bases.collect::<Vec<_>>()
    };
    let pair = |base: &str, steps: &str| (base.to_owned(), steps.to_owned());
    assert_eq!(
        on_one(&[&all[0], &all[1], &all[2]]),
        [pair("a", "b true c true"), pair("c", "a true b true")]
    );
    assert_eq!(on_one(&[&all[0]]), [], "it speaks TLS all the while");
    assert_eq!(on_one(&[]), []);
}

#[test]
fn a_search_that_came_to_nothing_is_not_repeated_until_something_changes() {
    let now = Instant::now();
    let (one, other) = (shown("a", "a.com"), shown("b", "b.com"));
    let vain = || {
        let mut choice = Choice::default();
        choice.want(showing(&[&one]));
        choice.searched_in_vain(now);
        choice
    };
    let mut choice = vain();
    choice.want(showing(&[&one]));
    assert!(choice.is_search_vain(now), "nothing changed");
    choice.want(showing(&[&one, &other]));
    assert!(!choice.is_search_vain(now), "another is to be shown");
    let mut choice = vain();
    choice.try_all_again(now);
    assert!(!choice.is_search_vain(now), "somebody asked for a reload");

    // What was to blame may be over, and nobody says so.
    let (mut choice, mut now) = (vain(), now);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let searched_at = now;
        while choice.is_search_vain(now) {
            now += std::time::Duration::from_secs(1);
        }
        waits.push((now - searched_at).as_secs());
        choice.searched_in_vain(now);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
}

#[test]
fn each_that_is_refused_is_due_by_itself() {
    let now = Instant::now();
    let (one, other) = (shown("a", "a.com"), shown("b", "b.com"));
    let mut choice = Choice::default();
    choice.want(showing(&[&one, &other]));
    let later = now + std::time::Duration::from_secs(5);
    for (shown, at) in [(&one, now), (&other, later)] {
        let refused = vec![(Step::show(shown.clone()), "no".to_owned())];
        let (wanted, nothing) = (choice.wanted.clone(), Showing::default());
        choice.take(wanted, nothing, refused, RefusedWhen::Checked, at, &[]);
    }
    let mut table = RouteTable::new();
    table.apply(&crate::testing::put("x"));
    choice.serves(&table, later);
    let due = now + std::time::Duration::from_secs(10);
    let is_due = |choice: &Choice, at| named(&choice.offer(at).unwrap().steps);
    assert_eq!(is_due(&choice, due), ["a true"]);
    // The first is judged, and never taken; the other has its own time.
    choice.judge_with(&table, due);
    assert_eq!(is_due(&choice, due), ["a true"]);
    let refused = vec![(Step::show(one), "no".to_owned())];
    let (wanted, nothing) = (choice.wanted.clone(), Showing::default());
    choice.take(wanted, nothing, refused, RefusedWhen::Checked, due, &[]);
    assert!(choice.offer(due).is_none());
    let due = later + std::time::Duration::from_secs(10);
    assert_eq!(is_due(&choice, due), ["b true"]);
}

#[test]
fn what_is_refused_again_and_again_on_a_busy_table_is_tried_more_and_more_seldom() {
    let mut now = Instant::now();
    let one = shown("a", "a.com");
    let mut choice = Choice::default();
    choice.want(showing(&[&one]));
    let mut waits = Vec::new();
    let mut table = RouteTable::new();
    for number in 0..9 {
        let step = Step::show(one.clone());
        assert_eq!(choice.is_known(&step, "no"), number > 0);
        let wanted = choice.wanted.clone();
        let refused = vec![(step.clone(), "no".to_owned())];
        choice.take(
            wanted,
            Showing::default(),
            refused,
            RefusedWhen::Checked,
            now,
            &[],
        );
        assert!(!choice.is_known(&step, "no, and why"), "it is told");
        table.apply(&crate::testing::put(&format!("x{number}")));
        choice.serves(&table, now);
        let refused_at = now;
        while choice.offer(now).is_none() {
            now += std::time::Duration::from_secs(1);
        }
        waits.push((now - refused_at).as_secs());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
}
