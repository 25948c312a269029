//! `dryRun=true`: everything is said and nothing is done.

use super::*;

const A: &str = "serviceName=a&servicePath=/a&port=80";

/// What a dry run must leave as it was.
async fn state(bench: &Bench) -> (Value, Vec<String>, usize) {
    let (_, status) = bench.get("status").await;
    let reloads = bench.carrier.reloads.load(SeqCst);
    (status["Revision"].clone(), bench.carrier.live(), reloads)
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let bench = Bench::new().await;
    bench.get(&format!("reconfigure?{A}")).await;
    let (_, file) = bench.get("export").await;
    bench
        .get("reconfigure?serviceName=b&servicePath=/b&port=80")
        .await;
    let before = state(&bench).await;
    for (call, effect, change, kind) in [
        (
            "reconfigure?serviceName=c&servicePath=/c&port=80",
            "reload",
            "c",
            "added",
        ),
        (
            "reconfigure?serviceName=a&servicePath=/x&port=80",
            "reload",
            "a",
            "replaced",
        ),
        (&format!("reconfigure?{A}"), "none", "a", "unchanged"),
        ("remove?serviceName=a", "reload", "a", "removed"),
        ("remove?serviceName=zzz", "none", "zzz", "unchanged"),
    ] {
        let (status, json) = bench.get(&format!("{call}&dryRun=true")).await;
        assert_eq!(
            (status, &json["Status"]),
            (200, &"OK".into()),
            "{call}: {json}"
        );
        assert_eq!(json["DryRun"], true, "{json}");
        assert_eq!(json["Stored"], false, "{json}");
        assert_eq!(json["Effect"], effect, "{call}: {json}");
        let expected = serde_json::json!([{ "ServiceName": change, "Change": kind }]);
        assert_eq!(json["Changes"], expected, "{call}");
        assert!(
            json["Message"]
                .as_str()
                .unwrap()
                .ends_with("nothing was changed"),
            "{json}"
        );
        assert_eq!(state(&bench).await, before, "{call}");
    }
    let uri = "/v1/docker-flow-proxy/import?dryRun=true";
    let import = Request::put(uri)
        .body(Body::from(file.to_string()))
        .unwrap();
    let (status, json) = bench.send(import).await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(json["Changes"][0]["Change"], "removed", "{json}");
    let roll = Request::post("/v1/docker-flow-proxy/rollback?revision=1&dryRun=true");
    let (status, json) = bench.send(roll.body(Body::empty()).unwrap()).await;
    assert_eq!((status, &json["Effect"]), (200, &"reload".into()), "{json}");
    let (status, json) = bench.get("reload?dryRun=true").await;
    assert_eq!((status, &json["Effect"]), (200, &"reload".into()), "{json}");
    assert_eq!(state(&bench).await, before);
}

#[tokio::test]
async fn a_dry_run_is_refused_as_the_change_would_be() {
    let bench = Bench::new().await;
    bench.carrier.bad.lock().unwrap().insert("evil");
    bench.get(&format!("reconfigure?{A}")).await;
    for (query, expected) in [
        ("serviceName=b&servicePath=/a&port=x", 400),
        ("serviceName=b&port=80", 409),
        ("serviceName=b&aclName=a&servicePath=/a&port=80", 409),
        ("serviceName=evil&servicePath=/a&port=80", 400),
    ] {
        let made = bench.get(&format!("reconfigure?{query}")).await;
        let (status, json) = bench.get(&format!("reconfigure?{query}&dryRun=true")).await;
        assert_eq!((status, made.0), (expected, expected), "{query}: {json}");
        assert_eq!(json["Message"], made.1["Message"], "{query}");
        assert_eq!(json["Stored"], false, "{json}");
    }
    let (status, json) = bench.get(&format!("reconfigure?{A}&dryRun=maybe")).await;
    assert_eq!(status, 400);
    assert!(
        json["Message"].as_str().unwrap().contains("dryRun"),
        "{json}"
    );
    bench.carrier.unable.store(true, SeqCst);
    let other = "reconfigure?serviceName=b&servicePath=/b&port=80&dryRun=true";
    assert_eq!(bench.get(other).await.0, 503);
}

#[tokio::test]
async fn a_dry_run_does_not_wait_for_a_turn_that_hangs() {
    let bench = Bench::new().await;
    let gate = bench.carrier.gate.lock().await;
    let app = bench.app.clone();
    let uri = format!("/v1/docker-flow-proxy/reconfigure?{A}");
    let made = tokio::spawn(async move {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        app.oneshot(request).await.unwrap().status()
    });
    // The change is stored and not live.
    let mut view = bench.store.view();
    while view.stored.table().is_empty() {
        view = bench.store.changed(view.seq).await;
    }
    let other = "reconfigure?serviceName=b&servicePath=/a&port=80&dryRun=true";
    let (status, json) = bench.get(other).await;
    assert_eq!((status, &json["Effect"]), (200, &"reload".into()), "{json}");
    // It sees what is stored, although it is not live yet.
    assert!(
        json["Warnings"][0]
            .as_str()
            .unwrap()
            .contains("also claimed by the service a"),
        "{json}"
    );
    drop(gate);
    assert_eq!(made.await.unwrap(), 200);
}

/// A dry run of the service `b`.
const B: &str = "reconfigure?serviceName=b&servicePath=/b&port=80&dryRun=true";

/// What another replica stores; it is seen here, and not necessarily live.
async fn stored_elsewhere(bench: &Bench, change: proxy_core::Change) {
    let base = bench.store.view();
    bench.store.commit(&base, &[change]).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_is_tried_on_what_is_stored_before_it_is_live() {
    let bench = Bench::new().await;
    *bench.carrier.clash.lock().unwrap() = Some(["a", "b"]);
    assert_eq!(bench.get(B).await.0, 200);
    let _gate = bench.carrier.gate.lock().await;
    stored_elsewhere(&bench, put("a")).await;
    let (status, json) = bench.get(B).await;
    assert_eq!(status, 400, "{json}");
    assert!(bench.carrier.live().is_empty());
}

#[tokio::test]
async fn a_dry_run_leaves_out_what_is_quarantined_here_until_another_version_is_stored() {
    let bench = Bench::new().await;
    bench.carrier.bad.lock().unwrap().insert("evil");
    let mut seen = bench.engine.snapshots();
    stored_elsewhere(&bench, put("evil")).await;
    seen.wait_for(|s| !s.quarantined.is_empty()).await.unwrap();
    let (status, json) = bench.get(B).await;
    assert_eq!((status, &json["Effect"]), (200, &"reload".into()), "{json}");
    assert_eq!(json["Warnings"], serde_json::json!([]), "{json}");
    // Another version of it may be good, and is tried with the change.
    let _gate = bench.carrier.gate.lock().await;
    bench.carrier.bad.lock().unwrap().clear();
    *bench.carrier.clash.lock().unwrap() = Some(["evil", "b"]);
    let query = "serviceName=evil&servicePath=/other&port=80";
    let asked = proxy_core::Params::from_query(query).unwrap();
    let other = proxy_core::parse_reconfigure(&asked).unwrap().value.service;
    stored_elsewhere(&bench, proxy_core::Change::Put(other)).await;
    let (status, json) = bench.get(B).await;
    assert_eq!(status, 400, "{json}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_leaves_out_what_was_not_judged_here_yet() {
    use std::time::Duration;

    let bench = Bench::new().await;
    let evil = ["evil-1", "evil-2", "evil-3"];
    bench.carrier.bad.lock().unwrap().extend(evil);
    *bench.carrier.load_takes.lock().unwrap() = Duration::from_secs(1);
    *bench.carrier.check_takes.lock().unwrap() = Duration::from_millis(600);
    let mut seen = bench.engine.snapshots();
    // The others come while the first is loaded, and one search finds the second and ends.
    for name in evil {
        let base = bench.store.view();
        bench.store.commit(&base, &[put(name)]).await.unwrap();
    }
    seen.wait_for(|s| !s.unjudged.is_empty()).await.unwrap();
    let (status, json) = bench.get(B).await;
    assert_eq!(status, 200, "{json}");
}

#[tokio::test]
async fn certificates_are_tried_in_the_turns_of_dry_runs() {
    use futures_util::{FutureExt as _, future::join_all};

    use crate::certificates::Step;

    let bench = Bench::new().await;
    let gate = bench.carrier.gate.lock().await;
    let try_one = || bench.api.dry_runs.would_show(Step::Authorities(None));
    let mut waiting = Box::pin(join_all((0..64).map(|_| try_one())));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(bench.carrier.shown_now.load(SeqCst), 2);
    let refused = try_one().await.unwrap_err();
    let refused = crate::chain::chain(&refused);
    assert!(refused.contains("try again"), "{refused}");
    // Nor is there a place for a dry run now.
    let (status, json) = bench.get(&format!("reconfigure?{A}&dryRun=true")).await;
    assert_eq!(status, 503, "{json}");
    drop(gate);
    assert!(waiting.await.iter().all(Result::is_ok));
    assert_eq!(bench.carrier.shown_at_once.load(SeqCst), 2);
    try_one().await.unwrap();
}

#[tokio::test]
async fn a_reload_says_what_is_loaded_and_who_is_asked() {
    let bench = Bench::new().await;
    for (query, expected, words) in [
        ("", 200, "as it stands in its files"),
        ("recreate=true", 200, "rendered and written anew"),
        ("dryRun=true", 200, "HAProxy would be reloaded"),
        ("fromListener=true", 502, "LISTENER_ADDRESS"),
        ("fromListener=true&dryRun=true", 502, "LISTENER_ADDRESS"),
        ("fromListener=true&recreate=true", 400, "recreate"),
        (
            "fromListener=true&recreate=true&dryRun=true",
            400,
            "recreate",
        ),
    ] {
        let (status, json) = bench.get(&format!("reload?{query}")).await;
        let message = json["Message"].to_string();
        assert_eq!(status, expected, "{query}: {json}");
        assert!(message.contains(words), "{query}: {json}");
        if query.contains("fromListener") {
            assert!(!message.contains("HAProxy would be reloaded"), "{json}");
        }
    }
}

#[tokio::test]
async fn a_dry_run_is_not_blamed_for_what_is_served_and_asks_nobody_where_nothing_changes() {
    let bench = Bench::new().await;
    bench.get(&format!("reconfigure?{A}")).await;
    bench.carrier.bad.lock().unwrap().insert("a");
    let (status, json) = bench
        .get("reconfigure?serviceName=b&servicePath=/b&port=80&dryRun=true")
        .await;
    assert_eq!(status, 503, "{json}");
    let checks = bench.carrier.checks.load(SeqCst);
    let (status, json) = bench.get(&format!("reconfigure?{A}&dryRun=true")).await;
    assert_eq!((status, &json["Effect"]), (200, &"none".into()), "{json}");
    assert_eq!(bench.carrier.checks.load(SeqCst), checks);
}
