//! Labels as Docker's API tells them, and an API that lies.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};
use tokio::time::timeout;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path_regex},
};

use super::{
    super::tests::{Bench, PATIENCE, Script, list},
    *,
};
use crate::sources::Sources;

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
struct Engine {
    /// Its list of the services that are labelled.
    services: Script,
    a: Script,
    b: Script,
    server: MockServer,
    /// Where it is, as `DOCKER_HOST` says it.
    host: String,
}

impl Engine {
    async fn start() -> Self {
        let server = MockServer::start().await;
        let (services, a, b) = (Script::default(), Script::default(), Script::default());
        let labelled = wiremock::matchers::query_param_contains("filters", NOTIFY);
        Mock::given(method("GET"))
            .and(path_regex("/services$"))
            .and(labelled)
            .respond_with(services.clone())
            .mount(&server)
            .await;
        for (pattern, answer) in [("/services/a$", &a), ("/services/shop_b$", &b)] {
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
        Self {
            services,
            a,
            b,
            host: server.uri().replace("http://", "tcp://"),
            server,
        }
    }

    /// One that lists `a` and `b`.
    async fn with_two() -> Self {
        let this = Self::start().await;
        this.services.say([list(&[demo("a"), of_stack("b")])]);
        this
    }

    /// Has it followed until both services are there.
    async fn followed_by(&self, bench: &Bench) -> Sources {
        let sources = bench.start(&settings(&self.host));
        bench.until(|services| services.len() == 2).await;
        sources
    }
}

#[tokio::test]
async fn labels_drive_the_proxy_and_a_list_that_lies_removes_nothing() {
    let bench = Bench::new().await;
    let engine = Engine::with_two().await;
    let Engine { services, a, b, .. } = &engine;
    let short = [demo("a")];
    // Docker still has them, whatever its list says.
    a.say([ResponseTemplate::new(200).set_body_json(demo("a"))]);
    b.say([ResponseTemplate::new(200).set_body_json(of_stack("b"))]);
    engine.followed_by(&bench).await;
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

#[tokio::test]
async fn a_removal_that_is_refused_is_left_alone_until_the_table_changes() {
    let bench = Bench::new().await;
    let engine = Engine::with_two().await;
    let Engine { services, a, .. } = &engine;
    let sources = engine.followed_by(&bench).await;

    bench.carrier.needed.lock().unwrap().insert("a");
    a.say([ResponseTemplate::new(404).set_body_json(json!({ "message": "no such service" }))]);
    services.say([list(&[of_stack("b")])]);
    let mut reports = sources.reports_of(proxy_core::Source::Docker);
    let doubted = reports.wait_for(|report| report.doubted.count == 1);
    let doubted = timeout(PATIENCE, doubted).await.unwrap().unwrap().clone();
    let why = &doubted.doubted.first["a"];
    assert!(
        why.starts_with("the list lacks it, and its removal is refused")
            && why.contains("a is needed")
            && why.contains("nothing was changed"),
        "{why}"
    );
    let checks = bench.carrier.checks.load(SeqCst);
    services.say([list(&[of_stack("b")])]);
    services.asked(4).await;
    assert_eq!(bench.carrier.checks.load(SeqCst), checks);
    assert_eq!(bench.names(), ["a", "b"]);

    // What changes elsewhere may have been what stood in the way.
    bench.carrier.needed.lock().unwrap().clear();
    bench.reconfigure("c", 80).await;
    bench.until(|services| !services.contains_key("a")).await;
    assert_eq!(bench.names(), ["b", "c"]);
    let well = reports.wait_for(|report| report.doubted.count == 0);
    timeout(PATIENCE, well).await.unwrap().unwrap();
}

fn settings(host: &str) -> [(&str, &str); 3] {
    [
        ("LISTEN_DOCKER", "true"),
        ("LISTEN_DOCKER_INTERVAL", "1"),
        ("DOCKER_HOST", host),
    ]
}

#[tokio::test]
async fn a_label_that_cannot_be_read_keeps_its_own_service_alone() {
    let bench = Bench::new().await;
    let engine = Engine::with_two().await;
    let Engine { services, a, b, .. } = &engine;
    let sources = engine.followed_by(&bench).await;

    // One label is too long and another no name; the service without such is gone.
    let gone = json!({ "message": "no such service" });
    a.say([ResponseTemplate::new(404).set_body_json(&gone)]);
    let mut long = of_stack("b");
    long["Spec"]["Labels"]["com.df.servicePath"] = "x".repeat(1024 * 1024).into();
    services.say([list(&[long])]);
    bench.until(|services| !services.contains_key("a")).await;
    assert_eq!(bench.names(), ["b"]);
    let report = sources.reports().next().unwrap().1;
    assert!(report.refused.first.contains_key("shop_b"), "{report:?}");

    let mut unnamed = of_stack("b");
    unnamed["Spec"]["Labels"]["com.df.serviceName"] = "no name".into();
    services.say([list(&[unnamed.clone()])]);
    b.say([ResponseTemplate::new(200).set_body_json(unnamed)]);
    services.asked(4).await;
    assert_eq!(bench.names(), ["b"]);
}

#[tokio::test]
async fn after_a_restart_docker_is_not_asked_for_a_short_name() {
    let bench = Bench::new().await;
    let engine = Engine::with_two().await;
    let services = &engine.services;
    engine.followed_by(&bench).await;
    bench.stop.cancel();

    // Docker knows nothing of `b`, whose name there is `shop_b`; its list lies.
    let bench = bench.restarted().await;
    let gone = json!({ "message": "no such service" });
    let unknown = ResponseTemplate::new(404).set_body_json(&gone);
    Mock::given(method("GET"))
        .and(path_regex("/services/b$"))
        .respond_with(unknown)
        .mount(&engine.server)
        .await;
    let all = Script::default();
    all.say([list(&[demo("a"), of_stack("b")])]);
    Mock::given(method("GET"))
        .and(path_regex("/services$"))
        .respond_with(all.clone())
        .mount(&engine.server)
        .await;
    services.say([list(&[demo("a")])]);
    bench.start(&settings(&engine.host));
    all.asked(2).await;
    assert_eq!(bench.names(), ["a", "b"]);
    // Neither when Docker cannot say.
    all.say([ResponseTemplate::new(500)]);
    all.asked(2).await;
    assert_eq!(bench.names(), ["a", "b"]);
    let mut unlabelled = of_stack("b");
    unlabelled["Spec"]["Labels"] = json!({});
    all.say([list(&[demo("a"), unlabelled])]);
    bench.until(|services| !services.contains_key("b")).await;
}

#[tokio::test]
async fn two_sources_of_one_service_do_not_overwrite_each_other() {
    let bench = Bench::new().await;
    let engine = Engine::start().await;
    let Engine { services, .. } = &engine;
    services.say([list(&[demo("a")])]);
    let entry = json!({ "serviceName": "a", "servicePath": "/a", "port": "81" });
    let told = Script::default();
    told.say([list(std::slice::from_ref(&entry))]);
    let listener = super::super::tests::listener(&told).await;
    let uri = listener.uri();
    let both: Vec<_> = settings(&engine.host)
        .into_iter()
        .chain([
            ("LISTENER_ADDRESS", uri.as_str()),
            ("REPEAT_RELOAD", "true"),
            ("RELOAD_INTERVAL", "200"),
        ])
        .collect();
    bench.start(&both);
    bench.until(|services| services.contains_key("a")).await;
    services.asked(2).await;
    told.asked(2).await;
    let revision = bench.revision();
    services.say([list(&[demo("a")])]);
    services.asked(3).await;
    // Another replica does not begin it again.
    bench.start(&both);
    services.asked(6).await;
    assert_eq!(bench.revision(), revision);

    // What one of them wants anew, it gets.
    let mut anew = entry;
    anew["port"] = "82".into();
    told.say([list(&[anew])]);
    bench.until(|services| services.get("a") == Some(&82)).await;
    assert_eq!(bench.source("a"), Some(proxy_core::Source::Listener));
    let mut anew = demo("a");
    anew["Spec"]["Labels"]["com.df.port"] = "83".into();
    services.say([list(&[anew])]);
    bench.until(|services| services.get("a") == Some(&83)).await;
    assert_eq!(bench.source("a"), Some(proxy_core::Source::Docker));
    let revision = bench.revision();
    services.asked(3).await;
    assert_eq!(bench.revision(), revision);
}
