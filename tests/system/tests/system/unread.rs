//! What the store has and a replica cannot read: it says so wherever somebody looks.

use serde_json::Value;
use testkit::{
    consul::ClusterOptions,
    topology::{Failure, Plan, Topology, until},
};

const CHANGE: &str = "reconfigure?serviceName=a&servicePath=/a&port=80";

/// Starts the replica anew with these settings, and has it say why it knows no table, wherever that is asked.
async fn says(
    topology: &mut Topology,
    settings: &[(&str, &str)],
    why: &str,
    ready: &str,
    status: u16,
) -> Result<(), Failure> {
    let replica = topology.replica_mut(1);
    replica.crash();
    for (name, value) in settings {
        replica.set(name, value);
    }
    let before = replica.log().len();
    replica.start()?;
    let replica = topology.replica(1);
    until("the API listens", async || replica.call("ping").await).await?;
    let told = replica
        .until_state("the status says why", |state| {
            let said = |what| {
                state
                    .pointer(what)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            said("/Store/Condition") == "starting" && said("/Store/Why").contains(why)
        })
        .await?;
    let message = told.get("Message").and_then(Value::as_str);
    assert!(
        message.is_some_and(|text| text.contains("see Store")),
        "{told}"
    );
    let probed = replica.probe("readyz").await?;
    assert_eq!(probed.status, 503, "{}", probed.text);
    assert!(probed.text.contains(ready), "{}", probed.text);
    // Who asks that needs no token.
    assert!(!probed.text.contains(why), "{}", probed.text);
    let refused = replica.call(CHANGE).await?;
    assert_eq!(refused.status, status, "{}", refused.text);
    assert!(refused.text.contains(why), "{}", refused.text);
    assert!(
        refused.text.contains("nothing was changed"),
        "{}",
        refused.text
    );
    let log = replica.log().split_off(before);
    let warned: Vec<_> = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("the store cannot be followed"))
        .collect();
    assert_eq!(warned.len(), 1, "{log}");
    assert!(warned.iter().all(|line| line.contains(why)), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_replica_that_cannot_read_the_store_says_why() -> Result<(), Failure> {
    let options = ClusterOptions::servers(1).with_acl();
    let mut topology = Plan::replicas(1).consul(options).prepare().await?;
    let cluster = topology.consul_mut();
    let addresses = cluster.addresses();
    let token = cluster.management_token().unwrap_or_default().to_owned();
    let away = "cannot be read, which is tried again";
    let denied = "see CONSUL_TOKEN";
    let settings = [("CONSUL_ADDRESS", "127.0.0.1:1")];
    says(&mut topology, &settings, "127.0.0.1:1", away, 503).await?;
    let settings = [("CONSUL_ADDRESS", addresses.as_str())];
    says(&mut topology, &settings, "Permission denied", denied, 403).await?;
    let settings = [("CONSUL_TOKEN", "8c1f2a5e-0000-4000-8000-000000000000")];
    says(&mut topology, &settings, "ACL not found", denied, 403).await?;
    let replica = topology.replica_mut(1);
    replica.crash();
    replica.set("CONSUL_TOKEN", &token);
    replica.start()?;
    let replica = topology.replica(1);
    replica.until_serving().await?;
    let stored = replica.call(CHANGE).await?;
    assert_eq!(stored.status, 200, "{}", stored.text);
    let well = replica.call("status").await?;
    assert!(well.json["Store"]["Why"].is_null(), "{}", well.text);
    Ok(())
}
