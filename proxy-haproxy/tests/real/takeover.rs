//! Starting where a HAProxy is there already: it is taken over, or replaced.

use std::{sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use proxy_haproxy::{Haproxy, Reload as _, Start, Stopped};
use testkit::{
    haproxy::DemoBackend,
    load::{Connections, Load},
};

use crate::bench::{Bench, at, load_plan, running, send};

#[tokio::test]
async fn a_haproxy_that_is_left_is_taken_over() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, applier) = bench.serve::<&str>(&[]).await;
    let (master, _) = running(&haproxy, None).await;
    drop((haproxy, applier));
    assert_eq!(bench.get("/").await.status, 404, "it serves on");

    let dir = bench.dir();
    let haproxy = Arc::new(Haproxy::start(bench.process_settings(&dir)).await.unwrap());
    assert_eq!(haproxy.started(), Start::TakenOver);
    assert_eq!(running(&haproxy, None).await.0, master);
    let mut applier = proxy_haproxy::Applier::new(dir, Arc::clone(&haproxy));
    let config = bench.render(&[at("go-demo", "/demo", demo.address())]);
    applier.apply(&config).await.unwrap();
    assert_eq!(bench.get("/demo").await.body, "demo");
    assert_eq!(bench.sandbox.masters(), vec![master]);

    // It is watched like a child.
    send(Signal::SIGKILL, master);
    let (again, _) = running(&haproxy, Some(master)).await;
    assert_eq!(bench.get("/demo").await.body, "demo");
    bench.until_alone(again).await;
    assert_eq!(
        haproxy.shutdown(Duration::from_secs(5)).await,
        Stopped::Gracefully
    );
}

#[tokio::test]
async fn a_haproxy_with_another_command_line_is_replaced_without_a_gap() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, applier) = bench.serve(&[at("go-demo", "/demo", demo.address())]).await;
    let (master, _) = running(&haproxy, None).await;
    drop((haproxy, applier));

    let plan = load_plan(&bench, Connections::OneEach);
    let mut load = Load::start(&plan);
    load.answered(50).await.unwrap();
    let dir = bench.dir();
    // The same file by another name: not the command line that this start would use.
    let settings = proxy_haproxy::ProcessSettings::new(
        bench.sandbox.binary(),
        bench.sandbox.configs_path().join("haproxy.cfg"),
        bench.run(),
    );
    let haproxy = Haproxy::start(settings).await.unwrap();
    assert_eq!(haproxy.started(), Start::Fresh);
    let (new, _) = running(&haproxy, None).await;
    assert_ne!(new, master);
    bench.until_alone(new).await;
    let seen = load.report().answered;
    load.answered(seen + 50).await.unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    haproxy.reload().await.unwrap();
    haproxy.shutdown(Duration::from_secs(5)).await;
    drop(dir);
}

/// Stopped, it holds its port and answers nobody.
#[tokio::test]
async fn a_master_that_hangs_is_replaced() {
    let bench = Bench::new();
    let (haproxy, applier) = bench.serve::<&str>(&[]).await;
    let (master, _) = running(&haproxy, None).await;
    drop((haproxy, applier));
    send(Signal::SIGSTOP, master);
    let dir = bench.dir();
    let haproxy = Haproxy::start(bench.process_settings(&dir)).await.unwrap();
    assert_eq!(haproxy.started(), Start::Fresh);
    let (new, _) = running(&haproxy, None).await;
    bench.until_alone(new).await;
    assert_eq!(bench.get("/").await.status, 404);
    haproxy.reload().await.unwrap();
    assert_eq!(
        haproxy.shutdown(Duration::from_secs(5)).await,
        Stopped::Gracefully
    );
    assert_eq!(bench.sandbox.processes(), []);
}

/// Its sockets are gone, so that nobody can ask it anything; it is found by its command line.
#[tokio::test]
async fn a_master_without_its_socket_is_replaced() {
    let bench = Bench::new();
    let (haproxy, applier) = bench.serve::<&str>(&[]).await;
    let (master, _) = running(&haproxy, None).await;
    drop((haproxy, applier));
    for socket in [bench.run().master_socket(), bench.run().worker_socket()] {
        std::fs::remove_file(socket).unwrap();
    }
    let dir = bench.dir();
    let haproxy = Haproxy::start(bench.process_settings(&dir)).await.unwrap();
    let (new, _) = running(&haproxy, None).await;
    assert_ne!(new, master);
    bench.until_alone(new).await;
    assert_eq!(bench.get("/").await.status, 404);
    haproxy.shutdown(Duration::from_secs(5)).await;
}
