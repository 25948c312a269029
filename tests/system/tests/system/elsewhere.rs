//! Services that no call brought: from the environment and from a swarm listener.

use serde_json::{Value, json};
use testkit::{
    haproxy::DemoBackend,
    topology::{Failure, Plan, Topology, until},
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

const LIST: &str = "/v1/docker-flow-swarm-listener/get-services";

/// A service as a listener lists it.
fn entry(name: &str, demo: &DemoBackend) -> Value {
    json!({
        "serviceName": name,
        "servicePath": format!("/{name}"),
        "port": demo.address().port().to_string(),
        "outboundHostname": "127.0.0.1",
        "replicas": "2",
        "distribute": "true",
    })
}

async fn says(listener: &MockServer, list: &[Value]) {
    listener.reset().await;
    Mock::given(method("GET"))
        .and(path(LIST))
        .respond_with(ResponseTemplate::new(200).set_body_json(list))
        .mount(listener)
        .await;
}

async fn all_answer(topology: &Topology, path: &str, status: u16) -> Result<(), Failure> {
    for replica in &topology.replicas {
        replica.until_status(path, status).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_from_elsewhere_are_served_by_every_replica() -> Result<(), Failure> {
    let demo = DemoBackend::start("hello").await?;
    let port = demo.address().port().to_string();
    let listener = MockServer::start().await;
    let mut foreign = entry("foreign", &demo);
    foreign["proxyInstanceName"] = "another".into();
    says(&listener, &[entry("told", &demo), foreign]).await;
    let topology = Plan::replicas(2)
        .setting("LISTENER_ADDRESS", &listener.uri())
        .setting("FILTER_PROXY_INSTANCE_NAME", "true")
        .setting("DFP_SERVICE_1_SERVICE_NAME", "given")
        .setting("DFP_SERVICE_1_SERVICE_PATH_1", "/given")
        .setting("DFP_SERVICE_1_OUTBOUND_HOSTNAME", "127.0.0.1")
        .setting("DFP_SERVICE_1_PORT_1", &port)
        .setting("DFP_SERVICE_2_SERVICE_NAME", "wrong")
        .start()
        .await?;
    all_answer(&topology, "/given", 200).await?;
    all_answer(&topology, "/told", 200).await?;
    let one = topology.replica(1);
    until("the listener's list was read", async || {
        match one.call("successfulinitreload").await?.status {
            200 => Ok(()),
            other => Err(other.to_string().into()),
        }
    })
    .await?;
    assert_eq!(one.request("/foreign").await?.status, 404);
    let log = one.log();
    assert!(
        log.contains(r#"service="DFP_SERVICE_2" why="servicePath: neither"#),
        "{log}"
    );

    // What a listener tells by itself: a service that has no replica any more is gone.
    let call = format!("reconfigure?serviceName=told&servicePath=/told&port={port}&replicas=0");
    let answer = one.call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    all_answer(&topology, "/told", 404).await?;
    let call =
        format!("reconfigure?serviceName=x&servicePath=/x&port={port}&proxyInstanceName=another");
    let answer = one.call(&call).await?;
    assert_eq!(
        (answer.status, &answer.json["Stored"]),
        (200, &json!(false))
    );
    assert_eq!(one.request("/x").await?.status, 404);

    // Asked again, it tells all it knows.
    says(&listener, &[entry("told", &demo), entry("more", &demo)]).await;
    let answer = topology.replica(2).call("reload?fromListener=true").await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    all_answer(&topology, "/told", 200).await?;
    all_answer(&topology, "/more", 200).await?;
    Ok(())
}
