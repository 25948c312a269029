//! Networks and services: made as the story makes them, removed whatever happened.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::docker::Docker;
use super::engine::Engine;
use super::images::Images;
use super::tasks::{self, Task};

/// How long networks may take to be let go by containers that end.
const REMOVE_DEADLINE: Duration = Duration::from_secs(90);

const LOOK: Duration = Duration::from_millis(500);

/// Consul's servers, as the story has them.
pub(super) const CONSULS: usize = 3;

/// Names, and what was made under them.
pub(super) struct Stage<'a> {
    pub(super) docker: &'a Docker,
    pub(super) proxy: String,
    pub(super) consul: String,
    pub(super) demo: String,
    /// A service that its labels bring to the proxy, and no call.
    pub(super) labelled: String,
    pub(super) stack: String,
    demo_network: String,
    endpoints: Endpoints,
}

/// How Docker spreads what is sent to a service's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoints {
    /// One address for all tasks, which the kernel spreads.
    Virtual,
    /// Every task's address in DNS: all that a kernel without IPVS can do.
    Names,
}

// === impl Endpoints ===

impl Endpoints {
    pub(super) fn of_this_kernel() -> Self {
        if Path::new("/proc/net/ip_vs").exists() {
            Self::Virtual
        } else {
            Self::Names
        }
    }

    pub(super) fn mode(self) -> &'static str {
        match self {
            Self::Virtual => "vip",
            Self::Names => "dnsrr",
        }
    }
}

// === impl Stage ===

impl<'a> Stage<'a> {
    pub(super) fn new(engine: &'a Engine, endpoints: Endpoints) -> Self {
        Self {
            docker: engine.docker(),
            proxy: engine.name("proxy"),
            consul: engine.name("consul"),
            demo: engine.name("go-demo"),
            labelled: engine.name("labelled"),
            stack: engine.name("story"),
            demo_network: engine.name("go-demo"),
            endpoints,
        }
    }

    pub(super) async fn networks(&self) -> Result<()> {
        // The network of the story bears the proxy's name.
        for network in [&self.proxy, &self.demo_network] {
            let create = ["network", "create", "--driver", "overlay", network];
            self.docker.run(&create).await?;
        }
        Ok(())
    }

    async fn service(&self, name: &str, rest: &[&str]) -> Result<()> {
        let mut arguments = vec!["service", "create", "--detach", "--no-resolve-image"];
        arguments.extend(["--name", name, "--endpoint-mode", self.endpoints.mode()]);
        arguments.extend(["--network", &self.proxy]);
        arguments.extend(rest);
        self.docker.run(&arguments).await.map(drop)
    }

    /// Three servers that find each other by the service's own name.
    pub(super) async fn consul(&self, image: &str) -> Result<Vec<Task>> {
        let join = format!("-retry-join=tasks.{}", self.consul);
        self.service(
            &self.consul,
            &[
                "--replicas",
                "3",
                image,
                "agent",
                "-server",
                "-bootstrap-expect=3",
                &join,
                "-retry-interval=2s",
                "-client=0.0.0.0",
                "-bind={{ GetInterfaceIP \"eth0\" }}",
                "-data-dir=/tmp/consul",
            ],
        )
        .await?;
        self.until(&self.consul, CONSULS, &[]).await
    }

    /// The proxy, with the addresses as the story's line breaks leave them.
    pub(super) async fn proxy(&self, images: &Images, consuls: &[Task]) -> Result<Vec<Task>> {
        let addresses = consuls
            .iter()
            .filter_map(|task| Some(format!("{}:8500", task.address?)))
            .collect::<Vec<_>>()
            .join(" ,");
        let consul = format!("CONSUL_ADDRESS={addresses}");
        let own = format!("SERVICE_NAME={}", self.proxy);
        let [image, _] = &images.proxy;
        // It reads the labels of services, as who may use the socket, and not as root.
        let socket = self.docker.socket().display();
        let mount = format!("type=bind,source={socket},target=/var/run/docker.sock,readonly");
        let group = fs::metadata(self.docker.socket())?.gid().to_string();
        self.service(
            &self.proxy,
            &[
                "--publish",
                "mode=host,target=80",
                "--publish",
                "mode=host,target=443",
                "--publish",
                "mode=host,target=8080",
                "--env",
                "MODE=swarm",
                "--env",
                &own,
                "--env",
                &consul,
                "--env",
                "LISTEN_DOCKER=true",
                "--mount",
                &mount,
                "--group",
                &group,
                // The image's own check, asked more often: each task that starts is waited for. (Those of the
                // stack are asked as the image says.)
                "--health-interval",
                "1s",
                "--replicas",
                "3",
                image,
            ],
        )
        .await?;
        self.until(&self.proxy, 3, &[]).await
    }

    pub(super) async fn demo(&self, image: &str) -> Result<Vec<Task>> {
        let rest = ["--network", &self.demo_network, "--env", "RELEASE=1", image];
        self.service(&self.demo, &rest).await?;
        self.until(&self.demo, 1, &[]).await
    }

    /// A service with labels, and no call for it.
    pub(super) async fn labelled(&self, images: &Images, path: &str) -> Result<()> {
        let path = format!("com.df.servicePath={path}");
        let rest = [
            "--label",
            "com.df.notify=true",
            "--label",
            &path,
            "--label",
            "com.df.port=8080",
            &images.demo,
        ];
        self.service(&self.labelled, &rest).await
    }

    pub(super) async fn scale(&self, service: &str, count: usize) -> Result<Vec<Task>> {
        let count_text = format!("{service}={count}");
        self.docker
            .run(&["service", "scale", "--detach", &count_text])
            .await?;
        self.until(service, count, &[]).await
    }

    /// Waits until so many tasks are healthy, none of them in `gone`.
    pub(super) async fn until(
        &self,
        service: &str,
        count: usize,
        gone: &[Task],
    ) -> Result<Vec<Task>> {
        tasks::until(self.docker, (service, &self.proxy), count, gone).await
    }

    /// The stack file, with what this kernel can do, and the tasks of its proxy.
    pub(super) async fn stack(&self, file: &Path, images: &Images) -> Result<Vec<Task>> {
        let [image, _] = &images.proxy;
        let environment = [
            ("PROXY_IMAGE", image.as_str()),
            ("CONSUL_IMAGE", images.consul.as_str()),
            ("DEMO_IMAGE", images.demo.as_str()),
            ("ENDPOINT_MODE", self.endpoints.mode()),
            // Three replicas on one machine: each with ports of its own, of Docker's choice.
            ("PORT_MODE", "host"),
            ("HTTP_PORT", "0"),
            ("HTTPS_PORT", "0"),
            ("API_PORT", "0"),
        ];
        let file = file.display().to_string();
        let arguments = [
            "stack",
            "deploy",
            "--resolve-image",
            "never",
            "--compose-file",
            &file,
            &self.stack,
        ];
        self.docker.run_with(&environment, &arguments).await?;
        let of_stack = |name: &str| format!("{}_{name}", self.stack);
        let network = of_stack("proxy");
        for (service, count) in [("consul", CONSULS), ("go-demo", 1)] {
            tasks::until(self.docker, (&of_stack(service), &network), count, &[]).await?;
        }
        tasks::until(self.docker, (&network, &network), 3, &[]).await
    }

    /// Containers of our services, those that ended too.
    async fn containers(&self) -> Result<Vec<String>> {
        let of_service = |name: &String| format!("label=com.docker.swarm.service.name={name}");
        let mut filters: Vec<_> = [&self.labelled, &self.demo, &self.proxy, &self.consul]
            .map(of_service)
            .into();
        filters.push(format!("label=com.docker.stack.namespace={}", self.stack));
        let mut found = Vec::new();
        for filter in &filters {
            let list = ["ps", "--all", "--quiet", "--filter", filter];
            found.extend(self.docker.words(&list).await?);
        }
        Ok(found)
    }

    /// Has the services end; [`remove`](Self::remove) waits until they have. What is not there is gone already.
    pub(super) async fn end_services(&self) -> Result<()> {
        let mut problems = Vec::new();
        for service in [&self.labelled, &self.demo, &self.proxy, &self.consul] {
            if self.docker.holds(&["service", "inspect", service]).await {
                let removed = self.docker.run(&["service", "rm", service]).await;
                problems.extend(removed.err());
            }
        }
        match problems.into_iter().next() {
            None => Ok(()),
            Some(error) => Err(error).context("a service could not be removed"),
        }
    }

    /// Removes all of it. What is not there is gone already.
    pub(super) async fn remove(&self) -> Result<()> {
        let start = Instant::now();
        let mut ended = Ok(());
        let stacks = self
            .docker
            .words(&["stack", "ls", "--format", "{{.Name}}"])
            .await;
        if stacks.is_ok_and(|stacks| stacks.contains(&self.stack)) {
            let removed = self.docker.run(&["stack", "rm", &self.stack]).await;
            ended = removed.map(drop).context("the stack could not be removed");
        }
        ended = ended.and(self.end_services().await);
        let ours = format!("{}_", self.stack);
        loop {
            // A network goes once the last container has left it.
            let networks = self
                .docker
                .words(&["network", "ls", "--format", "{{.Name}}"])
                .await?;
            let left: Vec<_> = networks
                .iter()
                .filter(|name| {
                    **name == self.proxy || **name == self.demo_network || name.starts_with(&ours)
                })
                .collect();
            let containers = self.containers().await?;
            if left.is_empty() && containers.is_empty() {
                break;
            }
            for network in &left {
                let _busy = self.docker.run(&["network", "rm", network]).await;
            }
            if start.elapsed() > REMOVE_DEADLINE {
                bail!("networks {left:?} and containers {containers:?} are left");
            }
            sleep(LOOK).await;
        }
        ended
    }
}
