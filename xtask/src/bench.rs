//! `cargo xtask bench`: what it costs, on real programs, each beside the same thing done without
//! us. A table on the terminal, and JSON in `target/bench`.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::tools;
use crate::workspace::{Profile, Workspace};

mod by_hand;
mod change;
mod figure;
mod processes;
mod pure;
mod stage;
mod traffic;
mod whole;
mod wrk;

use self::figure::Figure;
use self::wrk::Generator;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Name {
    /// 1,000 new services at once: reloads and total time.
    Burst,
    /// Requests/s for the first, the middle and the last of N services.
    Requests,
    /// A new service with N existing.
    Reconfigure,
    /// From the call to the first routed request, on one replica and on three.
    FirstRequest,
    /// Memory, and CPU at rest.
    Rest,
    /// Start with N services in Consul.
    Start,
    /// A path added to a known service.
    Path,
    /// Requests that fail during 100 reloads.
    ReloadFailures,
    /// Parse, plan, resolve and render, without any program.
    Pure,
    /// No figure: the rules against the definition, on as many tables as `--tables` says.
    Differential,
}

/// What is measured, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// What to measure; all but `differential` if absent.
    #[arg(value_enum)]
    names: Vec<Name>,
    /// Numbers of services, instead of each benchmark's own.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=400_000))]
    services: Vec<u32>,
    /// A setting for every proxy, as `ROUTING=acl`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// How many tables `differential` tries.
    #[arg(long, default_value_t = 2_000)]
    tables: u32,
}

/// What every benchmark needs.
#[derive(Debug)]
struct Tools {
    haproxy: PathBuf,
    server: PathBuf,
    load: Generator,
    sizes: Vec<usize>,
    settings: Vec<(String, String)>,
}

/// Measures, one after the other, and keeps what each found as soon as it is found.
pub(crate) async fn bench(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut names = options.names.clone();
    if names.is_empty() {
        let all = Name::value_variants().iter().copied();
        names = all.filter(|name| *name != Name::Differential).collect();
    }
    if let Some(at) = names.iter().position(|name| *name == Name::Differential) {
        names.remove(at);
        pure::differential(workspace, options.tables).await?;
        if names.is_empty() {
            return Ok(());
        }
    }
    let settings = options.settings.iter().map(|text| {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("--set {text}: write NAME=VALUE"))?;
        anyhow::Ok((name.to_owned(), value.to_owned()))
    });
    let haproxy = tools::haproxy(workspace)?;
    let consul = tools::consul(workspace)?;
    let tools = Tools {
        load: tools::wrk().map_or(Generator::Own, |wrk| Generator::Wrk(wrk.path)),
        server: workspace.build("proxy-server", Profile::Release)?,
        haproxy: haproxy.path.clone(),
        sizes: options
            .services
            .iter()
            .map(|count| usize::try_from(*count))
            .collect::<Result<_, _>>()?,
        settings: settings.collect::<Result<_>>()?,
    };
    let machine = json!({
        "cpus": std::thread::available_parallelism().map_or(1, usize::from),
        "cpu": line_of("/proc/cpuinfo", "model name"),
        "memory": line_of("/proc/meminfo", "MemTotal"),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "load_average": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "haproxy": haproxy.version, "consul": consul.version, "load": tools.load.name(),
        "settings": options.settings,
    });
    let folder = workspace.root().join("target").join("bench");
    fs::create_dir_all(&folder)?;
    let mut failed = Vec::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    for name in names {
        eprintln!("xtask: {name}");
        // What was started ends when it is dropped, and it is dropped on a signal too.
        let measured = tokio::select! {
            measured = measure(workspace, &tools, name) => measured,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        };
        match measured {
            Ok(figures) => keep(&folder, name, &machine, &figures)?,
            Err(error) => {
                eprintln!("xtask: {name}: {error:#}");
                failed.push(name.to_string());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("not measured: {}", failed.join(", "))
}

async fn measure(workspace: &Workspace, tools: &Tools, name: Name) -> Result<Vec<Figure>> {
    match name {
        Name::Burst => change::burst(tools).await,
        Name::Requests => traffic::requests(tools).await,
        Name::Reconfigure => change::reconfigure(tools).await,
        Name::FirstRequest => change::first_request(tools).await,
        Name::Rest => whole::rest(tools).await,
        Name::Start => whole::start(tools).await,
        Name::Path => change::path_added(tools).await,
        Name::ReloadFailures => traffic::reload_failures(tools).await,
        Name::Pure => pure::pure(workspace).await,
        // It gives no figures and was done before.
        Name::Differential => Ok(Vec::new()),
    }
}

#[expect(clippy::print_stdout, reason = "the table is the task's output")]
fn keep(folder: &std::path::Path, name: Name, machine: &Value, figures: &[Figure]) -> Result<()> {
    println!("\n{name}\n\n{}", figure::table(figures));
    let rows: Vec<_> = figures.iter().map(Figure::json).collect();
    let file = folder.join(format!("{name}.json"));
    let text = json!({ "benchmark": name.to_string(), "machine": machine, "figures": rows });
    fs::write(&file, format!("{text:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn line_of(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

impl Tools {
    /// The numbers of services that were asked for, else the benchmark's own.
    fn sizes<'a>(&'a self, own: &'a [usize]) -> &'a [usize] {
        if self.sizes.is_empty() {
            own
        } else {
            &self.sizes
        }
    }

    /// A number as people write it.
    fn number(&self, number: usize) -> String {
        let digits = number.to_string();
        let mut text = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
