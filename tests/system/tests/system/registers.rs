//! Replicas without Consul: they keep the table among themselves, best effort, and end equal.

use serde_json::Value;
use testkit::{
    haproxy::DemoBackend,
    topology::{Failure, Plan, Topology, until},
};

use crate::story::reconfigure;

/// How often two replicas are set against each other.
const ROUNDS: usize = 20;

async fn trio() -> Result<(Topology, DemoBackend), Failure> {
    let topology = Plan::replicas(3).start().await?;
    Ok((topology, DemoBackend::start("hello").await?))
}

/// The call that routes `/<name>` to the demo backend, whatever DNS knows.
fn serve(name: &str, demo: &DemoBackend) -> String {
    let call = reconfigure(name, &format!("/{name}"), demo);
    format!("{call}&outboundHostname=127.0.0.1")
}

/// Waits until these replicas are at one revision, and gives the table that all of them export.
async fn agreed(topology: &Topology, numbers: &[usize]) -> Result<Value, Failure> {
    let agreed = until("the replicas agree", async || {
        let mut tables = Vec::new();
        for number in numbers {
            tables.push(topology.replica(*number).call("export").await?.json);
        }
        let first = tables.first().cloned().unwrap_or_default();
        let is_table = first.get("services").is_some_and(Value::is_array);
        match is_table && tables.iter().all(|table| *table == first) {
            true => Ok(first),
            false => Err(format!("{tables:#?}").into()),
        }
    });
    agreed.await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_agree_and_one_that_was_away_catches_up() -> Result<(), Failure> {
    let (mut topology, demo) = trio().await?;
    for (number, name) in [(1, "one"), (2, "two"), (3, "three")] {
        let answer = topology.replica(number).call(&serve(name, &demo)).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for replica in &topology.replicas {
        for path in ["/one", "/two", "/three"] {
            replica.until_status(path, 200).await?;
        }
    }
    agreed(&topology, &[1, 2, 3]).await?;

    topology.replica_mut(3).crash();
    let removed = topology.replica(1).call("remove?serviceName=three").await?;
    assert_eq!(removed.status, 200, "{}", removed.text);
    let added = topology.replica(2).call(&serve("four", &demo)).await?;
    assert_eq!(added.status, 200, "{}", added.text);
    agreed(&topology, &[1, 2]).await?;

    topology.replica_mut(3).start()?;
    let third = topology.replica(3);
    third.until_serving().await?;
    // It has copied what it missed before it serves: no waiting here.
    assert_eq!(third.request("/four").await?.status, 200);
    assert_eq!(third.request("/three").await?.status, 404);
    agreed(&topology, &[1, 2, 3]).await?;
    // What the third still had on disk has come back nowhere.
    for replica in &topology.replicas {
        assert_eq!(replica.request("/three").await?.status, 404);
        assert_eq!(replica.request("/one").await?.status, 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_writes_end_alike_everywhere() -> Result<(), Failure> {
    let (topology, demo) = trio().await?;
    let port = demo.address().port();
    for round in 0..ROUNDS {
        let call = |who: &str| {
            format!(
                "reconfigure?serviceName=demo&servicePath=/{who}-{round}&port={port}&outboundHostname=127.0.0.1"
            )
        };
        let (ours, theirs) = (call("one"), call("two"));
        let (one, two) = tokio::join!(
            topology.replica(1).call(&ours),
            topology.replica(2).call(&theirs),
        );
        let statuses = (one?.status, two?.status);
        assert_eq!(statuses, (200, 200), "round {round}");
        let table = agreed(&topology, &[1, 2, 3]).await?;
        let path = table["services"][0]["destinations"][0]["paths"][0]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(path.ends_with(&format!("-{round}")), "{table}");
        for replica in &topology.replicas {
            replica.until_status(&path, 200).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sides_that_did_not_see_each_other_become_one() -> Result<(), Failure> {
    let (mut topology, demo) = trio().await?;
    for name in ["both", "gone"] {
        let call = format!("{}&distribute=true", serve(name, &demo));
        let answer = topology.replica(1).call(&call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    // The third alone.
    topology.replica_mut(1).crash();
    topology.replica_mut(2).crash();
    let third = topology.replica(3);
    for call in [serve("right", &demo), "remove?serviceName=gone".to_owned()] {
        assert_eq!(third.call(&call).await?.status, 200);
    }
    let both = serve("both", &demo).replace("=/both", "=/both,/right-only");
    assert_eq!(third.call(&both).await?.status, 200);
    // The others without it. Nobody tells them the table, and they serve what they have.
    topology.replica_mut(3).crash();
    for number in [1, 2] {
        topology.replica_mut(number).start()?;
    }
    for number in [1, 2] {
        topology.replica(number).until_status("/gone", 200).await?;
    }
    assert_eq!(
        topology
            .replica(1)
            .call(&serve("left", &demo))
            .await?
            .status,
        200
    );
    topology.replica_mut(3).start()?;
    let until_there = topology.replica(3).until_status("/left", 200);
    until_there.await?;
    agreed(&topology, &[1, 2, 3]).await?;
    for replica in &topology.replicas {
        for (path, status) in [
            ("/both", 200),
            ("/right-only", 200),
            ("/left", 200),
            ("/right", 200),
            ("/gone", 404),
        ] {
            replica.until_status(path, status).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_replica_serves_the_table_without_a_call() -> Result<(), Failure> {
    let mut topology = Plan::replicas(4).prepare().await?;
    let demo = DemoBackend::start("hello").await?;
    for number in 1..=3 {
        topology.replica_mut(number).start()?;
    }
    for number in 1..=3 {
        topology.replica(number).until_serving().await?;
    }
    let answer = topology.replica(2).call(&serve("demo", &demo)).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    topology.replica_mut(4).start()?;
    let fourth = topology.replica(4);
    fourth.until_serving().await?;
    // The first answer that it gives is one with the table.
    assert_eq!(fourth.request("/demo").await?.status, 200);
    agreed(&topology, &[1, 2, 3, 4]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_all_is_possible_and_for_a_majority_is_not() -> Result<(), Failure> {
    let (mut topology, demo) = trio().await?;
    let call = serve("demo", &demo);
    for _ in 0..2 {
        let answer = topology
            .replica(1)
            .call(&format!("{call}&distribute=true"))
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let rows = answer.json["Peers"].as_array().map(Vec::len);
        assert_eq!(rows, Some(3), "{}", answer.text);
        for replica in &topology.replicas {
            assert_eq!(replica.request("/demo").await?.status, 200);
        }
    }
    let refused = topology
        .replica(1)
        .call(&format!("{call}&wait=quorum"))
        .await?;
    assert_eq!(refused.status, 400, "{}", refused.text);
    topology.replica_mut(3).crash();
    let partly = topology
        .replica(1)
        .call("remove?serviceName=demo&distribute=true&timeout=3")
        .await?;
    assert_eq!(
        (partly.status, &partly.json["Stored"]),
        (502, &true.into()),
        "{}",
        partly.text
    );
    Ok(())
}
