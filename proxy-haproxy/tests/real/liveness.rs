//! Processes of HAProxy that hang, and sockets that somebody removed.

use std::{sync::Arc, time::Duration};

use nix::{sys::signal::Signal, unistd::Pid};
use proxy_haproxy::{Applier, ConfigDir, Haproxy, ProcessSettings, Reload as _, RenderedConfig};
use testkit::haproxy::{DemoBackend, get};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::bench::{Bench, at, equal, eventually, running, send, silent};

/// As often as a machine that is busy with tests still answers in time.
const OFTEN: Duration = Duration::from_secs(1);

/// A HAProxy that serves this, and is asked so often whether it answers.
async fn looked_at(
    bench: &Bench,
    config: &RenderedConfig,
    interval: Duration,
) -> (Arc<Haproxy>, ConfigDir) {
    let settings = |settings: ProcessSettings| settings.with_look_interval(interval);
    bench.start(config, settings).await
}

/// A HAProxy with one service, that is asked often whether it answers.
async fn watched(bench: &Bench, demo: &DemoBackend) -> (Arc<Haproxy>, Applier<Arc<Haproxy>>) {
    let config = bench.render(&[at("go-demo", "/demo", demo.address())]);
    let (haproxy, dir) = looked_at(bench, &config, OFTEN).await;
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
    bench.until_alone(again).await;
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// It did not give its sockets away, and the kernel would give it half of all connections for ever.
#[tokio::test]
async fn a_worker_that_hung_when_it_was_replaced_takes_no_connections_for_long() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let config = bench.render(&[at("go-demo", "/demo", demo.address())]);
    // Looked at only after the reload, which takes as long as HAProxy waits for the sockets.
    let (haproxy, _dir) = looked_at(&bench, &config, Duration::from_secs(4)).await;
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

/// More than the places in the queue of the master's socket.
#[tokio::test]
async fn many_workers_that_finish_connections_are_left_alone() {
    const OLD: usize = 16;
    let bench = Bench::new();
    let silent = silent().await;
    let config = bench.render(&[at("slow", "/slow", silent)]);
    let (haproxy, _dir) = looked_at(&bench, &config, OFTEN).await;
    let mut open = Vec::new();
    for _ in 0..OLD {
        let mut stream = TcpStream::connect(bench.address()).await.unwrap();
        let request = "GET /slow HTTP/1.1\r\nHost: acme.com\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        // The worker has it, so it stays for it.
        eventually("it is being served", async || {
            let sessions = bench.say("show sess\n").await;
            match sessions.contains("be=slow") {
                true => Ok(()),
                false => Err(sessions),
            }
        })
        .await;
        haproxy.reload().await.unwrap();
        open.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(haproxy.old_workers().await.unwrap().count, OLD);
    haproxy.shutdown(Duration::ZERO).await;
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
        bench.until_alone(again).await;
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
    bench.until_alone(again).await;
    haproxy.shutdown(Duration::from_secs(5)).await;
}

/// The master waits for the old one, and nobody would be served.
#[tokio::test]
async fn a_worker_that_hangs_beside_an_old_one_that_does_is_ended_with_it() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let (haproxy, _applier) = watched(&bench, &demo).await;
    let (master, workers) = running(&haproxy, None).await;
    // It has a connection to finish.
    let _open = TcpStream::connect(bench.address()).await.unwrap();
    send(Signal::SIGSTOP, workers[0]);
    let reloaded = haproxy.reload().await.unwrap();
    send(Signal::SIGSTOP, reloaded.worker_pid);
    let (again, _) = running(&haproxy, Some(master)).await;
    bench.until_alone(again).await;
    for _ in 0..20 {
        assert_eq!(bench.get("/demo").await.status, 200);
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_configuration_without_the_socket_of_the_worker_is_left_alone() {
    let bench = Bench::new();
    let text = bench.render::<&str>(&[]).main_text().to_owned();
    let lines = text
        .lines()
        .filter(|line| !line.trim().starts_with("stats socket"));
    let without = RenderedConfig::new(lines.collect::<Vec<_>>().join("\n"));
    assert_ne!(without.main_text(), text);
    let (haproxy, _dir) = looked_at(&bench, &without, Duration::from_millis(300)).await;
    let before = running(&haproxy, None).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(running(&haproxy, None).await, before);
    assert_eq!(bench.sandbox.masters(), [before.0]);
    haproxy.shutdown(Duration::from_secs(5)).await;
}
