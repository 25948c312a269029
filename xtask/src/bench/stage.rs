//! A whole system to measure: replicas of the released server, a table of some size, and a
//! service that answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use serde_json::{Value, json};
use testkit::consul::ClusterOptions;
use testkit::topology::{Failure, Plan, Replica, Topology};
use tokio::time::sleep;

use super::Tools;
use super::by_hand::ByHand;
use super::processes::{self, Place};

/// The longest that a route may take to be there.
const DEADLINE: Duration = Duration::from_secs(120);

/// Where the table is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Own,
    /// Three real Consul servers.
    Consul,
}

/// What runs. All of it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) topology: Topology,
    pub(super) backend: ByHand,
    /// Holds the script that puts the replicas' HAProxy in its place.
    _scripts: tempfile::TempDir,
}

/// What a service of the table is called: as many digits as are needed for the order of names
/// to be that of numbers.
pub(super) fn name(number: usize) -> String {
    format!("s{number:06}")
}

/// Where a service of the table is reached.
pub(super) fn path(number: usize) -> String {
    format!("/{}/", name(number))
}

/// What went wrong on a stage, for anyhow.
pub(super) fn failed(failure: Failure) -> Error {
    Error::from_boxed(failure)
}

impl Stage {
    pub(super) async fn set(
        tools: &Tools,
        replicas: usize,
        store: Store,
        place: Place,
    ) -> Result<Self> {
        let scripts = tempfile::tempdir()?;
        let script = scripts.path().join("haproxy");
        let words = processes::pinned(place).join(" ");
        let haproxy = tools.haproxy.display();
        fs::write(
            &script,
            format!("#!/bin/sh\nexec {words} {haproxy} \"$@\"\n"),
        )?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let mut backend = ByHand::new(&tools.haproxy, Place::Measuring)?;
        backend.write(&backend.answering())?;
        backend.start("/").await?;
        let mut plan = Plan::replicas(replicas)
            .server(tools.server.clone())
            .setting("HAPROXY_BIN", &script.display().to_string())
            .setting("LOG", "warn");
        for (name, value) in &tools.settings {
            plan = plan.setting(name, value);
        }
        if replicas == 1 {
            plan = plan.setting("MODE", "default");
        }
        if store == Store::Consul {
            plan = plan.consul(ClusterOptions::servers(3));
        }
        Ok(Self {
            topology: plan.start().await.map_err(failed)?,
            backend,
            _scripts: scripts,
        })
    }

    pub(super) fn replica(&self) -> &Replica {
        self.topology.replica(1)
    }

    /// The call that configures a service of the table.
    pub(super) fn reconfigure(&self, number: usize) -> String {
        self.reconfigure_paths(number, &path(number))
    }

    /// The same with other paths.
    pub(super) fn reconfigure_paths(&self, number: usize, paths: &str) -> String {
        let (name, port) = (name(number), self.backend.address().port());
        format!(
            "reconfigure?serviceName={name}&servicePath={paths}&port={port}&outboundHostname=127.0.0.1"
        )
    }

    /// Calls the first replica, which must agree.
    pub(super) async fn call(&self, call: &str) -> Result<Value> {
        let answer = self.replica().call(call).await.map_err(failed)?;
        if answer.status != 200 {
            bail!("{call}: {} {}", answer.status, answer.text);
        }
        Ok(answer.json)
    }

    /// Makes the table this many services, by one import, on every replica.
    pub(super) async fn fill(&self, count: usize) -> Result<()> {
        self.call(&self.reconfigure(0)).await?;
        let sample = self.call("export").await?;
        let document = sample
            .pointer("/services/0")
            .context("the export has no service")?
            .to_string();
        let services: Vec<Value> = (0..count)
            .map(|number| serde_json::from_str(&document.replace(&name(0), &name(number))))
            .collect::<Result<_, _>>()?;
        let file = json!({ "format": sample.get("format"), "services": services }).to_string();
        let answered = self
            .replica()
            .post("import", "application/json", file.into_bytes())
            .await;
        // One that takes longer than a caller waits goes on all the same.
        if let Ok(answer) = &answered
            && ![200, 502, 504].contains(&answer.status)
        {
            bail!("import: {} {}", answer.status, answer.text);
        }
        self.until_everywhere(count).await
    }

    async fn until_everywhere(&self, count: usize) -> Result<()> {
        for number in [0, count / 2, count.saturating_sub(1)] {
            for replica in &self.topology.replicas {
                until_routed(replica, &path(number), Duration::from_millis(50)).await?;
            }
        }
        for replica in &self.topology.replicas {
            replica
                .until_state("the table is whole", |state| state["Services"] == count)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    /// A HAProxy by hand with the configuration that the first replica runs now.
    pub(super) async fn twin(&self, tools: &Tools, place: Place) -> Result<ByHand> {
        let config = self.replica().config().await.map_err(failed)?;
        let twin = ByHand::new(&tools.haproxy, place)?;
        twin.write(&twin.moved(&config, self.replica().http()))?;
        // Maps and the like, which a configuration names relative to itself.
        for entry in fs::read_dir(self.replica().home().join("cfg/current"))? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with('.') && name != "haproxy.cfg" {
                fs::copy(entry.path(), twin.folder().join(name))?;
            }
        }
        Ok(twin)
    }

    /// How many reloads the first replica has done.
    pub(super) async fn reloads(&self) -> Result<f64> {
        let text = self.replica().metrics().await.map_err(failed)?;
        // One line per reason.
        let lines = text
            .lines()
            .filter(|line| line.starts_with("proxy_applies_total{outcome=\"reloaded\""));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(counts.sum())
    }
}

/// Waits until a path is answered with 200 through a replica.
pub(super) async fn until_routed(replica: &Replica, path: &str, look: Duration) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    loop {
        match replica.request(path).await {
            Ok(answer) if answer.status == 200 => return Ok(()),
            other if Instant::now() > end => {
                bail!(
                    "{path} is not routed within {DEADLINE:?}; at last: {other:?}\n{}",
                    replica.log()
                )
            }
            _ => sleep(look).await,
        }
    }
}
