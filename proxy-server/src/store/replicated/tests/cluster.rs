//! Several replicas, over a network that the test owns.

use super::*;

/// How a replica on the network behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
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
pub(super) struct Net {
    pub(super) replicas: Mutex<BTreeMap<PeerAddress, (Line, Arc<ReplicatedStore>)>>,
    /// Who is on the same side reaches each other; who is on none reaches all.
    pub(super) sides: Mutex<BTreeMap<PeerAddress, bool>>,
    pub(super) calls: AtomicUsize,
}

impl Net {
    pub(super) fn line(&self, name: &str, line: Line) {
        let mut replicas = self.replicas.lock().unwrap();
        replicas.get_mut(&address(name)).unwrap().0 = line;
    }

    pub(super) fn is_cut(&self, one: &PeerAddress, other: &PeerAddress) -> bool {
        let sides = self.sides.lock().unwrap();
        sides.get(one) != sides.get(other)
    }
}

/// One replica's way to the others.
#[derive(Debug)]
pub(super) struct Wire {
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

pub(super) fn address(name: &str) -> PeerAddress {
    format!("{name}:1").parse().unwrap()
}

/// A folder that no disk slows down, where there is one: what is written there matters, and not when.
pub(super) fn folder_in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Replicas `a`, `b`, ... of which each knows all.
pub(super) struct Cluster {
    pub(super) net: Arc<Net>,
    pub(super) names: Vec<&'static str>,
    pub(super) folders: BTreeMap<&'static str, TempDir>,
}

impl Cluster {
    pub(super) fn new(names: &[&'static str]) -> Self {
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

    pub(super) fn folder(&self, name: &str) -> &Path {
        self.folders[name].path()
    }

    pub(super) fn open(&self, name: &str) -> Arc<ReplicatedStore> {
        self.open_by(Clock::default(), name)
    }

    pub(super) fn open_by(&self, clock: Clock, name: &str) -> Arc<ReplicatedStore> {
        let (folder, instance) = (self.folder(name), name.parse().unwrap());
        let store = ReplicatedStore::open_by(clock, folder, instance, Others::Possible);
        let store = Arc::new(store.unwrap());
        let mut replicas = self.net.replicas.lock().unwrap();
        replicas.insert(address(name), (Line::Up, Arc::clone(&store)));
        store
    }

    /// Another replica in the place of one, that begins with nothing.
    pub(super) fn reopen_as_new(&mut self, name: &'static str) -> Arc<ReplicatedStore> {
        self.net.replicas.lock().unwrap().remove(&address(name));
        self.folders.insert(name, folder_in_memory());
        self.open(name)
    }

    /// Ends a replica and starts it again after so long, as far as its marks tell.
    pub(super) async fn reopen_after(&self, name: &str, away: Duration) -> Arc<ReplicatedStore> {
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
    pub(super) fn restart(
        &self,
        store: Arc<ReplicatedStore>,
        away: Duration,
    ) -> Arc<ReplicatedStore> {
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

    pub(super) fn store(&self, name: &str) -> Arc<ReplicatedStore> {
        let replicas = self.net.replicas.lock().unwrap();
        Arc::clone(&replicas[&address(name)].1)
    }

    pub(super) fn exchange(&self, name: &str) -> Exchange {
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
    pub(super) fn also_at(&mut self, addresses: &[&'static str]) {
        let names = self.names.clone();
        for (at, name) in addresses.iter().zip(names) {
            self.names.push(at);
            let line = (Line::Astray(name), self.store(name));
            let mut replicas = self.net.replicas.lock().unwrap();
            replicas.insert(address(at), line);
        }
    }

    pub(super) async fn round(&self, name: &str) -> exchange::Round {
        let exchange = self.exchange(name);
        exchange.peers.refresh(Duration::from_secs(1)).await;
        exchange.round().await
    }

    pub(super) async fn start(&self, name: &str) {
        self.exchange(name).start().await;
    }

    pub(super) fn revisions(&self) -> BTreeSet<Option<String>> {
        let revisions = self
            .names
            .iter()
            .map(|name| self.store(name).view().revision);
        revisions.map(|it| it.map(|it| it.to_string())).collect()
    }
}

/// The time for which the one removal that a replica holds is remembered is over.
pub(super) async fn forget_the_removal(store: &ReplicatedStore) {
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
