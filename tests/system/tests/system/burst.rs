//! Many changes at once: few reloads, and everyone answered for their own change.

use std::sync::Arc;

use testkit::{
    consul::ClusterOptions,
    haproxy::DemoBackend,
    topology::{Failure, Plan},
};
use tokio::task::JoinSet;

use crate::{maps::applies, story::reconfigure};

const CALLS: usize = 1_000;
/// The goal for this many calls sent at once.
const MOST_RELOADS: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_are_few_reloads_and_lose_only_the_bad_ones() -> Result<(), Failure>
{
    let topology = Arc::new(
        Plan::replicas(2)
            .consul(ClusterOptions::servers(3))
            .start()
            .await?,
    );
    let demo = DemoBackend::start("hello").await?;
    let before = applies(topology.replica(1), "reloaded").await?;
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let topology = Arc::clone(&topology);
        let mut call = reconfigure(&format!("s{number}"), &format!("/s{number}/"), &demo);
        call.push_str("&outboundHostname=127.0.0.1");
        if number % 100 == 50 {
            // Rust takes this expression and HAProxy does not, so only the check finds it.
            call = format!(
                "reconfigure?serviceName=s{number}&servicePath=/$*&pathType=path_reg&port=1"
            );
        }
        calls.spawn(async move { (number, topology.replica(1).call(&call).await) });
    }
    while let Some(answered) = calls.join_next().await {
        let (number, answer) = answered?;
        let answer = answer?;
        let expected = if number % 100 == 50 { 400 } else { 200 };
        assert_eq!(answer.status, expected, "{number}: {}", answer.text);
    }
    let done = applies(topology.replica(1), "reloaded").await? - before;
    assert!(done <= MOST_RELOADS, "{done} reloads for {CALLS} calls");
    for replica in &topology.replicas {
        let good = u64::try_from(CALLS - CALLS / 100)?;
        replica
            .until_state("every service is there", |state| state["Services"] == good)
            .await?;
        for number in [0, 499, 999] {
            replica.until_status(&format!("/s{number}/"), 200).await?;
        }
    }
    Ok(())
}
