//! The rendered rules against the definition: `RouteTable::resolve` and a real HAProxy, with each
//! form of the rules, must send every request to the same backend.
//!
//! `DIFFERENTIAL_TABLES` in the environment makes a long run.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use proptest::{
    collection::vec,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use proxy_core::{Port, RouteOrder};
use proxy_haproxy::{
    AddressBook, Applier, Bind, BindAddress, Haproxy, MAIN_FILE, RenderSettings, RenderedConfig,
    Routing, render,
};
use testkit::haproxy::{KeptConnection, ReservedPort};

use crate::bench::Bench;

mod sketch;

use sketch::{PORTS, RequestSketch, TableSketch, a_request, a_table, shown};

const TABLES: u32 = 200;
const REQUESTS: usize = 100;

/// A HAProxy that is given one table after the other in one form.
struct Rig {
    routing: Routing,
    order: RouteOrder,
    bench: Bench,
    more_ports: Vec<ReservedPort>,
    haproxy: Arc<Haproxy>,
    applier: Applier<Arc<Haproxy>>,
}

/// Who answered a request; nobody is `None`.
type Answer = Option<String>;

// === impl Rig ===

impl Rig {
    async fn new(routing: Routing, order: RouteOrder) -> Self {
        let bench = Bench::new();
        let (haproxy, applier) = bench.serve::<&str>(&[]).await;
        Self {
            routing,
            order,
            bench,
            more_ports: (1..PORTS).map(|_| ReservedPort::new().unwrap()).collect(),
            haproxy,
            applier,
        }
    }

    fn ports(&self) -> Vec<Port> {
        let ports = std::iter::once(&self.bench.port).chain(&self.more_ports);
        ports.map(|port| Port::new(port.get()).unwrap()).collect()
    }

    fn settings(&self) -> RenderSettings {
        let ip = self.bench.address().ip();
        let binds = self.ports().into_iter();
        let binds = binds.map(|port| Bind::plain(BindAddress::Ip(ip), port));
        let settings = self.bench.render_settings().with_binds(binds.collect());
        settings.with_routing(self.routing).with_order(self.order)
    }

    /// What the definition and HAProxy answer with this table; also what HAProxy was given.
    async fn ask(
        &mut self,
        sketch: &TableSketch,
        requests: &[RequestSketch],
    ) -> (Vec<Answer>, Vec<Answer>, String) {
        let ports = self.ports();
        let table = &sketch.table(&ports).in_order(self.order);
        let defined = requests.iter().map(|request| {
            let found = table.resolve(&request.head(&ports))?;
            Some(found.service.backend_name(found.destination))
        });
        let config = render(table, &self.settings(), &AddressBook::new()).unwrap();
        self.applier.apply(&answering(&config)).await.unwrap();
        let mut connections = BTreeMap::new();
        let mut answers = Vec::new();
        for sketch in requests {
            let address = (self.bench.address().ip(), ports[sketch.port].get()).into();
            let connection = connections
                .entry(sketch.port)
                .or_insert_with(|| KeptConnection::new(address));
            let answer = connection.ask(&sketch.request()).await.unwrap();
            answers.push(match answer.status {
                200 => Some(answer.body),
                404 => None,
                _ => Some(answer.head),
            });
        }
        let files = config.files();
        let told = files.map(|(name, text)| format!("--- {name}\n{text}"));
        let told = format!("{}{}", shown(table), told.collect::<String>());
        (defined.collect(), answers, told)
    }
}

/// The backends answer with their names instead of asking a server.
pub(crate) fn answering(config: &RenderedConfig) -> RenderedConfig {
    let mut text = String::new();
    let mut backend = "";
    for line in config.main_text().lines() {
        backend = line.strip_prefix("backend ").unwrap_or(backend);
        if line.starts_with("    server ") {
            let answer = "    http-request return status 200 content-type text/plain string ";
            text.extend([answer, backend, "\n"]);
        } else {
            text.extend([line, "\n"]);
        }
    }
    config.clone().with_file(MAIN_FILE.parse().unwrap(), text)
}

/// Each form in each order that it can hold.
struct Rigs {
    acl: Rig,
    map: Rig,
    by_name: Rig,
}

async fn agree(
    rigs: &mut Rigs,
    table: &TableSketch,
    requests: &[RequestSketch],
) -> Result<(), TestCaseError> {
    let (acl, map, by_name) = tokio::join!(
        rigs.acl.ask(table, requests),
        rigs.map.ask(table, requests),
        rigs.by_name.ask(table, requests)
    );
    for (at, request) in requests.iter().enumerate() {
        let (wanted, acl_found, map_found) = (&acl.0[at], &acl.1[at], &map.1[at]);
        if wanted != &map.0[at] || wanted != acl_found || wanted != map_found {
            let ports = (rigs.acl.ports(), rigs.map.ports());
            return Err(TestCaseError::fail(format!(
                "ports {ports:?}\n{request:?}\n\
                 definition {wanted:?}\nacl        {acl_found:?}\nmap        {map_found:?}\n\
                 acl: {}\nmap: {}",
                acl.2, map.2
            )));
        }
        let (wanted, found) = (&by_name.0[at], &by_name.1[at]);
        if wanted != found {
            let ports = rigs.by_name.ports();
            return Err(TestCaseError::fail(format!(
                "by ACL name, ports {ports:?}\n{request:?}\n\
                 definition {wanted:?}\nacl        {found:?}\n{}",
                by_name.2
            )));
        }
    }
    Ok(())
}

#[test]
fn haproxy_routes_as_the_table_resolves() {
    let tables = std::env::var("DIFFERENTIAL_TABLES").ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rigs = runtime.block_on(async {
        Rigs {
            acl: Rig::new(Routing::Acl, RouteOrder::Specific).await,
            map: Rig::new(Routing::Map, RouteOrder::Specific).await,
            by_name: Rig::new(Routing::Auto, RouteOrder::AclName).await,
        }
    });
    let rigs = RefCell::new(rigs);
    let mut runner = TestRunner::new(Config {
        cases: tables.map_or(TABLES, |tables| tables.parse().unwrap()),
        max_shrink_iters: 500,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(
        &(a_table(), vec(a_request(), REQUESTS)),
        |(table, requests)| runtime.block_on(agree(&mut rigs.borrow_mut(), &table, &requests)),
    );
    let Rigs { acl, map, by_name } = rigs.into_inner();
    for rig in [acl, map, by_name] {
        runtime.block_on(rig.haproxy.shutdown(Duration::from_secs(5)));
    }
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(error) => panic!("{error}"),
    }
}
