//! The store is away: traffic goes on, changes are refused in so many words, and all heals.

use testkit::{
    consul::ClusterOptions,
    haproxy::DemoBackend,
    topology::{Failure, Plan, Topology, until},
};

use crate::story::{reconfigure, swarm};

fn kill_consul(topology: &mut Topology) {
    for nth in 0..3 {
        topology.consul_mut().kill(nth);
    }
}

async fn restart_consul(topology: &mut Topology) -> Result<(), Failure> {
    for nth in 0..3 {
        topology.consul_mut().restart(nth)?;
    }
    topology.consul_mut().wait_leader().await?;
    Ok(())
}

async fn with_go_demo() -> Result<(Topology, DemoBackend), Failure> {
    let (topology, demo) = swarm().await?;
    let call = format!("{}&distribute=true", reconfigure("go-demo", "/demo", &demo));
    assert_eq!(topology.replica(1).call(&call).await?.status, 200);
    Ok((topology, demo))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_comes_back_is_ready_with_what_the_store_holds() -> Result<(), Failure> {
    let mut topology = Plan::replicas(2)
        .consul(ClusterOptions::servers(1))
        .start()
        .await?;
    let demo = DemoBackend::start("hello").await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    for _ in 0..3 {
        let call = format!("{}&distribute=true", reconfigure("go-demo", "/demo", &demo));
        let answer = topology.replica(2).call(&call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        topology.replica(1).until_status("/demo", 200).await?;
        topology.replica_mut(1).crash();
        let answer = topology
            .replica(2)
            .call("remove?serviceName=go-demo")
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        topology.replica_mut(1).start()?;
        let first = topology.replica(1);
        until("the replica is ready", async || {
            match first.probe("readyz").await?.status {
                200 => Ok(()),
                status => Err(format!("status {status}").into()),
            }
        })
        .await?;
        assert_eq!(first.request("/demo").await?.status, 404);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consul_traffic_goes_on_and_changes_are_refused() -> Result<(), Failure> {
    let (mut topology, demo) = with_go_demo().await?;
    kill_consul(&mut topology);
    for replica in &topology.replicas {
        assert_eq!(replica.request("/demo/hello").await?.status, 200);
    }
    let before = topology.replica(1).config().await?;
    let refused = topology
        .replica(1)
        .call(&reconfigure("late", "/late", &demo))
        .await?;
    assert_eq!(refused.status, 503, "{}", refused.text);
    let message = refused.json["Message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for nth in 0..3 {
        let address = topology.consul_mut().address(nth);
        assert!(message.contains(&address), "{address} is not in: {message}");
    }
    assert!(message.contains("nothing was changed"), "{message}");
    assert_eq!(topology.replica(1).config().await?, before);

    // A replica that starts now serves what it served last, and says so.
    let third = topology.replica_mut(3);
    third.crash();
    third.start()?;
    third.until_status("/demo/hello", 200).await?;
    third
        .until_state("it is stale", |state| {
            state["Store"]["Condition"] == "stale"
        })
        .await?;

    restart_consul(&mut topology).await?;
    for replica in &topology.replicas {
        replica
            .until_state("it follows the store", |state| state["Stale"] == false)
            .await?;
    }
    let call = format!("{}&distribute=true", reconfigure("late", "/late", &demo));
    topology.dns.set("late", [demo.address().ip()]);
    let accepted = topology.replica(3).call(&call).await?;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
    for replica in &topology.replicas {
        assert_eq!(replica.request("/late").await?.status, 200);
        assert_eq!(replica.request("/demo/hello").await?.status, 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_knows_no_table_opens_no_port() -> Result<(), Failure> {
    let (mut topology, _demo) = with_go_demo().await?;
    topology.replica_mut(3).crash();
    topology.replica(3).wipe()?;
    kill_consul(&mut topology);
    topology.replica_mut(3).start()?;
    let third = topology.replica(3);
    let state = third
        .until_state("it starts", |state| {
            state["Store"]["Condition"] == "starting"
        })
        .await?;
    assert_eq!(state["Haproxy"]["Condition"], "not started", "{state}");
    assert!(
        third.request("/demo/hello").await.is_err(),
        "an empty table must not answer 404"
    );
    let refused = third
        .call("reconfigure?serviceName=a&servicePath=/a&port=80")
        .await?;
    assert_eq!(refused.status, 503, "{}", refused.text);
    restart_consul(&mut topology).await?;
    topology.replica(3).until_status("/demo/hello", 200).await?;
    Ok(())
}
