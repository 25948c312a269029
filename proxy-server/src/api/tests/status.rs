//! `status`, alone and with every replica.

use super::*;
use crate::standing::{Standing, Surveyed};

impl Bench {
    /// Peers that say what this replica says, each after something was altered.
    fn peers(&self, alter: &[&dyn Fn(&mut Standing)]) {
        let row = |(n, alter): (usize, &&dyn Fn(&mut Standing))| {
            let mut standing = self.station.now();
            standing.instance = format!("other-{n}").parse().unwrap();
            alter(&mut standing);
            Surveyed {
                address: format!("10.0.0.{n}:8080"),
                took: Duration::ZERO,
                standing: Ok(standing),
            }
        };
        *self.peers.0.lock().unwrap() = alter.iter().enumerate().map(row).collect();
    }
}

async fn with_one_service() -> Bench {
    let bench = Bench::new().await;
    bench
        .get("reconfigure?serviceName=a&servicePath=/a&port=80")
        .await;
    bench
}

#[tokio::test]
async fn every_replica_has_a_row_and_who_lags_says_by_how_much() {
    let bench = with_one_service().await;
    let same = |_: &mut Standing| {};
    let ahead = |it: &mut Standing| it.revision.as_mut().unwrap().number += 3;
    bench.peers(&[&same, &ahead]);
    bench.peers.0.lock().unwrap().push(Surveyed {
        address: "10.0.0.9:8080".into(),
        took: Duration::from_secs(3),
        standing: Err("no connection".into()),
    });
    let (status, json) = bench.get("status?peers=true").await;
    assert_eq!((status, &json["Drift"]), (200, &false.into()), "{json}");
    let rows = json["Peers"].as_array().unwrap();
    let places: Vec<_> = rows
        .iter()
        .map(|row| row["Place"].as_str().unwrap())
        .collect();
    assert_eq!(
        places,
        ["behind", "current", "unreachable", "behind"],
        "{json}"
    );
    assert_eq!(rows[0]["Behind"], 3);
    assert_eq!(rows[2]["Reason"], "no connection");
    assert_eq!(rows[3]["Instance"], "me-1");
    assert_eq!(rows[3]["TableDigest"], json["TableDigest"]);
}

#[tokio::test]
async fn a_replica_that_drifted_is_pointed_at() {
    let bench = with_one_service().await;
    let same = |_: &mut Standing| {};
    let other = |it: &mut Standing| it.table_digest = "another".into();
    bench.peers(&[&same, &other]);
    let (_, json) = bench.get("status?peers=true").await;
    assert_eq!(json["Drift"], true, "{json}");
    let rows = json["Peers"].as_array().unwrap();
    let drifted: Vec<_> = rows
        .iter()
        .filter(|row| row["Place"] == "drifted")
        .collect();
    assert_eq!(drifted.len(), 1, "{json}");
    assert_eq!(drifted[0]["Instance"], "other-1");
}

#[tokio::test]
async fn a_replica_that_discovery_finds_is_not_counted_twice() {
    let bench = with_one_service().await;
    let me = |it: &mut Standing| it.instance = "me-1".parse().unwrap();
    bench.peers(&[&me]);
    let (_, json) = bench.get("status?peers=true").await;
    let rows = json["Peers"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{json}");
    assert_eq!(rows[0]["Address"], "10.0.0.0:8080");
}

#[tokio::test]
async fn status_says_how_the_servers_answer_and_which_parameter_is_bad() {
    let bench = with_one_service().await;
    let (_, json) = bench.get("status").await;
    let server = &json["Store"]["Servers"][0];
    assert_eq!(server["Address"], "http://consul:8500", "{json}");
    assert_eq!(server["Last"], Value::Null);
    assert!(json["Peers"].is_null());
    for bad in ["status?peers=maybe", "status?type=xml", "status?id=x"] {
        assert_eq!(bench.get(bad).await.0, 400, "{bad}");
    }
    // The words of the scripted HAProxy name the service, which is in the path as well.
    bench.carrier.bad.lock().unwrap().insert("evil");
    let base = bench.store.view();
    bench.store.commit(&base, &[put("evil")]).await.unwrap();
    let mut seen = bench.engine.snapshots();
    seen.wait_for(|s| !s.quarantined.is_empty()).await.unwrap();
    let (_, json) = bench.get("status").await;
    let held = &json["Quarantined"]["evil"];
    assert_eq!(held["Why"], "evil is bad", "{json}");
    assert_eq!(held["Parameter"], Value::Null, "its path is /evil");
    let (_, json) = bench.get("config?type=json").await;
    assert_eq!(json["evil"]["Quarantined"], "evil is bad", "{json}");
    assert!(json["evil"].get("QuarantinedParameter").is_some());
    let named = "proxy_quarantined{service=\"evil\"} 1\n";
    assert!(bench.metrics.text().contains(named));
    bench.carrier.bad.lock().unwrap().clear();
    let seq = bench.store.view().seq;
    seen.wait_for(|s| s.quarantined.is_empty()).await.unwrap();
    bench.engine.served(seq).await.unwrap();
    assert!(!bench.metrics.text().contains("service=\"evil\""));
}

#[tokio::test]
async fn status_as_text_is_for_people() {
    let bench = with_one_service().await;
    bench.peers(&[&|_: &mut Standing| {}]);
    let uri = "/v1/docker-flow-proxy/status?peers=true&type=text";
    let request = Request::get(uri).body(Body::empty()).unwrap();
    let response = bench.app.clone().oneshot(request).await.unwrap();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    for wanted in [
        "Store.Condition: live",
        "\nREPLICA ",
        "10.0.0.0:8080  other-0   current",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[tokio::test]
async fn what_peers_are_told_is_the_standing() {
    let bench = with_one_service().await;
    let request = Request::get(crate::standing::STANDING_PATH)
        .body(Body::empty())
        .unwrap();
    let response = bench.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[INSTANCE_HEADER], "me-1");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let told: Standing = serde_json::from_slice(&body).unwrap();
    assert_eq!(told, bench.station.now());
}
