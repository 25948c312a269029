//! `cargo xtask swarm`: the story on a real Docker Engine in swarm mode, one that is there or one of our own, and
//! nothing left of it afterwards.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::workspace::{Profile, Workspace};

mod docker;
mod engine;
mod host;
mod images;
mod labels;
mod private;
mod rolling;
mod stage;
mod story;
mod tasks;

use self::engine::{Engine, Search};
use self::images::Images;
use self::stage::{Endpoints, Stage};

/// How long the images and all checks may take. Each step has a deadline of its own; this one is for a sum of
/// slow ones.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// How it ended, where nothing failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every check was made and held.
    Held,
    /// No engine is there and none can be started, and why. Nothing was checked.
    Absent(String),
}

// === impl Outcome ===

impl Outcome {
    /// Says what was not done, and the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Held => ExitCode::SUCCESS,
            Self::Absent(why) => {
                say(&format!("NOT RUN: {why}"));
                ExitCode::FAILURE
            }
        }
    }
}

/// Plays the story and checks it, and removes everything whatever came of it.
pub(crate) async fn swarm(workspace: &Workspace) -> Result<Outcome> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let start = Instant::now();
    let engine = match Engine::get(workspace).await? {
        Search::Found(engine) => engine,
        Search::Absent(why) => return Ok(Outcome::Absent(why)),
    };
    let endpoints = Endpoints::of_this_kernel();
    if endpoints == Endpoints::Names {
        say(
            "this kernel has no IPVS, so no virtual addresses and no routing mesh: services get \
             --endpoint-mode dnsrr, and ports are each task's own on this machine (mode=host)",
        );
    }
    let stage = Stage::new(&engine, endpoints);
    let mut images = Images::none();
    let played = tokio::select! {
        played = timeout(DEADLINE, play(workspace, &engine, &stage, &mut images)) => match played {
            Ok(played) => played,
            Err(_) => bail_late(),
        },
        _ = interrupt.recv() => bail_interrupted(),
        _ = terminate.recv() => bail_interrupted(),
    };
    if let Err(error) = &played {
        say(&format!("{error:#}"));
    }
    say(&format!(
        "removing what was made ({:.0} s since the start)",
        start.elapsed().as_secs_f64()
    ));
    let removed = stage.remove().await;
    let images_removed = images.remove(engine.docker()).await;
    let ended = engine.end().await;
    played?;
    removed?;
    images_removed?;
    ended?;
    held(&format!(
        "nothing is left of it; {:.0} s in all",
        start.elapsed().as_secs_f64()
    ));
    Ok(Outcome::Held)
}

fn bail_late() -> Result<()> {
    bail!("not done after {} s", DEADLINE.as_secs())
}

fn bail_interrupted() -> Result<()> {
    bail!("interrupted")
}

async fn play(
    workspace: &Workspace,
    engine: &Engine,
    stage: &Stage<'_>,
    images: &mut Images,
) -> Result<()> {
    let programs = workspace.build_all(&["proxy-server", "proxy-cli"], Profile::Dev)?;
    images.build(workspace, engine).await?;
    stage.networks().await?;
    // The servers elect their leader while the proxy's image is built.
    let (consul, demo) = (images.consul.clone(), images.demo.clone());
    let (consuls, _, ()) = tokio::try_join!(
        stage.consul(&consul),
        stage.demo(&demo),
        images.build_proxy(workspace, engine, &programs),
    )?;
    held("the images are built");
    let three = stage.proxy(images, &consuls).await?;
    held("three Consul servers, three replicas, one demo service: all healthy");

    story::discovered(stage, &three).await?;
    story::distributed(&stage.demo, &three).await?;
    story::served_by_each(stage, &three).await?;

    let five = stage.scale(&stage.proxy, 5).await?;
    story::served_by_each(stage, &five).await?;
    held("scaled from 3 to 5: the new replicas serve, with no call");
    let three = stage.scale(&stage.proxy, 3).await?;

    if let Some(victim) = three.first() {
        stage.docker.run(&["kill", &victim.container]).await?;
        let gone = std::slice::from_ref(victim);
        let after = stage.until(&stage.proxy, 3, gone).await?;
        story::served_by_each(stage, &after).await?;
        held(&format!(
            "{} was killed: its successor serves, with no call",
            victim.name
        ));
        let updated = rolling::proxy_updated(stage, images, &after).await?;
        story::served_by_each(stage, &updated).await?;
        rolling::demo_changed(stage, &updated).await?;
        labels::followed(stage, images, &updated).await?;
    }

    // They end while the stack begins.
    stage.end_services().await?;
    let file = workspace.root().join("deploy").join("stack.yml");
    let three = stage.stack(&file, images).await?;
    story::distributed("go-demo", &three).await?;
    for replica in &three {
        story::greets(replica).await?;
    }
    held("deploy/stack.yml: deployed, one call, /demo/hello through each replica");
    Ok(())
}

/// A check that held: the task's output.
#[expect(clippy::print_stdout, reason = "what holds is the task's output")]
fn held(text: &str) {
    println!("ok  {text}");
}

fn say(text: &str) {
    eprintln!("xtask: {text}");
}
