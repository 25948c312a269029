//! The state against a model of the store: whatever arrives late, twice, out of order or not at
//! all, every replica ends with the store's table, and no view goes back.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The store as it is, and as it was at each revision.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) head: HeadSeen,
    pub(super) log: BTreeMap<u64, CommitRecord>,
    documents: BTreeMap<ServiceName, Arc<Document>>,
    index: u64,
    ids: u64,
}

/// Something that was read or sent, and has not arrived yet.
#[derive(Clone, Debug)]
enum News {
    Watch(HeadSeen),
    Head(Mark, HeadSeen),
    Log(HeadSeen, Option<Vec<CommitRecord>>),
    All(Mark, AllRead, History),
    Offer(CommitRecord),
    Committed(CommitRecord, u64),
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) state: State,
    news: Vec<News>,
    committing: bool,
}

#[derive(Clone, Debug)]
enum Act {
    /// A replica begins a consistent read of the head.
    Read(usize),
    /// A replica's watch shows one of the last heads.
    Watch(usize, usize),
    /// One of the things under way to a replica arrives.
    Arrive(usize, usize),
    /// One of the things under way to a replica is lost.
    Lose(usize, usize),
    /// A replica commits a service, or removes it when the port is 0.
    Commit(usize, u8, u8),
    /// An offer arrives twice.
    Double(usize, usize),
}

impl Model {
    pub(super) fn new() -> Self {
        let at = At {
            epoch: epoch(1),
            number: 0,
            id: id(1_000_000),
        };
        Self {
            head: HeadSeen {
                head: Head::new(at, Some(0)),
                index: 10,
            },
            log: BTreeMap::new(),
            documents: BTreeMap::new(),
            index: 10,
            ids: 0,
        }
    }

    pub(super) fn commit(
        &mut self,
        index: u64,
        name: &str,
        after: Option<Arc<Document>>,
    ) -> Option<(CommitRecord, u64)> {
        if index != self.head.index {
            return None;
        }
        self.ids += 1;
        self.index += 1;
        let name: ServiceName = name.parse().unwrap();
        let at = self.head.head.at();
        let revision = Revision::new(at.epoch, at.number + 1, id(self.ids));
        let change = RecordedChange::new(self.documents.get(&name).cloned(), after.clone());
        let services = [(name.clone(), change)].into();
        let record = CommitRecord::new(revision, at.previous(), origin(), 0, services);
        match after {
            Some(document) => self.documents.insert(name, document),
            None => self.documents.remove(&name),
        };
        let head = Head::new(revision.into(), Some(self.documents.len() as u64));
        self.head = HeadSeen {
            head,
            index: self.index,
        };
        self.log.insert(revision.number, record.clone());
        Some((record, self.index))
    }

    pub(super) fn all(&self) -> AllRead {
        AllRead {
            head: Some(self.head.clone()),
            shown: self.documents.len() as u64,
            documents: self.documents.values().cloned().collect(),
            unreadable: BTreeMap::new(),
        }
    }

    fn table(&self) -> StoredTable {
        StoredTable::from_documents(self.documents.values().cloned())
    }

    /// What a step asks for, read now; it arrives later.
    fn read(&self, state: &State, step: Step) -> Option<News> {
        match step {
            Step::Done => None,
            Step::ReadHead => Some(News::Head(state.mark(), self.head.clone())),
            Step::ReadLog { from, to, head } => {
                let records: Option<Vec<_>> =
                    (from..=to).map(|n| self.log.get(&n).cloned()).collect();
                Some(News::Log(head, records))
            }
            Step::ReadAll(history) => Some(News::All(state.mark(), self.all(), history)),
            other => panic!("{other:?}"),
        }
    }
}

impl Replica {
    pub(super) fn new() -> Self {
        Self {
            state: State::new(None),
            news: Vec::new(),
            committing: false,
        }
    }

    /// One thing arrives; what it asks for next is under way from now on.
    fn arrive(&mut self, model: &Model, news: News) {
        let step = match news {
            News::Watch(head) => self.state.on_watch(Some(head)),
            News::Head(mark, head) => self.state.on_head(mark, Some(head)),
            News::Log(head, records) => self.state.on_log(head, records),
            News::All(mark, all, history) => self.state.on_all(mark, all, history),
            News::Offer(record) => match self.state.on_offer(&record) {
                Offered::Held(_) => Step::Done,
                Offered::Settle => Step::ReadHead,
            },
            News::Committed(record, index) => {
                self.committing = false;
                self.state.on_committed(&record, Some(index));
                Step::Done
            }
        };
        self.news.extend(model.read(&self.state, step));
    }

    /// Everything that was under way is lost; a new reading goes through to its end.
    pub(super) fn settle(&mut self, model: &Model) {
        self.news.clear();
        let mut next = model.read(&self.state, Step::ReadHead);
        for _ in 0..100 {
            let Some(news) = next else { return };
            self.arrive(model, news);
            next = self.news.pop();
        }
        panic!("it never comes to an end");
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        1 => (0..3_usize).prop_map(Act::Read),
        1 => (0..3_usize, 0..5_usize).prop_map(|(r, back)| Act::Watch(r, back)),
        8 => (0..3_usize, any::<usize>()).prop_map(|(r, nth)| Act::Arrive(r, nth)),
        1 => (0..3_usize, any::<usize>()).prop_map(|(r, nth)| Act::Lose(r, nth)),
        3 => (0..3_usize, 0..4_u8, 0..4_u8).prop_map(|(r, s, p)| Act::Commit(r, s, p)),
        1 => (0..3_usize, any::<usize>()).prop_map(|(r, nth)| Act::Double(r, nth)),
    ];
    prop::collection::vec(act, 0..120)
}

/// Runs acts; `history` tells what the table was at each revision, to compare every view with.
fn run(acts: Vec<Act>, restore_at: Option<(usize, usize)>) -> (Vec<Replica>, Model) {
    let mut model = Model::new();
    let mut past = vec![model.clone()];
    let mut replicas: Vec<_> = (0..3).map(|_| Replica::new()).collect();
    for (nth, act) in acts.into_iter().enumerate() {
        if let Some((when, which)) = restore_at
            && nth == when
        {
            // The index of the store goes on, as that of a running cluster does.
            let (index, ids) = (model.index, model.ids);
            model = past[which % past.len()].clone();
            (model.index, model.ids) = (index, ids);
        }
        match act {
            Act::Read(r) => {
                let news = model.read(&replicas[r].state, Step::ReadHead);
                replicas[r].news.extend(news);
            }
            Act::Watch(r, back) => {
                let head = past[past.len().saturating_sub(1 + back)].head.clone();
                replicas[r].news.push(News::Watch(head));
            }
            Act::Arrive(r, nth) if !replicas[r].news.is_empty() => {
                let nth = nth % replicas[r].news.len();
                let news = replicas[r].news.remove(nth);
                let before = replicas[r].state.view();
                replicas[r].arrive(&model, news);
                if restore_at.is_none() {
                    check(&before, &replicas[r].state.view(), &past);
                }
            }
            Act::Lose(r, nth) if !replicas[r].news.is_empty() => {
                let nth = nth % replicas[r].news.len();
                // The answer to a commit is not lost here: that is the business of sealing.
                if !matches!(replicas[r].news[nth], News::Committed(..)) {
                    replicas[r].news.remove(nth);
                }
            }
            Act::Double(r, nth) if !replicas[r].news.is_empty() => {
                let news = replicas[r].news[nth % replicas[r].news.len()].clone();
                if matches!(news, News::Offer(_)) {
                    replicas[r].news.push(news);
                }
            }
            Act::Commit(r, service, port) if !replicas[r].committing => {
                let index = replicas[r].state.chain().and_then(|chain| chain.index);
                let name = format!("s{service}");
                let after = (port > 0).then(|| document(&name, u16::from(port)));
                let Some(index) = index else { continue };
                if let Some((record, index)) = model.commit(index, &name, after) {
                    past.push(model.clone());
                    replicas[r].committing = true;
                    replicas[r]
                        .news
                        .push(News::Committed(record.clone(), index));
                    for (other, replica) in replicas.iter_mut().enumerate() {
                        if other != r {
                            replica.news.push(News::Offer(record.clone()));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    (replicas, model)
}

/// No view goes back, and every view is the table of its revision.
fn check(before: &StoreView, after: &StoreView, past: &[Model]) {
    let number = |view: &StoreView| view.revision.map_or(0, |revision| revision.number);
    assert!(
        number(after) >= number(before),
        "{:?} after {:?}",
        after.revision,
        before.revision
    );
    assert!(after.superseded.is_none());
    let then = past
        .iter()
        .find(|model| model.head.head.at().revision() == after.revision);
    if !after.condition.is_starting() {
        assert_eq!(after.stored.table(), then.unwrap().table().table());
    }
}

proptest! {
    #[test]
    fn every_replica_ends_with_the_stores_table(acts in acts()) {
        let (replicas, model) = run(acts, None);
        for mut replica in replicas {
            replica.settle(&model);
            let view = replica.state.view();
            prop_assert_eq!(view.revision, model.head.head.at().revision());
            prop_assert_eq!(&view.stored, &model.table());
            prop_assert_eq!(&view.condition, &StoreCondition::Live);
            prop_assert!(view.superseded.is_none());
        }
    }

    #[test]
    fn a_restore_in_between_wins(acts in acts(), when in 0..100_usize, which in any::<usize>()) {
        let (replicas, model) = run(acts, Some((when, which)));
        for mut replica in replicas {
            replica.settle(&model);
            let view = replica.state.view();
            prop_assert_eq!(view.revision, model.head.head.at().revision());
            prop_assert_eq!(&view.stored, &model.table());
        }
    }
}
