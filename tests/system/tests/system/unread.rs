//! What the store has and a replica cannot read: it says so wherever somebody looks.

use serde_json::Value;
use testkit::{
    consul::ClusterOptions,
    haproxy::DemoBackend,
    topology::{Failure, Plan, Topology, until},
};

use crate::story::reconfigure;

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

/// What somebody puts in the place of a service's document.
const BROKEN: &[u8] = br#"{"version":1,"name":"s2","destinations":[{"port":"x"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_broke_in_consul_is_named_and_put_back_by_the_same_call()
-> Result<(), Failure> {
    let mut topology = Plan::replicas(2)
        .consul(ClusterOptions::servers(1))
        .start()
        .await?;
    let demo = DemoBackend::start("hello").await?;
    let calls = ["s1", "s2", "s3"].map(|name| {
        let call = reconfigure(name, &format!("/{name}"), &demo);
        format!(
            "{call}&outboundHostname={}&distribute=true",
            demo.address().ip()
        )
    });
    for call in &calls {
        let answer = topology.replica(1).call(call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    topology.replica_mut(2).crash();
    topology.replica_mut(2).wipe()?;
    let key = |name: &str| format!("docker-flow/services/{name}");
    let good = topology.consul_mut().get(&key("s1")).await?;
    topology.consul_mut().put(&key("s1"), b"rubbish").await?;
    topology.consul_mut().put(&key("s2"), BROKEN).await?;
    topology.replica_mut(2).start()?;
    let second = topology.replica(2);
    second.until_serving().await?;
    second.until_status("/s3", 200).await?;
    let state = second.call("status").await?;
    for name in ["s1", "s2"] {
        let why = state.json.pointer(&format!("/Degraded/{name}"));
        let why = why.and_then(Value::as_str).unwrap_or_default();
        assert!(
            why.ends_with("nothing of it is served here"),
            "{}",
            state.text
        );
        assert_eq!(second.request(&format!("/{name}")).await?.status, 404);
        let log = second.log();
        let told = log
            .lines()
            .filter(|line| line.contains("WARN") && line.contains(&format!("service={name} ")));
        assert_eq!(told.count(), 1, "{log}");
    }
    assert!(!state.text.contains("ACL token"), "{}", state.text);
    let file = second.call("export").await?;
    assert!(file.json.pointer("/degraded/s1").is_some(), "{}", file.text);
    // The first replica has not noticed, and serves what was broken. The same call once more is no empty word.
    topology.consul_mut().delete(&key("s3")).await?;
    for call in &calls {
        let answer = topology.replica(1).call(call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let rows = answer.json.get("Peers").and_then(Value::as_array);
        assert_eq!(rows.map(Vec::len), Some(2), "{}", answer.text);
    }
    for name in ["s1", "s2", "s3"] {
        let answer = topology.replica(2).request(&format!("/{name}")).await?;
        assert_eq!(answer.status, 200, "{name}");
        assert!(
            topology.consul_mut().get(&key(name)).await?.is_some(),
            "{name}"
        );
    }
    assert_eq!(topology.consul_mut().get(&key("s1")).await?, good);
    for replica in &topology.replicas {
        let well = |state: &Value| state.get("Degraded") == Some(&serde_json::json!({}));
        replica.until_state("all is well", well).await?;
    }
    Ok(())
}
