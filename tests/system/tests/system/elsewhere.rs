//! Services that no call brought: from the environment, from a swarm listener and from Docker's labels.

use serde_json::{Value, json};
use testkit::{
    haproxy::DemoBackend,
    topology::{Failure, Plan, Topology, until},
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path, path_regex},
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
        .setting("DFP_SERVICE_1_SERVICE_CERT", "a certificate")
        .setting("DFP_SERVICE_2_SERVICE_NAME", "wrong")
        .start()
        .await?;
    until("what is not used is told", async || {
        let said = topology.logs().contains("serviceCert is not used");
        said.then_some(()).ok_or_else(|| "not yet".into())
    })
    .await?;
    all_answer(&topology, "/given", 200).await?;
    let at_first = all_answer(&topology, "/told", 200).await;
    at_first.map_err(|why| format!("at first: {why}\n{}", topology.replica(1).log()))?;
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
    let query = "reload?fromListener=true&dryRun=true";
    let tried = topology.replica(2).call(query).await?;
    assert_eq!(tried.status, 200, "{}", tried.text);
    let words = "the listeners would be asked";
    assert!(tried.text.contains(words), "{}", tried.text);
    let answer = topology.replica(2).call("reload?fromListener=true").await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    all_answer(&topology, "/told", 200).await?;
    all_answer(&topology, "/more", 200).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_docker_are_served_with_no_call() -> Result<(), Failure> {
    let demo = DemoBackend::start("hello").await?;
    let engine = MockServer::start().await;
    let says = async |pattern: &str, status: u16, body: &Value| {
        Mock::given(method("GET"))
            .and(path_regex(pattern))
            .respond_with(ResponseTemplate::new(status).set_body_json(body))
            .mount(&engine)
            .await;
    };
    let version = json!({ "ApiVersion": "1.41", "MinAPIVersion": "1.12" });
    let api = json!({
        "Spec": {
            "Name": "shop_api",
            "Mode": { "Replicated": { "Replicas": 1 } },
            "Labels": {
                "com.docker.stack.namespace": "shop",
                "com.df.notify": "true",
                "com.df.shortName": "true",
                "com.df.outboundHostname": "127.0.0.1",
                "com.df.port": demo.address().port().to_string(),
                "com.df.servicePath.1": "/one",
                "com.df.servicePath.2": "/two",
            },
        },
    });
    says("/version$", 200, &version).await;
    says("/services$", 200, &json!([api])).await;
    let host = engine.uri().replace("http://", "tcp://");
    let topology = Plan::replicas(2)
        .setting("LISTEN_DOCKER", "true")
        .setting("LISTEN_DOCKER_INTERVAL", "1")
        .setting("DOCKER_HOST", &host)
        .start()
        .await?;
    all_answer(&topology, "/one", 200).await?;
    all_answer(&topology, "/two", 200).await?;
    // HAProxy serves it a moment before the server says so.
    until("the service is listed with its source", async || {
        let answer = topology.replica(1).call("config?type=json").await?;
        match answer.json["api"]["Source"] == "docker" {
            true => Ok(()),
            false => Err(answer.text.into()),
        }
    })
    .await?;

    // Without Consul no replica knows that what it holds is the newest, and writes what it is asked for;
    // what is so already is not asked for.
    let revision = async || -> Result<Value, Failure> {
        Ok(topology.replica(2).call("status").await?.json["Revision"].clone())
    };
    let looks = async || engine.received_requests().await.unwrap_or_default().len();
    // Both may have asked for it at first; the first looks are over when the others are counted.
    let looked_again = async |times| {
        let looked = looks().await;
        until(
            "Docker is looked at again and again",
            async || match looks().await {
                enough if enough >= looked + times => Ok(()),
                other => Err(other.to_string().into()),
            },
        )
        .await
    };
    looked_again(8).await?;
    let before = revision().await?;
    assert!(before.is_object(), "{before}");
    looked_again(12).await?;
    assert_eq!(revision().await?, before);

    engine.reset().await;
    says("/version$", 200, &version).await;
    says("/services$", 200, &json!([])).await;
    says(
        "/services/.+$",
        404,
        &json!({ "message": "no such service" }),
    )
    .await;
    all_answer(&topology, "/one", 404).await?;
    Ok(())
}
