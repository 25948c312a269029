//! Processes of HAProxy that hang, and sockets that somebody removed.

use std::{sync::Arc, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxy_haproxy::{Applier, Haproxy, Reload as _};
use testkit::haproxy::{DemoBackend, get};

use crate::bench::{Bench, at, equal, eventually, running};

fn send(signal: Signal, pid: u32) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// A HAProxy with one service, that is asked often whether it answers.
async fn watched(bench: &Bench, demo: &DemoBackend) -> (Arc<Haproxy>, Applier<Arc<Haproxy>>) {
    let config = bench.render(&[at("go-demo", "/demo", demo.address())]);
    let mut dir = bench.dir();
    let staged = dir.stage(&config).unwrap();
    dir.activate(staged).unwrap();
    let settings = bench.process_settings(&dir);
    let settings = settings.with_look_interval(Duration::from_secs(1));
    let haproxy = Arc::new(Haproxy::start(settings).await.unwrap());
    let applier = Applier::new(dir, Arc::clone(&haproxy)).with_running_config(config);
    (haproxy, applier)
}

#[tokio::test]
async fn a_worker_that_hangs_is_ended_and_another_serves() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, _applier) = watched(&bench, &demo).await;
    let (master, workers) = running(&haproxy, None).await;
    send(Signal::SIGSTOP, workers[0]);
    let (again, _) = running(&haproxy, Some(master)).await;
    assert_eq!(bench.get("/demo").await.status, 200);
    eventually("one master", async || {
        equal(bench.sandbox.masters(), vec![again])
    })
    .await;
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// It did not give its sockets away, and the kernel would give it half of all connections for ever.
#[tokio::test]
async fn a_worker_that_hung_when_it_was_replaced_takes_no_connections_for_long() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let config = bench.render(&[at("go-demo", "/demo", demo.address())]);
    let mut dir = bench.dir();
    let staged = dir.stage(&config).unwrap();
    dir.activate(staged).unwrap();
    let settings = bench.process_settings(&dir);
    // Looked at only after the reload, which takes as long as HAProxy waits for the sockets.
    let settings = settings.with_look_interval(Duration::from_secs(4));
    let haproxy = Haproxy::start(settings).await.unwrap();
    let (master, workers) = running(&haproxy, None).await;
    send(Signal::SIGSTOP, workers[0]);
    let reloaded = haproxy.reload().await.unwrap();
    assert_eq!((reloaded.master_pid, reloaded.old_workers), (master, 1));
    eventually("every request is answered", async || {
        for _ in 0..40 {
            let answer = get(bench.address(), "acme.com", "/demo");
            match tokio::time::timeout(Duration::from_secs(1), answer).await {
                Ok(Ok(answer)) if answer.status == 200 => {}
                other => return Err(format!("{other:?}")),
            }
        }
        let gone = nix::sys::signal::kill(Pid::from_raw(workers[0].try_into().unwrap()), None);
        equal(gone, Err(nix::errno::Errno::ESRCH))
    })
    .await;
    // The master and the new worker did not go with it.
    assert_eq!(
        running(&haproxy, None).await,
        (master, vec![reloaded.worker_pid])
    );
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn sockets_that_were_removed_come_back_and_the_master_is_not_missed() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, mut applier) = watched(&bench, &demo).await;
    let (master, _) = running(&haproxy, None).await;
    for remove in [
        &[bench.run().master_socket().to_owned()][..],
        &[bench.run().worker_socket().to_owned()],
    ] {
        let (master, _) = running(&haproxy, None).await;
        for socket in remove {
            std::fs::remove_file(socket).unwrap();
        }
        let (again, _) = running(&haproxy, Some(master)).await;
        assert_eq!(bench.get("/demo").await.status, 200);
        eventually("one master", async || {
            equal(bench.sandbox.masters(), vec![again])
        })
        .await;
        assert!(haproxy.statistics().await.unwrap().contains("go-demo"));
        haproxy.reload().await.unwrap();
    }
    assert_ne!(running(&haproxy, None).await.0, master);
    let config = bench.render(&[at("go-demo", "/other", demo.address())]);
    applier.apply(&config).await.unwrap();
    assert_eq!(bench.get("/other").await.status, 200);
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_master_that_hangs_is_replaced_while_its_worker_serves() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, _applier) = watched(&bench, &demo).await;
    let (master, _) = running(&haproxy, None).await;
    send(Signal::SIGSTOP, master);
    let (again, _) = running(&haproxy, Some(master)).await;
    assert_eq!(bench.get("/demo").await.status, 200);
    haproxy.reload().await.unwrap();
    eventually("one master", async || {
        equal(bench.sandbox.masters(), vec![again])
    })
    .await;
    haproxy.shutdown(Duration::from_secs(5)).await;
}
