//! The story's promises, each looked at through Docker itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::held;
use super::stage::Stage;
use super::tasks::Task;
use crate::demo::GREETING;
use crate::http::get;

/// Longer than the proxy's own wait for its replicas.
const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// How long what converges may take: a busy machine elects and gossips slowly.
const CONVERGE_DEADLINE: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(200);

/// Where Docker's own DNS is, in every container.
const DNS: &str = "127.0.0.11";

/// The replicas find each other, and nobody told them.
pub(super) async fn discovered(stage: &Stage<'_>, replicas: &[Task]) -> Result<()> {
    let name = format!("tasks.{}", stage.proxy);
    let addresses: BTreeSet<_> = replicas
        .iter()
        .filter_map(|replica| Some(replica.address?.to_string()))
        .collect();
    for replica in replicas {
        let inside = |command: &'static str| {
            let shell = command.replace("NAME", &name);
            async move {
                let arguments = ["exec", &replica.container, "sh", "-c", &shell];
                stage.docker.run(&arguments).await
            }
        };
        let servers = inside("grep ^nameserver /etc/resolv.conf").await?;
        if servers.split_whitespace().nth(1) != Some(DNS) {
            bail!("{} asks another name server: {servers}", replica.name);
        }
        let found = inside("getent ahostsv4 NAME").await?;
        let found: BTreeSet<_> = found
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        if found != addresses {
            bail!(
                "{name} is {found:?} in {}, and the tasks are at {addresses:?}",
                replica.name
            );
        }
        all_standing(replica, replicas.len()).await?;
    }
    held(&format!(
        "{name} has {} addresses at {DNS}, and `status?peers=true` of each replica shows {}",
        addresses.len(),
        replicas.len()
    ));
    Ok(())
}

/// Waits until a replica sees that many, itself counted, none of them out of reach.
async fn all_standing(replica: &Task, count: usize) -> Result<()> {
    let start = Instant::now();
    loop {
        let status = api(replica, "status?peers=true").await;
        let peers = status
            .as_ref()
            .ok()
            .and_then(|status| status["Peers"].as_array());
        let seen = peers.map_or(0, |peers| {
            let answers =
                |peer: &&Value| peer["TableDigest"].is_string() || peer["Revision"].is_object();
            peers.iter().filter(answers).count()
        });
        if seen == count && peers.is_some_and(|peers| peers.len() == count) {
            return Ok(());
        }
        if start.elapsed() > CONVERGE_DEADLINE {
            bail!("{} does not see {count} replicas: {status:?}", replica.name);
        }
        sleep(LOOK).await;
    }
}

/// One call to one replica for a service, and all confirm.
pub(super) async fn distributed(service: &str, replicas: &[Task]) -> Result<()> {
    let call =
        format!("reconfigure?serviceName={service}&servicePath=/demo&port=8080&distribute=true");
    let first = replicas.first().context("there is no replica")?;
    let answer = api(first, &call).await?;
    let rows = answer.get("Peers").and_then(Value::as_array);
    let rows = rows.cloned().unwrap_or_default();
    let applied = rows.iter().filter(|row| row["Status"] == "applied").count();
    if rows.len() != replicas.len() || applied != rows.len() {
        bail!(
            "`{call}` was not applied by {} replicas: {answer}",
            replicas.len()
        );
    }
    held(&format!(
        "one call with distribute=true: 200, applied by {applied} replicas"
    ));
    Ok(())
}

/// The same configuration in each, with the story's lines, and the service behind each.
pub(super) async fn served_by_each(stage: &Stage<'_>, replicas: &[Task]) -> Result<()> {
    let mut configurations = BTreeMap::new();
    for replica in replicas {
        let arguments = ["exec", &replica.container, "cat", "/cfg/haproxy.cfg"];
        let text = stage.docker.run(&arguments).await?;
        configurations.insert(replica.name.clone(), text);
    }
    let mut texts = configurations.values();
    let text = texts.next().context("there is no replica")?;
    if let Some(other) = texts.find(|other| *other != text) {
        bail!(
            "not all of {:?} run the same:\n{text}\n--\n{other}",
            configurations.keys()
        );
    }
    for line in lines(&stage.demo) {
        if !text.contains(&line) {
            bail!("haproxy.cfg lacks\n{line}\nand is\n{text}");
        }
    }
    for replica in replicas {
        greets(replica).await?;
    }
    held(&format!(
        "`docker exec ... cat /cfg/haproxy.cfg` is the same in {} replicas, /demo/hello through each says {GREETING:?}",
        replicas.len()
    ));
    Ok(())
}

/// What the story shows of the configuration.
fn lines(service: &str) -> [String; 5] {
    [
        "frontend services\n    bind *:80\n    bind *:443\n    mode http\n".to_owned(),
        format!("    acl url_{service}8080 path_beg /demo\n"),
        format!("    use_backend {service}-be8080 if url_{service}8080\n"),
        format!("backend {service}-be8080\n    mode http\n"),
        format!("    server {service} {service}:8080"),
    ]
}

/// What the service says through a replica. It was confirmed as live; names resolve at their own pace.
pub(super) async fn greets(replica: &Task) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = get(replica.http()?, "GET", "/demo/hello", CALL_DEADLINE).await;
        if answer
            .as_ref()
            .is_ok_and(|answer| answer.status == 200 && answer.body == GREETING)
        {
            return Ok(());
        }
        if start.elapsed() > CONVERGE_DEADLINE {
            bail!("/demo/hello through {} is {answer:?}", replica.name);
        }
        sleep(LOOK).await;
    }
}

/// Where the table stands at a replica.
pub(super) async fn revision(replica: &Task) -> Result<Value> {
    let status = api(replica, "status").await?;
    let revision = status
        .get("Revision")
        .filter(|revision| revision.is_object());
    revision
        .cloned()
        .with_context(|| format!("{} knows no revision", replica.name))
}

/// A call of the admin API that is answered with 200.
pub(super) async fn api(replica: &Task, call: &str) -> Result<Value> {
    let target = format!("/v1/docker-flow-proxy/{call}");
    let answer = get(replica.api()?, "GET", &target, CALL_DEADLINE).await?;
    if answer.status != 200 {
        bail!(
            "`{call}` was answered with {}: {}",
            answer.status,
            answer.body.trim()
        );
    }
    serde_json::from_str(&answer.body)
        .with_context(|| format!("`{call}` was answered with no JSON"))
}
