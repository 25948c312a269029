//! `--memory N`: so many changes on a system that nobody breaks, and whether memory stays flat.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::haproxy::get;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::settle;
use super::stage::Stage;

/// Callers at once, spread over the replicas.
const CALLERS: u64 = 8;
/// Services that each of them changes.
const SERVICES: u64 = 10;
/// Looks at the memory, equally far from each other. What the first fifth takes is the start: pools
/// and caches fill.
const LOOKS: u64 = 10;
const WARM: usize = 2;
/// By how much the end may be above what it was when all was warm.
const FLAT_PERCENT: u64 = 10;
/// What a change leaves to do is done by then.
const SETTLE: Duration = Duration::from_secs(2);

/// Makes the changes and gives what is not flat.
pub(super) async fn flat(stage: &Stage, changes: u64) -> Result<Vec<String>> {
    let mut looks: Vec<Vec<u64>> = vec![resident(stage)?];
    let round = changes.div_ceil(LOOKS);
    for look in 0..LOOKS {
        change(stage, look * round, round).await?;
        settle::converge(stage).await.map_err(anyhow::Error::msg)?;
        sleep(SETTLE).await;
        let now = resident(stage)?;
        eprintln!(
            "xtask: after {} changes, KiB per replica: {now:?}",
            (look + 1) * round
        );
        looks.push(now);
    }
    let (Some(warm), Some(last)) = (looks.get(WARM), looks.last()) else {
        bail!("nothing was looked at");
    };
    let grown = warm.iter().zip(last).enumerate();
    Ok(grown
        .filter(|(_, (warm, last))| **last * 100 > **warm * (100 + FLAT_PERCENT))
        .map(|(number, (warm, last))| {
            format!(
                "replica {}'s memory grew from {warm} to {last} KiB over {changes} changes",
                number + 1
            )
        })
        .collect())
}

async fn change(stage: &Stage, from: u64, count: u64) -> Result<()> {
    let apis: Vec<SocketAddr> = stage.topology.replicas.iter().map(|r| r.api()).collect();
    let port = stage.backend.address().port();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let place = usize::try_from(caller)? % apis.len();
        let api = apis.get(place).copied().context("no replica")?;
        callers.spawn(async move {
            for number in (from..from + count).filter(|number| number % CALLERS == caller) {
                // A service's caller is always the same, so no two race for one.
                let service = number % (SERVICES * CALLERS);
                let path = match number % 11 {
                    10 => format!("/v1/docker-flow-proxy/remove?serviceName=m{service}"),
                    _ => format!(
                        "/v1/docker-flow-proxy/reconfigure?serviceName=m{service}&servicePath=/m{number}&port={port}&outboundHostname=127.0.0.1"
                    ),
                };
                match get(api, "localhost", &path).await {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(answer) => bail!("{path}: {} {}", answer.status, answer.body),
                    // A machine that does other work too; the change goes on without its caller.
                    Err(error) if error.kind() == ErrorKind::TimedOut => {
                        eprintln!("xtask: no answer in time: {path}");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

/// What each replica's server holds, in KiB.
fn resident(stage: &Stage) -> Result<Vec<u64>> {
    let replicas = stage.topology.replicas.iter();
    replicas
        .map(|replica| {
            let pid = replica.pid().context("a replica does not run")?;
            let path = format!("/proc/{pid}/status");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            text.lines()
                .find_map(|line| {
                    line.strip_prefix("VmRSS:")?
                        .split_whitespace()
                        .next()?
                        .parse()
                        .ok()
                })
                .with_context(|| format!("{path} has no VmRSS"))
        })
        .collect()
}
