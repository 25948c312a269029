//! What each falls back to that is not loaded, and the search for it.

use super::*;

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
