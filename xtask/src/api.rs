//! `cargo xtask api`: everything that the API's document has is called on a real replica, with what the document allows
//! and with what it does not, and each answer is held to it. For whoever changed a handler or the document.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use testkit::consul::ClusterOptions;
use testkit::haproxy::DemoBackend;
use testkit::topology::{Failure, Plan, Topology, until};

use crate::suite::child::{self, Ended};
use crate::swarm::Outcome;
use crate::tools::{self, Tools};
use crate::workspace::{Profile, Workspace};

/// What callers must carry, so that calls without it are seen to be refused.
const TOKEN: &str = "an-api-token";
/// The run is a minute and a half on two cores; a machine that is busy may take longer.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Calls of each operation at random, beside those that the document's examples and limits give.
const EXAMPLES: &str = "60";
/// The one check that is left out: it wants all that the document allows to be taken. What may stand together (`wait`
/// beside `distribute`, `srcPort` beside `reqMode`), and what is a certificate or HAProxy's own language, a schema
/// cannot say.
const LEFT_OUT: &str = "positive_data_acceptance";

/// Runs schemathesis against one replica.
pub(crate) async fn api(workspace: &Workspace) -> Result<Outcome> {
    let program = match tools::schemathesis(workspace) {
        Ok(program) => program,
        Err(why) => return Ok(Outcome::Absent(format!("{why:#}"))),
    };
    let found = Tools::get(workspace)?;
    eprintln!("haproxy: {}\nconsul:  {}", found.haproxy, found.consul);
    let server = workspace.server(Profile::Dev)?;
    let listener = DemoBackend::start("[]").await?;
    let stage = stage(server, &listener).await.map_err(failed)?;
    let start = Instant::now();
    let ended = child::run(command(&program, &stage, workspace)?, LIMIT).await?;
    let problems = judged(&stage, ended).await;
    eprintln!("xtask: called for {} s", start.elapsed().as_secs());
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(Outcome::Held)
}

fn failed(failure: Failure) -> Error {
    Error::from_boxed(failure)
}

/// One replica with Consul, so that it has a history, and with a listener, so that its services were read.
async fn stage(server: std::path::PathBuf, listener: &DemoBackend) -> Result<Topology, Failure> {
    let topology = Plan::replicas(1)
        .server(server)
        .consul(ClusterOptions::servers(1))
        .setting("API_TOKEN", TOKEN)
        .setting("WRITE_RATE", "0")
        .setting(
            "LISTENER_ADDRESS",
            &format!("http://{}", listener.address()),
        )
        .start()
        .await?;
    Ok(topology)
}

fn command(program: &Path, stage: &Topology, workspace: &Workspace) -> Result<Command> {
    let replica = stage.replica(1);
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg(format!("http://{}/v1/openapi.json", replica.api()))
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES])
        // Always the same calls: a run judges a change.
        .args([
            "--generation-deterministic",
            "--no-color",
            "--continue-on-failure",
        ])
        .args(["--exclude-checks", LEFT_OUT])
        // Where it keeps what it found.
        .current_dir(workspace.target()?);
    Ok(command)
}

/// What does not hold: of the answers, and of the replica that gave them.
async fn judged(stage: &Topology, ended: Ended) -> Vec<String> {
    let mut problems = Vec::new();
    match ended {
        Ended::Well => {}
        Ended::Badly(status) => problems.push(format!("schemathesis ended with {status}")),
        Ended::OutOfTime => problems.push(format!("it was ended after {} s", LIMIT.as_secs())),
        Ended::Interrupted => problems.push("interrupted".to_owned()),
    }
    let replica = stage.replica(1);
    let serves = until("the replica serves on", async || {
        match replica.probe("readyz").await?.status {
            200 => Ok(()),
            other => Err(format!("status {other}").into()),
        }
    });
    if let Err(why) = serves.await {
        problems.push(why.to_string());
    }
    let log = replica.log();
    let bugs = log
        .lines()
        .filter(|line| line.contains("panicked") || line.contains("is a bug"));
    problems.extend(bugs.map(str::to_owned));
    problems
}
