//! What the state makes of what it hears, case by case; [`model`] has every order of it.

use std::collections::BTreeMap;

use proxy_core::{
    Document, Epoch, InstanceId, Params, RecordedChange, ServiceName, StoreTrouble, ViewSeq,
    parse_reconfigure,
};

use super::{
    super::keys::{Filling, Head, Source},
    *,
};

mod model;

use model::{Model, Replica};

fn document(name: &str, port: u16) -> Arc<Document> {
    let query = format!("serviceName={name}&servicePath=/{name}&port={port}");
    let params = Params::from_query(query).unwrap();
    let service = parse_reconfigure(&params).unwrap().value.service;
    Arc::new(Document::from_service(service).unwrap())
}

fn epoch(nth: u8) -> Epoch {
    Epoch::from_bytes([nth; 16])
}

fn id(nth: u64) -> CommitId {
    CommitId::from_bytes(u128::from(nth).to_be_bytes())
}

fn origin() -> InstanceId {
    "r".parse().unwrap()
}

fn held(names: &[&str], number: u64) -> Option<(Revision, StoredTable)> {
    let stored = StoredTable::from_documents(names.iter().map(|name| document(name, 1)));
    Some((Revision::new(epoch(1), number, id(number)), stored))
}

fn seen(nth_epoch: u8, number: u64, services: Option<u64>) -> HeadSeen {
    let at = At {
        epoch: epoch(nth_epoch),
        number,
        id: id(number),
    };
    HeadSeen {
        head: Head::new(at, services),
        index: 100 + number,
    }
}

fn all(head: HeadSeen, names: &[&str]) -> AllRead {
    AllRead {
        head: Some(head),
        shown: names.len() as u64,
        documents: names.iter().map(|name| document(name, 1)).collect(),
        unreadable: BTreeMap::new(),
    }
}

fn names(state: &State) -> Vec<String> {
    state
        .view()
        .stored
        .table()
        .iter()
        .map(|s| s.name().to_string())
        .collect()
}

#[test]
fn a_late_read_does_not_take_back_what_was_committed_meanwhile() {
    let mut model = Model::new();
    let mut replica = Replica::new();
    replica.settle(&model);
    let mark = replica.state.mark();
    let late = model.head.clone();
    let late_all = model.all();
    let (record, index) = model.commit(10, "a", Some(document("a", 1))).unwrap();
    replica.state.on_committed(&record, Some(index));
    assert_eq!(replica.state.on_head(mark, Some(late)), Step::ReadHead);
    assert_eq!(
        replica.state.on_all(mark, late_all, History::Mine),
        Step::ReadHead
    );
    assert_eq!(names(&replica.state), ["a"]);
}

#[test]
fn a_store_behind_me_is_a_restored_one() {
    let mut state = State::new(held(&["a", "b"], 9));
    let mark = state.mark();
    let step = state.on_head(mark, Some(seen(1, 5, Some(1))));
    assert_eq!(step, Step::ReadAll(History::Another));
    state.on_all(mark, all(seen(1, 5, Some(1)), &["a"]), History::Another);
    assert_eq!(names(&state), ["a"]);
    let gone = state.view().superseded.clone().unwrap();
    assert_eq!((gone.revision.number, gone.stored.table().len()), (9, 2));
    // The same table in another history is nothing to hand over.
    let mut state = State::new(held(&["a", "b"], 9));
    state.on_all(
        mark,
        all(seen(2, 1, Some(2)), &["a", "b"]),
        History::Another,
    );
    assert!(state.view().superseded.is_none());
    assert_eq!(state.view().condition, StoreCondition::Live);
}

#[test]
fn a_whole_read_removes_only_what_the_head_accounts_for() {
    // Far behind: the log is no longer there.
    let mark = State::new(None).mark();
    let mut state = State::new(held(&["a", "b"], 1));
    state.on_all(mark, all(seen(1, 5000, Some(1)), &["a"]), History::Mine);
    assert_eq!(
        names(&state),
        ["a"],
        "the head says one, and one is shown: b was removed"
    );
    let mut state = State::new(held(&["a", "b"], 1));
    state.on_all(mark, all(seen(1, 5000, Some(2)), &["a"]), History::Mine);
    assert_eq!(names(&state), ["a", "b"], "the head says two: b is hidden");
    assert_eq!(state.view().degraded().len(), 1);
    assert_eq!(state.view().condition, StoreCondition::Live);
    let mut state = State::new(held(&["a", "b"], 1));
    state.on_all(mark, all(seen(1, 5000, None), &["a"]), History::Mine);
    assert_eq!(names(&state), ["a", "b"], "the head does not say");
    let mut state = State::new(None);
    state.on_all(mark, all(seen(1, 5000, Some(2)), &["a"]), History::Mine);
    assert!(
        matches!(state.view().condition, StoreCondition::Stale { .. }),
        "one is not even known"
    );
}

#[test]
fn a_table_gives_way_to_another_but_not_to_nothing() {
    let mut state = State::new(held(&["a"], 3));
    let blank = seen(2, 0, Some(0));
    let mark = state.mark();
    assert_eq!(
        state.on_head(mark, Some(blank.clone())),
        Step::Empty(Some(blank.clone()))
    );
    assert_eq!(
        state.on_all(mark, all(blank.clone(), &[]), History::Another),
        Step::Empty(Some(blank))
    );
    assert_eq!(names(&state), ["a"]);
    // In the same life it was restored to its beginning, and that wins.
    assert_eq!(
        state.on_head(mark, Some(seen(1, 0, Some(0)))),
        Step::ReadAll(History::Another)
    );
}

#[test]
fn a_filling_is_never_taken_for_the_table() {
    let mut filling = seen(2, 1, Some(1));
    filling.head.filling = Some(Filling {
        from: Source::Replica,
        by: origin(),
    });
    let mut state = State::new(held(&["a", "b"], 3));
    let mark = state.mark();
    assert_eq!(state.on_watch(Some(filling.clone())), Step::ReadHead);
    assert_eq!(
        state.on_head(mark, Some(filling.clone())),
        Step::Filling(filling.clone())
    );
    assert_eq!(
        state.on_all(mark, all(filling.clone(), &["a"]), History::Another),
        Step::Filling(filling)
    );
    assert_eq!(names(&state), ["a", "b"]);
}

#[test]
fn a_filling_during_which_a_peer_was_heard_is_read_instead() {
    let mut state = State::new(held(&["a"], 3));
    assert_eq!(state.on_watch(Some(seen(1, 3, Some(1)))), Step::Done);
    assert_eq!(state.chain().and_then(|chain| chain.index), Some(103));
    let base = state.chain().map(|chain| chain.at);
    let change = RecordedChange::new(None, Some(document("b", 1)));
    let services = [("b".parse().unwrap(), change)].into();
    let next = Revision::new(epoch(1), 4, id(4));
    let record = CommitRecord::new(next, Some(id(3)), origin(), 0, services);
    assert!(matches!(state.on_offer(&record), Offered::Held(_)));
    // A peer does not tell the index of the head, and the old one is no longer right.
    assert_eq!(state.chain().and_then(|chain| chain.index), None);
    let stored = StoredTable::from_documents([document("a", 1)]);
    let at = At {
        epoch: epoch(2),
        number: 1,
        id: id(77),
    };
    state.on_filled(base, at, 500, 1, stored.clone());
    assert_eq!(names(&state), ["a", "b"]);
    let base = state.chain().map(|chain| chain.at);
    state.on_filled(base, at, 500, 1, stored);
    assert_eq!(state.view().revision.unwrap().epoch, epoch(2));
}

#[test]
fn a_record_that_breaks_the_chain_is_not_applied() {
    let mut model = Model::new();
    let mut replica = Replica::new();
    replica.settle(&model);
    model.commit(10, "a", Some(document("a", 1))).unwrap();
    let mut forged = model.log[&1].clone();
    forged.previous = Some(id(99));
    let step = replica
        .state
        .on_log(model.head.clone(), Some(vec![forged.clone()]));
    assert_eq!(step, Step::ReadAll(History::Another));
    assert_eq!(replica.state.on_offer(&forged), Offered::Settle);
    assert!(names(&replica.state).is_empty());
}

#[test]
fn what_changes_nothing_makes_no_view() {
    let model = Model::new();
    let mut replica = Replica::new();
    replica.settle(&model);
    let seq = replica.state.view().seq;
    replica.settle(&model);
    replica.state.on_watch(Some(model.head.clone()));
    assert_eq!(replica.state.view().seq, seq);
    let down = || StoreTrouble::Unavailable("down".to_owned());
    replica.state.stale(down());
    replica.state.stale(down());
    assert_eq!(replica.state.view().seq, ViewSeq(seq.0 + 1));
}

#[test]
fn a_replica_that_has_nothing_says_why_it_could_not_read_and_says_it_anew_where_that_changes() {
    let mut replica = Replica::new();
    assert_eq!(replica.state.view().condition, StoreCondition::STARTING);
    let down = StoreTrouble::Unavailable("no server answers".to_owned());
    let denied = StoreTrouble::Denied("ACL not found".to_owned());
    for (seq, trouble) in [(1, &down), (1, &down), (2, &denied), (3, &down)] {
        replica.state.stale(trouble.clone());
        let view = replica.state.view();
        let trouble = Some(trouble.clone());
        assert_eq!(view.condition, StoreCondition::Starting { trouble });
        assert_eq!(view.seq, ViewSeq(seq));
    }
    replica.settle(&Model::new());
    assert_eq!(replica.state.view().condition, StoreCondition::Live);
}
