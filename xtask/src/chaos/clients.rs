//! Those who use the replicas while they break: callers that change services, one call at a time
//! each, and onlookers that read what each replica says of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value as Json, json};
use testkit::haproxy::{HttpAnswer, get, post};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::history::{Call, CallId, History, Moment, Outcome, Sight, Value, Wish, paths};
use super::stage::{Lives, STEADY};

/// The services that callers fight over.
pub(super) const SERVICES: usize = 8;
/// Callers at once.
const CALLERS: u64 = 4;
/// How long a patient caller waits, longer than the answer takes: it waits for the store and peers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an impatient one does: some of its calls are under way then.
const IMPATIENCE_MS: std::ops::Range<u64> = 5..600;
/// The pause between two calls of one caller.
const PAUSE_MS: std::ops::Range<u64> = 50..700;
/// The pause between two looks at one replica.
const LOOK: Duration = Duration::from_millis(250);
/// How long a look may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// Whom they call.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    pub(super) apis: Vec<SocketAddr>,
    pub(super) lives: Lives,
    /// The port of the backend that every service has.
    pub(super) port: u16,
}

/// Callers and onlookers at work.
#[derive(Debug)]
pub(super) struct Clients {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// A service that callers fight over.
pub(super) fn service(number: usize) -> String {
    format!("s{number}")
}

// === impl Clients ===

impl Clients {
    /// Lets them work. What the callers ask for is drawn from the seed.
    pub(super) fn start(history: &Arc<History>, targets: &Targets, seed: u64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let rng = Rng::with_seed(seed.wrapping_mul(31).wrapping_add(caller));
            let caller = Caller {
                history: Arc::clone(history),
                targets: targets.clone(),
                rng,
                put: None,
            };
            tasks.spawn(caller.run(stopped.clone()));
        }
        for replica in 0..targets.apis.len() {
            let (history, targets) = (Arc::clone(history), targets.clone());
            tasks.spawn(look_on(history, targets, replica, stopped.clone()));
        }
        Self { stop, tasks }
    }

    /// Tells them to begin nothing more.
    pub(super) fn call_off(&self) {
        self.stop.send_replace(true);
    }

    /// Lets each finish what it does.
    pub(super) async fn finished(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

struct Caller {
    history: Arc<History>,
    targets: Targets,
    rng: Rng,
    /// What its last call put, and where: it may take it back at once, somewhere else.
    put: Option<(String, usize)>,
}

/// What came of one request.
struct Heard {
    replica: usize,
    life: Option<u64>,
    begun: Moment,
    ended: Moment,
    outcome: Outcome,
    said: String,
    commit: Option<String>,
}

impl Caller {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let pause = Duration::from_millis(self.rng.u64(PAUSE_MS));
            let replica = self.rng.usize(0..self.targets.apis.len());
            let service = service(self.rng.usize(0..SERVICES));
            let wish = match self.rng.u8(0..20) {
                0..=12 => Wish::Put,
                13..=17 => Wish::Remove,
                _ => Wish::Invalid,
            };
            let take_back = self.rng.u8(0..4) == 0;
            let import = self.rng.u8(0..25) == 0;
            match self.put.take() {
                _ if import => self.import(replica).await,
                // A replica that has not heard of it yet must not say that it is gone already.
                Some((service, at)) if take_back => {
                    let other = (at + 1) % self.targets.apis.len();
                    self.call(service, Wish::Remove, other).await;
                }
                _ => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        _ = stop.wait_for(|stop| *stop) => return,
                    }
                    self.call(service, wish, replica).await;
                }
            }
        }
    }

    async fn call(&mut self, service: String, wish: Wish, replica: usize) {
        let distribute = self.rng.u8(0..3) == 0;
        let patience = match self.rng.u8(0..6) {
            0 => Duration::from_millis(self.rng.u64(IMPATIENCE_MS)),
            _ => PATIENCE,
        };
        let Some(api) = self.targets.apis.get(replica).copied() else {
            return;
        };
        let id = self.history.next_id();
        let mut path = self.request(&service, wish, id);
        if distribute {
            path.push_str("&distribute=true");
        }
        let heard = self
            .ask(replica, patience, get(api, "localhost", &path))
            .await;
        if wish == Wish::Put && heard.outcome == Outcome::Live {
            self.put = Some((service.clone(), replica));
        }
        let call = heard.call(id, service, wish, None);
        self.history.events().calls.push(call);
    }

    /// Makes the whole table another, at once: some of the services with new values, the rest gone.
    async fn import(&mut self, replica: usize) {
        let Some(api) = self.targets.apis.get(replica).copied() else {
            return;
        };
        let parts: Vec<_> = (0..SERVICES)
            .map(|number| {
                let wish = match self.rng.u8(0..4) {
                    0 => Wish::Remove,
                    _ => Wish::Put,
                };
                (self.history.next_id(), service(number), wish)
            })
            .collect();
        let put = parts.iter().filter(|(_, _, wish)| *wish == Wish::Put);
        let file = table(
            put.map(|(id, service, _)| (service.clone(), "127.0.0.1", paths(*id).to_vec())),
            self.targets.port,
        );
        let path = "/v1/docker-flow-proxy/import";
        let asked = post(api, "localhost", path, &file);
        let heard = self.ask(replica, PATIENCE, asked).await;
        let group = parts.first().map(|(id, ..)| *id);
        let calls = parts
            .into_iter()
            .map(|(id, service, wish)| heard.call(id, service, wish, group));
        self.history.events().calls.extend(calls);
    }

    /// Waits for an answer, as long as patience lasts.
    async fn ask(
        &self,
        replica: usize,
        patience: Duration,
        asked: impl Future<Output = io::Result<HttpAnswer>>,
    ) -> Heard {
        let life = self.targets.lives.get(replica);
        let begun = self.history.now();
        let answer = timeout(patience, asked).await;
        let ended = self.history.now();
        let same_life = self.targets.lives.get(replica) == life;
        let (outcome, said, commit) = match answer {
            Ok(Ok(answer)) => meaning(&answer),
            // Nobody accepted, so nobody was asked.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                (Outcome::Refused, error.to_string(), None)
            }
            Ok(Err(error)) => (Outcome::Lost, error.to_string(), None),
            Err(_) => (Outcome::Lost, format!("hung up after {patience:?}"), None),
        };
        Heard {
            replica,
            life: same_life.then_some(life),
            begun,
            ended,
            outcome,
            said,
            commit,
        }
    }

    fn request(&mut self, service: &str, wish: Wish, id: u64) -> String {
        let port = self.targets.port;
        let [one, two] = paths(id);
        let api = "/v1/docker-flow-proxy";
        let put = format!(
            "{api}/reconfigure?serviceName={service}&servicePath={one},{two}&outboundHostname=127.0.0.1"
        );
        match wish {
            Wish::Put => format!("{put}&port={port}"),
            Wish::Remove => format!("{api}/remove?serviceName={service}"),
            Wish::Invalid => match self.rng.u8(0..2) {
                0 => format!("{put}&port=0"),
                // An expression that only HAProxy refuses.
                _ => format!(
                    "{api}/reconfigure?serviceName={service}&servicePath={one}/%24%2A&pathType=path_reg&port={port}"
                ),
            },
        }
    }
}

// === impl Heard ===

impl Heard {
    fn call(&self, id: CallId, service: String, wish: Wish, group: Option<CallId>) -> Call {
        Call {
            id,
            service,
            wish,
            group,
            replica: self.replica,
            life: self.life,
            begun: self.begun,
            ended: self.ended,
            outcome: self.outcome,
            said: self.said.clone(),
            commit: self.commit.clone(),
        }
    }
}

/// A table as `export` gives it: these services, and those of the steady traffic as they are.
fn table(services: impl Iterator<Item = (String, &'static str, Vec<String>)>, port: u16) -> String {
    let steady = STEADY.map(|(name, host)| (name.to_owned(), host, vec![format!("/{name}")]));
    let documents = services.chain(steady).map(|(name, host, paths)| {
        let paths = paths
            .iter()
            .map(|text| json!({ "kind": "path_beg", "text": text }));
        let destination = json!({
            "index": 0, "port": port, "outboundHostname": host, "domains": [],
            "paths": paths.collect::<Vec<_>>(),
        });
        json!({ "version": 1, "name": name, "aclName": name, "destinations": [destination] })
    });
    let documents: Vec<_> = documents.collect();
    json!({ "format": 1, "services": documents }).to_string()
}

/// What an answer means for the change, what it says, and under what the outcome can be asked for.
fn meaning(answer: &HttpAnswer) -> (Outcome, String, Option<String>) {
    let json: Json = serde_json::from_str(&answer.body).unwrap_or_default();
    let stored = json.get("Stored").and_then(Json::as_bool);
    let outcome = match (answer.status, stored) {
        (200, Some(true)) => Outcome::Live,
        (_, Some(true)) => Outcome::Stored,
        (_, Some(false)) => Outcome::Refused,
        (_, None) => Outcome::Lost,
    };
    let message = json.get("Message").and_then(Json::as_str);
    let said = format!("{}: {}", answer.status, message.unwrap_or(&answer.body));
    let commit = json.get("Id").and_then(Json::as_str).map(str::to_owned);
    (outcome, said, commit)
}

async fn look_on(
    history: Arc<History>,
    targets: Targets,
    replica: usize,
    mut stop: watch::Receiver<bool>,
) {
    let Some(api) = targets.apis.get(replica).copied() else {
        return;
    };
    loop {
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let life = targets.lives.get(replica);
        let begun = history.now();
        let Some(services) = services(api).await else {
            continue;
        };
        let ended = history.now();
        if targets.lives.get(replica) != life {
            continue;
        }
        let mut events = history.events();
        for number in 0..SERVICES {
            let service = service(number);
            let value = Value::read(services.get(&service));
            events.sights.push(Sight {
                service,
                value,
                replica,
                life,
                begun,
                ended,
            });
        }
    }
}

/// What a replica says its services are; none where it does not say so in time.
pub(super) async fn services(api: SocketAddr) -> Option<Json> {
    let path = "/v1/docker-flow-proxy/config?type=json";
    let answer = timeout(LOOK_DEADLINE, get(api, "localhost", path)).await;
    let answer = answer.ok()?.ok()?;
    let services = serde_json::from_str(&answer.body).ok()?;
    (answer.status == 200).then_some(services)
}
