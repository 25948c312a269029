//! The store alone, and several of them that talk over a network that the test owns.

mod clocks;
mod random;

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use proxy_core::{AWAY_AFTER, Counting, Epoch, Order};
use proxy_peers::{
    Broadcast, BroadcastSettings, Call, FollowSettings, PeerAddress, PeerReply, Peers,
    StaticDiscover, StatusCode, Transport, TransportError,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{disk::Marks, *};
use crate::{announce::INSTANCE_HEADER, clock::now_ms, store::TableJournal, testing::put};

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
    assert_eq!(store.view().condition, StoreCondition::Starting);
    let history = store.history(None, 5).await;
    assert!(matches!(history, Err(HistoryError::NotKept)));
}

/// How a replica on the network behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Up,
    Down,
    Garbles,
    Hangs,
    /// Its address leads to another replica.
    Astray(&'static str),
    /// And does so once it has said where it stands.
    ThenAstray(&'static str),
}

/// Replicas that reach each other as the test says.
#[derive(Debug, Default)]
struct Net {
    replicas: Mutex<BTreeMap<PeerAddress, (Line, Arc<ReplicatedStore>)>>,
    /// Who is on the same side reaches each other; who is on none reaches all.
    sides: Mutex<BTreeMap<PeerAddress, bool>>,
    calls: AtomicUsize,
}

impl Net {
    fn line(&self, name: &str, line: Line) {
        let mut replicas = self.replicas.lock().unwrap();
        replicas.get_mut(&address(name)).unwrap().0 = line;
    }

    fn is_cut(&self, one: &PeerAddress, other: &PeerAddress) -> bool {
        let sides = self.sides.lock().unwrap();
        sides.get(one) != sides.get(other)
    }
}

/// One replica's way to the others.
#[derive(Debug)]
struct Wire {
    net: Arc<Net>,
    from: PeerAddress,
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, peer: &PeerAddress, call: &Call) -> Result<PeerReply, TransportError> {
        self.net.calls.fetch_add(1, SeqCst);
        let ask = serde_json::from_slice(call.body_bytes()).unwrap();
        let found = self.net.replicas.lock().unwrap().get(peer).cloned();
        let another = |name| self.net.replicas.lock().unwrap()[&address(name)].1.clone();
        let store = match found {
            _ if self.net.is_cut(&self.from, peer) => {
                let source = "no way leads there".into();
                return Err(TransportError::Connect { source });
            }
            Some((Line::Up, store)) => store,
            Some((Line::ThenAstray(_), store)) if matches!(ask, RegisterCall::Digest) => store,
            Some((Line::Astray(name) | Line::ThenAstray(name), _)) => another(name),
            Some((Line::Garbles, _)) => {
                return Ok(PeerReply::new(StatusCode::OK, "{\"Instance\":"));
            }
            Some((Line::Hangs, _)) => std::future::pending().await,
            Some((Line::Down, _)) | None => {
                let source = "nobody listens".into();
                return Err(TransportError::Connect { source });
            }
        };
        let answer = answer(&store, ask).await.unwrap();
        let header = INSTANCE_HEADER;
        let me = proxy_peers::HeaderValue::from_str(store.instance.as_str()).unwrap();
        let body = serde_json::to_vec(&answer).unwrap();
        Ok(PeerReply::new(StatusCode::OK, body).with_header(header, me))
    }
}

fn address(name: &str) -> PeerAddress {
    format!("{name}:1").parse().unwrap()
}

/// A folder that no disk slows down, where there is one: what is written there matters, and not when.
fn folder_in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Replicas `a`, `b`, ... of which each knows all.
struct Cluster {
    net: Arc<Net>,
    names: Vec<&'static str>,
    folders: BTreeMap<&'static str, TempDir>,
}

impl Cluster {
    fn new(names: &[&'static str]) -> Self {
        let folders = names.iter().map(|name| (*name, folder_in_memory()));
        let cluster = Self {
            net: Arc::default(),
            names: names.to_vec(),
            folders: folders.collect(),
        };
        for name in names {
            cluster.open(name);
        }
        cluster
    }

    fn folder(&self, name: &str) -> &Path {
        self.folders[name].path()
    }

    fn open(&self, name: &str) -> Arc<ReplicatedStore> {
        self.open_by(Clock::default(), name)
    }

    fn open_by(&self, clock: Clock, name: &str) -> Arc<ReplicatedStore> {
        let (folder, instance) = (self.folder(name), name.parse().unwrap());
        let store = ReplicatedStore::open_by(clock, folder, instance, Others::Possible);
        let store = Arc::new(store.unwrap());
        let mut replicas = self.net.replicas.lock().unwrap();
        replicas.insert(address(name), (Line::Up, Arc::clone(&store)));
        store
    }

    /// Another replica in the place of one, that begins with nothing.
    fn reopen_as_new(&mut self, name: &'static str) -> Arc<ReplicatedStore> {
        self.net.replicas.lock().unwrap().remove(&address(name));
        self.folders.insert(name, folder_in_memory());
        self.open(name)
    }

    /// Ends a replica and starts it again after so long, as far as its marks tell.
    async fn reopen_after(&self, name: &str, away: Duration) -> Arc<ReplicatedStore> {
        let gone = self.net.replicas.lock().unwrap().remove(&address(name));
        drop(gone);
        let then = now_ms() - u64::try_from(away.as_millis()).unwrap();
        let marks = Marks {
            alive_unix_ms: then,
            heard_unix_ms: then,
            new: false,
        };
        marks.save(self.folder(name));
        self.open(name)
    }

    /// Ends a replica and starts it again by the marks that it wrote and a clock that is as wrong as it was.
    fn restart(&self, store: Arc<ReplicatedStore>, away: Duration) -> Arc<ReplicatedStore> {
        let (instance, clock) = (store.instance.clone(), store.clock.of_next_run());
        let name = instance.as_str();
        self.net.replicas.lock().unwrap().remove(&address(name));
        assert_eq!(Arc::strong_count(&store), 1);
        drop(store);
        for other in self.names.iter().filter(|other| **other != name) {
            self.store(other).clock.pass(away);
        }
        clock.pass(away);
        self.open_by(clock, name)
    }

    fn store(&self, name: &str) -> Arc<ReplicatedStore> {
        let replicas = self.net.replicas.lock().unwrap();
        Arc::clone(&replicas[&address(name)].1)
    }

    fn exchange(&self, name: &str) -> Exchange {
        let list: Vec<String> = self.names.iter().map(|name| format!("{name}:1")).collect();
        let list: StaticDiscover = list.join(",").parse().unwrap();
        let peers = Peers::follow(Arc::new(list), FollowSettings::default());
        let identity = crate::announce::identity(&name.parse().unwrap()).unwrap();
        let settings = BroadcastSettings::default()
            .identity(identity)
            .attempts(1)
            .attempt_deadline(CALL_DEADLINE)
            .total_deadline(CALL_DEADLINE);
        let wire = Arc::new(Wire {
            net: Arc::clone(&self.net),
            from: address(name),
        });
        let broadcast = Broadcast::over(wire, settings);
        let broadcasts = [broadcast.clone(), broadcast];
        Exchange::new(self.store(name), Arc::new(peers), broadcasts)
    }

    /// The first replica is found at the first of these addresses as well, and so on.
    fn also_at(&mut self, addresses: &[&'static str]) {
        let names = self.names.clone();
        for (at, name) in addresses.iter().zip(names) {
            self.names.push(at);
            let line = (Line::Astray(name), self.store(name));
            let mut replicas = self.net.replicas.lock().unwrap();
            replicas.insert(address(at), line);
        }
    }

    async fn round(&self, name: &str) -> exchange::Round {
        let exchange = self.exchange(name);
        exchange.peers.refresh(Duration::from_secs(1)).await;
        exchange.round().await
    }

    async fn start(&self, name: &str) {
        self.exchange(name).start().await;
    }

    fn revisions(&self) -> BTreeSet<Option<String>> {
        let revisions = self
            .names
            .iter()
            .map(|name| self.store(name).view().revision);
        revisions.map(|it| it.map(|it| it.to_string())).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_become_equal_and_what_was_removed_stays_removed() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    change(&a, &[put("x"), put("y")]).await;
    change(&b, &[put("z")]).await;
    let round = cluster.round("a").await;
    assert!(round.everybody, "{round:?}");
    cluster.round("c").await;
    assert_eq!(cluster.revisions().len(), 1);
    assert_eq!(names(&cluster.store("c")), ["x", "y", "z"]);
    // Removed while one is away.
    cluster.net.line("c", Line::Down);
    change(&b, &[remove("x")]).await;
    cluster.round("a").await;
    cluster.net.line("c", Line::Up);
    cluster.round("c").await;
    assert_eq!(cluster.revisions().len(), 1);
    assert_eq!(names(&a), ["y", "z"]);
    // Equal replicas compare their digests and say no more.
    let before = cluster.net.calls.load(SeqCst);
    cluster.round("c").await;
    assert_eq!(cluster.net.calls.load(SeqCst) - before, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_at_once_on_all_ends_equal_on_all() {
    let cluster = Arc::new(Cluster::new(&["a", "b", "c"]));
    let writers = ["a", "b", "c"].map(|name| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            let store = cluster.store(name);
            for i in 0..20 {
                change(&store, &[put(&format!("s{}", i % 4))]).await;
                if i % 5 == 0 {
                    change(&store, &[remove(&format!("s{}", i % 3))]).await;
                    cluster.round(name).await;
                }
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    cluster.round("a").await;
    cluster.round("b").await;
    cluster.round("c").await;
    assert_eq!(cluster.revisions().len(), 1);
    let tables: BTreeSet<_> = ["a", "b", "c"].map(|n| names(&cluster.store(n))).into();
    assert_eq!(tables.len(), 1);
    // And on disk.
    let registers = cluster.store("a").registers();
    let again = cluster.reopen_after("a", Duration::ZERO).await;
    assert_eq!(again.registers(), registers);
}

#[tokio::test(start_paused = true)]
async fn a_starting_replica_has_the_table_before_it_is_served() {
    let cluster = Cluster::new(&["a", "b", "new"]);
    let a = cluster.store("a");
    change(&a, &[put("x")]).await;
    drop(a);
    cluster.reopen_after("a", Duration::ZERO).await;
    cluster.net.line("b", Line::Down);
    let new = cluster.store("new");
    assert_eq!(new.view().condition, StoreCondition::Starting);
    let started = tokio::time::Instant::now();
    cluster.start("new").await;
    assert_eq!(new.view().condition, StoreCondition::Live);
    assert_eq!(names(&new), ["x"]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_nobody_answers_serves_its_own_table_after_a_while() {
    let cluster = Cluster::new(&["a", "b"]);
    change(&cluster.store("a"), &[put("x")]).await;
    for line in [Line::Down, Line::Hangs, Line::Garbles] {
        let a = cluster.reopen_after("a", Duration::ZERO).await;
        cluster.net.line("b", line);
        cluster.start("a").await;
        assert_eq!(a.view().condition, StoreCondition::Live, "{line:?}");
        assert_eq!(names(&a), ["x"]);
        drop(a);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_garbles_or_hangs_keeps_nobody_from_the_others() {
    for line in [Line::Garbles, Line::Hangs, Line::Down] {
        let cluster = Cluster::new(&["a", "bad", "c"]);
        change(&cluster.store("c"), &[put("x")]).await;
        cluster.net.line("bad", line);
        cluster.round("a").await;
        assert_eq!(names(&cluster.store("a")), ["x"], "{line:?}");
    }
}

/// The time for which the one removal that a replica holds is remembered is over.
async fn forget_the_removal(store: &ReplicatedStore) {
    let forgotten = store.write(|_, held| {
        let mut set = held.set.clone();
        assert_eq!(set.expire(u64::MAX), 1);
        let view = held.next_view(&set, held.view.stored.clone());
        *held = Held {
            view: Arc::new(view),
            set,
        };
    });
    forgotten.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_was_away_for_more_than_a_week_takes_the_others_table_and_reports_its_own() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    change(&cluster.store("a"), &[put("x"), put("old")]).await;
    cluster.round("a").await;
    // While c is away, `old` is removed, and the removal forgotten.
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    for store in [&a, &b] {
        store.heard(Attendance::Current);
    }
    cluster.net.line("c", Line::Down);
    change(&a, &[remove("old")]).await;
    change(&a, &[put("y")]).await;
    cluster.round("b").await;
    for store in [&a, &b] {
        forget_the_removal(store).await;
    }
    let c = cluster
        .reopen_after("c", AWAY_AFTER + Duration::from_secs(60))
        .await;
    assert_eq!(c.attendance(), Attendance::Returned);
    // The others do not hear its table from it.
    cluster.round("a").await;
    assert_eq!(names(&a), ["x", "y"]);
    cluster.start("c").await;
    assert_eq!(names(&c), ["x", "y"]);
    assert_eq!(cluster.revisions().len(), 1);
    let view = c.view();
    let superseded = view.superseded.as_ref().unwrap();
    assert_eq!(superseded.stored.table().len(), 2);
    let file = c.superseded_file().borrow().clone().unwrap();
    assert!(fs::read_to_string(file).unwrap().contains("\"old\""));
    assert_eq!(c.attendance(), Attendance::Current);
    // And it stays so over the next start.
    drop(c);
    let c = cluster.reopen_after("c", Duration::ZERO).await;
    assert_eq!(names(&c), ["x", "y"]);
}

#[tokio::test(start_paused = true)]
async fn what_who_was_away_acknowledged_since_it_is_back_is_not_lost() {
    let cluster = Cluster::new(&["a", "b"]);
    for (name, service) in [("a", "old"), ("b", "kept")] {
        change(&cluster.store(name), &[put(service), put("removed")]).await;
    }
    cluster.reopen_after("b", Duration::ZERO).await;
    let a = cluster
        .reopen_after("a", AWAY_AFTER + Duration::from_secs(60))
        .await;
    // Nobody answers, so it serves what it holds, and takes changes.
    cluster.net.line("b", Line::Down);
    cluster.start("a").await;
    change(&a, &[put("new"), remove("removed")]).await;
    cluster.net.line("b", Line::Up);
    for _ in 0..2 {
        cluster.round("a").await;
    }
    assert_eq!(cluster.revisions().len(), 1);
    for name in ["a", "b"] {
        assert_eq!(names(&cluster.store(name)), ["kept", "new"], "{name}");
    }
    // And on disk, where the table that gave way is kept as well.
    drop(a);
    let again = cluster.reopen_after("a", Duration::ZERO).await;
    assert_eq!(names(&again), ["kept", "new"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_an_empty_table_or_a_newcomers() {
    let cluster = Cluster::new(&["a", "new"]);
    change(&cluster.store("a"), &[put("x")]).await;
    let a = cluster.reopen_after("a", AWAY_AFTER * 2).await;
    cluster.round("a").await;
    assert_eq!(names(&a), ["x"]);
    // Who is new asks for itself, and then knows how old it is what it holds.
    let new = cluster.store("new");
    assert!(names(&new).is_empty());
    cluster.round("new").await;
    assert_eq!(names(&new), ["x"]);
    assert_eq!(new.attendance(), Attendance::Returned);
    assert!(a.view().superseded.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_while_some_were_away_does_not_come_back_by_way_of_others() {
    let cluster = Cluster::new(&["a", "b", "c", "new"]);
    cluster.net.line("new", Line::Down);
    let a = cluster.store("a");
    change(&a, &[put("x"), put("old")]).await;
    cluster.round("a").await;
    a.heard(Attendance::Current);
    for away in ["b", "c"] {
        cluster.net.line(away, Line::Down);
    }
    change(&a, &[remove("old")]).await;
    change(&a, &[put("y")]).await;
    forget_the_removal(&a).await;
    // Two that were away meet each other first, and then one that is new.
    cluster.net.line("a", Line::Down);
    let b = cluster.reopen_after("b", AWAY_AFTER * 2).await;
    let c = cluster.reopen_after("c", AWAY_AFTER * 2).await;
    cluster.round("b").await;
    cluster.round("c").await;
    let new = cluster.store("new");
    cluster.net.line("new", Line::Up);
    cluster.round("new").await;
    assert_eq!(names(&new), ["old", "x"]);
    for store in [&b, &c, &new] {
        assert_eq!(store.attendance(), Attendance::Returned);
    }
    // And then the one that was there all the time.
    cluster.net.line("a", Line::Up);
    for name in ["new", "c", "b", "a", "new"] {
        cluster.round(name).await;
    }
    for store in [&a, &b, &c, &new] {
        assert_eq!(names(store), ["x", "y"]);
        assert_eq!(store.attendance(), Attendance::Current);
    }
}

/// `old` was removed and that forgotten while `back` was away for long. `a` knows of it.
async fn one_is_back_with_what_was_removed(cluster: &Cluster) {
    for name in ["a", "back"] {
        change(&cluster.store(name), &[put("old")]).await;
    }
    let a = cluster.store("a");
    cluster.net.line("back", Line::Down);
    change(&a, &[remove("old")]).await;
    change(&a, &[put("x")]).await;
    forget_the_removal(&a).await;
    a.heard(Attendance::Current);
    cluster.reopen_after("back", AWAY_AFTER * 2).await;
    cluster.net.line("back", Line::Down);
}

#[tokio::test(start_paused = true)]
async fn what_an_address_tells_that_leads_elsewhere_by_now_brings_back_nothing() {
    let cluster = Cluster::new(&["a", "b", "back"]);
    one_is_back_with_what_was_removed(&cluster).await;
    let b = cluster.store("b");
    cluster.net.line("a", Line::ThenAstray("back"));
    // Who is back says for itself how old it is what it holds; there is one who knows, so it is not heard.
    cluster.net.line("back", Line::Up);
    let round = cluster.round("b").await;
    assert!(!round.known && !round.everybody, "{round:?}");
    assert!(names(&b).is_empty());
    assert_eq!(b.attendance(), Attendance::New);
    drop(b);
    // Nor does one who is back take the table of another that is, for that of one who knows.
    let returned = cluster.reopen_after("b", AWAY_AFTER * 2).await;
    change(&returned, &[put("own")]).await;
    cluster.round("b").await;
    assert_eq!(names(&returned), ["own"]);
    assert_eq!(returned.attendance(), Attendance::Returned);
    assert!(returned.view().superseded.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_answers_at_two_addresses_does_not_stand_for_everybody() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    change(&cluster.store("b"), &[put("x")]).await;
    for at in ["c", "a"] {
        cluster.net.line("b", Line::Astray(at));
        let round = cluster.round("a").await;
        assert!(!round.everybody, "{at}: {round:?}");
    }
    cluster.net.line("b", Line::Up);
    assert!(cluster.round("a").await.everybody);
}

#[tokio::test(start_paused = true)]
async fn one_ipv4_and_one_ipv6_address_of_each_are_everybody_and_others_are_not() {
    let mut cluster = Cluster::new(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    cluster.also_at(&["[fd00::1]", "[fd00::2]", "[fd00::3]"]);
    let started = tokio::time::Instant::now();
    cluster.start("10.0.0.1").await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    // One address that leads elsewhere, or nowhere, is one replica that may not have been asked.
    for (at, line) in [
        ("[fd00::2]", Line::Astray("10.0.0.3")),
        ("10.0.0.2", Line::Astray("10.0.0.3")),
        ("[fd00::2]", Line::Astray("10.0.0.1")),
        ("10.0.0.2", Line::Astray("10.0.0.1")),
        ("[fd00::2]", Line::Down),
        ("[fd00::2]", Line::Garbles),
    ] {
        let before = cluster.net.replicas.lock().unwrap()[&address(at)].0;
        cluster.net.line(at, line);
        let round = cluster.round("10.0.0.1").await;
        assert!(!round.everybody, "{at} {line:?}: {round:?}");
        cluster.net.line(at, before);
    }
    assert!(cluster.round("10.0.0.1").await.everybody);
    // Nor are two of one family, though all others are found as they should be.
    cluster.names.retain(|name| *name != "[fd00::3]");
    cluster.names.push("10.0.0.4");
    let astray = (Line::Astray("10.0.0.3"), cluster.store("10.0.0.3"));
    let replicas = &cluster.net.replicas;
    replicas.lock().unwrap().insert(address("10.0.0.4"), astray);
    assert!(!cluster.round("10.0.0.1").await.everybody);
}

#[tokio::test(start_paused = true)]
async fn many_replicas_are_everybody_too_and_many_that_differ_are_made_equal_in_turns() {
    let mut cluster = Cluster::new(&[
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.4",
        "10.0.0.5",
        "10.0.0.6",
        "10.0.0.7",
        "10.0.0.8",
        "10.0.0.9",
        "10.0.0.10",
    ]);
    let all = cluster.names.clone();
    let second = ["[fd00::1]", "[fd00::2]", "[fd00::3]", "[fd00::4]"];
    let second = [second, ["[fd00::5]", "[fd00::6]", "[fd00::7]", "[fd00::8]"]].concat();
    for other in [&[][..], &second] {
        cluster.also_at(other);
        let me = cluster.reopen_as_new(all[0]);
        let started = tokio::time::Instant::now();
        cluster.start(all[0]).await;
        assert_eq!(started.elapsed(), Duration::ZERO, "{:?}", cluster.names);
        assert_eq!(me.view().condition, StoreCondition::Live);
        cluster.net.line(all[9], Line::Down);
        assert!(!cluster.round(all[0]).await.everybody);
        cluster.net.line(all[9], Line::Up);
    }
    for name in &all[1..] {
        change(&cluster.store(name), &[put(&name.replace('.', "-"))]).await;
    }
    let round = cluster.round(all[0]).await;
    assert!(!round.everybody, "{round:?}");
    assert_eq!(names(&cluster.store(all[0])).len(), 8);
    // The first were told before the last were heard.
    for _ in 0..2 {
        cluster.round(all[0]).await;
    }
    cluster.names = all.clone();
    assert_eq!(cluster.revisions().len(), 1);
    assert_eq!(names(&cluster.store(all[0])).len(), 9);
    cluster.names.extend(second);
    // Who knows that it is one of those who know asks a few.
    cluster.store(all[0]).heard(Attendance::Current);
    let before = cluster.net.calls.load(SeqCst);
    assert!(!cluster.round(all[0]).await.everybody);
    assert_eq!(cluster.net.calls.load(SeqCst) - before, 8);
}

#[tokio::test(start_paused = true)]
async fn who_was_away_and_holds_what_the_others_hold_gives_way_no_more() {
    let cluster = Cluster::new(&["a", "b"]);
    let a = cluster.store("a");
    change(&a, &[put("x")]).await;
    cluster.round("a").await;
    a.heard(Attendance::Current);
    let b = cluster.reopen_after("b", AWAY_AFTER * 2).await;
    cluster.round("b").await;
    assert_eq!(b.attendance(), Attendance::Current);
    // What it acknowledges from now on stays, whoever asks whom first.
    change(&b, &[put("y")]).await;
    cluster.round("b").await;
    assert_eq!(names(&b), ["x", "y"]);
    assert_eq!(names(&a), ["x", "y"]);
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

#[tokio::test(start_paused = true)]
async fn who_waits_for_registers_gets_them_from_the_others_at_once() {
    let cluster = Cluster::new(&["a", "b"]);
    let (a, b) = (cluster.store("a"), cluster.store("b"));
    let stop = CancellationToken::new();
    let running = tokio::spawn(cluster.exchange("b").run(stop.clone()));
    let mut held = b.held.subscribe();
    let live = |held: &Held| held.view.condition == StoreCondition::Live;
    held.wait_for(live).await.unwrap();
    change(&a, &[put("x")]).await;
    let stamps = a.registers().stamps();
    let covered = tokio::time::timeout(Duration::from_secs(60), b.covering(&stamps)).await;
    assert_eq!(covered.unwrap(), b.view().seq);
    assert_eq!(names(&b), ["x"]);
    stop.cancel();
    running.await.unwrap();
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
