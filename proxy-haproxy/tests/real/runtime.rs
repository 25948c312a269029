//! Routes that change while HAProxy serves, without a reload.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxy_core::RouteTable;
use proxy_haproxy::{
    AddressBook, Applied, Applier, ApplyStep, Haproxy, RenderedConfig, Routing, render,
};
use testkit::{
    haproxy::DemoBackend,
    load::{Connections, Load, LoadPlan},
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
