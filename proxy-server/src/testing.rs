//! Doubles for the tests of this crate: a carrier that refuses on cue, and an announcer that notes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use proxy_core::{
    Change, Document, Epoch, MemoryStore, Params, RouteTable, Service, parse_reconfigure,
};
use proxy_haproxy::{ApplyStep, Certificate, CertificateProbe, TlsSettings, Validator};
use proxy_peers::{
    Broadcast, BroadcastSettings, Call, FollowSettings, HeaderName, HeaderValue, PeerAddress,
    PeerReply, SIGNATURE_HEADER, Signer, StaticDiscover, StatusCode, Transport, TransportError,
};
use testkit::tls::Authority;
use tokio::sync::{Notify, watch};

use crate::{
    announce::{Announce, Announcement, INSTANCE_HEADER, OwnEnd, identity},
    carrier::{
        Applied, ApplyError, Carrier, CarrierCondition, CheckError, DryRun, LoadError, Reload,
    },
    certificates::{CertificateExchange, Certificates, CertificatesSettings, Step},
    config_diff::ConfigDiff,
    engine::Told,
    standing::{Survey, Surveyed},
};

/// Refuses tables that hold certain services, or two of them together.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) bad: Mutex<BTreeSet<&'static str>>,
    /// Services without which a table is refused.
    pub(crate) needed: Mutex<BTreeSet<&'static str>>,
    /// Services that pass the check and are not loaded.
    pub(crate) unloadable: Mutex<BTreeSet<&'static str>>,
    /// Paths whose services pass the check and are not loaded.
    pub(crate) unloadable_paths: Mutex<BTreeSet<&'static str>>,
    pub(crate) clash: Mutex<Option<[&'static str; 2]>>,
    pub(crate) unable: AtomicBool,
    pub(crate) broken: AtomicBool,
    /// What an earlier run left carries traffic until something is live.
    pub(crate) left: AtomicBool,
    /// Nothing carries traffic, whatever was live.
    pub(crate) down: AtomicBool,
    pub(crate) checks: AtomicUsize,
    /// How long each takes.
    pub(crate) check_takes: Mutex<Duration>,
    /// How often something was loaded to see whether it is good.
    pub(crate) loads: AtomicUsize,
    /// How long each takes.
    pub(crate) load_takes: Mutex<Duration>,
    /// How often something that had passed was not loaded.
    pub(crate) refusals: AtomicUsize,
    /// How many reloads it bears, where that was said.
    pub(crate) bears: Mutex<Option<usize>>,
    /// Says that a name moved.
    pub(crate) moves: Notify,
    pub(crate) reloads: AtomicUsize,
    pub(crate) live: Mutex<Option<RouteTable>>,
    /// What HAProxy says of itself, where it says something.
    pub(crate) statistics: Mutex<Option<String>>,
    /// How many other certificates are tried now, and how many were at once.
    pub(crate) shown_now: AtomicUsize,
    pub(crate) shown_at_once: AtomicUsize,
    /// Held while an apply, or a try of other certificates, is made to wait.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

#[async_trait]
impl Carrier for Scripted {
    type Candidate = RouteTable;

    async fn check(&self, table: &RouteTable) -> Result<RouteTable, CheckError> {
        self.checks.fetch_add(1, SeqCst);
        let takes = *self.check_takes.lock().unwrap();
        if takes > Duration::ZERO {
            tokio::time::sleep(takes).await;
        }
        self.judge(table)
    }

    async fn check_by_loading(&self, table: &RouteTable) -> Result<RouteTable, LoadError> {
        self.loads.fetch_add(1, SeqCst);
        let takes = *self.load_takes.lock().unwrap();
        if takes > Duration::ZERO {
            tokio::time::sleep(takes).await;
        }
        let good = self.judge(table)?;
        self.apply(good.clone(), Reload::IfDifferent).await?;
        Ok(good)
    }

    async fn dry_run(&self, table: &RouteTable) -> Result<DryRun, CheckError> {
        let table = self.check(table).await?;
        let is_live = self.live.lock().unwrap().as_ref() == Some(&table);
        Ok(dry_run(match is_live {
            true => ApplyStep::None,
            false => ApplyStep::Reload,
        }))
    }

    async fn would_show(&self, _: &RouteTable, _: Step) -> Result<(), CheckError> {
        let now = self.shown_now.fetch_add(1, SeqCst) + 1;
        self.shown_at_once.fetch_max(now, SeqCst);
        let _gate = self.gate.lock().await;
        self.shown_now.fetch_sub(1, SeqCst);
        Ok(())
    }

    async fn apply(&self, table: RouteTable, force: Reload) -> Result<Applied, ApplyError> {
        let _gate = self.gate.lock().await;
        if self.broken.load(SeqCst) {
            return Err(ApplyError::new("no descriptor"));
        }
        let unloadable = self.unloadable.lock().unwrap().clone();
        let culprit = unloadable.into_iter().find(|name| has(&table, name));
        if let Some(name) = culprit {
            self.refusals.fetch_add(1, SeqCst);
            return Err(ApplyError::Refused {
                words: format!("{name} does not load"),
            });
        }
        let paths = self.unloadable_paths.lock().unwrap().clone();
        let routes = table.iter().flat_map(|service| service.destinations());
        let mut texts = routes.flat_map(|to| to.paths().iter().map(|path| path.text().to_owned()));
        let unloadable = texts.any(|text| paths.contains(text.as_str()));
        drop(texts);
        if unloadable {
            self.refusals.fetch_add(1, SeqCst);
            let words = "a path does not load".to_owned();
            return Err(ApplyError::Refused { words });
        }
        let mut live = self.live.lock().unwrap();
        if live.as_ref() == Some(&table) && force == Reload::IfDifferent {
            return Ok(Applied::Unchanged);
        }
        self.reloads.fetch_add(1, SeqCst);
        *live = Some(table);
        Ok(Applied::Reloaded)
    }

    async fn moved(&self) {
        self.moves.notified().await;
    }

    async fn statistics(&self) -> Result<String, String> {
        let said = self.statistics.lock().unwrap().clone();
        said.ok_or_else(|| "there are no statistics".to_owned())
    }

    fn config_text(&self) -> Option<String> {
        None
    }

    fn digest(&self) -> Option<String> {
        None
    }

    fn rules(&self) -> usize {
        0
    }

    fn bears(&self) -> usize {
        self.bears.lock().unwrap().unwrap_or(20)
    }

    fn serves(&self) -> bool {
        let is_before = self.live.lock().unwrap().is_none();
        match is_before {
            true => self.left.load(SeqCst),
            false => self.condition() == CarrierCondition::Running,
        }
    }

    fn condition(&self) -> CarrierCondition {
        if self.down.load(SeqCst) {
            return CarrierCondition::Down("it was ended".to_owned());
        }
        match &*self.live.lock().unwrap() {
            Some(_) => CarrierCondition::Running,
            None => CarrierCondition::NotStarted,
        }
    }
}

/// What a carrier without a configuration says of a table that it takes.
pub(crate) fn dry_run(step: ApplyStep) -> DryRun {
    DryRun {
        step,
        warnings: Vec::new(),
        rules: 0,
        diff: ConfigDiff::default(),
    }
}

fn has(table: &RouteTable, name: &str) -> bool {
    table.get(&name.parse().unwrap()).is_some()
}

impl Scripted {
    fn judge(&self, table: &RouteTable) -> Result<RouteTable, CheckError> {
        if self.unable.load(SeqCst) {
            return Err(CheckError::Unable {
                why: "no disk".into(),
            });
        }
        let has = |name: &str| has(table, name);
        let bad = self
            .bad
            .lock()
            .unwrap()
            .iter()
            .copied()
            .find(|name| has(name));
        let clash = self
            .clash
            .lock()
            .unwrap()
            .filter(|pair| pair.iter().all(|n| has(n)));
        let needed = self.needed.lock().unwrap().clone();
        if let Some(name) = needed.into_iter().find(|name| !has(name)) {
            return Err(CheckError::Rejected {
                words: format!("{name} is needed"),
            });
        }
        match (bad, clash) {
            (Some(name), _) => Err(CheckError::Rejected {
                words: format!("{name} is bad"),
            }),
            (None, Some(_)) => Err(CheckError::Rejected {
                words: "clash".into(),
            }),
            (None, None) => Ok(table.clone()),
        }
    }

    pub(crate) fn live(&self) -> Vec<String> {
        let live = self.live.lock().unwrap();
        let services = live.iter().flat_map(RouteTable::iter);
        services.map(|service| service.name().to_string()).collect()
    }
}

/// Notes what is announced.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Mutex<Vec<Announcement>>);

#[async_trait]
impl Announce for Notes {
    async fn announce(&self, news: Announcement, _: OwnEnd, told: &watch::Sender<Told>) {
        self.0.lock().unwrap().push(news);
        told.send_modify(|told| told.done = true);
    }
}

/// Peers that say what a test wrote down.
#[derive(Debug, Default)]
pub(crate) struct Peers(pub(crate) Mutex<Vec<Surveyed>>);

#[async_trait]
impl Survey for Peers {
    async fn ask(&self) -> Vec<Surveyed> {
        self.0.lock().unwrap().clone()
    }
}

/// A network in which the calls for an address reach the replica that is written beside it, each of which
/// holds the secret and answers what a test wrote down. The caller is `me`.
#[derive(Debug)]
pub(crate) struct Ways {
    ways: BTreeMap<&'static str, &'static str>,
    answer: fn(&str, &Call) -> Vec<u8>,
}

impl Ways {
    pub(crate) fn lead(
        ways: &[(&'static str, &'static str)],
        answer: fn(&str, &Call) -> Vec<u8>,
    ) -> (Arc<proxy_peers::Peers>, Broadcast) {
        let ways = BTreeMap::from_iter(ways.iter().copied());
        let peers = StaticDiscover::new(ways.keys().map(|peer| peer.parse().unwrap()));
        let peers = proxy_peers::Peers::follow(Arc::new(peers), FollowSettings::default());
        let settings = BroadcastSettings::default()
            .signer(Self::signer())
            .identity(identity(&"me".parse().unwrap()).unwrap());
        let broadcast = Broadcast::over(Arc::new(Self { ways, answer }), settings);
        (Arc::new(peers), broadcast)
    }

    fn signer() -> Signer {
        Signer::new(&"sesame".to_owned().into())
    }
}

#[async_trait]
impl Transport for Ways {
    async fn send(&self, peer: &PeerAddress, call: &Call) -> Result<PeerReply, TransportError> {
        let instance = self.ways[peer.to_string().as_str()];
        let header = call.header_value(&HeaderName::from_static("authorization"));
        let now = SystemTime::now();
        let signed = Self::signer().verify(call.method(), call.path(), header, now);
        let answer = (self.answer)(instance, call);
        let from = HeaderValue::from_static(instance);
        let reply = PeerReply::new(StatusCode::OK, answer).with_header(INSTANCE_HEADER, from);
        let signature =
            Self::signer().sign_answer(&signed.unwrap(), &reply, Some(&INSTANCE_HEADER));
        Ok(reply.with_header(SIGNATURE_HEADER, signature))
    }
}

/// Certificates of folders that are not there.
pub(crate) fn no_certificates() -> Arc<Certificates> {
    let nowhere = std::path::PathBuf::from("/nowhere");
    let probe = CertificateProbe::new(
        Validator::new("haproxy"),
        TlsSettings::default(),
        nowhere.clone(),
    );
    let settings = CertificatesSettings {
        certs_path: nowhere.clone(),
        secrets_path: nowhere.clone(),
        state_path: nowhere.clone(),
        configs_path: nowhere,
        crt_list: None,
        preferred: Vec::new(),
        client_authorities: None,
    };
    Arc::new(Certificates::new(settings, probe, Arc::default()))
}

/// Certificates of a replica that is alone.
pub(crate) fn no_exchange() -> Arc<CertificateExchange> {
    let broadcast = || Broadcast::over_http(BroadcastSettings::default()).unwrap();
    let broadcasts = [broadcast(), broadcast()];
    let certificates = no_certificates();
    let exchange = CertificateExchange::new(certificates, None, broadcasts, None, String::new());
    Arc::new(exchange)
}

/// What a call of `reconfigure` asks for.
pub(crate) fn service(query: &str) -> Arc<Service> {
    let params = Params::from_query(query).unwrap();
    parse_reconfigure(&params).unwrap().value.service
}

pub(crate) fn put(name: &str) -> Change {
    let query = format!("serviceName={name}&servicePath=/{name}&port=80");
    Change::Put(service(&query))
}

/// A certificate for these names.
pub(crate) fn issued(names: &[&str]) -> Certificate {
    let issued = Authority::new("a").unwrap().issue(names).unwrap();
    Certificate::parse(&issued.bundle()).unwrap()
}

/// A service as a release writes it that this one does not know.
pub(crate) fn newer(name: &str) -> Arc<Document> {
    let text = format!(r#"{{"version":99,"name":"{name}","destinations":[]}}"#);
    Arc::new(Document::parse(text.as_bytes()).unwrap())
}

pub(crate) fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(
        Epoch::from_bytes([1; 16]),
        "me".parse().unwrap(),
    ))
}

/// Runs schedules at random, the same ones every time, and shows the shortest that it finds to break a rule.
/// `<NAME>_CASES` and `<NAME>_SEED` choose others.
///
/// # Panics
/// When one breaks a rule.
pub(crate) fn under_random_schedules<S: std::fmt::Debug>(
    name: &str,
    cases: u32,
    schedules: impl Strategy<Value = Vec<S>>,
    run: impl Fn(&[S]) -> Result<(), String>,
) {
    let number =
        |what: &str| -> Option<u64> { std::env::var(format!("{name}_{what}")).ok()?.parse().ok() };
    let config = Config {
        cases: number("CASES").map_or(cases, |n| u32::try_from(n).unwrap()),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("SEED").unwrap_or(1).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let result = TestRunner::new_with_rng(config, rng).run(&schedules, |schedule| {
        run(&schedule).map_err(TestCaseError::fail)
    });
    if let Err(TestError::Fail(why, schedule)) = result {
        let steps: Vec<String> = schedule
            .iter()
            .map(|step| format!("  {step:?}\n"))
            .collect();
        panic!("{why}\nunder\n{}", steps.concat());
    }
}
