//! What needs no stage: the pure parts by themselves, and the long differential run.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::timeout;

use super::figure::{Figure, Goal};
use crate::suite::child::{Ended, run};
use crate::workspace::Workspace;

/// The pure parts with 100,000 services take a minute, and their build some more.
const DEADLINE: Duration = Duration::from_secs(20 * 60);
/// A table takes a reload and a few hundred requests; far more than any takes.
const PER_TABLE: Duration = Duration::from_secs(10);

/// Runs the harnesses of the crates, which print a line of JSON for each figure.
pub(super) async fn pure(workspace: &Workspace) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (package, bench) in [("proxy-core", "table"), ("proxy-haproxy", "render")] {
        let mut command = workspace.cargo();
        command
            .args(["bench", "--quiet", "--package", package, "--bench", bench])
            .stderr(Stdio::inherit());
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output();
        let output = timeout(DEADLINE, output)
            .await
            .context("it does not end")??;
        if !output.status.success() {
            bail!("cargo bench -p {package} ended with {}", output.status);
        }
        let rows: Vec<Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        for row in &rows {
            figures.push(read(row, &rows).with_context(|| format!("{package}: {row}"))?);
        }
    }
    Ok(figures)
}

/// A figure, compared with the same at the least number of services.
fn read(row: &Value, rows: &[Value]) -> Result<Figure> {
    let what = row["what"].as_str().context("no name")?;
    let services = row["services"].as_u64().context("no number")?;
    let runs = |row: &Value| -> Vec<f64> {
        let runs = row["microseconds"].as_array().into_iter().flatten();
        runs.filter_map(Value::as_f64).collect()
    };
    let allocations = row["allocations"].as_f64().unwrap_or_default();
    let bytes = row["bytes"].as_f64().unwrap_or_default();
    let figure = Figure::new(
        format!("{what}, {services} services ({allocations:.1} allocations, {bytes:.0} bytes)"),
        "us",
        runs(row),
    );
    let least = rows
        .iter()
        .filter(|other| other["what"] == what)
        .min_by_key(|other| other["services"].as_u64());
    Ok(match least {
        Some(least) if least != row => {
            let figure = figure.against("with the fewest", runs(least));
            if what.starts_with("resolve") && services <= 10_000 {
                figure.goal(Goal::AtMost(3.0))
            } else {
                figure
            }
        }
        _ => figure,
    })
}

/// The rules against the definition on many more tables than a test has time for.
pub(super) async fn differential(workspace: &Workspace, tables: u32) -> Result<()> {
    let command = |last: &[&str]| {
        let mut command = workspace.cargo();
        command
            .args(["test", "--quiet", "--package", "proxy-haproxy"])
            .args(["--all-features", "--test", "real", "--", "differential"])
            .args(last)
            .env("DIFFERENTIAL_TABLES", tables.to_string());
        command
    };
    let mut list = command(&["--list"]);
    list.stderr(Stdio::inherit());
    let list = tokio::process::Command::from(list)
        .kill_on_drop(true)
        .output();
    let list = timeout(DEADLINE, list)
        .await
        .context("it does not build")??;
    // A filter that fits no test is a success to cargo.
    if !String::from_utf8_lossy(&list.stdout).contains(": test") {
        bail!("there is no differential test, or it was not built");
    }
    match run(command(&[]), DEADLINE + PER_TABLE * tables).await? {
        Ended::Well => Ok(()),
        Ended::Badly(status) => bail!("the rules and the definition differ: {status}"),
        Ended::OutOfTime => bail!("it does not end"),
        Ended::Interrupted => bail!("interrupted"),
    }
}
