//! Labels as Docker's API tells them, and an API that lies.

use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path_regex},
};

use super::{
    super::tests::{Bench, Script, list},
    *,
};

/// A service as the API lists it.
fn service(name: &str, replicas: u64, labels: Value) -> Value {
    json!({
        "ID": format!("id-{name}"),
        "Spec": {
            "Name": name,
            "Labels": labels,
            "Mode": { "Replicated": { "Replicas": replicas } },
        },
    })
}

fn demo(name: &str) -> Value {
    let path = format!("/{name}");
    service(
        name,
        2,
        json!({ "com.df.notify": "true", "com.df.servicePath": path, "com.df.port": "80" }),
    )
}

/// One of a stack, known by its short name.
fn of_stack(name: &str) -> Value {
    let mut service = demo(name);
    service["Spec"]["Name"] = format!("shop_{name}").into();
    service["Spec"]["Labels"]["com.df.shortName"] = "true".into();
    service["Spec"]["Labels"]["com.docker.stack.namespace"] = "shop".into();
    service
}

fn params(service: Value) -> Option<Vec<String>> {
    let service: Service = serde_json::from_value(service).unwrap();
    let wanted = told(&service.spec.unwrap())?.unwrap().params;
    let pair = |name: &str| format!("{name}={}", wanted.get(name).unwrap());
    Some(wanted.names().map(pair).collect())
}

#[test]
fn labels_are_the_parameters_of_a_call() {
    let labels = json!({
        "com.df.notify": "true",
        "com.df.servicePath.1": "/a",
        "com.df.port.1": "8080",
        "com.df.distribute": "true",
        "com.docker.stack.namespace": "shop",
        "unrelated": "yes",
    });
    assert_eq!(
        params(service("shop_api", 3, labels.clone())).unwrap(),
        [
            "port.1=8080",
            "replicas=3",
            "serviceName=shop_api",
            "servicePath.1=/a"
        ]
    );
    let mut short = labels.clone();
    short["com.df.shortName"] = "true".into();
    let said = params(service("shop_api", 3, short)).unwrap();
    assert!(said.contains(&"serviceName=api".to_owned()), "{said:?}");

    let mut other = labels;
    for not in ["false", "TRUE", ""] {
        other["com.df.notify"] = not.into();
        assert_eq!(
            params(service("shop_api", 3, other.clone())),
            None,
            "{not:?}"
        );
    }
    let mut global = demo("a");
    global["Spec"]["Mode"] = json!({ "Global": {} });
    let said = params(global).unwrap();
    assert!(
        !said.iter().any(|pair| pair.starts_with("replicas")),
        "{said:?}"
    );
}

/// A Docker API whose lists and single services a test writes down.
async fn engine(services: &Script, a: &Script, b: &Script) -> MockServer {
    let server = MockServer::start().await;
    for (pattern, answer) in [
        ("/services$", services),
        ("/services/a$", a),
        ("/services/shop_b$", b),
    ] {
        Mock::given(method("GET"))
            .and(path_regex(pattern))
            .respond_with(answer.clone())
            .mount(&server)
            .await;
    }
    let version = json!({ "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10" });
    Mock::given(method("GET"))
        .and(path_regex("/version$"))
        .respond_with(ResponseTemplate::new(200).set_body_json(version))
        .mount(&server)
        .await;
    // No events: the list is read again all the same.
    server
}

#[tokio::test]
async fn labels_drive_the_proxy_and_a_list_that_lies_removes_nothing() {
    let bench = Bench::new().await;
    let (services, a, b) = (Script::default(), Script::default(), Script::default());
    let (both, short) = ([demo("a"), of_stack("b")], [demo("a")]);
    services.say([list(&both)]);
    // Docker still has them, whatever its list says.
    a.say([ResponseTemplate::new(200).set_body_json(demo("a"))]);
    b.say([ResponseTemplate::new(200).set_body_json(of_stack("b"))]);
    let server = engine(&services, &a, &b).await;
    let host = server.uri().replace("http://", "tcp://");
    bench.start(&[
        ("LISTEN_DOCKER", "true"),
        ("LISTEN_DOCKER_INTERVAL", "1"),
        ("DOCKER_HOST", &host),
    ]);
    bench.until(|services| services.len() == 2).await;
    assert_eq!(bench.source("a"), Some(proxy_core::Source::Docker));
    let revision = bench.revision();

    for (lie, times) in [
        (list(&short), 3),
        (list(&[]), 3),
        (ResponseTemplate::new(503), 1),
    ] {
        services.say([lie]);
        services.asked(times).await;
        assert_eq!(bench.names(), ["a", "b"]);
    }
    // Nor does what says of a service that it cannot say.
    b.say([ResponseTemplate::new(500)]);
    services.say([list(&short)]);
    services.asked(3).await;
    assert_eq!(bench.names(), ["a", "b"]);
    assert_eq!(
        bench.revision(),
        revision,
        "what is so already is no change"
    );

    // Another port, no replica, and one that is gone.
    let mut changed = demo("a");
    changed["Spec"]["Labels"]["com.df.port"] = "81".into();
    services.say([list(&[changed.clone(), of_stack("b")])]);
    bench.until(|services| services.get("a") == Some(&81)).await;
    let mut idle = of_stack("b");
    idle["Spec"]["Mode"]["Replicated"]["Replicas"] = 0.into();
    services.say([list(&[changed.clone(), idle])]);
    bench.until(|services| !services.contains_key("b")).await;
    services.say([list(&[changed, of_stack("b")])]);
    bench.until(|services| services.contains_key("b")).await;
    a.say([ResponseTemplate::new(404).set_body_json(json!({ "message": "no such service" }))]);
    services.say([list(&[of_stack("b")])]);
    bench.until(|services| !services.contains_key("a")).await;
    assert_eq!(bench.names(), ["b"]);

    // A service whose label is taken away is there and not for the proxy.
    services.say([list(&[])]);
    b.say([ResponseTemplate::new(200).set_body_json(service("shop_b", 1, json!({})))]);
    bench.until(|services| services.is_empty()).await;
}
