//! Replicas that come and go, and services that are removed.

use testkit::topology::{Failure, until};

use crate::story::{reconfigure, swarm};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_empty_serves_everything_without_a_call() -> Result<(), Failure> {
    let (mut topology, demo) = swarm().await?;
    let first = format!("{}&distribute=true", reconfigure("go-demo", "/demo", &demo));
    assert_eq!(topology.replica(1).call(&first).await?.status, 200);

    topology.replica_mut(3).crash();
    topology.dns.set("other", [demo.address().ip()]);
    let second = reconfigure("other", "/other", &demo);
    assert_eq!(topology.replica(2).call(&second).await?.status, 200);

    let third = topology.replica_mut(3);
    third.wipe()?;
    third.start()?;
    third.until_status("/demo/hello", 200).await?;
    third.until_status("/other", 200).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_replica_is_named_in_the_answer_and_the_change_stands() -> Result<(), Failure> {
    let (mut topology, demo) = swarm().await?;
    topology.replica_mut(3).crash();
    let call = format!("{}&distribute=true", reconfigure("go-demo", "/demo", &demo));
    let answer = topology.replica(1).call(&call).await?;
    assert_eq!(
        (answer.status, &answer.json["Stored"]),
        (502, &true.into()),
        "{}",
        answer.text
    );
    let dead = topology.replica(3).api().to_string();
    let rows = answer.json["Peers"].as_array().cloned().unwrap_or_default();
    let missing: Vec<_> = rows
        .iter()
        .filter(|row| row["Status"] != "applied")
        .collect();
    assert_eq!(missing.len(), 1, "{}", answer.text);
    assert_eq!(missing[0]["Address"], dead, "{}", answer.text);
    for number in [1, 2] {
        assert_eq!(
            topology
                .replica(number)
                .request("/demo/hello")
                .await?
                .status,
            200
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_service_is_gone_for_good_and_its_namesake_stays() -> Result<(), Failure> {
    let (mut topology, demo) = swarm().await?;
    topology.dns.set("go-demo-2", [demo.address().ip()]);
    for (service, path) in [("go-demo", "/demo"), ("go-demo-2", "/second")] {
        let call = format!("{}&distribute=true", reconfigure(service, path, &demo));
        assert_eq!(topology.replica(1).call(&call).await?.status, 200);
    }
    let answer = topology
        .replica(2)
        .call("remove?serviceName=go-demo&distribute=true")
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for replica in &topology.replicas {
        assert_eq!(replica.request("/demo/hello").await?.status, 404);
        assert_eq!(replica.request("/second").await?.status, 200);
    }
    // With what it had on disk, and without.
    topology.replica_mut(1).crash();
    topology.replica_mut(2).crash();
    topology.replica(2).wipe()?;
    for number in [1, 2] {
        topology.replica_mut(number).start()?;
    }
    for replica in &topology.replicas {
        replica.until_status("/second", 200).await?;
        // One that crashed may have had an older table on disk, and begins with that.
        replica.until_status("/demo/hello", 404).await?;
        // HAProxy runs it a moment before the replica says so.
        until("its backend is gone too", || async {
            match replica.config().await? {
                config if config.contains("go-demo-be") => Err(config.into()),
                _ => Ok(()),
            }
        })
        .await?;
    }
    let again = topology
        .replica(1)
        .call("remove?serviceName=go-demo")
        .await?;
    assert_eq!(again.status, 200, "{}", again.text);
    Ok(())
}
