use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Params, parse_reconfigure};

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn put(name: &str, port: u16) -> Change {
    let query = format!("serviceName={name}&servicePath=/{name}&port={port}");
    let params = Params::from_query(query).unwrap();
    Change::Put(parse_reconfigure(&params).unwrap().value.service)
}

fn remove(name: &str) -> Change {
    Change::Remove(name.parse().unwrap())
}

fn write(set: &mut RegisterSet, replica: &str, change: Change, now: u64) -> Vec<Named> {
    let written = set
        .write(&replica.parse().unwrap(), &[change], Counting::ByClock, now)
        .unwrap();
    for (name, register) in &written {
        assert_eq!(set.merge(name, register), Ok(Merged::Taken));
    }
    written
}

fn merged(a: &RegisterSet, b: &RegisterSet) -> RegisterSet {
    let mut sum = a.clone();
    for (name, register) in b.iter() {
        sum.merge(name, register).unwrap();
    }
    sum
}

/// The digest from scratch.
fn recomputed(set: &RegisterSet) -> RegisterSet {
    merged(&RegisterSet::default(), set)
}

fn ports(set: &RegisterSet) -> BTreeMap<String, u16> {
    let documents = set.iter().filter_map(|(_, register)| register.document());
    documents
        .map(|document| {
            let service = document.service().unwrap();
            let port = service.destinations()[0].port().unwrap().get();
            (service.name().to_string(), port)
        })
        .collect()
}

/// Something that happens to one of three replicas.
#[derive(Clone, Debug)]
enum Event {
    Put(usize, u8, u16),
    Remove(usize, u8),
    /// The second hears everything that the first knows.
    Tell(usize, usize),
    /// The second hears of one service.
    TellOne(usize, usize, u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let replica = 0..3_usize;
    let service = 0..4_u8;
    let event = prop_oneof![
        (replica.clone(), service.clone(), 1..9_u16).prop_map(|(r, s, p)| Event::Put(r, s, p)),
        (replica.clone(), service.clone()).prop_map(|(r, s)| Event::Remove(r, s)),
        (replica.clone(), replica.clone()).prop_map(|(a, b)| Event::Tell(a, b)),
        (replica.clone(), replica, service).prop_map(|(a, b, s)| Event::TellOne(a, b, s)),
    ];
    prop::collection::vec(event, 0..40)
}

fn play(events: &[Event]) -> [RegisterSet; 3] {
    let mut sets: [RegisterSet; 3] = Default::default();
    for event in events {
        match *event {
            Event::Put(at, service, port) => {
                write(
                    &mut sets[at],
                    &format!("r{at}"),
                    put(&format!("s{service}"), port),
                    0,
                );
            }
            Event::Remove(at, service) => {
                write(
                    &mut sets[at],
                    &format!("r{at}"),
                    remove(&format!("s{service}")),
                    0,
                );
            }
            Event::Tell(from, to) => sets[to] = merged(&sets[to], &sets[from]),
            Event::TellOne(from, to, service) => {
                let name: ServiceName = format!("s{service}").parse().unwrap();
                if let Some(register) = sets[from].get(&name).cloned() {
                    sets[to].merge(&name, &register).unwrap();
                }
            }
        }
    }
    sets
}

/// One exchange as two replicas have it, in pages; gives how many it took.
fn exchange(a: &mut RegisterSet, b: &mut RegisterSet, page: usize) -> usize {
    for pages in 1.. {
        let delta = b.delta(&a.stamps(), page);
        for (name, register) in &delta.given {
            a.merge(name, register).unwrap();
        }
        let mut back = a.pick(&delta.wanted, page);
        while !back.is_empty() {
            for (name, register) in back {
                b.merge(&name, &register).unwrap();
            }
            let wanted = b.delta(&a.stamps(), page).wanted;
            back = a.pick(&wanted, page);
        }
        if !delta.more {
            return pages;
        }
    }
    unreachable!()
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(events in events()) {
        let [a, b, c] = play(&events);
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert_eq!(merged(&merged(&a, &b), &b).revision(), merged(&b, &a).revision());
    }

    #[test]
    fn sets_are_equal_exactly_if_their_revisions_are(events in events()) {
        let sets = play(&events);
        for a in &sets {
            prop_assert_eq!(recomputed(a).revision(), a.revision());
            for b in &sets {
                prop_assert_eq!(a == b, a.revision() == b.revision());
            }
        }
    }

    #[test]
    fn a_write_beats_all_that_its_writer_has_seen(events in events(), at in 0..3_usize) {
        let mut sets = play(&events);
        let seen = sets[at].clone();
        write(&mut sets[at], "r9", put("s0", 77), 0);
        prop_assert_eq!(merged(&seen, &sets[at]), sets[at].clone());
        prop_assert_eq!(ports(&sets[at])["s0"], 77);
        write(&mut sets[at], "r9", remove("s0"), 0);
        prop_assert!(!ports(&merged(&sets[at], &seen)).contains_key("s0"));
    }

    #[test]
    fn an_exchange_of_any_page_size_makes_two_sets_equal(events in events(), page in 1..400_usize) {
        let [mut a, mut b, _] = play(&events);
        let both = merged(&a, &b);
        prop_assert_eq!(a.covers(&b.stamps()), both == a);
        exchange(&mut a, &mut b, page);
        prop_assert_eq!(&a, &both);
        prop_assert_eq!(&b, &both);
        prop_assert!(a.covers(&b.stamps()));
    }
}

#[test]
fn a_register_is_written_down_and_read_the_same() {
    let mut set = RegisterSet::default();
    write(&mut set, "r1", put("a", 80), 1);
    write(&mut set, "r1", remove("b"), 2);
    let all: Vec<Named> = set
        .iter()
        .map(|(n, r)| (n.clone(), Arc::clone(r)))
        .collect();
    let text = serde_json::to_string(&all).unwrap();
    assert!(
        text.contains(
            r#"{"stamp":{"counter":2,"replica":"r1"},"written":{"removed":{"at_unix_ms":2}}}"#
        ),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Vec<Named>>(&text).unwrap(), all);
}

#[test]
fn two_writes_at_once_are_decided_alike_everywhere() {
    let (mut a, mut b) = (RegisterSet::default(), RegisterSet::default());
    write(&mut a, "r1", put("s", 1), 0);
    write(&mut b, "r2", put("s", 2), 0);
    assert_eq!(ports(&merged(&a, &b))["s"], 2);
    assert_eq!(ports(&merged(&b, &a))["s"], 2);
    // The one that lost and is told so writes again and wins.
    let mut a = merged(&a, &b);
    write(&mut a, "r1", put("s", 3), 0);
    assert_eq!(ports(&merged(&b, &a))["s"], 3);
}

#[test]
fn a_removal_is_forgotten_when_nobody_can_miss_it_any_more() {
    let (mut a, mut b) = (RegisterSet::default(), RegisterSet::default());
    write(&mut a, "r1", put("s", 1), 0);
    let stale = a.clone();
    write(&mut a, "r1", remove("s"), 0);
    b = merged(&b, &a);
    // While it is the latest register of all it stays: the counter must not go back.
    assert_eq!(a.expire(100 * DAY), 0);
    write(&mut a, "r1", put("t", 1), 100 * DAY);
    b = merged(&b, &a);
    assert_eq!(a.expire(7 * DAY), 0);
    assert_eq!(a.expire(8 * DAY), 1);
    assert_eq!(recomputed(&a).revision(), a.revision());
    // A replica whose clock is behind still has it, and does not bring it back.
    for (name, register) in b.iter() {
        a.hear(name, register, 8 * DAY, 8 * DAY).unwrap();
    }
    assert_eq!(a.len(), 1);
    // But it still removes what it removed.
    let mut late = stale;
    let (name, tomb) = b.iter().next().unwrap();
    late.hear(name, tomb, 8 * DAY, 8 * DAY).unwrap();
    assert!(ports(&late).is_empty());
}

#[test]
fn the_latest_removal_is_heard_however_old_it_is() {
    let (mut a, mut b) = (RegisterSet::default(), RegisterSet::default());
    write(&mut a, "r1", remove("s"), 0);
    for (name, register) in a.iter() {
        b.hear(name, register, 100 * DAY, 100 * DAY).unwrap();
    }
    assert_eq!(a, b);
}

#[test]
fn what_no_set_may_hold_is_refused_and_changes_nothing() {
    let mut set = RegisterSet::default();
    let written = write(&mut set, "r1", put("a", 80), 0);
    let before = set.revision();
    let register = &written[0].1;
    let other = "b".parse().unwrap();
    assert!(matches!(
        set.merge(&other, register),
        Err(RegisterError::OtherService { .. })
    ));
    let removed = Written::Removed { at_unix_ms: 0 };
    let far = Stamp::new(MAX_COUNTER + 1, "r1".parse().unwrap());
    let far = Arc::new(Register::new(far, removed.clone()));
    assert_eq!(set.merge(&other, &far), Err(RegisterError::Counter));
    assert_eq!(set.revision(), before);
    let last = Stamp::new(MAX_COUNTER, "r1".parse().unwrap());
    set.merge(&other, &Arc::new(Register::new(last, removed)))
        .unwrap();
    let next = set.write(&"r1".parse().unwrap(), &[remove("a")], Counting::ByClock, 0);
    assert_eq!(next, Err(RegisterError::Counter));
}

#[test]
fn a_full_set_takes_news_of_what_it_knows_and_nothing_else() {
    let mut set = RegisterSet::default();
    let removed = |counter| {
        let stamp = Stamp::new(counter, "r".parse().unwrap());
        Arc::new(Register::new(stamp, Written::Removed { at_unix_ms: 0 }))
    };
    for n in 0..MAX_REGISTERS {
        set.merge(&format!("s{n}").parse().unwrap(), &removed(1))
            .unwrap();
    }
    let one_more = set.merge(&"one-more".parse().unwrap(), &removed(1));
    assert!(matches!(one_more, Err(RegisterError::Full { .. })));
    assert_eq!(
        set.merge(&"s7".parse().unwrap(), &removed(2)),
        Ok(Merged::Taken)
    );
}

#[test]
fn a_set_that_takes_anothers_place_never_gives_a_stamp_twice() {
    let mut ours = RegisterSet::default();
    for port in 1..5 {
        write(&mut ours, "r1", put("a", port), 0);
    }
    let mut theirs = RegisterSet::default();
    write(&mut theirs, "r2", put("b", 1), 0);
    let revision = theirs.revision();
    ours.replace(theirs);
    assert_eq!(ours.revision(), revision);
    let written = write(&mut ours, "r1", put("a", 9), 0);
    assert_eq!(written[0].1.stamp.counter, 5);
}

#[test]
fn a_later_change_wins_though_its_writer_had_not_heard_of_the_earlier() {
    let (mut one, mut two) = (RegisterSet::default(), RegisterSet::default());
    for port in 1..5 {
        write(&mut one, "r1", put("a", port), 1_000);
    }
    // r2 has heard nothing, and its clock says that it is later.
    let later = write(&mut two, "r2", remove("a"), 2_000);
    for (name, register) in later {
        assert_eq!(one.merge(&name, &register), Ok(Merged::Taken));
    }
    assert!(one.get(&"a".parse().unwrap()).unwrap().document().is_none());
}

#[test]
fn a_removal_by_a_clock_that_is_behind_is_remembered_as_long_as_any() {
    let now = 100 * u64::try_from(AWAY_AFTER.as_millis()).unwrap();
    let mut set = RegisterSet::default();
    write(&mut set, "r1", put("a", 1), now);
    // The clock of r2 stands at 1970, but it has seen the counters of r1.
    write(&mut set, "r2", remove("a"), 0);
    write(&mut set, "r1", put("b", 1), now + 2);
    assert_eq!(set.expire(now + 3), 0);
    let life = u64::try_from(TOMBSTONE_LIFE.as_millis()).unwrap();
    assert_eq!(set.expire(now + life + 10), 1);
}

#[test]
fn a_counter_that_is_years_ahead_is_not_heard() {
    let mut set = RegisterSet::default();
    let name = "a".parse().unwrap();
    let at = |counter| {
        let stamp = Stamp::new(counter, "r".parse().unwrap());
        Arc::new(Register::new(stamp, Written::Removed { at_unix_ms: 0 }))
    };
    let heard = set.hear(&name, &at(MAX_COUNTER), 1_000, 1_000);
    assert!(matches!(heard, Err(RegisterError::Far { .. })));
    assert!(set.is_empty());
    assert_eq!(
        set.hear(&name, &at(1_000_000), 1_000, 1_000),
        Ok(Merged::Taken)
    );
}
