//! The tasks of a service as Docker sees them, and waiting for them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::docker::Docker;

/// How long tasks may take to come or go: starts are checked by Docker every 5 s.
const TASKS_DEADLINE: Duration = Duration::from_secs(120);

const LOOK: Duration = Duration::from_millis(300);

/// One container of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// The container's id.
    pub(super) container: String,
    /// Service, number and task.
    pub(super) name: String,
    /// Where it is in the networks that the proxy shares.
    pub(super) address: Option<IpAddr>,
    /// Where its port 80 is published on this machine, if it is.
    pub(super) http: Option<SocketAddr>,
    /// Where its port 8080 is.
    pub(super) api: Option<SocketAddr>,
    /// Docker's own check of it; healthy where there is none.
    healthy: bool,
}

// === impl Task ===

impl Task {
    pub(super) fn http(&self) -> Result<SocketAddr> {
        self.http
            .with_context(|| format!("{} publishes no port 80", self.name))
    }

    pub(super) fn api(&self) -> Result<SocketAddr> {
        self.api
            .with_context(|| format!("{} publishes no port 8080", self.name))
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy
    }

    fn read(container: &Value, network: &str) -> Option<Self> {
        let port = |name: &str| {
            let ports = container.pointer("/NetworkSettings/Ports")?.get(name)?;
            let port = ports.get(0)?.get("HostPort")?.as_str()?.parse().ok()?;
            Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
        };
        let address = container
            .pointer("/NetworkSettings/Networks")
            .and_then(|networks| networks.get(network)?.get("IPAddress")?.as_str());
        let health = container
            .pointer("/State/Health/Status")
            .and_then(Value::as_str);
        Some(Self {
            container: container.get("Id")?.as_str()?.to_owned(),
            name: container["Name"]
                .as_str()?
                .trim_start_matches('/')
                .to_owned(),
            address: address.and_then(|text| text.parse().ok()),
            http: port("80/tcp"),
            api: port("8080/tcp"),
            healthy: health.is_none_or(|health| health == "healthy"),
        })
    }
}

/// The containers of a service that run.
pub(super) async fn running(docker: &Docker, service: &str, network: &str) -> Result<Vec<Task>> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let ids = docker
        .words(&["ps", "--no-trunc", "--quiet", "--filter", &filter])
        .await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut arguments = vec!["inspect", "--type", "container"];
    arguments.extend(ids.iter().map(String::as_str));
    // One may have ended in between: the caller looks again.
    let Ok(found) = docker.json(&arguments).await else {
        return Ok(Vec::new());
    };
    let found = found.as_array().into_iter().flatten();
    let mut tasks: Vec<_> = found
        .filter_map(|container| Task::read(container, network))
        .collect();
    tasks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tasks)
}

/// Waits until exactly so many run and are healthy, none of them in `gone`.
pub(super) async fn until(
    docker: &Docker,
    (service, network): (&str, &str),
    count: usize,
    gone: &[Task],
) -> Result<Vec<Task>> {
    let start = Instant::now();
    loop {
        let tasks = running(docker, service, network).await?;
        let old = |task: &Task| gone.iter().any(|old| old.container == task.container);
        if tasks.len() == count && tasks.iter().all(|task| task.healthy && !old(task)) {
            return Ok(tasks);
        }
        if start.elapsed() > TASKS_DEADLINE {
            let told = docker
                .run(&["service", "ps", "--no-trunc", service])
                .await
                .unwrap_or_default();
            bail!(
                "{service} has not {count} healthy tasks after {} s; it has\n{told}",
                TASKS_DEADLINE.as_secs()
            );
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_says_where_it_is() {
        let container = json!({
            "Id": "c1", "Name": "/proxy.1.abc",
            "State": {"Health": {"Status": "starting"}},
            "NetworkSettings": {
                "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}], "443/tcp": null},
                "Networks": {"proxy": {"IPAddress": "10.0.1.5"}},
            },
        });
        let task = Task::read(&container, "proxy").unwrap();
        assert_eq!(task.http().unwrap().to_string(), "127.0.0.1:32768");
        assert_eq!(task.address.unwrap().to_string(), "10.0.1.5");
        assert!(task.api().is_err() && !task.healthy);
    }
}
