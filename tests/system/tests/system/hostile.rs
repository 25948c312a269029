//! Input that nobody sends by mistake.

use testkit::{
    haproxy::{DemoBackend, Request, request},
    topology::{Failure, Plan},
};

use crate::story::reconfigure;

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_is_refused_and_changes_nothing() -> Result<(), Failure> {
    let topology = Plan::replicas(1).setting("MODE", "default").start().await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("hello").await?;
    let good = format!(
        "{}&outboundHostname=127.0.0.1",
        reconfigure("go-demo", "/demo", &demo)
    );
    assert_eq!(replica.call(&good).await?.status, 200);
    let before = replica.config().await?;

    let values = [
        "a%0Aserver%20x%2010.0.0.1:80",
        "a%0D%0Ab",
        "a%22b",
        "a%27b",
        "%23",
        "a%20%23b",
        "%7B%7Bx%7D%7D",
        "%7B%25x%25%7D",
        "a%00b",
        "%ff%fe",
        "a%5Cb%0A",
        "$(id)",
        "%25%5Benv(PATH)%5D",
        "..%2F..%2Fetc",
        "%E2%80%AE",
    ];
    let mut queries = Vec::new();
    for value in values {
        queries.push(format!("serviceName={value}&servicePath=/x&port=80"));
        queries.push(format!("serviceName=x&servicePath=/x&port={value}"));
        queries.push(format!(
            "serviceName=x&servicePath=/x&port=80&serviceDomain={value}"
        ));
        queries.push(format!(
            "serviceName=x&servicePath=/x&port=80&aclName={value}"
        ));
        queries.push(format!(
            "serviceName=x&servicePath=/x&port=80&outboundHostname={value}"
        ));
        queries.push(format!(
            "serviceName=x&servicePath=/x&port=80&pathType={value}"
        ));
        for parameter in ["distribute", "srcPort", "serviceDomainAlgo"] {
            queries.push(format!(
                "serviceName=x&servicePath=/x&port=80&{parameter}={value}"
            ));
        }
    }
    for value in ["a%0Ab", "a%00", "%ff", "%C3%A9", "a%7F"] {
        queries.push(format!(
            "serviceName=x&servicePath=/x&port=80&userAgent={value}"
        ));
        queries.push(format!(
            "serviceName=x&servicePath=/x&port=80&serviceHeader=X-A:{value}"
        ));
        queries.push(format!(
            "serviceName=x&servicePath=/x&port=80&servicePathExclude=/{value}"
        ));
    }
    for path in [
        "/a%0Ab", "/a%20b", "/a%00", "/%ff", "relative", "/a%23b", "/%C3%A9",
    ] {
        queries.push(format!("serviceName=x&servicePath={path}&port=80"));
    }
    let many: Vec<String> = (0..10_000).map(|i| format!("p{i}=")).collect();
    queries.push(format!(
        "serviceName=x&servicePath=/x&port=80&{}",
        many.join("&")
    ));
    for query in queries.iter().filter(|query| query.len() < 60_000) {
        let answer = replica.call(&format!("reconfigure?{query}")).await?;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        let message = answer.json["Message"].as_str().unwrap_or_default();
        assert!(
            message.contains("nothing was changed"),
            "{query}: {message}"
        );
    }
    // Too long for a URL, so that only a form can carry it.
    let long = "x".repeat(1 << 20);
    let mut forms = vec![
        format!("serviceName={long}&servicePath=/x&port=80"),
        format!("serviceName=x&servicePath=/{long}&port=80"),
        format!("serviceName=x&servicePath=/x&port={long}"),
        format!("serviceName=x&servicePath=/x&port=80&{}", many.join("&")),
    ];
    forms.push(queries.concat());
    for form in forms {
        let size = form.len();
        let answer = replica.post("reconfigure", FORM, form.into_bytes()).await?;
        assert_eq!(answer.status, 400, "{size} bytes: {}", answer.text);
        assert!(answer.text.len() < 4_000, "the answer repeats the input");
    }
    let line = format!(
        "/v1/docker-flow-proxy/reconfigure?serviceName={}",
        "x".repeat(100_000)
    );
    let too_long = request(replica.api(), &Request::get(line).with_header("Host", "x")).await?;
    assert_eq!(too_long.status, 414, "{too_long:?}");
    // The answer comes before the body is read to its end, so the client may find the connection cut.
    if let Ok(huge) = replica.post("reconfigure", FORM, vec![b'x'; 3 << 20]).await {
        assert_eq!(huge.status, 413);
    }

    assert_eq!(replica.config().await?, before);
    assert_eq!(replica.request("/demo").await?.status, 200);
    let state = replica.call("status").await?.json;
    assert_eq!(state["Revision"]["Number"], 1, "{state}");
    assert!(!replica.log().contains("panicked"), "{}", replica.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_closed_to_who_does_not_know_the_token() -> Result<(), Failure> {
    let topology = Plan::replicas(1)
        .setting("MODE", "default")
        .setting("API_TOKEN", "correct horse")
        .start()
        .await?;
    let replica = topology.replica(1);
    for path in [
        "reconfigure?serviceName=a&servicePath=/a&port=80",
        "config",
        "status",
        "export",
        "remove?serviceName=a",
    ] {
        assert_eq!(replica.call(path).await?.status, 401, "{path}");
    }
    assert_eq!(replica.call("ping").await?.status, 200);
    let url = format!("http://{}/v1/docker-flow-proxy/status", replica.api());
    let asked = Request::get(url)
        .with_header("Host", "x")
        .with_header("Authorization", "Bearer correct horse");
    assert_eq!(request(replica.api(), &asked).await?.status, 200);
    assert!(!replica.log().contains("correct horse"));
    Ok(())
}
