//! An engine with a scripted carrier, sources of it, and a listener that says what a test wrote down.

use super::*;

pub(in crate::sources) const PATIENCE: Duration = Duration::from_secs(30);

pub(in crate::sources) struct Bench {
    pub(super) store: Arc<MemoryStore>,
    /// The same, as everybody else sees it.
    seen: Arc<dyn RouteStore>,
    pub(in crate::sources) carrier: Arc<Scripted>,
    pub(super) engine: EngineHandle,
    pub(in crate::sources) stop: CancellationToken,
}

impl Bench {
    pub(in crate::sources) async fn new() -> Self {
        let bench = Self::on(store());
        bench.until(|services| services.is_empty()).await;
        bench
    }

    /// The next run of a replica, with the same store.
    pub(in crate::sources) async fn restarted(&self) -> Self {
        let bench = Self::on(Arc::clone(&self.store));
        let names = self.names();
        bench
            .until(|services| services.keys().eq(names.iter()))
            .await;
        bench
    }

    fn on(store: Arc<MemoryStore>) -> Self {
        let seen = Arc::clone(&store) as Arc<dyn RouteStore>;
        Self::seen_as(store, seen)
    }

    /// On a store that everybody else sees as another.
    pub(super) fn seen_as(store: Arc<MemoryStore>, seen: Arc<dyn RouteStore>) -> Self {
        let carrier = Arc::new(Scripted::default());
        let stop = CancellationToken::new();
        let (engine, handle) = Engine::new(Parts {
            served: proxy_core::RouteTable::new(),
            store: Arc::clone(&seen),
            carrier: Arc::clone(&carrier),
            announce: Arc::new(Notes::default()),
            metrics: Arc::new(crate::metrics::Metrics::new()),
            stop: stop.clone(),
        });
        tokio::spawn(engine.run());
        Self {
            store,
            seen,
            carrier,
            engine: handle,
            stop,
        }
    }

    pub(in crate::sources) fn start(&self, settings: &[(&str, &str)]) -> Sources {
        let settings = Settings::read(&MapSource::new(settings.iter().copied())).unwrap();
        let (sources, tasks) = start(
            settings.sources,
            ParameterRules::default(),
            (&self.engine, &self.seen),
            &self.stop,
        )
        .unwrap();
        drop(tasks);
        sources
    }

    pub(super) fn way(&self) -> Way {
        Way {
            engine: self.engine.clone(),
            store: Arc::clone(&self.seen),
            rules: Rules::default(),
        }
    }

    /// Waits until the services that are served, with their ports, are right.
    pub(in crate::sources) async fn until(&self, right: impl Fn(&BTreeMap<String, u16>) -> bool) {
        let mut snapshots = self.engine.snapshots();
        let reached = snapshots.wait_for(|s| s.is_loaded() && right(&ports(s.served.iter())));
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        let shown = ports(self.engine.snapshot().served.iter());
        assert!(reached.is_ok(), "at last: {shown:?}");
    }

    pub(in crate::sources) fn names(&self) -> Vec<String> {
        let services = ports(self.engine.snapshot().served.iter());
        services.into_keys().collect()
    }

    pub(in crate::sources) fn revision(&self) -> Option<Revision> {
        self.store.view().revision
    }

    pub(in crate::sources) fn stored(&self, name: &str) -> Option<Arc<Service>> {
        let view = self.store.view();
        let name: ServiceName = name.parse().unwrap();
        view.stored.table().get(&name).cloned()
    }

    pub(in crate::sources) fn source(&self, name: &str) -> Option<Source> {
        self.stored(name)?.source()
    }

    /// An operator's call, with a port of its own.
    pub(in crate::sources) async fn reconfigure(&self, name: &str, port: u16) {
        let query = format!("serviceName={name}&servicePath=/{name}&port={port}");
        let params = proxy_core::Params::from_query(&query).unwrap();
        let service = proxy_core::parse_reconfigure(&params)
            .unwrap()
            .value
            .service;
        let change = request(Change::Put(service));
        self.engine.change(change).await.unwrap();
    }

    pub(super) async fn remove(&self, name: &str) {
        let change = Change::Remove(name.parse().unwrap());
        self.engine.change(request(change)).await.unwrap();
    }

    pub(in crate::sources) fn port(&self, name: &str) -> u16 {
        let served = &self.engine.snapshot().served;
        ports(served.iter()).get(name).copied().unwrap_or_default()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn ports<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> BTreeMap<String, u16> {
    let port = |service: &Service| service.destinations()[0].port().unwrap().get();
    services
        .map(|service| (service.name().to_string(), port(service)))
        .collect()
}

pub(super) fn entry(name: &str) -> Value {
    json!({ "serviceName": name, "servicePath": format!("/{name}"), "port": "80", "distribute": "true" })
}

/// A listener that says what a test has written down, the last for ever, and notes how often it was asked.
#[derive(Clone, Default)]
pub(in crate::sources) struct Script(pub(super) Arc<Mutex<(Vec<ResponseTemplate>, usize)>>);

impl Script {
    pub(in crate::sources) fn say(&self, answers: impl IntoIterator<Item = ResponseTemplate>) {
        let mut script = self.0.lock().unwrap();
        script.0 = answers.into_iter().collect();
        script.1 = 0;
    }

    /// Waits until so many answers were given since the last word.
    pub(in crate::sources) async fn asked(&self, times: usize) {
        let asked = async {
            while self.0.lock().unwrap().1 < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap();
    }
}

impl Respond for Script {
    fn respond(&self, _: &wiremock::Request) -> ResponseTemplate {
        let mut script = self.0.lock().unwrap();
        let at = script.1.min(script.0.len() - 1);
        script.1 += 1;
        script.0[at].clone()
    }
}

pub(in crate::sources) fn list(entries: &[Value]) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(entries)
}

pub(in crate::sources) async fn listener(script: &Script) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v1/docker-flow-swarm-listener/get-services"))
        .respond_with(script.clone())
        .mount(&server)
        .await;
    server
}

pub(super) fn request(change: Change) -> crate::engine::ChangeRequest {
    crate::engine::ChangeRequest::new(vec![change], crate::engine::Wait::here())
}
