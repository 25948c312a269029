//! `cargo xtask test`: every check that there is, each timed against its budget, and
//! one verdict. What is missing is installed or fails; nothing is skipped in silence.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::swarm::{self, Outcome};
use crate::tidy;
use crate::tools::Tools;
use crate::up;
use crate::workspace::{LIBRARIES, Workspace};

pub(crate) mod child;
mod packed;
mod parts;

use self::child::{Ended, run};
use self::parts::{Line, Part, Work, full, quick};

/// How much of the suite to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Format, lints and unit tests.
    Quick,
    /// Everything.
    Full,
}

/// How a part ended.
#[derive(Debug)]
struct Row {
    name: &'static str,
    budget: Duration,
    took: Duration,
    verdict: Verdict,
}

/// What came of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// It was not run since this machine lacks what cannot be installed, and what that is.
    Absent(String),
    Failed(String),
}

/// Runs the suite to its end, whatever fails on the way, and prints the table.
pub(crate) async fn test(workspace: &Workspace, extent: Extent) -> Result<ExitCode> {
    let parts = match extent {
        Extent::Quick => quick(),
        Extent::Full => full(workspace)?,
    };
    let mut rows = Vec::new();
    let mut tools = None;
    for part in parts {
        banner(part.name);
        let start = Instant::now();
        let verdict = match play(workspace, &part, &mut tools).await {
            Ok(verdict) => verdict,
            Err(error) => Verdict::Failed(format!("{error:#}")),
        };
        if let Some(words) = verdict.words() {
            eprintln!("xtask: {}: {words}", part.name);
        }
        rows.push(Row {
            name: part.name,
            budget: part.budget,
            took: start.elapsed(),
            verdict,
        });
    }
    report(&rows);
    // Not an error: the last line of the output is the table's.
    Ok(match rows.iter().any(Row::failed) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

// === impl Row ===

impl Row {
    fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

// === impl Verdict ===

impl Verdict {
    /// What there is to say beyond passed.
    fn words(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Absent(words) | Self::Failed(words) => Some(words),
        }
    }
}

async fn play(workspace: &Workspace, part: &Part, tools: &mut Option<Tools>) -> Result<Verdict> {
    if let Work::Swarm = part.work {
        eprintln!("$ cargo xtask swarm");
        return Ok(match swarm::swarm(workspace).await? {
            Outcome::Held => Verdict::Passed,
            Outcome::Absent(why) => Verdict::Absent(why),
        });
    }
    must_pass(workspace, part, tools).await?;
    Ok(Verdict::Passed)
}

async fn must_pass(workspace: &Workspace, part: &Part, tools: &mut Option<Tools>) -> Result<()> {
    match &part.work {
        Work::Tools => {
            let found = Tools::get(workspace)?;
            eprintln!("haproxy: {}\nconsul:  {}", found.haproxy, found.consul);
            *tools = Some(found);
            Ok(())
        }
        Work::Tidy => tidy::tidy(workspace),
        // Played above: it alone may be absent.
        Work::Swarm => Ok(()),
        Work::Up(shapes) => {
            for shape in shapes {
                eprintln!("$ cargo xtask up --once {shape}");
                up::up(workspace, shape, up::Stay::Once).await?;
            }
            Ok(())
        }
        Work::Package(line) => {
            packed::forget(&LIBRARIES)?;
            let place = packed::new_place(&workspace.target()?)?;
            let line = line
                .clone()
                .with(["--target-dir", &place.to_string_lossy()]);
            run_all(workspace, part, &[line], tools).await
        }
        Work::Commands(commands) => run_all(workspace, part, commands, tools).await,
    }
}

async fn run_all(
    workspace: &Workspace,
    part: &Part,
    commands: &[Line],
    tools: &Option<Tools>,
) -> Result<()> {
    let mut problems = Vec::new();
    for line in commands {
        let mut command = workspace.cargo();
        command.args(&line.arguments);
        command.envs(line.environment.iter().map(|(name, value)| (name, value)));
        if let Some(tools) = tools {
            command.env("HAPROXY_BIN", &tools.haproxy.path);
            command.env("CONSUL_BIN", &tools.consul.path);
        }
        eprintln!("$ {line}");
        match run(command, part.limit).await? {
            Ended::Well => {}
            Ended::Badly(status) => problems.push(format!("`{line}` ended with {status}")),
            Ended::OutOfTime => problems.push(format!(
                "`{line}` was ended after {} s",
                part.limit.as_secs()
            )),
            Ended::Interrupted => bail!("interrupted"),
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("; "))
}

fn banner(name: &str) {
    eprintln!("\n==== {name} ====");
}

/// The table, and as the last line the count that scripts read.
#[expect(clippy::print_stdout, reason = "the verdict is the task's output")]
fn report(rows: &[Row]) {
    println!("\n{}", table(rows));
}

fn table(rows: &[Row]) -> String {
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or_default();
    let mut out = String::new();
    for row in rows {
        let verdict = match &row.verdict {
            Verdict::Passed if row.took > row.budget => "passed, over budget",
            Verdict::Passed => "passed",
            Verdict::Absent(_) => "NOT RUN",
            Verdict::Failed(_) => "FAILED",
        };
        let _ = writeln!(
            out,
            "{:<width$}  {:>6.1} s of {:>4} s  {verdict}",
            row.name,
            row.took.as_secs_f64(),
            row.budget.as_secs(),
        );
    }
    for row in rows {
        if let Some(words) = row.verdict.words() {
            let _ = writeln!(out, "\n{}: {words}", row.name);
        }
    }
    let count = |is: fn(&Verdict) -> bool| rows.iter().filter(|row| is(&row.verdict)).count();
    let passed = count(|verdict| *verdict == Verdict::Passed);
    let absent = count(|verdict| matches!(verdict, Verdict::Absent(_)));
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    if absent > 0 {
        let _ = writeln!(out, "\n{absent} not run");
    }
    let _ = write!(out, "\n{passed} passed, {failed} failed");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, seconds: u64, verdict: Verdict) -> Row {
        Row {
            name,
            budget: Duration::from_secs(10),
            took: Duration::from_secs(seconds),
            verdict,
        }
    }

    #[test]
    fn the_last_line_counts_the_parts() {
        let text = table(&[
            row("fmt", 1, Verdict::Passed),
            row("clippy", 11, Verdict::Passed),
            row("tests", 2, Verdict::Failed("no".to_owned())),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "fmt        1.0 s of   10 s  passed");
        assert_eq!(lines[1], "clippy    11.0 s of   10 s  passed, over budget");
        assert_eq!(lines[2], "tests      2.0 s of   10 s  FAILED");
        assert_eq!(*lines.last().unwrap(), "2 passed, 1 failed");
        assert!(text.contains("tests: no"));
    }

    #[test]
    fn what_was_not_run_has_not_passed() {
        let text = table(&[
            row("fmt", 1, Verdict::Passed),
            row("swarm", 0, Verdict::Absent("no engine".to_owned())),
        ]);
        assert!(text.contains("0.0 s of   10 s  NOT RUN"), "{text}");
        assert!(text.contains("swarm: no engine") && text.contains("1 not run"));
        assert!(text.ends_with("\n1 passed, 0 failed"), "{text}");
    }
}
