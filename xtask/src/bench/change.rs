//! Changes: how long one takes with many services there, and what a thousand at once cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use super::Tools;
use super::figure::{Figure, Goal};
use super::processes::Place;
use super::stage::{Stage, Store, failed, path, until_routed};

const ROUNDS: usize = 5;
/// How many services come at once, and their most reloads.
const AT_ONCE: usize = 1_000;
const MOST_RELOADS: f64 = 10.0;
/// Milliseconds for a change that needs no backend.
const MOST_FOR_A_PATH: f64 = 20.0;
/// Where the numbers of services begin that no table here holds.
const NEW: usize = 500_000;

const BY_HAND: &str = "haproxy -c and a reload by hand";

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// A thousand services in a thousand calls at once.
pub(super) async fn burst(tools: &Tools) -> Result<Vec<Figure>> {
    let (mut reloads, mut times, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let stage = Stage::set(tools, 1, Store::Own, Place::Anywhere).await?;
        let stage = Arc::new(stage);
        let before = stage.reloads().await?;
        let begun = Instant::now();
        let mut calls = JoinSet::new();
        for number in 0..AT_ONCE {
            let stage = Arc::clone(&stage);
            calls.spawn(async move {
                let call = stage.reconfigure(number);
                stage.call(&call).await
            });
        }
        while let Some(call) = calls.join_next().await {
            call??;
        }
        times.push(milliseconds(begun.elapsed()));
        reloads.push(stage.reloads().await? - before);
        let mut twin = stage.twin(tools, Place::Anywhere).await?;
        twin.start(&path(0)).await?;
        by_hand.push(milliseconds(twin.check_and_reload().await?));
    }
    let what = format!("{} new services at once", tools.number(AT_ONCE));
    Ok(vec![
        Figure::new(format!("{what}: reloads"), "", reloads).goal(Goal::AtMost(MOST_RELOADS)),
        Figure::new(format!("{what}: until the last answer"), "ms", times)
            .against("one haproxy -c and reload by hand of all", by_hand),
    ])
}

/// One new service.
pub(super) async fn reconfigure(tools: &Tools) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &count in tools.sizes(&[1, 1_000, 10_000]) {
        let stage = filled(tools, count).await?;
        let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
        let mut twin = stage.twin(tools, Place::Anywhere).await?;
        twin.start(&path(0)).await?;
        for round in 0..ROUNDS {
            ours.push(timed(&stage, &stage.reconfigure(NEW + round)).await?);
            by_hand.push(milliseconds(twin.check_and_reload().await?));
        }
        let figure = Figure::new(
            format!("reconfigure, new service, N = {}", tools.number(count)),
            "ms",
            ours,
        );
        let figure = figure.against(BY_HAND, by_hand);
        figures.push(if count > 1 {
            figure.goal(Goal::AtMost(1.25))
        } else {
            figure
        });
    }
    Ok(figures)
}

/// A path more for a service that is there: no backend is new.
pub(super) async fn path_added(tools: &Tools) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &count in tools.sizes(&[10_000]) {
        let stage = filled(tools, count).await?;
        let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
        let mut twin = stage.twin(tools, Place::Anywhere).await?;
        twin.start(&path(0)).await?;
        let before = stage.reloads().await?;
        for round in 0..ROUNDS {
            let paths = format!("{},/more{round}/", path(count / 2));
            ours.push(timed(&stage, &stage.reconfigure_paths(count / 2, &paths)).await?);
            by_hand.push(milliseconds(twin.check_and_reload().await?));
        }
        let reloads = stage.reloads().await? - before;
        let what = format!(
            "a path added to a known service, N = {}",
            tools.number(count)
        );
        figures.push(
            Figure::new(
                format!("{what}: reloads of {ROUNDS} changes"),
                "",
                vec![reloads],
            )
            .goal(Goal::AtMost(0.0)),
        );
        let figure = Figure::new(what.as_str(), "ms", ours.clone());
        figures.push(figure.goal(Goal::AtMost(MOST_FOR_A_PATH)));
        figures.push(Figure::new(what, "ms", ours).against(BY_HAND, by_hand));
    }
    Ok(figures)
}

/// From the call to the first request that is routed: here, and on every one of three.
pub(super) async fn first_request(tools: &Tools) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &count in tools.sizes(&[1, 1_000, 10_000]) {
        let one = until_first(tools, 1, Store::Own, count).await?;
        let three = until_first(tools, 3, Store::Consul, count).await?;
        let what = format!("call to first routed request, N = {}", tools.number(count));
        let all = format!("{what}, all of three, three Consul servers, distribute");
        figures.push(
            Figure::new(
                format!("{what}, one replica, no Consul"),
                "ms",
                one.ours.clone(),
            )
            .against(BY_HAND, one.by_hand),
        );
        figures.push(
            Figure::new(all.as_str(), "ms", three.ours.clone())
                .against("the one", one.ours)
                .goal(Goal::AtMost(1.5)),
        );
        figures.push(Figure::new(all, "ms", three.ours).against(
            "one haproxy -c and then three reloads by hand, all at once on this machine",
            three.by_hand,
        ));
    }
    Ok(figures)
}

/// Times of changes, and of the least that anybody does for them by hand: one check, and then as many
/// reloads at the same time as there are replicas.
#[derive(Debug, Default)]
struct Times {
    ours: Vec<f64>,
    by_hand: Vec<f64>,
}

async fn until_first(tools: &Tools, replicas: usize, store: Store, count: usize) -> Result<Times> {
    let stage = Stage::set(tools, replicas, store, Place::Anywhere).await?;
    stage.fill(count).await?;
    let mut times = Times::default();
    for round in 0..ROUNDS {
        let number = NEW + round;
        let mut call = stage.reconfigure(number);
        if replicas > 1 {
            call.push_str("&distribute=true");
        }
        let (path, begun) = (path(number), Instant::now());
        // A miss may walk the whole table: looking too often would be a load of its own.
        let look = Duration::from_millis(if count > 1_000 { 10 } else { 2 });
        let routed = async {
            for replica in &stage.topology.replicas {
                until_routed(replica, &path, look).await?;
            }
            anyhow::Ok(begun.elapsed())
        };
        let (answer, routed) = tokio::join!(stage.call(&call), routed);
        answer?;
        times.ours.push(milliseconds(routed?));
    }
    let mut twins = Vec::new();
    for _ in 0..replicas {
        let mut twin = stage.twin(tools, Place::Anywhere).await?;
        twin.start(&path(0)).await?;
        twins.push(Arc::new(twin));
    }
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        if let Some(first) = twins.first() {
            first.check().await?;
        }
        let mut all = JoinSet::new();
        for twin in &twins {
            let twin = Arc::clone(twin);
            all.spawn(async move { twin.reload().await });
        }
        while let Some(done) = all.join_next().await {
            done??;
        }
        times.by_hand.push(milliseconds(begun.elapsed()));
    }
    Ok(times)
}

async fn filled(tools: &Tools, count: usize) -> Result<Stage> {
    let stage = Stage::set(tools, 1, Store::Own, Place::Anywhere).await?;
    stage.fill(count).await?;
    Ok(stage)
}

/// Calls, and checks that the answer meant it.
async fn timed(stage: &Stage, call: &str) -> Result<f64> {
    let begun = Instant::now();
    let answer = stage.call(call).await?;
    let time = begun.elapsed();
    if answer.get("Stored") != Some(&true.into()) {
        bail!("{call}: {answer}");
    }
    let known = call
        .split("servicePath=")
        .nth(1)
        .and_then(|rest| rest.split('&').next());
    for path in known.unwrap_or_default().split(',') {
        let answer = stage.replica().request(path).await.map_err(failed)?;
        if answer.status != 200 {
            bail!("{call} was answered, and {path} with {}", answer.status);
        }
    }
    Ok(milliseconds(time))
}
