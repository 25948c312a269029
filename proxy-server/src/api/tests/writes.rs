//! By which methods changes come, and how many.

use std::num::NonZeroU32;

use super::*;
use crate::settings::GetWrites;

const RECONFIGURE: &str = "/v1/docker-flow-proxy/reconfigure?serviceName=a&servicePath=/a&port=80";

async fn call(bench: &Bench, method: &str, uri: &str) -> axum::response::Response {
    let request = Request::builder().method(method).uri(uri);
    let request = request.body(Body::empty()).unwrap();
    bench.app.clone().oneshot(request).await.unwrap()
}

async fn limited(writes: WriteLimits) -> Bench {
    Bench::limited(Keys::default(), Arc::new(Notes::default()), writes).await
}

#[tokio::test]
async fn a_get_changes_nothing_where_that_is_switched_off() {
    let bench = limited(WriteLimits {
        get_writes: GetWrites::Refused,
        rate: None,
    })
    .await;
    for endpoint in ["reconfigure", "remove", "reload"] {
        let uri = format!("/v1/docker-flow-proxy/{endpoint}?serviceName=a&servicePath=/a&port=80");
        for method in ["GET", "HEAD"] {
            let response = call(&bench, method, &uri).await;
            assert_eq!(response.status(), 405, "{method} {endpoint}");
            let allow = response.headers()["allow"].to_str().unwrap().to_owned();
            assert!(allow.contains("POST") && !allow.contains("GET"), "{allow}");
        }
    }
    let (_, json) = bench.get("reconfigure").await;
    let message = json["Message"].as_str().unwrap();
    assert!(
        message.contains("does not take GET") && message.contains("nothing was changed"),
        "{json}"
    );
    assert!(bench.store.view().stored.table().is_empty());
    assert_eq!(call(&bench, "PUT", RECONFIGURE).await.status(), 200);
    assert_eq!(bench.get("status").await.0, 200);
}

#[tokio::test]
async fn a_head_changes_nothing_anywhere() {
    let bench = Bench::new().await;
    assert_eq!(call(&bench, "HEAD", RECONFIGURE).await.status(), 405);
    assert!(bench.store.view().stored.table().is_empty());
    assert_eq!(call(&bench, "GET", RECONFIGURE).await.status(), 200);
}

#[tokio::test]
async fn too_many_changes_are_told_when_to_come_again() {
    let rate = NonZeroU32::new(1);
    let bench = limited(WriteLimits {
        rate,
        ..Default::default()
    })
    .await;
    let mut refused = None;
    // Four at once, and one for each second that the test may take.
    for _ in 0..1_000 {
        let response = call(&bench, "GET", RECONFIGURE).await;
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
        assert_eq!(response.status(), 200);
    }
    let refused = refused.expect("a thousand changes a second are too many");
    let after = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!((1..=5).contains(&after.parse::<u64>().unwrap()), "{after}");
    let body = to_bytes(refused.into_body(), 1 << 20).await.unwrap();
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert!(
        json["Message"]
            .as_str()
            .unwrap()
            .contains("nothing was changed"),
        "{json}"
    );
    // Questions go on.
    assert_eq!(bench.get("status").await.0, 200);
}
