//! What the schedules found, each shrunk and under its name.

use super::{Ask::*, CommitFault::*, Quality::*, Step::*, Twice, judge::run};

#[test]
fn a_late_view_acknowledges_nothing_that_is_not_so() {
    // The second replica has not heard of the service that it is asked to remove.
    let schedule = [
        Call(0, vec![Put(0, Good)]),
        Pass(500),
        Call(1, vec![Remove(0)]),
        Pass(500),
    ];
    run(&schedule).unwrap();
}

#[test]
fn a_version_that_is_replaced_in_its_turn_is_not_stored_by_itself() {
    let schedule = [
        Commit(1, Short),
        Call(1, vec![Put(0, Bad)]),
        Whole(1, vec![Put(0, Good)]),
        Pass(110),
    ];
    run(&schedule).unwrap();
}

#[test]
fn a_search_after_a_crash_does_not_begin_with_nothing() {
    let schedule = [
        Call(0, vec![Put(2, Good)]),
        Pass(160),
        Call(0, vec![Put(0, Good)]),
        Whole(0, vec![Put(2, DoesNotLoad)]),
        Hint(2, 0, Twice::Yes),
        Call(2, vec![Put(0, Good)]),
        Pass(110),
        Crash(2),
    ];
    run(&schedule).unwrap();
}

#[test]
fn an_engine_that_starts_anew_makes_live_what_its_predecessor_could_not() {
    let schedule = [
        Pass(80),
        Call(0, vec![Put(0, Good)]),
        LoadsFail(0, 3),
        Call(0, vec![Put(0, Good)]),
        Pass(160),
        Crash(0),
    ];
    run(&schedule).unwrap();
}

#[test]
fn a_search_that_is_broken_off_goes_on_from_what_it_made_live() {
    let schedule = [
        Call(0, vec![Put(0, Good)]),
        Call(1, vec![Put(0, Good)]),
        Call(0, vec![Put(0, Good)]),
        Call(2, vec![Put(1, Good), Put(2, DoesNotLoad)]),
        Pass(330),
        ChecksFail(2, 1),
        Pass(80),
    ];
    run(&schedule).unwrap();
}
