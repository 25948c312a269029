//! Names that do not resolve, not yet, not any more, or only on this machine.

use std::time::{Duration, Instant};

use testkit::{
    dns::Fault,
    haproxy::DemoBackend,
    load::{Connections, Load, LoadPlan, Transport},
    topology::{Failure, Plan, until},
};

use crate::{maps::applies, story::reconfigure};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_goes_live_by_itself_when_its_name_appears() -> Result<(), Failure> {
    let topology = Plan::replicas(1).setting("MODE", "default").start().await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("hello").await?;
    let answer = replica.call(&reconfigure("late", "/late", &demo)).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(replica.request("/late").await?.status, 503);
    topology.dns.set("late", [demo.address().ip()]);
    replica.until_status("/late", 200).await?;
    Ok(())
}

/// A minute of silence, and a minute of denial elsewhere meanwhile, told by what HAProxy and the clients saw: the load
/// goes on all the while.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_or_denying_name_server_takes_no_healthy_service_down() -> Result<(), Failure> {
    let minute_of = |fault| tokio::spawn(goes_on_for_a_minute(fault));
    let (silent, denying) = (minute_of(Fault::Silent), minute_of(Fault::NxDomain));
    silent.await??;
    denying.await?
}

async fn goes_on_for_a_minute(fault: Fault) -> Result<(), Failure> {
    let topology = Plan::replicas(1).setting("MODE", "default").start().await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("steady").await?;
    topology.dns.set("steady", [demo.address().ip()]);
    assert_eq!(
        replica
            .call(&reconfigure("steady", "/steady", &demo))
            .await?
            .status,
        200
    );
    replica.until_status("/steady", 200).await?;
    let mut load = Load::start(&LoadPlan {
        address: replica.http(),
        transport: Transport::Plain,
        host: "localhost".to_owned(),
        path: "/steady".to_owned(),
        expect: "steady".to_owned(),
        rate: 100,
        clients: 4,
        connections: Connections::OneEach,
    });
    topology.dns.fault_all(fault.clone());
    let minute = Instant::now();
    let mut calls = 0;
    while minute.elapsed() < Duration::from_secs(60) {
        // A reconfigure of a name that nobody answers for costs its deadline and no more.
        let name = format!("new-{calls}");
        let asked = Instant::now();
        let answer = replica
            .call(&reconfigure(&name, &format!("/{name}"), &demo))
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(20), "{fault:?}: {took:?}");
        calls += 1;
        let reached = load.report().answered + 300;
        load.answered(reached).await?;
    }
    assert!(calls > 3, "{calls}");
    topology.dns.heal_all();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{fault:?}: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_only_the_hosts_file_knows_works_and_is_followed() -> Result<(), Failure> {
    let hosts = tempfile_in_topology()?;
    let path = hosts.path().join("hosts");
    std::fs::write(&path, "127.0.0.1 localhost\n127.0.0.1 only-here\n")?;
    let plan = Plan::replicas(1)
        .setting("MODE", "default")
        .setting("HOSTS_FILE", &path.display().to_string());
    let topology = plan.start().await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("hello").await?;
    let answer = replica
        .call(&reconfigure("only-here", "/here", &demo))
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(replica.request("/here").await?.status, 200);
    // It moves to an address where another listens on the same port.
    let moved =
        DemoBackend::start_at(([127, 0, 0, 99], demo.address().port()).into(), "moved").await?;
    let reloads = applies(replica, "reloaded").await?;
    std::fs::write(&path, "127.0.0.99 only-here\n")?;
    drop(demo);
    let answer = replica.until_status("/here", 200).await?;
    assert_eq!(answer.body, "moved");
    // It is counted once it is done, and answers before.
    until("the move to be counted", || async {
        match applies(replica, "runtime").await? {
            1 => Ok(()),
            other => Err(format!("it is counted {other} times").into()),
        }
    })
    .await?;
    assert_eq!(applies(replica, "reloaded").await?, reloads, "no reload");
    drop(moved);
    Ok(())
}

fn tempfile_in_topology() -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("hosts").tempdir()
}
