//! False histories, each of which must be objected to, beside the true one next to it.

use std::time::Duration;

use super::*;

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

/// A call for the service `s`, from replica 1 in its first life.
fn call(id: CallId, wish: Wish, begun: u64, ended: u64, outcome: Outcome) -> Call {
    Call {
        id,
        service: "s".to_owned(),
        wish,
        group: None,
        replica: 0,
        life: Some(1),
        begun: at(begun),
        ended: at(ended),
        outcome,
        said: "200".to_owned(),
        commit: None,
    }
}

fn ends(calls: &[Call], value: Value) -> bool {
    judge_end(calls, &[("s".to_owned(), value)]).is_empty()
}

fn sight(value: Value, at_seconds: u64) -> Sight {
    Sight {
        service: "s".to_owned(),
        value,
        replica: 0,
        life: 1,
        begun: at(at_seconds),
        ended: at(at_seconds),
    }
}

use Outcome::{Live, Lost, Refused, Stored};
use Wish::{Invalid, Put, Remove};

#[test]
fn a_lost_acknowledgement_is_noticed() {
    let calls = [call(1, Put, 0, 1, Live), call(2, Put, 2, 3, Live)];
    assert!(ends(&calls, Value::Of(2)));
    assert!(!ends(&calls, Value::Of(1)), "the second is lost");
    assert!(!ends(&calls, Value::Absent), "both are lost");
    assert!(!ends(&[call(1, Put, 0, 1, Stored)], Value::Absent));
}

#[test]
fn a_removal_that_is_undone_is_noticed() {
    let calls = [call(1, Put, 0, 1, Live), call(2, Remove, 2, 3, Live)];
    assert!(ends(&calls, Value::Absent));
    assert!(!ends(&calls, Value::Of(1)), "it is there again");
}

#[test]
fn a_removal_does_not_excuse_a_later_put() {
    let calls = [call(1, Remove, 0, 1, Live), call(2, Put, 2, 3, Live)];
    assert!(!ends(&calls, Value::Absent));
    let calls = [call(1, Remove, 0, 3, Live), call(2, Put, 2, 4, Live)];
    assert!(ends(&calls, Value::Absent), "they overlap: any order");
}

#[test]
fn calls_that_overlap_may_end_either_way() {
    let calls = [call(1, Put, 0, 3, Live), call(2, Put, 2, 4, Live)];
    assert!(ends(&calls, Value::Of(1)));
    assert!(ends(&calls, Value::Of(2)));
}

#[test]
fn what_was_lost_may_come_late_or_never() {
    let calls = [call(1, Put, 0, 1, Lost), call(2, Put, 2, 3, Live)];
    assert!(ends(&calls, Value::Of(1)), "it may come after the second");
    assert!(ends(&calls, Value::Of(2)));
    assert!(!ends(&calls, Value::Absent));
    let calls = [call(1, Put, 0, 1, Live), call(2, Remove, 2, 3, Lost)];
    assert!(ends(&calls, Value::Of(1)) && ends(&calls, Value::Absent));
}

#[test]
fn what_was_refused_is_nowhere() {
    let calls = [call(1, Put, 0, 1, Live), call(2, Put, 2, 3, Refused)];
    assert!(ends(&calls, Value::Of(1)));
    assert!(!ends(&calls, Value::Of(2)));
    assert!(!judge_sights(&calls, &[sight(Value::Of(2), 9)]).is_empty());
    let removal = [call(1, Put, 0, 1, Live), call(2, Remove, 2, 3, Refused)];
    assert!(!ends(&removal, Value::Absent));
}

#[test]
fn half_a_change_and_what_nobody_wrote_are_noticed() {
    let calls = [call(1, Put, 0, 1, Lost)];
    assert!(ends(&calls, Value::Absent) && ends(&calls, Value::Of(1)));
    assert!(!ends(&calls, Value::Strange("/v1/a".to_owned())));
    assert!(!ends(&calls, Value::Of(7)));
    assert!(!ends(&[], Value::Of(1)));
    assert!(ends(&[], Value::Absent));
}

#[test]
fn an_import_is_there_as_a_whole_or_not_at_all() {
    let part = |id, service: &str, wish| {
        let mut part = call(id, wish, 2, 3, Lost);
        (part.service, part.group) = (service.to_owned(), Some(10));
        part
    };
    let mut old = call(1, Put, 0, 1, Live);
    old.service = "t".to_owned();
    let calls = [
        old,
        part(10, "s", Put),
        part(11, "t", Put),
        part(12, "u", Remove),
    ];
    let end = |s: Value, t: Value| {
        let ends = [("s".to_owned(), s), ("t".to_owned(), t)];
        judge_end(&calls, &ends).is_empty()
    };
    assert!(end(Value::Of(10), Value::Of(11)));
    assert!(end(Value::Absent, Value::Of(1)));
    assert!(!end(Value::Of(10), Value::Of(1)), "a half of it");
    assert!(!end(Value::Absent, Value::Of(11)), "the other half");
}

#[test]
fn a_replica_that_goes_back_is_noticed() {
    let calls = [call(1, Put, 0, 1, Live), call(2, Put, 2, 3, Live)];
    let (one, two) = (Value::Of(1), Value::Of(2));
    let seen = |sights: &[Sight]| judge_sights(&calls, sights).is_empty();
    assert!(seen(&[sight(one.clone(), 2), sight(two.clone(), 4)]));
    assert!(
        !seen(&[sight(two.clone(), 3), sight(one.clone(), 3)]),
        "back"
    );
    assert!(!seen(&[sight(one.clone(), 4)]), "it had said the second");
    assert!(!seen(&[sight(Value::Absent, 4)]));
    assert!(!seen(&[sight(two.clone(), 1)]), "not asked for yet");
    // Another replica, and another life, may be behind.
    let mut other = sight(one.clone(), 4);
    other.replica = 1;
    assert!(seen(&[other]));
    let mut reborn = sight(one, 4);
    reborn.life = 2;
    assert!(seen(&[sight(two, 3), reborn]));
}

#[test]
fn a_removal_that_is_seen_undone_is_noticed() {
    let calls = [call(1, Put, 0, 1, Live), call(2, Remove, 2, 3, Live)];
    let seen = |value, at| judge_sights(&calls, &[sight(value, at)]).is_empty();
    assert!(seen(Value::Absent, 4));
    assert!(!seen(Value::Of(1), 4));
    assert!(seen(Value::Of(1), 2));
}

#[test]
fn answers_of_the_wrong_kind_are_noticed() {
    let mut refused = call(1, Put, 0, 1, Refused);
    refused.said = "400: no".to_owned();
    let mut unavailable = call(2, Put, 0, 1, Refused);
    unavailable.said = "503: no store".to_owned();
    let accepted = call(3, Invalid, 0, 1, Live);
    let calls = [refused, unavailable, accepted.clone()];
    assert_eq!(judge_answers(&calls[..2]).len(), 1);
    assert_eq!(judge_answers(std::slice::from_ref(&accepted)).len(), 1);
    let overtaking = call(4, Put, 1, 2, Live);
    assert_eq!(judge_answers(&[accepted, overtaking]), [] as [String; 0]);
}
