//! Replicas that trust only whoever holds their secret.

use testkit::{
    consul::ClusterOptions,
    haproxy::DemoBackend,
    topology::{Failure, Plan},
};

use crate::story::reconfigure;

#[tokio::test(flavor = "multi_thread")]
async fn with_a_secret_replicas_hear_each_other_and_nobody_else() -> Result<(), Failure> {
    let mut topology = Plan::replicas(3)
        .consul(ClusterOptions::servers(1))
        .setting("PEER_SECRET", "sesame")
        .start()
        .await?;
    let demo = DemoBackend::start("hello").await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    let call = format!("{}&distribute=true", reconfigure("go-demo", "/demo", &demo));
    let answer = topology.replica(1).call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["Peers"].as_array().map(Vec::len), Some(3));

    for path in ["peer/announce", "peer/registers"] {
        let body = br#""digest""#.to_vec();
        let stranger = topology
            .replica(1)
            .post(path, "application/json", body)
            .await?;
        assert_eq!(stranger.status, 401, "{}", stranger.text);
        assert!(stranger.text.contains("PEER_SECRET"), "{}", stranger.text);
    }

    // One with another secret: it is named with the reason, and follows the store all the same.
    topology.replica_mut(3).crash();
    topology.replica_mut(3).set("PEER_SECRET", "simsim");
    topology.replica_mut(3).start()?;
    topology.replica(3).until_serving().await?;
    let call = format!(
        "{}&distribute=true&timeout=5",
        reconfigure("go-demo", "/other", &demo)
    );
    let answer = topology.replica(1).call(&call).await?;
    assert_eq!(
        (answer.status, &answer.json["Stored"]),
        (502, &true.into()),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("another secret"), "{}", answer.text);
    topology.replica(3).until_status("/other", 200).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_without_consul_tell_their_table_only_to_each_other() -> Result<(), Failure> {
    let topology = Plan::replicas(2)
        .setting("PEER_SECRET", "sesame")
        .start()
        .await?;
    let demo = DemoBackend::start("hello").await?;
    let call = format!(
        "{}&outboundHostname=127.0.0.1",
        reconfigure("demo", "/demo", &demo)
    );
    assert_eq!(topology.replica(1).call(&call).await?.status, 200);
    topology.replica(2).until_status("/demo", 200).await?;
    let body = br#""digest""#.to_vec();
    let asked = topology
        .replica(1)
        .post("peer/registers", "application/json", body);
    assert_eq!(asked.await?.status, 401);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_two_proxies_that_share_a_secret_stay_two_proxies() -> Result<(), Failure> {
    let mut topology = Plan::replicas(2)
        .setting("PEER_SECRET", "sesame")
        .start()
        .await?;
    let demo = DemoBackend::start("hello").await?;
    let call = |name: &str, path: &str| {
        let call = reconfigure(name, path, &demo);
        format!("{call}&outboundHostname=127.0.0.1&distribute=true&timeout=5")
    };
    let answer = topology.replica(1).call(&call("demo", "/demo")).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);

    // Discovery knows its address still, and it is another proxy's now.
    let second = topology.replica_mut(2);
    assert!(second.terminate().await?.success());
    second.wipe()?;
    second.set("PROXY_INSTANCE_NAME", "staging");
    second.start()?;
    topology.replica(2).until_serving().await?;
    let answer = topology.replica(2).call(&call("own", "/own")).await?;
    assert_eq!(answer.status, 502, "{}", answer.text);
    let answer = topology.replica(1).call(&call("demo", "/other")).await?;
    assert_eq!(answer.status, 502, "{}", answer.text);
    let words = "is for replicas of \\\"docker-flow\\\", and this is one of \\\"staging\\\"";
    assert!(answer.text.contains(words), "{}", answer.text);
    topology.replica(1).until_status("/other", 200).await?;
    topology.replica(2).until_status("/own", 200).await?;
    for (replica, path) in [(1, "/own"), (2, "/demo"), (2, "/other")] {
        let answer = topology.replica(replica).request(path).await?;
        assert_eq!(answer.status, 404, "{replica} {path}");
    }
    let status = topology.replica(1).call("status?peers=true").await?;
    assert!(status.text.contains(words), "{}", status.text);
    Ok(())
}
