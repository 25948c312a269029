//! `cargo xtask chaos`: real replicas, real HAProxy and real Consul are broken in every way there is,
//! on a schedule that a seed repeats, while callers change services and traffic goes on; after each
//! round, whether everything that was promised holds.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use crate::tools::Tools;
use crate::workspace::{Profile, Workspace};

mod clients;
mod disk;
mod havoc;
mod history;
mod judge;
mod leftovers;
mod memory;
mod schedule;
mod settle;
mod stage;
mod traffic;

use self::clients::{Clients, Targets};
use self::disk::Disk;
use self::havoc::{Havoc, until_consul_leads};
use self::history::{History, Outcome};
use self::leftovers::Held;
pub(crate) use self::schedule::Kind;
use self::schedule::{Extent, FAULTS_LAST, Step, draw};
use self::stage::{SERVERS, Setup, Stage};
use self::traffic::{AGAIN_PROMISE, Sum, Traffic};

/// What a round takes, roughly: a next one begins only where it fits.
const ROUND: Duration = Duration::from_secs(36);

/// Objections that are told one by one; the first ones say most.
const SHOWN: usize = 20;

/// What is broken, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// What everything is drawn from; a new one if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// For about how long; at least one round is played.
    #[arg(long, default_value_t = 3)]
    minutes: u64,
    /// How many replicas.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Only these faults, instead of all.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Break nothing: make so many changes, and see whether memory stays flat.
    #[arg(long, value_name = "CHANGES")]
    memory: Option<u64>,
    /// A setting for every replica, as `ROUTING=map`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// Breaks things until the time is up or something that was promised does not hold.
pub(crate) async fn chaos(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    Tools::get(workspace)?;
    let server = workspace.server(Profile::Dev)?;
    let seed = options.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| now.as_secs() % 1_000_000)
    });
    let mut settings = Vec::new();
    // Half of the seeds keep routes in a map that is changed while HAProxy runs on.
    if seed % 2 == 1 {
        settings.push(("ROUTING".to_owned(), "map".to_owned()));
    }
    for text in &options.settings {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("--set {text}: write NAME=VALUE"))?;
        settings.push((name.to_owned(), value.to_owned()));
    }
    let mut kinds = match options.only.as_slice() {
        [] => Kind::value_variants().to_vec(),
        only => only.to_vec(),
    };
    let disks = kinds.contains(&Kind::Disk) && can_mount();
    if !disks {
        kinds.retain(|kind| *kind != Kind::Disk);
    }
    let setup = Setup {
        server,
        replicas: usize::from(options.replicas),
        settings,
        disks,
    };
    eprintln!(
        "xtask: chaos --seed {seed} --minutes {} --replicas {}, settings {:?}",
        options.minutes, options.replicas, setup.settings
    );
    let run = Run {
        memory: options.memory,
        seed,
        kinds,
        setup,
        length: Duration::from_secs(options.minutes * 60),
        evidence: workspace.root().join("target").join("chaos"),
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // What was started ends when it is dropped, and it is dropped on a signal too.
    tokio::select! {
        held = run.play() => held,
        _ = interrupt.recv() => bail!("interrupted; the seed was {seed}"),
        _ = terminate.recv() => bail!("interrupted; the seed was {seed}"),
    }
}

/// Whether disks of our own can be mounted here. Said aloud where not.
fn can_mount() -> bool {
    let tried = tempfile::tempdir()
        .map_err(anyhow::Error::from)
        .and_then(|folder| Disk::mount(folder.path(), 1).map(drop));
    if let Err(why) = &tried {
        eprintln!("xtask: NO FULL DISKS in this run, a tmpfs cannot be mounted: {why:#}");
    }
    tried.is_ok()
}

struct Run {
    memory: Option<u64>,
    seed: u64,
    kinds: Vec<Kind>,
    setup: Setup,
    length: Duration,
    evidence: std::path::PathBuf,
}

/// What a run found out.
#[derive(Debug, Default)]
struct Findings {
    rounds: u32,
    converged: Vec<Duration>,
    objections: Vec<String>,
}

impl Run {
    async fn play(&self) -> Result<ExitCode> {
        let start = Instant::now();
        let before = Held::now();
        let mut stage = Stage::set(&self.setup).await?;
        if let Some(changes) = self.memory {
            let mut objections = memory::flat(&stage, changes).await?;
            objections.extend(leftovers::end(stage, &before).await?);
            return Ok(verdict(&objections));
        }
        let history = Arc::new(History::new());
        let mut traffic = Traffic::start(&stage);
        let mut havoc = Havoc::new();
        let mut findings = Findings::default();
        let mut steps = Vec::new();
        while findings.objections.is_empty() {
            findings.rounds += 1;
            steps = draw(self.seed, findings.rounds, self.extent());
            eprintln!("xtask: round {}\n{}", findings.rounds, listed(&steps));
            let round = self.round(
                &steps,
                &mut stage,
                &history,
                &mut traffic,
                &mut havoc,
                &mut findings,
            );
            round.await?;
            if start.elapsed() + ROUND > self.length {
                break;
            }
        }
        let sum = traffic.stop().await;
        let evidence = match findings.objections.is_empty() {
            true => String::new(),
            false => self.keep(&stage, &history)?,
        };
        let left = leftovers::end(stage, &before).await?;
        findings.objections.extend(left);
        report(&history, &havoc, &findings, &sum);
        if !findings.objections.is_empty() {
            eprintln!(
                "xtask: seed {}, round {}\n{}{evidence}",
                self.seed,
                findings.rounds,
                listed(&steps)
            );
        }
        Ok(verdict(&findings.objections))
    }

    async fn round(
        &self,
        steps: &[Step],
        stage: &mut Stage,
        history: &Arc<History>,
        traffic: &mut Traffic,
        havoc: &mut Havoc,
        findings: &mut Findings,
    ) -> Result<()> {
        let targets = Targets {
            apis: stage.topology.replicas.iter().map(|r| r.api()).collect(),
            lives: stage.lives.clone(),
            port: stage.backend.address().port(),
        };
        let seed = self.seed.wrapping_add(u64::from(findings.rounds) << 32);
        let clients = Clients::start(history, &targets, seed);
        let played = havoc.play(steps, stage, traffic, FAULTS_LAST).await;
        clients.call_off();
        played?;
        havoc.heal(stage, traffic).await?;
        until_consul_leads(stage).await?;
        let healed = Instant::now();
        clients.finished().await;
        let stand = settle::converge(stage).await;
        let took = healed.elapsed();
        let objections = &mut findings.objections;
        objections.extend(settle::settle_lost(stage, history).await);
        objections.extend(settle::judge_way(history));
        match stand {
            Ok(stand) => {
                findings.converged.push(took);
                eprintln!("xtask: one table everywhere {took:.2?} after the last fault");
                if took > settle::PROMISE {
                    let promise = settle::PROMISE;
                    objections.push(format!(
                        "one table only after {took:.1?}, not within {promise:?}"
                    ));
                }
                objections.extend(settle::judge_end_of(stage, history, stand).await);
            }
            Err(why) => objections.push(why),
        }
        objections.extend(traffic.judge().await);
        for (number, replica) in stage.topology.replicas.iter().enumerate() {
            if replica.log().contains("panicked at") {
                objections.push(format!("replica {} panicked, see its log", number + 1));
            }
        }
        Ok(())
    }

    fn extent(&self) -> Extent<'_> {
        Extent {
            replicas: self.setup.replicas,
            servers: SERVERS,
            kinds: &self.kinds,
        }
    }

    /// Writes down what tells why: every call, and every log.
    fn keep(&self, stage: &Stage, history: &History) -> Result<String> {
        let folder = self.evidence.join(format!("seed-{}", self.seed));
        fs::create_dir_all(&folder)?;
        let mut calls = String::new();
        for call in &history.events().calls {
            writeln!(calls, "{call:?}")?;
        }
        fs::write(folder.join("calls"), calls)?;
        for (number, replica) in stage.topology.replicas.iter().enumerate() {
            fs::write(
                folder.join(format!("replica-{}.log", number + 1)),
                replica.log(),
            )?;
        }
        if let Some(consul) = &stage.topology.consul {
            fs::write(folder.join("consul.log"), consul.logs())?;
        }
        Ok(format!("calls and logs: {}", folder.display()))
    }
}

fn verdict(objections: &[String]) -> ExitCode {
    for objection in objections.iter().take(SHOWN) {
        eprintln!("xtask: NOT SO: {objection}");
    }
    if objections.len() > SHOWN {
        eprintln!("xtask: and {} more", objections.len() - SHOWN);
    }
    match objections {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn listed(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("  {step}\n")).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are the task's output")]
fn report(history: &History, havoc: &Havoc, findings: &Findings, sum: &Sum) {
    let events = history.events();
    let with = |outcome| {
        events
            .calls
            .iter()
            .filter(|call| call.outcome == outcome)
            .count()
    };
    println!(
        "rounds: {}; calls: {} ({} live, {} stored, {} refused, {} without an answer), of them {} imports' parts",
        findings.rounds,
        events.calls.len(),
        with(Outcome::Live),
        with(Outcome::Stored),
        with(Outcome::Refused),
        with(Outcome::Lost),
        events
            .calls
            .iter()
            .filter(|call| call.group.is_some())
            .count(),
    );
    println!("one table everywhere after: {:.2?}", findings.converged);
    let again: Vec<_> = sum.again.iter().map(|(took, _)| took).collect();
    println!(
        "requests: {} answered, {} failed, with an excuse or an objection",
        sum.answered, sum.failed
    );
    println!("HAProxy served again after a kill in: {again:.0?}");
    for (took, why) in &sum.again {
        if *took > AGAIN_PROMISE {
            println!("later than {AGAIN_PROMISE:?}: {took:.1?} after: {why}");
        }
    }
    let faults = havoc.counts.iter().map(|(kind, (done, skipped))| {
        let value = kind.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        match skipped {
            0 => format!("{name} {done}"),
            skipped => format!("{name} {done} (skipped {skipped})"),
        }
    });
    println!("faults: {}", faults.collect::<Vec<_>>().join(", "));
    println!("objections: {}", findings.objections.len());
}
