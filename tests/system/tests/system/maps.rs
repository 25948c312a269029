//! The map form: routes that change while HAProxy runs on.

use testkit::{
    haproxy::DemoBackend,
    load::{Connections, Load, LoadPlan, Transport},
    topology::{Failure, Plan, Replica},
};

use crate::story::reconfigure;

/// How often a replica made a configuration live in a certain way.
pub(crate) async fn applies(replica: &Replica, how: &str) -> Result<u64, Failure> {
    let text = replica.metrics().await?;
    let label = format!("proxy_applies_total{{outcome=\"{how}\"");
    let lines = text.lines().filter(|line| line.starts_with(&label));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_a_known_service_gains_or_loses_needs_no_reload() -> Result<(), Failure> {
    let plan = Plan::replicas(1)
        .setting("MODE", "default")
        .setting("ROUTING", "map");
    let mut topology = plan.start().await?;
    let demo = DemoBackend::start("steady").await?;
    let here = "&outboundHostname=127.0.0.1";
    let steady = |paths: &str| format!("{}{here}", reconfigure("steady", paths, &demo));
    assert_eq!(
        topology.replica(1).call(&steady("/steady")).await?.status,
        200
    );
    let replica = topology.replica(1);
    let mut load = Load::start(&LoadPlan {
        address: replica.http(),
        transport: Transport::Plain,
        host: "localhost".to_owned(),
        path: "/steady".to_owned(),
        expect: "steady".to_owned(),
        rate: 300,
        clients: 4,
        connections: Connections::KeptAlive,
    });
    let reloads = applies(replica, "reloaded").await?;
    for round in 0..10 {
        let answer = replica
            .call(&steady(&format!("/steady,/round-{round}")))
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(
            replica.request(&format!("/round-{round}")).await?.status,
            200
        );
        if round > 0 {
            assert_eq!(
                replica
                    .request(&format!("/round-{}", round - 1))
                    .await?
                    .status,
                404
            );
        }
        let reached = load.report().answered + 20;
        load.answered(reached).await?;
    }
    assert_eq!(applies(replica, "reloaded").await?, reloads, "no reload");
    assert_eq!(applies(replica, "runtime").await?, 10);
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    // What was told is also on disk: a HAProxy that starts anew routes the same.
    topology.replica_mut(1).crash();
    topology.replica_mut(1).start()?;
    topology.replica(1).until_status("/round-9", 200).await?;
    assert_eq!(topology.replica(1).request("/round-8").await?.status, 404);
    Ok(())
}
