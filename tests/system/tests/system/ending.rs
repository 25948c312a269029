//! The end of a replica: whoever sends it traffic hears of it first, and nothing is left behind. And what
//! systemd hears of it, from the start on.

use std::{path::PathBuf, time::Duration};

use testkit::{
    haproxy::DemoBackend,
    load::{Connections, Load, LoadPlan, Transport},
    topology::{Failure, PATIENCE, Plan, Replica, Topology, until},
};

use tokio::{net::UnixDatagram, time::timeout};

use crate::story::reconfigure;

/// One replica that serves `/demo`.
async fn serving(drain_delay: &str, on_end: &str) -> Result<(Topology, DemoBackend), Failure> {
    let plan = Plan::replicas(1)
        .setting("MODE", "default")
        .setting("DRAIN_DELAY", drain_delay)
        .setting("SHUTDOWN_TIMEOUT", "60")
        .setting("ON_END", on_end);
    let topology = plan.start().await?;
    let demo = DemoBackend::start("hello").await?;
    let call = format!(
        "{}&outboundHostname=127.0.0.1",
        reconfigure("go-demo", "/demo", &demo)
    );
    let answer = topology.replica(1).call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    Ok((topology, demo))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_drains_is_not_ready_and_serves_and_a_second_signal_ends_it()
-> Result<(), Failure> {
    // Longer than anything here takes, so that only the second signal can end it with a failure.
    let (mut topology, _demo) = serving("30", "stop").await?;
    let replica = topology.replica(1);
    assert_eq!(replica.probe("readyz").await?.status, 200);
    replica.ask_to_end()?;
    until("it is not ready", async || {
        let answer = replica.probe("readyz").await?;
        match answer.status {
            503 => Ok(answer.text),
            _ => Err(answer.text.into()),
        }
    })
    .await
    .map(|text| assert!(text.contains("this replica shuts down"), "{text}"))?;
    for _ in 0..20 {
        // Each on a connection of its own.
        assert_eq!(replica.request("/demo").await?.status, 200);
    }
    assert_eq!(replica.probe("healthz").await?.status, 200);

    replica.ask_to_end()?;
    let ended = topology.replica_mut(1).until_ended().await?;
    let replica = topology.replica(1);
    assert!(!ended.success(), "{ended}: {}", replica.log());
    assert!(replica.log().contains("asked to end twice"));
    assert_eq!(replica.masters(), [] as [u32; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_only_to_what_is_ready_loses_no_request() -> Result<(), Failure> {
    let (mut topology, _demo) = serving("3", "stop").await?;
    let replica = topology.replica(1);
    replica.ask_to_end()?;
    // As a load balancer does: one look, then requests on what it saw.
    let mut served = 0;
    while replica
        .probe("readyz")
        .await
        .is_ok_and(|answer| answer.status == 200)
    {
        served += 1;
        assert_eq!(replica.request("/demo").await?.status, 200, "{served}");
    }
    assert_eq!(
        replica.request("/demo").await?.status,
        200,
        "the last look was old"
    );
    let ended = topology.replica_mut(1).until_ended().await?;
    let replica = topology.replica(1);
    assert!(ended.success(), "{ended}: {}", replica.log());
    assert!(replica.request("/demo").await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_to_end_leaves_nothing_behind() -> Result<(), Failure> {
    let mut topology = Plan::replicas(1).setting("MODE", "default").start().await?;
    let ended = topology.replica_mut(1).terminate().await?;
    let replica = topology.replica(1);
    assert!(ended.success(), "{ended}: {}", replica.log());
    assert_eq!(replica.masters(), [] as [u32; 0]);
    assert_eq!(sockets(replica)?, [] as [PathBuf; 0]);
    Ok(())
}

/// HAProxy's sockets.
fn sockets(replica: &Replica) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(replica.home().join("run"))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|end| end == "sock"));
    Ok(paths)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_haproxy_is_replaced_without_a_lost_request() -> Result<(), Failure> {
    let (mut topology, _demo) = serving("0", "leave").await?;
    let masters = topology.replica(1).masters();
    let plan = LoadPlan {
        address: topology.replica(1).http(),
        transport: Transport::default(),
        host: "localhost".to_owned(),
        path: "/demo".to_owned(),
        expect: "hello".to_owned(),
        rate: 200,
        clients: 4,
        connections: Connections::OneEach,
    };
    let mut load = Load::start(&plan);
    for _ in 0..3 {
        let seen = load.report().answered;
        load.answered(seen + 50).await?;
        let ended = topology.replica_mut(1).terminate().await?;
        assert!(ended.success(), "{ended}: {}", topology.replica(1).log());
        assert_eq!(topology.replica(1).masters(), masters);
        let seen = load.report().answered;
        load.answered(seen + 50).await?;
        topology.replica_mut(1).start()?;
        topology.replica(1).until_serving().await?;
        assert_eq!(topology.replica(1).masters(), masters);
    }
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{:?}", report.failures);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_that_was_left_is_ended_on_demand_and_no_other() -> Result<(), Failure> {
    let (mut topology, _demo) = serving("0", "leave").await?;
    let said = |output: std::process::Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (ended, why) = said(topology.replica(1).end_haproxy().await?);
    assert!(!ended && why.contains("a server runs"), "{why}");
    assert_eq!(topology.replica(1).request("/demo").await?.status, 200);

    for kill in [false, true] {
        let replica = topology.replica_mut(1);
        match kill {
            true => replica.kill(),
            false => drop(replica.terminate().await?),
        }
        let replica = topology.replica(1);
        assert_eq!(replica.request("/demo").await?.status, 200, "{kill}");
        let (ended, how) = said(replica.end_haproxy().await?);
        assert!(ended && how.contains("ended: Gracefully"), "{how}");
        assert_eq!(replica.masters(), [] as [u32; 0]);
        assert_eq!(sockets(replica)?, [] as [PathBuf; 0]);
        let (ended, how) = said(replica.end_haproxy().await?);
        assert!(ended && how.contains("none serves"), "{how}");
        topology.replica_mut(1).start()?;
        topology.replica(1).until_serving().await?;
    }
    Ok(())
}

/// What systemd would hear until a message has these words, which is the last.
async fn heard(socket: &UnixDatagram, words: &str) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    let listening = async {
        loop {
            let mut buffer = [0; 4096];
            let count = socket.recv(&mut buffer).await?;
            let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default());
            all.push(text.clone().into_owned());
            if text.contains(words) {
                return Ok::<_, Failure>(());
            }
        }
    };
    timeout(PATIENCE, listening)
        .await
        .map_err(|_| format!("{words:?} was not heard"))??;
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_when_a_replica_is_ready_alive_and_ending() -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("sd").tempdir_in("/tmp")?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    let watchdog = Duration::from_secs(1).as_micros().to_string();
    let plan = Plan::replicas(1)
        .setting("MODE", "default")
        .setting("NOTIFY_SOCKET", &path.display().to_string())
        .setting("WATCHDOG_USEC", &watchdog);
    let mut topology = plan.prepare().await?;
    topology.replica_mut(1).start()?;

    let until_ready = heard(&socket, "READY=1").await?;
    let served = topology.replica(1).request("/").await?;
    assert_eq!(served.status, 404, "ready means served: {until_ready:?}");
    let said = until_ready.concat();
    assert!(said.contains("READY=1\nSTATUS=serves 0 services"), "{said}");
    heard(&socket, "WATCHDOG=1").await?;
    heard(&socket, "WATCHDOG=1").await?;

    topology.replica(1).ask_to_end()?;
    let rest = heard(&socket, "STOPPING=1").await;
    let rest = rest.map_err(|why| format!("{why}\n{}", topology.logs()))?;
    let rest = rest.concat();
    assert!(!rest.contains("READY=1"), "it was said before: {rest}");
    let ended = topology.replica_mut(1).until_ended().await?;
    assert!(ended.success(), "{ended}");
    Ok(())
}
