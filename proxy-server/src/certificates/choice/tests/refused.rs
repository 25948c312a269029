//! When what HAProxy did not take is offered again.

use super::*;

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
