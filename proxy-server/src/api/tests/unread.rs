//! What the store has and this replica cannot read: nobody is told that it is served, or that it is not there.

use super::*;

impl Bench {
    /// What this replica answers to a peer that says: the store stands there, and has these services.
    async fn told(&self, names: &[&str]) -> (u16, Value) {
        let reach = self.store.view().revision;
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        let news =
            Announcement::new(reach, Vec::new(), names).waited_for(Some(Duration::from_secs(20)));
        let request = Request::post(PEER_PATH).header("content-type", "application/json");
        let body = serde_json::to_vec(&news).unwrap();
        self.send(request.body(body.into()).unwrap()).await
    }
}

#[tokio::test]
async fn no_peer_is_told_that_a_service_is_served_which_is_not() {
    let bench = Bench::new().await;
    for name in ["good", "old"] {
        let call = format!("reconfigure?serviceName={name}&servicePath=/{name}&port=80");
        assert_eq!(bench.get(&call).await.0, 200);
    }
    bench.store.put_document(newer("old"));
    bench.store.put_document(newer("never"));
    assert_eq!(bench.told(&["good"]).await.0, 200);
    for (name, served) in [
        ("old", "its last good version is served"),
        ("never", "nothing of it is served here"),
    ] {
        let (status, json) = bench.told(&["good", name]).await;
        assert_eq!(status, 500, "{json}");
        let reason = json["Reason"].as_str().unwrap();
        assert!(reason.contains("has version 99"), "{json}");
        assert!(reason.contains(served), "{json}");
        let (_, state) = bench.get("status").await;
        assert_eq!(state["Degraded"][name], reason, "{state}");
    }
    let (_, state) = bench.get("status").await;
    assert_eq!(state["Services"], 2, "{state}");
}

#[tokio::test]
async fn what_cannot_be_read_is_exported_as_it_is_served_and_named_and_the_file_is_taken() {
    let bench = Bench::new().await;
    for name in ["good", "old"] {
        let call = format!("reconfigure?serviceName={name}&servicePath=/{name}&port=80");
        assert_eq!(bench.get(&call).await.0, 200);
    }
    bench.store.put_document(newer("old"));
    bench.store.put_document(newer("never"));
    bench.told(&["good"]).await;
    let (_, file) = bench.get("export").await;
    let documents = file["services"].as_array().unwrap();
    let names: Vec<_> = documents
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["good", "old"], "{file}");
    assert!(documents.iter().all(|it| it["version"] == 1), "{file}");
    let degraded = file["degraded"].as_object().unwrap();
    assert_eq!(degraded.len(), 2, "{file}");
    let why = degraded["never"].as_str().unwrap();
    assert!(why.contains("nothing of it is served here"), "{file}");

    // Elsewhere the file is a table, and nobody loses what it does not know.
    let other = Bench::new().await;
    for name in ["never", "gone"] {
        let call = format!("reconfigure?serviceName={name}&servicePath=/{name}&port=80");
        assert_eq!(other.get(&call).await.0, 200);
    }
    let request = Request::put("/v1/docker-flow-proxy/import");
    let body = serde_json::to_vec(&file).unwrap();
    let (status, answer) = other.send(request.body(body.into()).unwrap()).await;
    assert_eq!(status, 200, "{answer}");
    let warning = answer["Warnings"][0].as_str().unwrap();
    assert!(warning.ends_with("left as it is: never"), "{answer}");
    let table = other.store.view().stored.table().clone();
    let names: Vec<_> = table.iter().map(|it| it.name().to_string()).collect();
    assert_eq!(names, ["good", "never", "old"]);
}
