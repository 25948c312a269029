//! The store alone; below, several of them that talk to each other.

mod addresses;
mod away;
mod clocks;
mod cluster;
mod equal;
mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use proxy_core::{AWAY_AFTER, Counting, Epoch, Order, ServiceName, Stamp};
use proxy_peers::{
    Broadcast, BroadcastSettings, Call, FollowSettings, PeerAddress, PeerReply, Peers,
    StaticDiscover, StatusCode, Transport, TransportError,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{disk::Marks, *};
use crate::{announce::INSTANCE_HEADER, clock::now_ms, store::TableJournal, testing::put};

use cluster::*;

fn remove(name: &str) -> Change {
    Change::Remove(name.parse().unwrap())
}

/// A service whose document differs with its path.
fn put_at(name: &str, path: &str) -> Change {
    let query = format!("serviceName={name}&servicePath=/{path}&port=80");
    let params = proxy_core::Params::from_query(query).unwrap();
    Change::Put(
        proxy_core::parse_reconfigure(&params)
            .unwrap()
            .value
            .service,
    )
}

fn open(folder: &Path, name: &str, others: Others) -> Result<ReplicatedStore, OpenError> {
    ReplicatedStore::open(folder, name.parse().unwrap(), others)
}

fn alone(folder: &Path) -> ReplicatedStore {
    open(folder, "me", Others::None).unwrap()
}

async fn change(store: &ReplicatedStore, changes: &[Change]) -> Committed {
    loop {
        match store.commit(&store.view(), changes).await {
            Err(CommitError::LostRace { .. }) => {}
            committed => return committed.unwrap(),
        }
    }
}

fn names(store: &ReplicatedStore) -> Vec<String> {
    let view = store.view();
    let services = view.stored.table().iter();
    services.map(|service| service.name().to_string()).collect()
}

#[tokio::test]
async fn a_commit_of_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = alone(folder.path());
    let refused = store.commit(&store.view(), &[]).await;
    assert!(
        matches!(refused, Err(CommitError::Refused { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_may_be_on_disk_is_not_said_to_have_changed_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = alone(folder.path());
    change(&store, &[put("a")]).await;
    // A line that is not written whole is cut off: whether it is not known where that fails too.
    store.writer.lock().unwrap().journal.log().break_log();
    let refused = store.commit(&store.view(), &[put("b")]).await;
    let Err(CommitError::Unknown { id, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(matches!(store.outcome(id).await, Outcome::Unknown(_)));
    // Nothing comes behind it before it is cut off, and that nothing came is certain.
    let refused = store.commit(&store.view(), &[put("c")]).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    store.writer.lock().unwrap().journal.log().mend_log();
    change(&store, &[put("d")]).await;
    drop(store);
    assert_eq!(names(&alone(folder.path())), ["a", "d"]);
}

#[tokio::test]
async fn files_that_somebody_removed_are_written_again_with_the_next_change() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let remove = |name: &str| std::fs::remove_file(state.join(name)).unwrap();
    for round in 0..4 {
        let store = alone(&state);
        let (before, after) = (format!("{round}-before"), format!("{round}-after"));
        change(&store, &[put(&before)]).await;
        match round {
            0 => remove("registers.log"),
            1 => remove("registers.base"),
            2 => {
                remove("registers.log");
                std::fs::write(state.join("registers.log"), "").unwrap();
            }
            _ => std::fs::remove_dir_all(&state).unwrap(),
        }
        change(&store, &[put(&after)]).await;
        drop(store);
        let names = names(&alone(&state));
        assert!(
            names.contains(&before) && names.contains(&after),
            "{round}: {names:?}"
        );
        assert_eq!(names.len(), 2 * (round + 1));
    }
}

#[tokio::test]
async fn an_acknowledged_commit_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = alone(folder.path());
    for i in 0..1_100 {
        let changes = match i % 7 {
            0 => [remove(&format!("s{}", i % 3))],
            _ => [put(&format!("s{}", i % 3))],
        };
        let before = store.view().revision;
        let committed = change(&store, &changes).await;
        assert_eq!(committed.record.previous, before.map(|it| it.id));
        assert_eq!(committed.view.revision, Some(committed.record.revision));
    }
    let (before, registers) = (store.view(), store.registers());
    assert_eq!(before.revision.unwrap().number, 1_100);
    assert_eq!(
        store.outcome(before.revision.unwrap().id).await,
        Outcome::Committed(before.revision.unwrap())
    );
    drop(store);
    let after = alone(folder.path());
    assert_eq!(after.view().revision, before.revision);
    assert_eq!(after.view().stored.table(), before.stored.table());
    assert_eq!(after.registers(), registers);
}

#[tokio::test]
async fn two_commits_on_one_base_do_not_both_win() {
    let folder = tempfile::tempdir().unwrap();
    let store = alone(folder.path());
    let base = store.view();
    let (ours, theirs) = ([put("a")], [put("b")]);
    let (a, b) = tokio::join!(store.commit(&base, &ours), store.commit(&base, &theirs));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
    assert_eq!(store.view().stored.table().len(), 1);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let _held = alone(folder.path());
    let second = open(folder.path(), "me", Others::None);
    assert!(matches!(second, Err(OpenError::InUse { .. })));
}

#[tokio::test]
async fn the_table_of_an_earlier_release_is_kept_and_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _, mut stored) = TableJournal::open(folder.path(), "table").unwrap();
    let mut previous = None;
    for (number, change) in [put("a"), put("b"), remove("a")].into_iter().enumerate() {
        let id = CommitId::from_bytes([u8::try_from(number).unwrap() + 1; 16]);
        let number = u64::try_from(number).unwrap() + 1;
        let revision = Revision::new(Epoch::from_bytes([9; 16]), number, id);
        let services = record_changes(&stored, &[change]).unwrap();
        let origin = "me".parse().unwrap();
        let record = CommitRecord::new(revision, previous, origin, 0, services);
        journal.append(&record).unwrap();
        stored.apply(&record);
        previous = Some(id);
    }
    drop(journal);
    let store = alone(folder.path());
    assert_eq!(names(&store), ["b"]);
    // Numbers go on from where they were.
    assert_eq!(store.view().revision.unwrap().number, 3);
    assert_eq!(store.attendance(), Attendance::Current);
    change(&store, &[remove("b"), put("c")]).await;
    drop(store);
    let store = alone(folder.path());
    assert_eq!(names(&store), ["c"]);
    assert_eq!(store.view().revision.unwrap().number, 4);
}

#[tokio::test]
async fn a_store_without_others_has_one_order_and_one_with_others_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = alone(folder.path());
    assert_eq!(store.order(), Order::Total);
    assert_eq!(store.view().condition, StoreCondition::Live);
    drop(store);
    let store = open(folder.path(), "me", Others::Possible).unwrap();
    assert_eq!(store.order(), Order::LastWriterWins);
    assert_eq!(store.view().condition, StoreCondition::STARTING);
    let history = store.history(None, 5).await;
    assert!(matches!(history, Err(HistoryError::NotKept)));
}

#[tokio::test]
async fn a_crash_while_a_table_is_replaced_resurrects_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = alone(folder.path());
    change(&store, &[put("old")]).await;
    drop(store);
    let store = alone(folder.path());
    let log = fs::read(folder.path().join("registers.log")).unwrap();
    let mut theirs = RegisterSet::default();
    let other = "other".parse().unwrap();
    for (name, register) in theirs
        .write(&other, &[put("x")], Counting::ByClock, 0)
        .unwrap()
    {
        theirs.merge(&name, &register).unwrap();
    }
    store.take_over(theirs, "test".to_owned()).await.unwrap();
    drop(store);
    fs::write(folder.path().join("registers.log"), log).unwrap();
    let store = alone(folder.path());
    assert_eq!(names(&store), ["x"]);
    change(&store, &[put("y")]).await;
    drop(store);
    assert_eq!(names(&alone(folder.path())), ["x", "y"]);
}

#[tokio::test]
async fn a_register_that_no_set_may_hold_does_not_keep_the_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = alone(folder.path());
    let other = "other".parse().unwrap();
    let mut told = RegisterSet::default()
        .write(&other, &[put("a"), put("b")], Counting::ByClock, 0)
        .unwrap();
    told[0].0 = "c".parse().unwrap();
    store.hear(told).await.unwrap();
    assert_eq!(names(&store), ["b"]);
}
