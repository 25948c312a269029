//! Health, as those see it who restart replicas and send them traffic.

use super::*;
use crate::carrier::CarrierCondition;

async fn probe(bench: &Bench, path: &str) -> (u16, Value, Vec<String>) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = bench.app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let warnings = response.headers().get_all("x-proxy-warning").iter();
    let warnings = warnings.map(|w| w.to_str().unwrap().to_owned()).collect();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap(), warnings)
}

/// Waits until HAProxy was asked to run.
async fn until_running(bench: &Bench) {
    bench.get("reload").await;
    assert_eq!(
        Carrier::condition(&*bench.carrier),
        CarrierCondition::Running
    );
}

#[tokio::test]
async fn a_replica_is_ready_once_haproxy_runs_its_table() {
    let bench = Bench::new().await;
    bench.carrier.live.lock().unwrap().take();
    let (status, json, _) = probe(&bench, "/readyz").await;
    assert_eq!((status, &json["Status"]), (503, &"NOK".into()), "{json}");
    until_running(&bench).await;
    let (status, json, warnings) = probe(&bench, "/readyz").await;
    assert_eq!((status, warnings.len()), (200, 0), "{json}");
}

#[tokio::test]
async fn a_table_of_the_run_before_is_not_ready_before_the_store_was_asked() {
    let mut bench = Bench::new().await;
    until_running(&bench).await;
    let station = |bench: &Bench| {
        let station = Station::new(
            "me-1".parse().unwrap(),
            bench.engine.clone(),
            Arc::clone(&bench.carrier) as Arc<dyn Carried>,
            bench.ending.clone(),
        );
        Arc::new(station.after(Some(bench.store.view().seq)))
    };
    bench.api.station = station(&bench);
    bench.app = router(bench.api.clone());
    let (status, json, _) = probe(&bench, "/readyz").await;
    assert_eq!(status, 503, "{json}");
    let message = json["Message"].as_str().unwrap();
    assert!(message.contains("the run before"), "{message}");
    // What the store says is in place before it is.
    let base = bench.store.view();
    let committed = bench.store.commit(&base, &[put("a")]).await.unwrap();
    bench.engine.served(committed.view.seq).await.unwrap();
    assert_eq!(probe(&bench, "/readyz").await.0, 200);
    assert_eq!(bench.carrier.live(), ["a"]);
    // Nor is it waited for without an end.
    bench.api.station = station(&bench);
    bench.app = router(bench.api.clone());
    assert_eq!(probe(&bench, "/readyz").await.0, 503);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(probe(&bench, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_replica_that_is_asked_to_end_is_not_ready_and_alive() {
    let bench = Bench::new().await;
    until_running(&bench).await;
    bench.ending.cancel();
    let (status, json, _) = probe(&bench, "/readyz").await;
    assert_eq!(status, 503, "{json}");
    assert_eq!(json["Message"], "this replica shuts down");
    assert_eq!(probe(&bench, "/healthz").await.0, 200);
}

#[tokio::test]
async fn what_is_wrong_and_no_reason_to_go_elsewhere_is_a_warning() {
    let bench = Bench::new().await;
    until_running(&bench).await;
    bench.carrier.bad.lock().unwrap().insert("geheim");
    let base = bench.store.view();
    let committed = bench.store.commit(&base, &[put("geheim")]).await.unwrap();
    let mut seen = bench.engine.snapshots();
    seen.wait_for(|s| s.view.seq >= committed.view.seq)
        .await
        .unwrap();
    let (status, json, warnings) = probe(&bench, "/readyz").await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(warnings, ["1 service is quarantined"]);
    assert_eq!(json["Warnings"][0], "1 service is quarantined");
    assert!(!json.to_string().contains("geheim"), "{json}");
}

#[tokio::test]
async fn a_process_whose_engine_ended_is_not_alive_and_probes_need_no_token() {
    let keys = Keys {
        api: Some("open".to_owned().into()),
        ..Keys::default()
    };
    let bench = Bench::with(keys).await;
    let (status, json, _) = probe(&bench, "/healthz").await;
    assert_eq!(status, 200, "{json}");
    bench.stop.cancel();
    bench.task.await.unwrap();
    let request = Request::get("/healthz").body(Body::empty()).unwrap();
    let response = bench.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
}

#[tokio::test]
async fn the_tests_of_docker_flow_proxy_are_answered() {
    let bench = Bench::new().await;
    for path in ["/v1/test", "/v2/test"] {
        let (status, json, _) = probe(&bench, path).await;
        assert_eq!((status, &json["Status"]), (200, &"OK".into()), "{json}");
    }
}
