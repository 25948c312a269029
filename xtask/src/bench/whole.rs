//! The server as a process: how it starts on a large table, and what it holds and uses at rest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::Tools;
use super::figure::{Figure, Goal};
use super::processes::{Place, cpu, memory};
use super::stage::{Stage, Store, failed, path, until_routed};

const ROUNDS: usize = 3;
/// How long a server at rest is looked at.
const REST: Duration = Duration::from_secs(60);
/// What a change leaves to do afterwards is done by then.
const SETTLE: Duration = Duration::from_secs(10);

/// Memory with many services, and CPU while nothing happens.
pub(super) async fn rest(tools: &Tools) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &count in tools.sizes(&[1, 10_000]) {
        let stage = Stage::set(tools, 1, Store::Consul, Place::Anywhere).await?;
        stage.fill(count).await?;
        sleep(SETTLE).await;
        let pid = stage.replica().pid().context("the server does not run")?;
        let before = cpu(pid)?;
        sleep(REST).await;
        let used = cpu(pid)?.saturating_sub(before);
        let of_a_core = used.as_secs_f64() / REST.as_secs_f64() * 100.0;
        let what = format!(
            "proxy-server, three Consul servers, N = {}",
            tools.number(count)
        );
        figures.push(
            Figure::new(
                format!("resident memory of {what}"),
                "MiB",
                vec![memory(pid, "VmRSS")?],
            )
            .goal(Goal::AtMost(100.0)),
        );
        figures.push(Figure::new(
            format!("its highest, after the import of {what}"),
            "MiB",
            vec![memory(pid, "VmHWM")?],
        ));
        figures.push(
            Figure::new(
                format!("CPU of a core over 60 s at rest, {what}"),
                "%",
                vec![of_a_core],
            )
            .goal(Goal::AtMost(0.5)),
        );
    }
    Ok(figures)
}

/// From nothing on disk and everything in Consul to the first routed request.
pub(super) async fn start(tools: &Tools) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &count in tools.sizes(&[1_000, 10_000]) {
        let mut stage = Stage::set(tools, 1, Store::Consul, Place::Anywhere).await?;
        stage.fill(count).await?;
        let (mut ours, mut by_hand, mut checked) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut twin = stage.twin(tools, Place::Anywhere).await?;
            let last = path(count.saturating_sub(1));
            let replica = stage.topology.replica_mut(1);
            replica.terminate().await.map_err(failed)?;
            // The configuration may name files of the replica that go with it.
            let check = twin.check().await?;
            let start = twin.start(&last).await?;
            by_hand.push(start.as_secs_f64() * 1_000.0);
            checked.push((check + start).as_secs_f64() * 1_000.0);
            replica.wipe().map_err(failed)?;
            let begun = Instant::now();
            replica.start().map_err(failed)?;
            until_routed(replica, &last, Duration::from_millis(2)).await?;
            ours.push(begun.elapsed().as_secs_f64() * 1_000.0);
            replica
                .until_state("the table is whole", |state| state["Services"] == count)
                .await
                .map_err(failed)?;
        }
        let what = format!(
            "start with N = {} in Consul to the first routed request",
            tools.number(count)
        );
        figures.push(
            Figure::new(what.as_str(), "ms", ours.clone())
                .against("HAProxy's own start by hand", by_hand)
                .goal(Goal::AtMost(1.5)),
        );
        figures.push(
            Figure::new(what, "ms", ours).against("haproxy -c and its start by hand", checked),
        );
    }
    Ok(figures)
}
