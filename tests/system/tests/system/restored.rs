//! A store that is not what it was: wiped, restored from an older state, or closed to this token.

use testkit::{
    consul::ClusterOptions,
    haproxy::DemoBackend,
    topology::{Failure, Plan, Topology},
};

use crate::story::{reconfigure, swarm};

async fn add(topology: &Topology, service: &str, demo: &DemoBackend) -> Result<(), Failure> {
    topology.dns.set(service, [demo.address().ip()]);
    let call = format!(
        "{}&distribute=true",
        reconfigure(service, &format!("/{service}"), demo)
    );
    let answer = topology.replica(1).call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_store_is_filled_again() -> Result<(), Failure> {
    let (mut topology, demo) = swarm().await?;
    add(&topology, "one", &demo).await?;
    add(&topology, "two", &demo).await?;
    let epoch = topology.replica(1).call("status").await?.json["Revision"]["Epoch"].clone();
    topology.consul_mut().wipe().await?;
    for replica in &topology.replicas {
        let state = replica
            .until_state("it follows the new epoch", |state| {
                state["Stale"] == false && state["Revision"]["Epoch"] != epoch
            })
            .await?;
        assert_eq!(state["Services"], 2, "{state}");
        assert_eq!(replica.request("/one").await?.status, 200);
        assert_eq!(replica.request("/two").await?.status, 200);
    }
    let keys = topology.consul_mut().keys("docker-flow/services/").await?;
    assert_eq!(keys.len(), 2, "{keys:?}");
    add(&topology, "three", &demo).await?;
    for replica in &topology.replicas {
        assert_eq!(replica.request("/three").await?.status, 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_store_is_left_alone_when_told_so() -> Result<(), Failure> {
    let plan = Plan::replicas(1)
        .setting("ON_EMPTY_STORE", "hold")
        .consul(ClusterOptions::servers(1));
    let mut topology = plan.start().await?;
    let demo = DemoBackend::start("hello").await?;
    add(&topology, "one", &demo).await?;
    topology.consul_mut().wipe().await?;
    let replica = topology.replica(1);
    replica
        .until_state("it sees the store wiped", |state| {
            state["Store"]["Condition"] == "wiped"
        })
        .await?;
    assert_eq!(replica.request("/one").await?.status, 200);
    assert!(
        topology
            .consul_mut()
            .keys("docker-flow/services/")
            .await?
            .is_empty()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_wins_and_what_was_served_is_kept_in_a_file() -> Result<(), Failure> {
    let (mut topology, demo) = swarm().await?;
    add(&topology, "one", &demo).await?;
    let older = topology.consul_mut().snapshot().await?;
    add(&topology, "two", &demo).await?;
    topology.consul_mut().restore(older).await?;
    for replica in &topology.replicas {
        replica.until_status("/two", 404).await?;
        assert_eq!(replica.request("/one").await?.status, 200);
        let state = replica
            .until_state("the file is named", |state| {
                state["Superseded"]["File"].is_string()
            })
            .await?;
        let file = state["Superseded"]["File"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let text = std::fs::read_to_string(&file)?;
        assert!(text.contains("\"two\""), "{text}");
    }
    // The operator who wants it back imports it.
    let state = topology.replica(1).call("status").await?.json;
    let file = std::fs::read(state["Superseded"]["File"].as_str().unwrap_or_default())?;
    let imported = topology
        .replica(1)
        .post("import?distribute=true", "application/json", file)
        .await?;
    assert_eq!(imported.status, 200, "{}", imported.text);
    for replica in &topology.replicas {
        assert_eq!(replica.request("/two").await?.status, 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_rights_empties_nothing() -> Result<(), Failure> {
    const ALL: &str = "key_prefix \"docker-flow/\" { policy = \"write\" }";
    const NONE: &str = "key_prefix \"other/\" { policy = \"read\" }";
    let plan = Plan::replicas(1).consul(ClusterOptions::servers(1).with_acl());
    let mut topology = plan.prepare().await?;
    let token = topology.consul_mut().token("proxy", ALL).await?;
    topology.replica_mut(1).set("CONSUL_TOKEN", &token.0);
    topology.replica_mut(1).start()?;
    topology.replica(1).until_serving().await?;
    let demo = DemoBackend::start("hello").await?;
    add(&topology, "one", &demo).await?;

    topology.consul_mut().set_rules("proxy", NONE).await?;
    let denied = topology
        .replica(1)
        .call(&reconfigure("late", "/late", &demo))
        .await?;
    assert_eq!(denied.status, 403, "{}", denied.text);
    assert_eq!(topology.replica(1).request("/one").await?.status, 200);
    // Not at a start either.
    topology.replica_mut(1).crash();
    topology.replica_mut(1).start()?;
    let replica = topology.replica(1);
    replica.until_status("/one", 200).await?;
    replica
        .until_state("it is not well", |state| state["Stale"] == true)
        .await?;
    assert!(!replica.log().contains(&token.0), "the token is in the log");

    topology.consul_mut().set_rules("proxy", ALL).await?;
    topology
        .replica(1)
        .until_state("it is well", |state| state["Stale"] == false)
        .await?;
    let keys = topology.consul_mut().keys("docker-flow/services/").await?;
    assert_eq!(keys, ["docker-flow/services/one"]);
    assert_eq!(topology.replica(1).request("/one").await?.status, 200);
    Ok(())
}
