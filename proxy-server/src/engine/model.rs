//! The engine under random schedules, against a simulated store, peers, HAProxy and clock.
//!
//! A schedule is a list of steps: callers change things on several replicas, commits lose races or
//! their answers, views come late, hints are lost, doubled and reordered, checks and reloads fail,
//! engines die in the middle of a turn. After it everything is mended, and the first three laws must
//! hold. Nothing here waits for real time, and nothing is random but the schedule: a schedule that
//! fails once fails always, and is shrunk before it is shown.
//!
//! `MODEL_SEED=<number>` draws other schedules, `MODEL_CASES=<number>` more of them.

mod carrier;
mod findings;
mod judge;
mod replica;
mod store;

use proptest::{collection::vec, prelude::*};

use crate::testing::under_random_schedules;
use judge::run;

/// How many schedules are tried.
const CASES: u32 = 10_000;
/// How many replicas share the store.
const REPLICAS: usize = 3;
/// How many services there are, so that changes meet.
const SERVICES: usize = 5;

/// How HAProxy takes a version of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quality {
    /// It does.
    Good,
    /// No replica's does.
    Bad,
    /// The first replica's does not.
    BadOnFirst,
    /// It passes every check and no replica's loads it.
    DoesNotLoad,
}

/// What a caller asks for.
#[derive(Clone, Debug)]
enum Ask {
    Put(usize, Quality),
    Remove(usize),
}

/// How a commit goes.
#[derive(Clone, Copy, Debug)]
enum CommitFault {
    /// No server is asked.
    Unavailable,
    /// It is made, and the answer is lost.
    DoneUnheard,
    /// It is not made, and nobody can tell.
    NotDoneUnheard,
    /// The store takes the first change only.
    Short,
    /// It takes a while.
    Slow,
}

/// One step of a schedule.
#[derive(Clone, Debug)]
enum Step {
    /// A caller asks a replica.
    Call(usize, Vec<Ask>),
    /// A caller replaces the whole table.
    Whole(usize, Vec<Ask>),
    /// The next commit of a replica goes like this.
    Commit(usize, CommitFault),
    /// A replica no longer reaches the store.
    Cut(usize),
    /// It does again.
    Mend(usize),
    /// A replica's watch brings so many commits.
    Follow(usize, usize),
    /// A hint in a replica's mailbox arrives, or arrives twice.
    Hint(usize, usize, Twice),
    /// A replica's next checks say that nothing can be judged.
    ChecksFail(usize, usize),
    /// A replica's next reloads fail, though nothing is wrong with the table.
    LoadsFail(usize, usize),
    /// A replica's engine dies where it stands, and another takes over.
    Crash(usize),
    /// Time passes, in milliseconds.
    Pass(u64),
}

/// Whether a hint stays in the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twice {
    Yes,
    No,
}

fn quality() -> impl Strategy<Value = Quality> {
    prop_oneof![
        12 => Just(Quality::Good),
        2 => Just(Quality::Bad),
        1 => Just(Quality::BadOnFirst),
        1 => Just(Quality::DoesNotLoad),
    ]
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = prop_oneof![
        4 => (0..SERVICES, quality()).prop_map(|(service, quality)| Ask::Put(service, quality)),
        1 => (0..SERVICES).prop_map(Ask::Remove),
    ];
    vec(ask, 1..4)
}

fn puts() -> impl Strategy<Value = Vec<Ask>> {
    let put = (0..SERVICES, quality()).prop_map(|(service, quality)| Ask::Put(service, quality));
    vec(put, 1..4)
}

fn commit_fault() -> impl Strategy<Value = CommitFault> {
    prop_oneof![
        Just(CommitFault::Unavailable),
        Just(CommitFault::DoneUnheard),
        Just(CommitFault::NotDoneUnheard),
        Just(CommitFault::Short),
        Just(CommitFault::Slow),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let replica = || 0..REPLICAS;
    prop_oneof![
        10 => (replica(), asks()).prop_map(|(r, asks)| Step::Call(r, asks)),
        1 => (replica(), puts()).prop_map(|(r, puts)| Step::Whole(r, puts)),
        3 => (replica(), commit_fault()).prop_map(|(r, fault)| Step::Commit(r, fault)),
        1 => replica().prop_map(Step::Cut),
        1 => replica().prop_map(Step::Mend),
        4 => (replica(), 1..4_usize).prop_map(|(r, n)| Step::Follow(r, n)),
        3 => (replica(), 0..8_usize, prop_oneof![Just(Twice::Yes), Just(Twice::No)])
            .prop_map(|(r, nth, twice)| Step::Hint(r, nth, twice)),
        1 => (replica(), 1..4_usize).prop_map(|(r, n)| Step::ChecksFail(r, n)),
        1 => (replica(), 1..4_usize).prop_map(|(r, n)| Step::LoadsFail(r, n)),
        1 => replica().prop_map(Step::Crash),
        4 => (0..3_000_u64).prop_map(Step::Pass),
    ]
}

#[test]
fn the_laws_hold_under_any_schedule() {
    under_random_schedules("MODEL", CASES, vec(step(), 1..40), run);
}
