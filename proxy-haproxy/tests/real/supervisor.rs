//! Starting, reloading, restarting and ending HAProxy.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proxy_haproxy::{
    AddressBook, Applied, ApplyError, Bind, BindAddress, Haproxy, HaproxyState, Reload,
    ReloadError, RenderedConfig, Serving, Start, StartError, Stopped, render,
};
use testkit::{
    haproxy::DemoBackend,
    load::{Connections, Load},
};

use crate::bench::{Bench, at, eventually, load_plan, running, send, table};

/// One reload after the other, each before the master is done with the last: whoever asks then meets what
/// was loaded, and nobody else.
#[tokio::test]
async fn what_a_reload_took_away_answers_nobody() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let with = bench.render(&[at("go-demo", "/demo", demo.address())]);
    let without = bench.render::<&str>(&[]);
    for round in 0..40 {
        for (config, wanted) in [(&with, 200), (&without, 404)] {
            applier.apply(config).await.unwrap();
            let answer = bench.get("/demo").await;
            assert_eq!(answer.status, wanted, "in round {round}");
        }
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_reload_is_confirmed_by_its_new_worker() {
    let bench = Bench::new();
    let demo = DemoBackend::start("hello, world!\n").await.unwrap();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    assert_eq!(haproxy.started(), Start::Fresh);
    let (master, workers) = running(&haproxy, None).await;
    assert_eq!(bench.get("/demo/hello").await.status, 404);

    let config = bench.render(&[at("go-demo", "/demo", demo.address())]);
    let Applied::Loaded { reloaded, .. } = applier.apply(&config).await.unwrap() else {
        panic!("nothing was loaded");
    };
    // At once, and every time: the old worker takes no new connection.
    for _ in 0..50 {
        let answer = bench.get("/demo/hello").await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "hello, world!\n")
        );
    }
    assert_eq!(reloaded.master_pid, master);
    assert!(!workers.contains(&reloaded.worker_pid));
    assert_eq!(
        running(&haproxy, None).await,
        (master, vec![reloaded.worker_pid])
    );

    let again = applier.apply(&config).await.unwrap();
    assert!(matches!(again, Applied::Unchanged { .. }), "{again:?}");
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_reload_that_fails_leaves_the_old_worker_and_its_configuration() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, mut applier) = bench.serve(&[at("go-demo", "/demo", demo.address())]).await;
    let before = running(&haproxy, None).await;
    let text = applier.active_text().await.unwrap();

    let error = applier
        .apply(&RenderedConfig::new("nonsense"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ApplyError::Reload(ReloadError::Refused { .. })),
        "{error:?}"
    );
    assert_eq!(error.serving(), Serving::Previous);
    assert_eq!(bench.get("/demo").await.body, "demo");
    assert_eq!(running(&haproxy, None).await, before);
    assert_eq!(applier.active_text().await.unwrap(), text);

    // And it reloads as ever afterwards.
    let config = bench.render(&[at("go-demo", "/other", demo.address())]);
    applier.apply(&config).await.unwrap();
    assert_eq!(bench.get("/other").await.body, "demo");
    haproxy.shutdown(Duration::from_secs(5)).await;
}

async fn is_started_again_without(victim: impl Fn(u32, &[u32]) -> u32) {
    let bench = Bench::new();
    let (haproxy, _applier) = bench.serve::<&str>(&[]).await;
    let (master, workers) = running(&haproxy, None).await;
    send(Signal::SIGKILL, victim(master, &workers));
    let (again, _) = running(&haproxy, Some(master)).await;
    assert_eq!(bench.get("/").await.status, 404);
    bench.until_alone(again).await;
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_master_that_is_killed_is_started_again() {
    is_started_again_without(|master, _| master).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_is_started_again() {
    is_started_again_without(|_, workers| *workers.first().unwrap()).await;
}

#[tokio::test]
async fn a_reload_starts_a_haproxy_that_is_down() {
    let bench = Bench::new();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    let (master, _) = running(&haproxy, None).await;
    // It cannot be started again: on disk is nonsense, by someone else's hand.
    let main = bench.sandbox.configs_path().join("current/haproxy.cfg");
    std::fs::write(main, "nonsense\n").unwrap();
    send(Signal::SIGKILL, master);
    let error = eventually("a failed reload", async || match haproxy.reload().await {
        Err(error @ ReloadError::Down { .. }) => Ok(error),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(error.serving(), Serving::Nothing);

    let config = bench.render(&[at("go-demo", "/demo", bench.address())]);
    let applied = applier.apply(&config).await.unwrap();
    assert!(matches!(applied, Applied::Loaded { .. }));
    assert_eq!(bench.get("/").await.status, 404);
    assert_eq!(bench.sandbox.masters().len(), 1);
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn shutdown_ends_the_tries_to_start() {
    let bench = Bench::new();
    let (haproxy, _applier) = bench.serve::<&str>(&[]).await;
    let (master, _) = running(&haproxy, None).await;
    let main = bench.sandbox.configs_path().join("current/haproxy.cfg");
    std::fs::write(main, "nonsense\n").unwrap();
    send(Signal::SIGKILL, master);
    let mut state = haproxy.state();
    let tried = |state: &HaproxyState| matches!(state, HaproxyState::Down { attempts, .. } if *attempts > 1);
    let waited = tokio::time::timeout(Duration::from_secs(30), state.wait_for(tried)).await;
    waited.expect("it is tried again").unwrap();
    assert_eq!(
        haproxy.shutdown(Duration::from_secs(5)).await,
        Stopped::WasDown
    );
    assert_eq!(*haproxy.state().borrow(), HaproxyState::Stopped);
    assert_eq!(bench.sandbox.processes(), []);
}

/// A worker with an open connection stays, and is counted.
#[tokio::test]
async fn a_worker_that_finishes_its_connections_is_counted() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, mut applier) = bench.serve(&[at("go-demo", "/demo", demo.address())]).await;
    assert_eq!(haproxy.old_workers().await.unwrap().count, 0);
    // A request that does not end keeps its worker.
    let mut open = tokio::net::TcpStream::connect(bench.address())
        .await
        .unwrap();
    let begun = b"POST /demo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1";
    tokio::io::AsyncWriteExt::write_all(&mut open, begun)
        .await
        .unwrap();
    // It is with the worker once that answered another one after it.
    assert_eq!(bench.get("/demo").await.body, "demo");
    applier.reload_again().await.unwrap();
    assert_eq!(haproxy.old_workers().await.unwrap().count, 1);
    drop(open);
    let gone = async {
        while haproxy.old_workers().await.unwrap().count > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// A port in use fails a reload; HAProxy needs two seconds to see it.
#[tokio::test]
async fn a_reload_that_cannot_bind_goes_back() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let queries = [at("go-demo", "/demo", demo.address())];
    let (haproxy, mut applier) = bench.serve(&queries).await;
    let bind = Bind::plain(
        BindAddress::Ip(address.ip()),
        address.port().to_string().parse().unwrap(),
    );
    assert!(proxy_haproxy::probe_bind(&bind).unwrap_err().is_in_use());
    let binds = bench
        .render_settings()
        .binds()
        .iter()
        .copied()
        .chain([bind])
        .collect();
    let settings = bench.render_settings().with_binds(binds);
    let config = render(&table(&queries), &settings, &AddressBook::new()).unwrap();

    let error = applier.apply(&config).await.unwrap_err();
    assert_eq!(error.serving(), Serving::Previous);
    assert!(error.is_refusal(), "{error:?}");
    assert_eq!(bench.get("/demo").await.body, "demo");
    drop(holder);
    applier.apply(&config).await.unwrap();
    assert_eq!(
        testkit::haproxy::get(address, "acme.com", "/demo")
            .await
            .unwrap()
            .body,
        "demo"
    );
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_supervisor_has_a_run_path() {
    let bench = Bench::new();
    let (haproxy, applier) = bench.serve::<&str>(&[]).await;
    let main = bench.sandbox.configs_path().join("current/haproxy.cfg");
    let settings = proxy_haproxy::ProcessSettings::new(bench.sandbox.binary(), main, bench.run());
    let second = Haproxy::start(settings).await;
    assert!(matches!(second, Err(StartError::Lock(_))), "{second:?}");
    assert_eq!(bench.sandbox.masters().len(), 1);
    haproxy.shutdown(Duration::from_secs(5)).await;
    drop(applier);
}

#[tokio::test]
async fn shutdown_leaves_no_process_and_no_socket() {
    let bench = Bench::new();
    let (haproxy, _applier) = bench.serve::<&str>(&[]).await;
    assert_eq!(
        haproxy.shutdown(Duration::from_secs(5)).await,
        Stopped::Gracefully
    );
    assert_eq!(bench.sandbox.processes(), []);
    let run = bench.run();
    for socket in [run.master_socket(), run.worker_socket()] {
        assert!(!std::path::Path::new(socket).exists(), "{socket}");
    }
    assert!(matches!(
        haproxy.reload().await,
        Err(ReloadError::Down { .. })
    ));
    assert_eq!(
        haproxy.shutdown(Duration::from_secs(5)).await,
        Stopped::WasDown
    );
}

#[tokio::test]
async fn shutdown_cuts_what_is_left_at_its_deadline() {
    let bench = Bench::new();
    let (haproxy, asked, _held) = bench.serve_slowly().await;

    let begun = Instant::now();
    let deadline = Duration::from_millis(500);
    assert_eq!(haproxy.shutdown(deadline).await, Stopped::AtDeadline);
    assert!(begun.elapsed() >= deadline);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(bench.sandbox.processes(), []);
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing() {
    let bench = Bench::new();
    let mut dir = bench.dir();
    let staged = dir.stage(&RenderedConfig::new("nonsense")).unwrap();
    dir.activate(staged).unwrap();
    let failed = Haproxy::start(bench.process_settings(&dir)).await;
    assert!(
        matches!(failed, Err(StartError::Exited { .. })),
        "{failed:?}"
    );
    let settings = proxy_haproxy::ProcessSettings::new("/no/haproxy", dir.main_path(), bench.run());
    let failed = Haproxy::start(settings).await;
    assert!(
        matches!(failed, Err(StartError::Spawn { .. })),
        "{failed:?}"
    );
    assert_eq!(bench.sandbox.processes(), []);
}

async fn no_request_fails_in_30_reloads(connections: Connections) {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let unrelated = at("go-demo", "/demo", demo.address());
    let (haproxy, mut applier) = bench.serve(&[unrelated.as_str()]).await;
    let (master, _) = running(&haproxy, None).await;
    let mut load = Load::start(&load_plan(&bench, connections));
    for number in 0..30 {
        let seen = load.report().answered;
        let path = format!("/other/{number}");
        let other = at("other", &path, demo.address());
        let applied = applier
            .apply(&bench.render(&[unrelated.as_str(), other.as_str()]))
            .await
            .unwrap();
        assert!(matches!(applied, Applied::Loaded { .. }));
        for _ in 0..5 {
            assert_eq!(
                bench.get(&path).await.body,
                "demo",
                "the change is live once it is confirmed"
            );
        }
        load.answered(seen + 20).await.unwrap();
    }
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(bench.sandbox.masters(), vec![master]);
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_on_kept_connections_fails_in_30_reloads() {
    no_request_fails_in_30_reloads(Connections::KeptAlive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_on_new_connections_fails_in_30_reloads() {
    no_request_fails_in_30_reloads(Connections::OneEach).await;
}
