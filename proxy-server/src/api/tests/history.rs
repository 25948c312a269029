//! `history`, `diff`, `rollback` and `accept`.

use futures_util::FutureExt;
use proxy_core::StoreCondition;

use super::*;

impl Bench {
    async fn post(&self, path: &str) -> (u16, Value) {
        let uri = format!("/v1/docker-flow-proxy/{path}");
        self.send(Request::post(uri).body(Body::empty()).unwrap())
            .await
    }

    async fn text(&self, path: &str) -> String {
        let uri = format!("/v1/docker-flow-proxy/{path}");
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    async fn put(&self, name: &str, port: u16) {
        let call = format!("reconfigure?serviceName={name}&servicePath=/{name}&port={port}");
        let (status, json) = self.get(&call).await;
        assert_eq!(status, 200, "{json}");
    }

    /// Four commits: a, b, a again with another port, and b removed.
    async fn with_history() -> Self {
        let bench = Self::new().await;
        bench.put("a", 80).await;
        bench.put("b", 80).await;
        bench.put("a", 81).await;
        bench.get("remove?serviceName=b").await;
        bench
    }
}

#[tokio::test]
async fn the_history_says_what_changed_newest_first() {
    let bench = Bench::with_history().await;
    let (status, json) = bench.get("history").await;
    assert_eq!(status, 200, "{json}");
    let told: Vec<_> = json["Commits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|commit| {
            let service = &commit["Services"][0];
            let word = |value: &Value| value.as_str().unwrap().to_owned();
            let number = commit["Revision"]["Number"].as_u64().unwrap();
            (
                number,
                word(&service["ServiceName"]),
                word(&service["Change"]),
            )
        })
        .collect();
    let expected = [
        (4, "b", "removed"),
        (3, "a", "replaced"),
        (2, "b", "added"),
        (1, "a", "added"),
    ];
    let expected = expected.map(|(n, s, c)| (n, s.to_owned(), c.to_owned()));
    assert_eq!(told, expected);
    assert_eq!(json["Commits"][0]["Origin"], "me");
    assert_eq!(json["Commits"][0]["At"], "1970-01-01T00:00:00.000Z");
    assert!(json["Commits"][0]["Services"][0]["Before"].is_null());

    let (_, json) = bench.get("history?limit=1&before=4&full=true").await;
    let change = &json["Commits"][0]["Services"][0];
    assert_eq!(json["Commits"].as_array().unwrap().len(), 1);
    assert_eq!(change["Before"]["destinations"][0]["port"], 80, "{json}");
    assert_eq!(change["After"]["destinations"][0]["port"], 81, "{json}");

    let (_, json) = bench.get("history?service=b&limit=1").await;
    assert_eq!(json["Commits"][0]["Revision"]["Number"], 4, "{json}");
    let (_, json) = bench.get("history?service=b&before=4").await;
    assert_eq!(json["Commits"].as_array().unwrap().len(), 1, "{json}");
    let text = bench.text("history?type=text&service=a").await;
    assert!(text.starts_with("REVISION  AT "), "{text}");
    assert!(text.contains("me    replaced a\n"), "{text}");
    for bad in [
        "limit=0",
        "limit=201",
        "limit=51&full=true",
        "before=x",
        "full=1",
        "type=xml",
        "service=a%20b",
    ] {
        assert_eq!(bench.get(&format!("history?{bad}")).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_diff_says_what_is_between_two_revisions_in_their_order() {
    let bench = Bench::with_history().await;
    let (status, json) = bench.get("diff?from=1&to=3").await;
    assert_eq!(status, 200, "{json}");
    let services = json["Services"].as_array().unwrap();
    let told: Vec<_> = services
        .iter()
        .map(|it| (&it["ServiceName"], &it["Change"]))
        .collect();
    assert_eq!(
        told,
        [
            (&"a".into(), &"replaced".into()),
            (&"b".into(), &"added".into())
        ]
    );
    let (_, json) = bench.get("diff?from=3&to=1").await;
    assert_eq!(json["Services"][1]["Change"], "removed", "{json}");
    // To now: b came and went.
    let (_, json) = bench.get("diff?from=1").await;
    assert_eq!(
        (&json["To"], json["Services"].as_array().unwrap().len()),
        (&4.into(), 1),
        "{json}"
    );
    let text = bench.text("diff?from=1&to=3&type=text").await;
    assert!(
        text.contains("\n~ a\n    - {") && text.contains("\n+ b\n    + {"),
        "{text}"
    );
    for (query, expected) in [
        ("", 400),
        ("from=x", 400),
        ("from=1&to=9", 404),
        ("from=0", 404),
    ] {
        assert_eq!(
            bench.get(&format!("diff?{query}")).await.0,
            expected,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_rollback_is_a_new_change_that_restores_a_table() {
    let bench = Bench::with_history().await;
    let (status, json) = bench.post("rollback?revision=2").await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(
        (&json["Revision"]["Number"], &json["Stored"]),
        (&5.into(), &true.into())
    );
    assert_eq!(bench.carrier.live(), ["a", "b"]);
    let (_, json) = bench.get("diff?from=2&to=5").await;
    assert_eq!(json["Services"].as_array().unwrap().len(), 0, "{json}");
    // Once more changes nothing, and says so.
    let (status, json) = bench.post("rollback?revision=2").await;
    assert_eq!(
        (status, &json["Revision"]["Number"]),
        (200, &5.into()),
        "{json}"
    );
    assert!(
        json["Message"].as_str().unwrap().contains("already"),
        "{json}"
    );
    // What came later goes.
    let (status, json) = bench.post("rollback?revision=1").await;
    assert_eq!(
        (status, bench.carrier.live()),
        (200, vec!["a".to_owned()]),
        "{json}"
    );
    for (query, expected) in [
        ("", 400),
        ("?revision=x", 400),
        ("?revision=0", 404),
        ("?revision=7", 404),
        ("?revision=2&wait=maybe", 400),
    ] {
        let (status, json) = bench.post(&format!("rollback{query}")).await;
        assert_eq!(
            (status, &json["Stored"]),
            (expected, &false.into()),
            "{query} {json}"
        );
    }
    assert_eq!(bench.get("rollback?revision=1").await.0, 405);
}

/// A replica that has just started brings in the service of its environment: how often its table was changed
/// by that, and the port that is stored in the end.
async fn started_with(bench: &Bench, port: &str) -> (u64, String) {
    let number = || bench.store.view().revision.map_or(0, |it| it.number);
    let before = number();
    let settings = [
        ("DFP_SERVICE_SERVICE_NAME", "kept"),
        ("DFP_SERVICE_SERVICE_PATH", "/kept"),
        ("DFP_SERVICE_PORT", port),
    ];
    let settings = crate::settings::MapSource::new(settings);
    let settings = crate::settings::Settings::read(&settings).unwrap();
    let stop = CancellationToken::new();
    let (sources, tasks) = crate::sources::start(
        settings.sources,
        crate::sources::ParameterRules::default(),
        (&bench.engine, &bench.api.store),
        &stop,
    )
    .unwrap();
    sources.brought().await;
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    let (_, json) = bench.get("config?type=json").await;
    let port = json["kept"]["Port"].as_str().unwrap().to_owned();
    (number() - before, port)
}

#[tokio::test]
async fn what_is_rolled_back_or_imported_stands_when_a_replica_restarts() {
    let bench = Bench::new().await;
    assert_eq!(started_with(&bench, "80").await, (1, "80".to_owned()));
    let (_, file) = bench.get("export").await;
    assert_eq!(started_with(&bench, "81").await, (1, "81".to_owned()));
    let import = || {
        let import = Request::put("/v1/docker-flow-proxy/import");
        import.body(Body::from(file.to_string())).unwrap()
    };
    let (status, json) = bench.post("rollback?revision=1").await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(started_with(&bench, "81").await, (0, "80".to_owned()));
    // The source wants something else; and once more from the file.
    assert_eq!(started_with(&bench, "82").await, (1, "82".to_owned()));
    let (status, json) = bench.send(import()).await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(started_with(&bench, "82").await, (0, "80".to_owned()));
    // What differs in nothing but who keeps it is so already.
    let (_, json) = bench.post("rollback?revision=1").await;
    let message = json["Message"].as_str().unwrap();
    assert!(message.contains("already"), "{json}");
}

#[tokio::test]
async fn what_a_newer_release_wrote_is_not_replaced_unasked() {
    let bench = Bench::with_history().await;
    let (_, file) = bench.get("export").await;
    bench.store.put_document(newer("a"));
    bench.store.put_document(newer("new"));
    let view = bench.store.view();
    bench.engine.served(view.seq).await.unwrap();
    let import = |file: &Value, query: &str| {
        let uri = format!("/v1/docker-flow-proxy/import{query}");
        let import = Request::put(uri).body(Body::from(file.to_string()));
        bench.send(import.unwrap())
    };
    let none = serde_json::json!({ "format": 1, "services": [] });
    for (status, json) in [
        import(&file, "").await,
        import(&none, "").await,
        import(&none, "?dryRun=true").await,
    ] {
        let message = json["Message"].as_str().unwrap();
        assert_eq!((status, &json["Stored"]), (409, &false.into()), "{json}");
        assert!(
            message.contains("cannot read of a, new") && message.contains("nothing was changed"),
            "{message}"
        );
    }
    let (status, json) = bench.post("rollback?revision=1").await;
    assert_eq!((status, &json["Stored"]), (409, &false.into()), "{json}");
    let message = json["Message"].as_str().unwrap();
    assert!(
        message.contains("cannot read of a, new, which would be lost"),
        "{message}"
    );
    assert_eq!(bench.store.view().revision, view.revision);

    // Whoever names them means them.
    let (status, json) = bench.post("remove?serviceName=new").await;
    assert_eq!(status, 200, "{json}");
    let again = "reconfigure?serviceName=a&servicePath=/a&port=80";
    let (status, json) = bench.post(again).await;
    assert_eq!(status, 200, "{json}");
    let (status, json) = import(&none, "").await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(bench.store.view().stored.documents().count(), 0);
}

#[tokio::test]
async fn what_a_newer_release_writes_while_a_rollback_waits_is_not_replaced_unasked() {
    let bench = Bench::with_history().await;
    // The engine is busy, and the rollback is decided and waits.
    let gate = bench.carrier.gate.lock().await;
    let busy = bench.get("reconfigure?serviceName=busy&servicePath=/busy&port=80");
    let rollback = async {
        let name = "busy".parse().unwrap();
        while bench.store.view().stored.document(&name).is_none() {
            tokio::task::yield_now().await;
        }
        let mut rollback = std::pin::pin!(bench.post("rollback?revision=1"));
        assert!(rollback.as_mut().now_or_never().is_none());
        bench.store.put_document(newer("a"));
        drop(gate);
        rollback.await
    };
    let (_, (status, json)) = tokio::join!(busy, rollback);
    assert_eq!((status, &json["Stored"]), (409, &false.into()), "{json}");
    let message = json["Message"].as_str().unwrap();
    assert!(message.contains("cannot read of a, which"), "{message}");
    let view = bench.store.view();
    let held = view.stored.document(&"a".parse().unwrap()).unwrap();
    assert!(held.service().is_err(), "{held:?}");
}

#[tokio::test]
async fn what_a_source_kept_is_its_own_in_a_cluster_that_begins_with_an_import() {
    let kept = Bench::new().await;
    assert_eq!(started_with(&kept, "80").await, (1, "80".to_owned()));
    kept.get("reconfigure?serviceName=mine&servicePath=/mine&port=80")
        .await;
    let (_, file) = kept.get("export").await;
    let sources = async |bench: &Bench| {
        let uri = "/v1/docker-flow-proxy/import";
        let import = Request::put(uri).body(Body::from(file.to_string()));
        let (status, json) = bench.send(import.unwrap()).await;
        assert_eq!(status, 200, "{json}");
        let view = bench.store.view();
        let services = view.stored.table().iter();
        let sources = services.map(|service| (service.name().to_string(), service.source()));
        sources.collect::<Vec<_>>()
    };
    let (name, mine) = (|name: &str| name.to_owned(), (String::from("mine"), None));
    let environments = Some(proxy_core::Source::Environment);
    let whole = [(name("kept"), environments), mine.clone()];
    let bench = Bench::new().await;
    assert_eq!(sources(&bench).await, whole);
    assert_eq!(sources(&bench).await, whole, "it says what is there");
    // Sources may have been faster, and operators may be at work already.
    let bench = Bench::new().await;
    assert_eq!(started_with(&bench, "81").await.0, 1);
    assert_eq!(sources(&bench).await, [(name("kept"), None), mine.clone()]);
    let bench = Bench::new().await;
    bench
        .get("reconfigure?serviceName=other&servicePath=/o&port=80")
        .await;
    assert_eq!(sources(&bench).await, [(name("kept"), None), mine]);
}

#[tokio::test]
async fn a_rollback_to_what_no_longer_validates_is_refused() {
    let bench = Bench::with_history().await;
    bench.carrier.bad.lock().unwrap().insert("b");
    let before = bench.store.view().revision;
    let (status, json) = bench.post("rollback?revision=2").await;
    assert_eq!((status, &json["Stored"]), (400, &false.into()), "{json}");
    assert_eq!(bench.store.view().revision, before);
    assert_eq!(bench.carrier.live(), ["a"]);
}

#[tokio::test]
async fn nothing_is_accepted_by_accident() {
    let bench = Bench::with_history().await;
    for query in [
        "",
        "?all=maybe",
        "?all=true&serviceName=a",
        "?serviceName=a%20b",
    ] {
        let (status, json) = bench.post(&format!("accept{query}")).await;
        assert_eq!(status, 400, "{query} {json}");
    }
    // It is there: that is a removal, and not this.
    let (status, json) = bench.post("accept?serviceName=a").await;
    assert_eq!(status, 409, "{json}");
    let (status, json) = bench.post("accept?all=true").await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(json["Dropped"].as_array().unwrap().len(), 0);
    assert_eq!(bench.carrier.live(), ["a"]);
    assert_eq!(bench.store.view().condition, StoreCondition::Live);
}
