//! The API over a scripted carrier, without a socket: what goes in, and which status, words and
//! fields come out.

use std::{sync::atomic::Ordering::SeqCst, time::SystemTime};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request},
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::{
    announce::{Announce, Announcement, INSTANCE_HEADER, PEER_PATH},
    engine::{Engine, Parts},
    testing::{Notes, Peers, Scripted, newer, put, store},
};

mod dry_run;
mod health;
mod history;
mod peer;
mod status;
mod unread;
mod wait;
mod writes;

pub(super) struct Bench {
    metrics: Arc<Metrics>,
    pub(super) api: Api,
    pub(super) app: Router,
    carrier: Arc<Scripted>,
    store: Arc<proxy_core::MemoryStore>,
    peers: Arc<Peers>,
    station: Arc<Station>,
    engine: EngineHandle,
    stop: CancellationToken,
    ending: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with(Keys::default()).await
    }

    async fn with(keys: Keys) -> Self {
        Self::among(keys, Arc::new(Notes::default())).await
    }

    async fn among(keys: Keys, announce: Arc<dyn Announce>) -> Self {
        Self::limited(keys, announce, WriteLimits::default()).await
    }

    async fn limited(keys: Keys, announce: Arc<dyn Announce>, writes: WriteLimits) -> Self {
        let (store, carrier) = (store(), Arc::new(Scripted::default()));
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::new());
        let (engine, handle) = Engine::new(Parts {
            served: proxy_core::RouteTable::new(),
            store: Arc::clone(&store) as Arc<dyn RouteStore>,
            carrier: Arc::clone(&carrier),
            announce,
            metrics: Arc::clone(&metrics),
            stop: stop.clone(),
        });
        let mut snapshots = handle.snapshots();
        let task = tokio::spawn(engine.run());
        snapshots.wait_for(|s| s.is_loaded()).await.unwrap();
        let (peers, ending) = (Arc::new(Peers::default()), CancellationToken::new());
        let station = Arc::new(Station::new(
            "me-1".parse().unwrap(),
            handle.clone(),
            Arc::clone(&carrier) as Arc<dyn Carried>,
            ending.clone(),
        ));
        let dry_runs = DryRuns::new(
            handle.clone(),
            Arc::clone(&store) as Arc<dyn RouteStore>,
            Arc::clone(&carrier) as Arc<dyn Carried>,
        );
        let api = Api {
            dry_runs: Arc::new(dry_runs),
            statistics: Arc::new(Statistics::new(Arc::clone(&carrier) as _, None)),
            writes,
            station: Arc::clone(&station),
            survey: Arc::clone(&peers) as Arc<dyn Survey>,
            certificates: crate::testing::no_certificates(),
            exchange: crate::testing::no_exchange(),
            works: Works::default(),
            contacts: Arc::new(Contacts::new(vec!["http://consul:8500".into()])),
            engine: handle.clone(),
            store: Arc::clone(&store) as Arc<dyn RouteStore>,
            carrier: Arc::clone(&carrier) as Arc<dyn Carried>,
            metrics: Arc::clone(&metrics),
            instance: "me-1".parse().unwrap(),
            registers: None,
            raw: proxy_core::RawConfig::Allowed,
            wait_timeout: Duration::from_secs(2),
            keys: Arc::new(keys),
            sources: Sources::none(),
            catalog: None,
            superseded_file: tokio::sync::watch::channel(None).1,
        };
        Self {
            app: router(api.clone()),
            api,
            metrics,
            carrier,
            store,
            peers,
            station,
            engine: handle,
            stop,
            ending,
            task,
        }
    }

    /// Sends a call; its answer is held to the document.
    pub(super) async fn send(&self, request: Request<Body>) -> (u16, Value) {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.headers()["x-proxy-api"], "proxy-server", "{path}");
        let kind = response.headers().get("content-type").cloned();
        let kind = kind.as_ref().map(|kind| kind.to_str().unwrap());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        openapi::check::answer(method.as_str(), &path, status, kind, &json);
        (status, json)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let uri = format!("/v1/docker-flow-proxy/{path}");
        self.send(Request::get(uri).body(Body::empty()).unwrap())
            .await
    }

    async fn announce(&self, from: &str, announcement: &Announcement) -> (u16, Value) {
        let body = serde_json::to_vec(announcement).unwrap();
        let request = Request::post(PEER_PATH)
            .header("content-type", "application/json")
            .header(INSTANCE_HEADER, from);
        self.send(request.body(body.into()).unwrap()).await
    }
}

#[tokio::test]
async fn a_service_comes_back_under_docker_flow_proxys_names() {
    let bench = Bench::new().await;
    let (status, json) = bench
        .get("reconfigure?serviceName=go-demo&servicePath=/demo&port=8080&colour=red")
        .await;
    assert_eq!(status, 200, "{json}");
    for (name, value) in [
        ("Status", Value::from("OK")),
        ("ServiceName", "go-demo".into()),
        ("AclName", "go-demo".into()),
        ("Port", "8080".into()),
        ("PathType", "path_beg".into()),
        ("Stored", true.into()),
    ] {
        assert_eq!(json[name], value, "{name} in {json}");
    }
    assert_eq!(json["ServiceDest"][0]["ServicePath"][0], "/demo");
    assert!(
        json["Warnings"][0].as_str().unwrap().contains("colour"),
        "{json}"
    );
    let (_, services) = bench.get("config?type=json").await;
    assert_eq!(services["go-demo"]["Port"], "8080");
    // Both names of the API, and a form, are the same call.
    let alias = Request::post("/v1/proxy/reconfigure")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("serviceName=b&servicePath=/b&port=80"))
        .unwrap();
    assert_eq!(bench.send(alias).await.0, 200);
}

#[tokio::test]
async fn a_service_that_shuts_everybody_out_says_so() {
    let bench = Bench::new().await;
    let call = "reconfigure?serviceName=a&servicePath=/a&port=80";
    for (more, told) in [
        (
            "denyHttp=true",
            Some("denyHttp: this proxy has no certificate"),
        ),
        (
            "httpsOnly=true",
            Some("httpsOnly: this proxy has no certificate"),
        ),
        (
            "httpsOnly=true&dryRun=true",
            Some("httpsOnly: this proxy has no certificate"),
        ),
        (
            "verifyClientSsl=true",
            Some("verifyClientSsl: this proxy has no CA_FILE"),
        ),
        ("httpsOnly=true&redirectWhenHttpProto=true", None),
        ("denyHttp=false", None),
    ] {
        let (status, json) = bench.get(&format!("{call}&{more}")).await;
        let warnings = json["Warnings"].as_array().unwrap();
        assert_eq!(status, 200, "{more}: {json}");
        assert_eq!(
            warnings.len(),
            usize::from(told.is_some()),
            "{more}: {json}"
        );
        if let Some(told) = told {
            assert!(
                warnings[0].as_str().unwrap().starts_with(told),
                "{more}: {json}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_is_no_form_is_refused_in_so_many_words() {
    let bench = Bench::new().await;
    let send = async |kind: &str, query: &str, body: &'static str| {
        let call = Request::put(format!("/v1/docker-flow-proxy/reconfigure{query}"))
            .header("content-type", kind)
            .body(Body::from(body))
            .unwrap();
        bench.send(call).await
    };
    let all = "?serviceName=a&servicePath=/a&port=80";
    for (kind, query, body) in [
        ("application/json", "", "{\"serviceName\": \"a\"}"),
        ("Application/Problem+JSON; charset=utf-8", all, "{}"),
        ("multipart/form-data; boundary=x", "", "--x--"),
    ] {
        let (status, json) = send(kind, query, body).await;
        assert_eq!((status, &json["Stored"]), (415, &false.into()), "{json}");
        let message = json["Message"].as_str().unwrap();
        assert!(message.contains("as a form"), "{message}");
    }
    // Some clients say so of nothing.
    assert_eq!(send("application/json", all, "").await.0, 200);
    assert_eq!(send("text/plain", all, "x").await.0, 200);
}

#[tokio::test]
async fn what_is_not_live_is_not_said_to_be_served_by_what_never_ran() {
    let bench = Bench::new().await;
    bench.carrier.broken.store(true, SeqCst);
    *bench.carrier.live.lock().unwrap() = None;
    let (status, json) = bench
        .get("reconfigure?serviceName=a&servicePath=/a&port=80")
        .await;
    let message = json["Message"].as_str().unwrap();
    assert_eq!(status, 502, "{json}");
    assert!(
        message.contains("HAProxy does not run and this is tried again"),
        "{message}"
    );
    assert!(!message.contains("runs on"), "{message}");
}

#[tokio::test]
async fn every_refusal_has_its_status_and_changes_nothing() {
    let bench = Bench::new().await;
    bench.carrier.bad.lock().unwrap().insert("evil");
    for (query, expected) in [
        ("serviceName=a&servicePath=/a&port=x", 400),
        ("servicePath=/a&port=80", 400),
        ("serviceName=a&port=80", 409),
        ("serviceName=evil&servicePath=/a&port=80", 400),
        ("serviceName=a&serviceName=b&servicePath=/a&port=80", 400),
    ] {
        let (status, json) = bench.get(&format!("reconfigure?{query}")).await;
        assert_eq!(
            (status, &json["Status"]),
            (expected, &"NOK".into()),
            "{query}: {json}"
        );
        assert!(
            json["Message"]
                .as_str()
                .unwrap()
                .contains("nothing was changed"),
            "{json}"
        );
        assert_eq!(json["Stored"], false, "{json}");
    }
    bench.carrier.unable.store(true, SeqCst);
    assert_eq!(
        bench
            .get("reconfigure?serviceName=a&servicePath=/a&port=80")
            .await
            .0,
        503
    );
    assert!(bench.store.view().stored.table().is_empty());
    assert_eq!(bench.get("nothing").await.0, 404);
    for (method, endpoint) in [
        ("DELETE", "reconfigure"),
        ("PUT", "remove"),
        ("OPTIONS", "remove"),
        ("POST", "config"),
    ] {
        let uri = format!("/v1/docker-flow-proxy/{endpoint}?serviceName=a");
        let request = Request::builder().method(method).uri(uri);
        assert_eq!(
            bench.send(request.body(Body::empty()).unwrap()).await.0,
            405,
            "{method} {endpoint}"
        );
    }
}

#[tokio::test]
async fn what_is_stored_and_not_live_is_no_success() {
    let bench = Bench::new().await;
    bench.carrier.broken.store(true, SeqCst);
    let (status, json) = bench
        .get("reconfigure?serviceName=a&servicePath=/a&port=80")
        .await;
    assert_eq!((status, &json["Stored"]), (502, &true.into()), "{json}");
    let (_, state) = bench.get("status").await;
    assert!(
        state["Failure"].as_str().unwrap().contains("no descriptor"),
        "{state}"
    );
    assert_eq!(bench.get("reload").await.0, 500);
}

#[tokio::test]
async fn secrets_open_their_own_doors() {
    let keys = Keys {
        api: Some("open".to_owned().into()),
        peer: Some(Signer::new(&"sesame".to_owned().into())),
        realm: None,
    };
    let bench = Bench::with(keys).await;
    let with = |uri: &str, token: &str| {
        let request = Request::get(uri).header("authorization", format!("Bearer {token}"));
        request.body(Body::empty()).unwrap()
    };
    let status = "/v1/docker-flow-proxy/status";
    for (uri, token, expected) in [
        (status, "open", 200),
        (status, "sesame", 401),
        (status, "ope", 401),
        (status, "", 401),
        ("/metrics", "sesame", 401),
        // A secret that signs opens nothing by itself.
        (PEER_PATH, "open", 401),
        (PEER_PATH, "sesame", 401),
        ("/v1/docker-flow-proxy/peer/anything", "open", 401),
    ] {
        assert_eq!(
            bench.send(with(uri, token)).await.0,
            expected,
            "{uri} {token}"
        );
    }
    assert_eq!(bench.get("ping").await.0, 200);
}

#[tokio::test]
async fn an_announcement_is_confirmed_once_it_is_served() {
    let bench = Bench::new().await;
    let base = bench.store.view();
    let committed = bench.store.commit(&base, &[put("a")]).await.unwrap();
    let reach = committed.view.revision;
    let news = Announcement::new(reach, vec![committed.record], Default::default());
    let (status, json) = bench.announce("other", &news).await;
    assert_eq!((status, &json["Instance"]), (200, &"me-1".into()), "{json}");
    assert_eq!(bench.carrier.live(), ["a"]);
    // One's own announcement is confirmed at once, whatever it says.
    bench.carrier.broken.store(true, SeqCst);
    assert_eq!(bench.announce("me-1", &news).await.0, 200);
    let more = bench
        .store
        .commit(&bench.store.view(), &[put("b")])
        .await
        .unwrap();
    let news = Announcement::new(more.view.revision, vec![more.record], Default::default());
    let (status, json) = bench.announce("other", &news).await;
    assert_eq!(status, 500, "{json}");
    assert!(
        json["Reason"].as_str().unwrap().contains("no descriptor"),
        "{json}"
    );
}

#[tokio::test]
async fn what_a_replica_without_the_store_tells_is_not_confirmed() {
    let bench = Bench::new().await;
    let news =
        r#"{"reach":null,"records":[],"names":["a"],"stamps":{"a":{"counter":1,"replica":"r"}}}"#;
    let request = Request::post(PEER_PATH)
        .header("content-type", "application/json")
        .header(INSTANCE_HEADER, "other");
    let (status, json) = bench.send(request.body(news.into()).unwrap()).await;
    assert_eq!(status, 500, "{json}");
    let reason = json["Reason"].as_str().unwrap();
    assert!(
        reason.contains("give all replicas of one proxy the same CONSUL_ADDRESS"),
        "{json}"
    );
}

#[tokio::test]
async fn a_table_goes_out_and_comes_in_whole() {
    let bench = Bench::new().await;
    for name in ["a", "b"] {
        bench
            .get(&format!(
                "reconfigure?serviceName={name}&servicePath=/{name}&port=80"
            ))
            .await;
    }
    let (_, file) = bench.get("export").await;
    bench.get("remove?serviceName=a").await;
    bench
        .get("reconfigure?serviceName=c&servicePath=/c&port=80")
        .await;
    let import = |body: String| {
        Request::put("/v1/docker-flow-proxy/import")
            .body(Body::from(body))
            .unwrap()
    };
    let (status, json) = bench.send(import(file.to_string())).await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(bench.carrier.live(), ["a", "b"]);
    for bad in [
        r#"{"format":1}"#.to_owned(),
        file.to_string().replace("\"format\":1", "\"format\":9"),
        "x".to_owned(),
    ] {
        assert_eq!(bench.send(import(bad)).await.0, 400);
    }
    assert_eq!(bench.carrier.live(), ["a", "b"]);
}

#[tokio::test]
async fn a_reload_takes_recreate_and_nothing_that_is_neither_yes_nor_no() {
    let bench = Bench::new().await;
    for query in ["", "?recreate=true", "?recreate=false", "?recreate=yes"] {
        let before = bench.carrier.reloads.load(SeqCst);
        let (status, json) = bench.get(&format!("reload{query}")).await;
        let expected = if query.ends_with("yes") { 400 } else { 200 };
        assert_eq!(status, expected, "{query}: {json}");
        let reloads = bench.carrier.reloads.load(SeqCst) - before;
        assert_eq!(reloads, usize::from(status == 200), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_does_not_wait_for_ever_for_a_look_at_files() {
    let bench = Bench::new().await;
    let reloads = bench.carrier.reloads.load(SeqCst);
    let looking = bench.api.certificates.looking().await;
    let (status, json) = bench.get("reload").await;
    assert_eq!(status, 503, "{json}");
    let said = json["Message"].as_str().unwrap();
    assert!(said.contains("still being looked at"), "{said}");
    assert_eq!(bench.carrier.reloads.load(SeqCst), reloads);

    // Who hangs up ends no look.
    let mut call = Box::pin(bench.get("reload"));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    let mut end = Box::pin(bench.api.works.end());
    assert!(futures_util::poll!(&mut end).is_pending(), "it waits");
    drop(looking);
    end.await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_our_words() {
    let bench = Bench::new().await;
    let uri = "/v1/docker-flow-proxy/reconfigure?serviceName=a&servicePath=/a&port=80";
    let large = Request::post(uri).body(Body::from(vec![b'x'; MAX_BODY + 1]));
    let (status, json) = bench.send(large.unwrap()).await;
    assert_eq!((status, &json["Stored"]), (413, &false.into()), "{json}");
    assert!(bench.store.view().stored.table().is_empty());
}

#[tokio::test]
async fn an_explanation_ends_with_a_service_that_is_down() {
    let bench = Bench::new().await;
    bench
        .get("reconfigure?serviceName=a&servicePath=/a&port=80")
        .await;
    // Of what is not known nothing is said.
    let (_, told) = bench.get("explain?url=/a").await;
    let unknown = told["Message"].as_str().unwrap().to_owned();
    assert!(!unknown.contains("server"), "{unknown}");
    let csv = "# pxname,svname,status\na-be80,a,MAINT (resolution)\na-be80,BACKEND,UP\n";
    *bench.carrier.statistics.lock().unwrap() = Some(csv.to_owned());
    let (_, told) = bench.get("explain?url=/a").await;
    let expected = format!("{unknown}; no server of it is up: its name does not resolve");
    assert_eq!(told["Message"], expected);
    let (_, none) = bench.get("explain?url=/b").await;
    assert_eq!(none["Message"], "no route takes the request: 404");
}

#[tokio::test]
async fn a_request_is_explained() {
    let bench = Bench::new().await;
    for query in [
        "serviceName=root&servicePath=/&port=80",
        "serviceName=api&servicePath=/api&port=80",
        "serviceName=beta&servicePath=/api&port=80&serviceHeader=X-Beta:1",
    ] {
        bench.get(&format!("reconfigure?{query}")).await;
    }
    let (status, told) = bench.get("explain?url=http://acme.com/api/x").await;
    assert_eq!(
        (status, &told["Winner"]["ServiceName"]),
        (200, &"api".into()),
        "{told}"
    );
    assert_eq!(told["RunnersUp"][0]["ServiceName"], "root");
    assert!(
        told["Misses"][0]["Why"]
            .as_str()
            .unwrap()
            .contains("x-beta:1"),
        "{told}"
    );
    let (_, told) = bench
        .get("explain?url=/api&header=X-Beta:1&header=X-Other:2")
        .await;
    assert_eq!(told["Winner"]["ServiceName"], "beta");
    for bad in [
        "explain",
        "explain?url=http://[",
        "explain?url=/a&header=x",
        "explain?url=/a&type=xml",
    ] {
        assert_eq!(bench.get(bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_route_that_can_never_match_is_warned_of() {
    let bench = Bench::new().await;
    bench
        .get("reconfigure?serviceName=a&servicePath=/x&port=80")
        .await;
    let (_, json) = bench
        .get("reconfigure?serviceName=b&servicePath=/x,/y/z&port=80&servicePathExclude=/y")
        .await;
    let warnings = json["Warnings"].to_string();
    assert!(
        warnings.contains("a, which comes first: this route of b can never match"),
        "{warnings}"
    );
    assert!(
        warnings.contains("path_beg /y/z of the service b can never match"),
        "{warnings}"
    );
}
