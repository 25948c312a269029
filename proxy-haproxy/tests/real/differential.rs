//! The rendered rules against the definition: `RouteTable::resolve` and a real HAProxy must send
//! every request to the same backend.
//!
//! `DIFFERENTIAL_TABLES` in the environment makes a long run.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use proptest::{
    collection::vec,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use proxy_core::{Port, RouteTable};
use proxy_haproxy::{
    AddressBook, Applier, Bind, BindAddress, Haproxy, RenderSettings, RenderedConfig, render,
};
use testkit::haproxy::{KeptConnection, ReservedPort};

use crate::bench::Bench;

mod sketch;

use sketch::{PORTS, RequestSketch, TableSketch, a_request, a_table, shown};

const TABLES: u32 = 200;
const REQUESTS: usize = 100;

/// A HAProxy that is given one table after the other in one form.
struct Rig {
    bench: Bench,
    more_ports: Vec<ReservedPort>,
    haproxy: Arc<Haproxy>,
    applier: Applier<Arc<Haproxy>>,
}

/// Who answered a request; nobody is `None`.
type Answer = Option<String>;

// === impl Rig ===

impl Rig {
    async fn new() -> Self {
        let bench = Bench::new();
        let (haproxy, applier) = bench.serve::<&str>(&[]).await;
        Self {
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
        self.bench.render_settings().with_binds(binds.collect())
    }

    /// What HAProxy answers with this table; also what it was given.
    async fn ask(
        &mut self,
        table: &RouteTable,
        requests: &[RequestSketch],
    ) -> (Vec<Answer>, String) {
        let config = render(table, &self.settings(), &AddressBook::new()).unwrap();
        self.applier.apply(&answering(&config)).await.unwrap();
        let mut connections = BTreeMap::new();
        let mut answers = Vec::new();
        for sketch in requests {
            let address = (self.bench.address().ip(), self.ports()[sketch.port].get()).into();
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
        (answers, config.main_text().to_owned())
    }
}

/// The backends answer with their names instead of asking a server.
fn answering(config: &RenderedConfig) -> RenderedConfig {
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
    RenderedConfig::new(text)
}

async fn agree(
    rig: &mut Rig,
    sketch: &TableSketch,
    requests: &[RequestSketch],
) -> Result<(), TestCaseError> {
    let ports = rig.ports();
    let table = sketch.table(&ports);
    let (found, config) = rig.ask(&table, requests).await;
    for (request, found) in requests.iter().zip(found) {
        let wanted = table
            .resolve(&request.head(&ports))
            .map(|found| found.service.backend_name(found.destination));
        if found != wanted {
            return Err(TestCaseError::fail(format!(
                "ports {ports:?}\n{}{request:?}\ndefinition {wanted:?}\nacl        {found:?}\n{config}",
                shown(&table)
            )));
        }
    }
    Ok(())
}

#[test]
fn haproxy_routes_as_the_table_resolves() {
    let tables = std::env::var("DIFFERENTIAL_TABLES").ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rig = RefCell::new(runtime.block_on(Rig::new()));
    let mut runner = TestRunner::new(Config {
        cases: tables.map_or(TABLES, |tables| tables.parse().unwrap()),
        max_shrink_iters: 500,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(
        &(a_table(), vec(a_request(), REQUESTS)),
        |(table, requests)| runtime.block_on(agree(&mut rig.borrow_mut(), &table, &requests)),
    );
    runtime.block_on(rig.borrow().haproxy.shutdown(Duration::from_secs(5)));
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(error) => panic!("{error}"),
    }
}
