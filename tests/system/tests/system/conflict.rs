//! Replicas that are asked for contradicting things at the same moment.

use testkit::topology::{Failure, until};

use crate::story::swarm;

/// How often two replicas are set against each other.
const ROUNDS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_calls_end_with_one_table_everywhere() -> Result<(), Failure> {
    let (topology, demo) = swarm().await?;
    let port = demo.address().port();
    for round in 0..ROUNDS {
        let call = |who: &str| {
            format!("reconfigure?serviceName=go-demo&servicePath=/{who}-{round}&port={port}")
        };
        let (ours, theirs) = (call("one"), call("two"));
        let (one, two) = tokio::join!(
            topology.replica(1).call(&ours),
            topology.replica(2).call(&theirs),
        );
        let (one, two) = (one?, two?);
        // Both writers succeed, in the store's order.
        assert_eq!(
            (one.status, two.status),
            (200, 200),
            "{} {}",
            one.text,
            two.text
        );
        let last = [&one, &two]
            .map(|answer| answer.json["Revision"]["Number"].as_u64())
            .into_iter()
            .max()
            .flatten();
        let mut tables = Vec::new();
        for replica in &topology.replicas {
            replica
                .until_state("the last revision is reached", |state| {
                    state["Revision"]["Number"].as_u64() >= last
                })
                .await?;
            tables.push(replica.call("export").await?.text);
        }
        assert!(
            tables.iter().all(|table| *table == tables[0]),
            "round {round}: {tables:#?}"
        );
    }
    // And it is what they serve.
    let table = topology.replica(1).call("config?type=json").await?.json;
    let path = table["go-demo"]["ServicePath"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for replica in &topology.replicas {
        until("the path that won is served", async || {
            let answer = replica.request(&path).await?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(format!("{answer:?}").into())
            }
        })
        .await?;
    }
    Ok(())
}
