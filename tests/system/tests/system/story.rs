//! The story: three replicas, one call, every replica serves the route.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{
    consul::ClusterOptions,
    haproxy::DemoBackend,
    topology::{Failure, Plan, Topology},
};

const HELLO: &str = "hello, world!";

/// Three replicas, three Consul servers behind a dead first address, and the service `go-demo`
/// that the swarm's DNS knows.
pub(crate) async fn swarm() -> Result<(Topology, DemoBackend), Failure> {
    let topology = Plan::replicas(3)
        .consul(ClusterOptions::servers(3))
        .start()
        .await?;
    let demo = DemoBackend::start(HELLO).await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    Ok((topology, demo))
}

/// The call that makes `service` serve `path` from a demo backend.
pub(crate) fn reconfigure(service: &str, path: &str, demo: &DemoBackend) -> String {
    format!(
        "reconfigure?serviceName={service}&servicePath={path}&port={}",
        demo.address().port()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_with_distribute_and_every_replica_serves_it() -> Result<(), Failure> {
    let (topology, demo) = swarm().await?;
    let call = format!("{}&distribute=true", reconfigure("go-demo", "/demo", &demo));
    let answer = topology.replica(1).call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let rows = answer.json["Peers"].as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 3, "{}", answer.text);
    assert!(
        rows.iter().all(|row| row["Status"] == "applied"),
        "{}",
        answer.text
    );

    let port = demo.address().port();
    let lines = [
        "frontend services\n".to_owned(),
        format!("    acl url_go-demo{port} path_beg /demo\n"),
        format!("    use_backend go-demo-be{port} if url_go-demo{port}\n"),
        format!("backend go-demo-be{port}\n    mode http\n"),
        format!("    server go-demo go-demo:{port}\n"),
    ];
    for replica in &topology.replicas {
        // Live at once: no waiting here.
        let hello = replica.request("/demo/hello").await?;
        assert_eq!((hello.status, hello.body.as_str()), (200, HELLO));
        assert_eq!(replica.request("/nope").await?.status, 404);
        let config = replica.config().await?;
        for line in &lines {
            assert!(
                config.contains(line.as_str()),
                "{line:?} is not in\n{config}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_distribute_every_replica_serves_it_through_the_store() -> Result<(), Failure> {
    // Without peers there is nothing but the store to hear of it from.
    let plan = Plan::replicas(3).setting("MODE", "default");
    let topology = plan.consul(ClusterOptions::servers(3)).start().await?;
    let demo = DemoBackend::start(HELLO).await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    let answer = topology
        .replica(2)
        .call(&reconfigure("go-demo", "/demo", &demo))
        .await?;
    let answered = Instant::now();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["Peers"], Value::Array(Vec::new()));
    assert_eq!(
        topology.replica(2).request("/demo/hello").await?.status,
        200
    );
    for replica in &topology.replicas {
        assert_eq!(replica.until_status("/demo/hello", 200).await?.body, HELLO);
    }
    // The bound is the promise itself, not a measurement: it takes tens of milliseconds.
    assert!(
        answered.elapsed() < Duration::from_secs(2),
        "{:?}",
        answered.elapsed()
    );
    Ok(())
}
