//! Updates and scaling while requests are sent through every replica, and what became of the requests.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use testkit::load::{Connections, Load, LoadPlan, Transport};
use tokio::time::sleep;

use super::held;
use super::images::Images;
use super::stage::Stage;
use super::story::{greets, revision};
use super::tasks::{Task, running};
use crate::demo::{GREETING, RELEASE};
use crate::http::get;

/// Requests per second and stream: enough to hit every moment, little enough for a small machine.
const RATE: u32 = 25;
const CLIENTS: u32 = 2;

/// How long a rolling update may take: each task is started, found healthy, and its predecessor ended.
const UPDATE_DEADLINE: Duration = Duration::from_secs(240);

const LOOK: Duration = Duration::from_millis(500);

/// Requests that each replica must have answered before and after.
const ENOUGH: u64 = 25;

/// A request that is sent so shortly before the order may still be on its way to HAProxy, through the program that
/// holds a published port, or in the queue of a listener that closes.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// What a replica's log says when it is asked to end.
const ASKED_TO_END: &str = "asked to end";

/// The load through each replica, kept connections and new ones.
struct Traffic {
    streams: Vec<(Task, Load)>,
    /// Of replicas that are gone.
    ended: Sum,
    /// One moment on both clocks: logs have the other.
    anchor: (Instant, SystemTime),
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Sum {
    answered: u64,
    /// Sent before the replica was asked to end, or through one that was not, and not answered.
    lost: Vec<String>,
    /// Sent in the last [`ON_ITS_WAY`] before.
    on_their_way: u64,
    /// Sent to a replica that had been asked to end.
    too_late: u64,
}

// === impl Traffic ===

impl Traffic {
    fn start(replicas: &[Task]) -> Result<Self> {
        let mut traffic = Self {
            streams: Vec::new(),
            ended: Sum::default(),
            anchor: (Instant::now(), SystemTime::now()),
        };
        traffic.add(replicas)?;
        Ok(traffic)
    }

    /// Sends through those too that it does not know yet.
    fn add(&mut self, replicas: &[Task]) -> Result<()> {
        for replica in replicas {
            let known = |(task, _): &(Task, Load)| task.container == replica.container;
            if self.streams.iter().any(known) {
                continue;
            }
            for connections in [Connections::OneEach, Connections::KeptAlive] {
                let load = Load::start(&LoadPlan {
                    address: replica.http()?,
                    transport: Transport::Plain,
                    host: "localhost".to_owned(),
                    path: "/demo/hello".to_owned(),
                    expect: GREETING.to_owned(),
                    rate: RATE,
                    clients: CLIENTS,
                    connections,
                });
                self.streams.push((replica.clone(), load));
            }
        }
        Ok(())
    }

    /// Waits until more was answered through each of these.
    async fn flows(&mut self, replicas: &[Task]) -> Result<()> {
        for (task, load) in &mut self.streams {
            if !replicas.iter().any(|it| it.container == task.container) {
                continue;
            }
            let enough = load.report().answered + ENOUGH;
            if let Err(report) = load.answered(enough).await {
                bail!("requests through {} are not answered: {report}", task.name);
            }
        }
        Ok(())
    }

    /// Ends the streams through replicas that are gone: their ports may be another's soon.
    async fn leave(&mut self, stage: &Stage<'_>, there: &[Task]) -> Result<()> {
        let is_there = |task: &Task| there.iter().any(|it| it.container == task.container);
        let streams = std::mem::take(&mut self.streams);
        for (task, load) in streams {
            if is_there(&task) {
                self.streams.push((task, load));
            } else {
                self.judge(stage, &task, load).await?;
            }
        }
        Ok(())
    }

    async fn stop(mut self, stage: &Stage<'_>) -> Result<Sum> {
        self.leave(stage, &[]).await?;
        Ok(self.ended)
    }

    async fn judge(&mut self, stage: &Stage<'_>, task: &Task, load: Load) -> Result<()> {
        let report = load.stop().await;
        let asked = asked_to_end(stage, task).await?;
        let sum = &mut self.ended;
        sum.answered += report.answered;
        for failed in &report.failed {
            let (instant, time) = self.anchor;
            let begun = time + failed.begun.saturating_duration_since(instant);
            match asked.map(|asked| asked.duration_since(begun)) {
                Some(Err(_)) => sum.too_late += 1,
                Some(Ok(before)) if before <= ON_ITS_WAY => sum.on_their_way += 1,
                Some(Ok(before)) => sum.lost.push(format!(
                    "{}, {} ms before the order: {}",
                    task.name,
                    before.as_millis(),
                    failed.reason
                )),
                None => sum.lost.push(format!("{}: {}", task.name, failed.reason)),
            }
        }
        Ok(())
    }
}

/// When a replica was asked to end, by its own log.
async fn asked_to_end(stage: &Stage<'_>, task: &Task) -> Result<Option<SystemTime>> {
    let script = ["logs", "--timestamps", "--tail", "200", &task.container];
    let log = stage.docker.both(&script).await?;
    let Some(line) = log.lines().find(|line| line.contains(ASKED_TO_END)) else {
        return Ok(None);
    };
    let stamp = line.split_whitespace().next().unwrap_or_default();
    humantime::parse_rfc3339(stamp)
        .map(Some)
        .with_context(|| format!("{} wrote a line without its time: {line}", task.name))
}

/// Another image, one replica after the other, each new one healthy before its predecessor is asked to end.
pub(super) async fn proxy_updated(
    stage: &Stage<'_>,
    images: &Images,
    old: &[Task],
) -> Result<Vec<Task>> {
    let mut traffic = Traffic::start(old)?;
    traffic.flows(old).await?;
    let [_, image] = &images.proxy;
    let arguments = [
        "service",
        "update",
        "--detach",
        "--no-resolve-image",
        "--image",
        image,
        "--update-order",
        "start-first",
        "--update-parallelism",
        "1",
        &stage.proxy,
    ];
    stage.docker.run(&arguments).await?;
    let start = Instant::now();
    let new = loop {
        let now = running(stage.docker, &stage.proxy, &stage.proxy).await?;
        traffic.leave(stage, &now).await?;
        let now: Vec<_> = now.into_iter().filter(Task::is_healthy).collect();
        traffic.add(&now)?;
        let is_old = |task: &Task| old.iter().any(|old| old.container == task.container);
        if now.len() == old.len() && !now.iter().any(is_old) {
            break now;
        }
        if start.elapsed() > UPDATE_DEADLINE {
            let told = stage.docker.run(&["service", "ps", &stage.proxy]).await?;
            bail!("the update of {} does not end:\n{told}", stage.proxy);
        }
        sleep(LOOK).await;
    };
    let took = start.elapsed();
    traffic.flows(&new).await?;
    let sum = traffic.stop(stage).await?;
    if !sum.lost.is_empty() {
        bail!(
            "{} requests of {} were lost through replicas that had not been asked to end: {:?}",
            sum.lost.len(),
            sum.answered,
            sum.lost.iter().take(5).collect::<Vec<_>>()
        );
    }
    held(&format!(
        "rolling update of {} replicas to another image in {} s: {} requests answered, 0 lost of those sent before \
         their replica was asked to end; {} failed that were on their way when it was, {} that were sent later: its \
         port is gone with it",
        new.len(),
        took.as_secs(),
        sum.answered,
        sum.on_their_way,
        sum.too_late
    ));
    Ok(new)
}

/// The service behind the proxy is scaled and updated, and nobody tells the proxy.
pub(super) async fn demo_changed(stage: &Stage<'_>, replicas: &[Task]) -> Result<()> {
    let first = replicas.first().context("there is no replica")?;
    let before = revision(first).await?;
    let mut traffic = Traffic::start(replicas)?;
    traffic.flows(replicas).await?;
    let old = stage.scale(&stage.demo, 3).await?;
    traffic.flows(replicas).await?;
    let arguments = [
        "service",
        "update",
        "--detach",
        "--no-resolve-image",
        "--env-add",
        "RELEASE=2",
        "--update-order",
        "start-first",
        "--update-parallelism",
        "1",
        &stage.demo,
    ];
    stage.docker.run(&arguments).await?;
    stage.until(&stage.demo, 3, &old).await?;
    for replica in replicas {
        answers_of_release(replica, "2").await?;
    }
    stage.scale(&stage.demo, 1).await?;
    traffic.flows(replicas).await?;
    for replica in replicas {
        greets(replica).await?;
        if revision(replica).await? != before {
            bail!("the table changed while only the service did");
        }
    }
    let sum = traffic.stop(stage).await?;
    let said = format!(
        "{} scaled from 1 to 3, updated to another release, scaled to 1, with no call: the table is at the same \
         revision, {} requests answered, {} failed",
        stage.demo,
        sum.answered,
        sum.lost.len()
    );
    held(&said);
    for reason in sum.lost.iter().take(3) {
        held(&format!("    one of the failures: {reason}"));
    }
    Ok(())
}

async fn answers_of_release(replica: &Task, release: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = get(
            replica.http()?,
            "GET",
            "/demo/hello",
            Duration::from_secs(5),
        )
        .await;
        let found = answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.header(RELEASE));
        if found == Some(release) {
            return Ok(());
        }
        if start.elapsed() > UPDATE_DEADLINE {
            bail!("{} still answers with release {found:?}", replica.name);
        }
        sleep(LOOK).await;
    }
}
