//! Routes that change and servers that move while HAProxy serves, without a reload.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxy_core::{CatalogUse, Params, ReconfigureRules, RouteTable, parse_reconfigure_with};
use proxy_haproxy::{
    AddressBook, Applied, Applier, ApplyStep, Haproxy, RenderedConfig, Resolution, Routing, Slots,
    render,
};
use testkit::{
    haproxy::DemoBackend,
    load::{Connections, Load, LoadPlan, Transport},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::{TcpListener, TcpStream},
};

use crate::bench::{Bench, at, running, table};

fn mapped(bench: &Bench, table: &RouteTable) -> RenderedConfig {
    let settings = bench.render_settings().with_routing(Routing::Map);
    render(table, &settings, &AddressBook::new()).unwrap()
}

async fn serve(bench: &Bench, table: &RouteTable) -> (Arc<Haproxy>, Applier<Arc<Haproxy>>) {
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    applier.apply(&mapped(bench, table)).await.unwrap();
    (haproxy, applier)
}

#[tokio::test]
async fn routes_change_under_load_without_a_reload_and_survive_a_crash() {
    let bench = Bench::new();
    let a = DemoBackend::start("a").await.unwrap();
    let b = DemoBackend::start("b").await.unwrap();
    let with = |more: &str| {
        let a = at("a", &format!("/a{more}"), a.address());
        table(&[a, at("b", "/b", b.address())])
    };
    let (haproxy, mut applier) = serve(&bench, &with("")).await;
    let (master, workers) = running(&haproxy, None).await;
    let mut load = Load::start(&LoadPlan {
        address: bench.address(),
        transport: Transport::Plain,
        host: "acme.com".to_owned(),
        path: "/b".to_owned(),
        expect: "b".to_owned(),
        rate: 500,
        clients: 4,
        connections: Connections::KeptAlive,
    });
    load.answered(50).await.unwrap();
    let mut more = String::new();
    for number in 0..30 {
        let path = format!("/new/{number}/");
        assert_eq!(bench.get(&path).await.status, 404);
        more.push_str(&format!(",{path}"));
        let config = mapped(&bench, &with(&more));
        assert_eq!(applier.step_to(&config), ApplyStep::Runtime);
        let applied = applier.apply(&config).await.unwrap();
        assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
        assert_eq!(bench.get(&path).await.body, "a", "at once");
    }
    // And they go again: /b/x was b's, is a's for a while, and is b's.
    for (query, answer) in [(",/b/x", "a"), ("", "b")] {
        let applied = applier.apply(&mapped(&bench, &with(query))).await.unwrap();
        assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
        assert_eq!(bench.get("/b/x").await.body, answer);
        assert_eq!(bench.get("/new/1/").await.status, 404);
    }
    applier.apply(&mapped(&bench, &with(&more))).await.unwrap();
    let seen = load.report().answered;
    load.answered(seen + 50).await.unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(
        running(&haproxy, None).await,
        (master, workers),
        "no reload"
    );

    kill(Pid::from_raw(master.try_into().unwrap()), Signal::SIGKILL).unwrap();
    running(&haproxy, Some(master)).await;
    assert_eq!(bench.get("/new/29/").await.body, "a");
    assert_eq!(bench.get("/b/x").await.body, "b");
    // The new worker is told as the old one was.
    let applied = applier.apply(&mapped(&bench, &with(""))).await.unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    assert_eq!(bench.get("/new/29/").await.status, 404);
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_map_that_cannot_be_told_is_loaded() {
    let bench = Bench::new();
    let a = DemoBackend::start("a").await.unwrap();
    let (haproxy, mut applier) = serve(&bench, &table(&[at("a", "/a", a.address())])).await;
    let before = running(&haproxy, None).await;
    std::fs::remove_file(bench.run().worker_socket()).unwrap();
    let config = mapped(&bench, &table(&[at("a", "/a,/new", a.address())]));
    let applied = applier.apply(&config).await.unwrap();
    assert!(matches!(applied, Applied::Loaded { .. }), "{applied:?}");
    assert_eq!(bench.get("/new").await.body, "a");
    let (master, workers) = running(&haproxy, None).await;
    assert_ne!((master, &workers), (before.0, &before.1));

    // A reload takes the socket over and does not bind it again; a start does.
    kill(Pid::from_raw(master.try_into().unwrap()), Signal::SIGKILL).unwrap();
    running(&haproxy, Some(master)).await;
    let config = mapped(&bench, &table(&[at("a", "/a", a.address())]));
    let applied = applier.apply(&config).await.unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    assert_eq!(bench.get("/new").await.status, 404);
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn ten_thousand_routes_and_every_character_of_a_path_arrive() {
    let bench = Bench::new();
    let a = DemoBackend::start("a").await.unwrap();
    let hard: String = ('!'..='~').filter(|c| !"?#,&+%=".contains(*c)).collect();
    let paths = |count: u32| {
        let services = (0..20).map(|service| {
            let paths = (0..count).map(|n| format!("/s{service}/p{n:05}/"));
            let paths: Vec<_> = paths.chain([format!("/s{service}/{hard}")]).collect();
            at(&format!("s{service}x"), &paths.join(","), a.address())
        });
        table(&services.collect::<Vec<_>>())
    };
    let (haproxy, mut applier) = serve(&bench, &paths(1)).await;
    // As many as one destination may have.
    let config = mapped(&bench, &paths(499));
    assert_eq!(config.map_text().unwrap().lines().count(), 10_000);
    let begun = Instant::now();
    let applied = applier.apply(&config).await.unwrap();
    println!("10,000 entries: {:?} of {:?}", applied, begun.elapsed());
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    for path in ["/s0/p00000/", "/s19/p00498/x", &format!("/s5/{hard}")] {
        assert_eq!(bench.get(path).await.body, "a", "{path}");
    }
    assert_eq!(bench.get("/s19/p00499/").await.status, 404);
    // Single keys of a map that was replaced: gone, back, and gone again.
    for (count, status) in [(498, 404), (499, 200), (498, 404)] {
        let applied = applier.apply(&mapped(&bench, &paths(count))).await.unwrap();
        assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
        assert_eq!(bench.get("/s19/p00498/").await.status, status);
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// A bug of ours would be seen, not taken for a route that is not there.
#[tokio::test]
async fn a_route_without_a_backend_is_503() {
    let bench = Bench::new();
    let (haproxy, mut applier) = serve(&bench, &table(&[at("a", "/a", bench.address())])).await;
    let config = mapped(&bench, &table(&[at("a", "/a", bench.address())]));
    let wrong = config.map_text().unwrap().replace("a-be", "missing-be");
    let config = config
        .clone()
        .with_file("routing.map".parse().unwrap(), wrong);
    applier.apply(&config).await.unwrap();
    let answer = bench.get("/a").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("leads to no backend"), "{answer:?}");
    assert_eq!(bench.get("/b").await.status, 404);
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// Two addresses at which a name can be, with the same port.
struct Homes {
    backends: [DemoBackend; 2],
}

impl Homes {
    async fn start(texts: [&str; 2]) -> Self {
        let first = DemoBackend::start(texts[0]).await.unwrap();
        let second = SocketAddr::from(([127, 0, 0, 2], first.address().port()));
        let second = DemoBackend::start_at(second, texts[1]).await.unwrap();
        Self {
            backends: [first, second],
        }
    }

    fn port(&self) -> u16 {
        self.backends[0].address().port()
    }

    fn at(&self, turn: usize) -> Resolution {
        let address = self.backends[turn % 2].address().ip();
        Resolution::System { address }
    }
}

/// Names that only the system knows move again and again.
async fn servers_move(routing: Routing) {
    let bench = Bench::new();
    let probe = Homes::start(["first", "second"]).await;
    let steady = Homes::start(["here", "here"]).await;
    let config = |paths: &str, turn: usize| {
        let services = [("probe", "/probe", &probe), ("steady", paths, &steady)];
        let table = table(&services.map(|(name, paths, homes)| {
            let port = homes.port();
            format!("serviceName={name}&servicePath={paths}&port={port}")
        }));
        let book = services.map(|(name, _, homes)| (name.parse().unwrap(), homes.at(turn)));
        let settings = bench.render_settings().with_routing(routing);
        render(&table, &settings, &book.into_iter().collect()).unwrap()
    };
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    applier.apply(&config("/steady", 0)).await.unwrap();
    let before = running(&haproxy, None).await;
    let mut loads = [Connections::KeptAlive, Connections::OneEach].map(|connections| {
        Load::start(&LoadPlan {
            address: bench.address(),
            transport: Transport::Plain,
            host: "acme.com".to_owned(),
            path: "/steady".to_owned(),
            expect: "here".to_owned(),
            rate: 300,
            clients: 4,
            connections,
        })
    });
    for turn in 1..=20 {
        // In the map form a path may come in the same step.
        let paths = match (routing, turn % 4) {
            (Routing::Map, 0) => "/steady,/more",
            _ => "/steady",
        };
        let config = config(paths, turn);
        assert_eq!(applier.step_to(&config), ApplyStep::Runtime);
        let applied = applier.apply(&config).await.unwrap();
        assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
        let here = ["first", "second"][turn % 2];
        assert_eq!(bench.get("/probe").await.body, here, "at once");
        let more = if paths.contains("/more") { 200 } else { 404 };
        assert_eq!(bench.get("/more").await.status, more);
        let asked = steady.backends[turn % 2].requests();
        for load in &mut loads {
            let seen = load.report().answered;
            load.answered(seen + 20).await.unwrap();
        }
        assert!(steady.backends[turn % 2].requests() >= asked + 40, "{turn}");
    }
    for load in loads {
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{report:?}");
    }
    assert_eq!(running(&haproxy, None).await, before, "no reload");

    applier.apply(&config("/steady", 1)).await.unwrap();
    assert_eq!(running(&haproxy, None).await, before, "no reload");
    let text = std::fs::read_to_string(bench.sandbox.configs_path().join("haproxy.cfg")).unwrap();
    let line = format!("    server probe 127.0.0.2:{}\n", probe.port());
    assert!(text.contains(&line), "{text}");
    kill(Pid::from_raw(before.0.try_into().unwrap()), Signal::SIGKILL).unwrap();
    let restarted = running(&haproxy, Some(before.0)).await;
    assert_eq!(bench.get("/probe").await.body, "second");
    // The new worker is told as the old one was.
    let applied = applier.apply(&config("/steady", 2)).await.unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    assert_eq!(bench.get("/probe").await.body, "first");
    assert_eq!(running(&haproxy, None).await, restarted, "no reload");

    // One that is not where it is thought to be: HAProxy is reloaded, and it is where it should be.
    let port = probe.port();
    let move_it = format!("set server probe-be{port}/probe addr 127.0.0.3 port {port}\n");
    let answer = bench.say(&move_it).await;
    assert!(answer.contains("127.0.0.3"), "{answer}");
    let applied = applier.apply(&config("/steady", 3)).await.unwrap();
    assert!(matches!(applied, Applied::Loaded { .. }), "{applied:?}");
    assert_eq!(bench.get("/probe").await.body, "second");
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn servers_move_under_load_without_a_reload_and_survive_a_crash() {
    servers_move(Routing::Acl).await;
}

#[tokio::test]
async fn servers_move_with_and_without_the_map() {
    servers_move(Routing::Map).await;
}

/// A client of HAProxy that keeps its connection.
struct Client(BufStream<TcpStream>);

impl Client {
    async fn asks(&mut self) {
        let request = b"GET /web HTTP/1.1\r\nHost: acme.com\r\n\r\n";
        self.0.write_all(request).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The answer's body, which is three characters.
    async fn hears(&mut self) -> String {
        let head = head(&mut self.0).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut body = [0; 3];
        self.0.read_exact(&mut body).await.unwrap();
        String::from_utf8_lossy(&body).into_owned()
    }
}

/// A request that an instance holds.
struct Held(BufStream<TcpStream>);

impl Held {
    async fn at(instance: &TcpListener) -> Self {
        let mut stream = BufStream::new(instance.accept().await.unwrap().0);
        assert!(head(&mut stream).await.starts_with("GET /web "));
        Self(stream)
    }

    async fn answers(mut self) -> Self {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold";
        self.0.write_all(answer).await.unwrap();
        self.0.flush().await.unwrap();
        self
    }
}

async fn head(stream: &mut BufStream<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "{head:?}");
    }
    head
}

async fn a_slot_is_vacated_and_taken() {
    let bench = Bench::new();
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (new, third) = (
        DemoBackend::start("new").await,
        DemoBackend::start("3rd").await,
    );
    let (new, third) = (new.unwrap(), third.unwrap());
    let at_old = Some(old.local_addr().unwrap());
    let (at_new, at_third) = (Some(new.address()), Some(third.address()));
    let rules = ReconfigureRules::default().with_catalog(CatalogUse::WhenAsked);
    let query = "serviceName=web&servicePath=/web&discoveryType=catalog&skipCheck=true";
    let parsed = parse_reconfigure_with(&Params::from_query(query).unwrap(), &rules);
    let service = parsed.unwrap().value.service;
    let key = service.catalog_key(&service.destinations()[0]).unwrap();
    let table: RouteTable = [service].into_iter().collect();
    let config = |slots: [Option<SocketAddr>; 4]| {
        let slots = [(key.clone(), Slots::from(slots.to_vec()))];
        let book = AddressBook::new().with_slots(slots.into_iter().collect());
        render(&table, &bench.render_settings(), &book).unwrap()
    };
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    applier
        .apply(&config([at_old, None, None, None]))
        .await
        .unwrap();
    let mut client = Client(BufStream::new(
        TcpStream::connect(bench.address()).await.unwrap(),
    ));

    // Its request is under way while the instance goes: the next one is the other instance's.
    client.asks().await;
    let held = Held::at(&old).await;
    let applied = applier
        .apply(&config([None, at_new, None, None]))
        .await
        .unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    let kept = held.answers().await;
    assert_eq!(client.hears().await, "old");
    for _ in 0..3 {
        client.asks().await;
        assert_eq!(client.hears().await, "new");
    }
    // Nothing is under way on the server that was vacated, so it may be anywhere.
    let applied = applier
        .apply(&config([at_third, None, None, None]))
        .await
        .unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    client.asks().await;
    assert_eq!(client.hears().await, "3rd");
    drop(kept);

    // Where something is, HAProxy is loaded anew.
    let applied = applier
        .apply(&config([None, at_old, None, None]))
        .await
        .unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    client.asks().await;
    let held = Held::at(&old).await;
    let applied = applier
        .apply(&config([None, None, at_new, None]))
        .await
        .unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    let applied = applier
        .apply(&config([None, at_third, None, None]))
        .await
        .unwrap();
    assert!(matches!(applied, Applied::Loaded { .. }), "{applied:?}");
    let _kept = held.answers().await;
    assert_eq!(client.hears().await, "old", "it is not cut off");
    let mut more = Vec::new();
    client.0.read_to_end(&mut more).await.unwrap();
    assert!(more.is_empty(), "it has to connect again");
    assert_eq!(bench.get("/web").await.body, "3rd");
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_client_with_a_request_under_way_leaves_an_instance_that_goes() {
    let all = tokio::time::timeout(Duration::from_secs(60), a_slot_is_vacated_and_taken());
    all.await.unwrap();
}
