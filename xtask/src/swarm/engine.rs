//! The Docker Engine that the story is played on: one that is there, left as it was found, or one of our own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::docker::Docker;
use super::private::Private;
use super::say;
use crate::tools;
use crate::workspace::Workspace;

/// Where an engine listens unless `DOCKER_HOST` says otherwise.
const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// What stands before every name on an engine that is not ours.
const PREFIX: &str = "xtask-";

/// The bridge between the containers of a swarm and their machine.
const BRIDGE: &str = "docker_gwbridge";

/// What was looked for, and what came of it.
pub(super) enum Search {
    Found(Box<Engine>),
    /// None is there and none can be started, and why.
    Absent(String),
}

/// An engine in swarm mode.
pub(super) struct Engine {
    docker: Docker,
    /// Where it is ours: it ends with us.
    private: Option<Private>,
    membership: Membership,
    /// Whether the bridge that a swarm makes, and leaves, was there before.
    bridge: bool,
}

/// How the engine came to be in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// It was in one: that one is used and never left.
    Before,
    /// We put it into one, and take it out again.
    Ours,
}

// === impl Engine ===

impl Engine {
    /// Finds an engine or starts one, and sees that it is in swarm mode.
    pub(super) async fn get(workspace: &Workspace) -> Result<Search> {
        if let Some(docker) = running().await? {
            say(&format!(
                "an engine listens at {}: it is left as it is, names begin with {PREFIX}",
                docker.socket().display()
            ));
            return Self::in_swarm(docker, None).await;
        }
        let (dockerd, client) = match tools::engine() {
            Ok(programs) => programs,
            Err(error) => return Ok(Search::Absent(format!("{error:#}"))),
        };
        // An engine that was installed just now may have been started with it.
        if let Some(docker) = running().await? {
            return Self::in_swarm(docker, None).await;
        }
        let private = match Private::start(workspace, &dockerd, &client).await {
            Ok(private) => private,
            // A container without the rights for one is no fault of ours; what it is stands in the words.
            Err(error) => {
                return Ok(Search::Absent(format!(
                    "no Docker Engine listens, and one of our own cannot be started: {error:#}"
                )));
            }
        };
        let docker = private.docker().clone();
        Self::in_swarm(docker, Some(private)).await
    }

    async fn in_swarm(docker: Docker, private: Option<Private>) -> Result<Search> {
        let mut engine = Self {
            docker,
            private,
            membership: Membership::Before,
            bridge: true,
        };
        let joined = engine.join().await;
        match joined {
            Ok(()) => Ok(Search::Found(Box::new(engine))),
            Err(error) => {
                if let Err(end) = engine.end().await {
                    say(&format!("{end:#}"));
                }
                Err(error)
            }
        }
    }

    async fn join(&mut self) -> Result<()> {
        let state = self
            .docker
            .run(&[
                "info",
                "--format",
                "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}",
            ])
            .await?;
        match state.trim() {
            "active true" => Ok(()),
            "inactive false" => {
                // Set first: an init that fails half-way is taken back.
                self.membership = Membership::Ours;
                let inspect = ["network", "inspect", BRIDGE];
                self.bridge = self.docker.holds(&inspect).await;
                self.docker
                    .run(&["swarm", "init", "--advertise-addr", "127.0.0.1"])
                    .await
                    .map(drop)
            }
            other => bail!(
                "the engine at {} is no manager of its swarm (state and control: {other}); nothing was changed there",
                self.docker.socket().display()
            ),
        }
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// A name on this engine.
    pub(super) fn name(&self, name: &str) -> String {
        match &self.private {
            Some(_) => name.to_owned(),
            None => format!("{PREFIX}{name}"),
        }
    }

    /// Leaves the swarm that we made, and ends the engine that we started.
    pub(super) async fn end(self) -> Result<()> {
        let mut left = match self.membership {
            Membership::Ours => self.docker.run(&["swarm", "leave", "--force"]).await,
            Membership::Before => Ok(String::new()),
        };
        if !self.bridge && self.docker.holds(&["network", "inspect", BRIDGE]).await {
            let removed = self.docker.run(&["network", "rm", BRIDGE]).await;
            left = left.and(removed);
        }
        let ended = match self.private {
            Some(private) => private.end().await,
            None => Ok(()),
        };
        left.context("the swarm could not be left").and(ended)
    }
}

/// An engine on this machine that answers.
async fn running() -> Result<Option<Docker>> {
    let socket = match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => match host.strip_prefix("unix://") {
            Some(path) => PathBuf::from(path),
            None => bail!(
                "DOCKER_HOST names {host}; only an engine of this machine (unix://...) can be used, since its ports are asked"
            ),
        },
        _ => PathBuf::from(USUAL_SOCKET),
    };
    if !socket.exists() {
        return Ok(None);
    }
    Ok(client_of(&socket).await)
}

/// The first client that this engine understands.
async fn client_of(socket: &Path) -> Option<Docker> {
    for client in tools::docker_clients() {
        let docker = Docker::new(client, socket.to_path_buf());
        if docker.holds(&["version"]).await {
            return Some(docker);
        }
    }
    None
}
