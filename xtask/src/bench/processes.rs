//! Processes: which CPU they run on, what they used of it, and what they hold of memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::haproxy::processes_of;

/// The kernel's unit in `/proc/<pid>/stat`, on every Linux that there is.
const TICKS_PER_SECOND: u64 = 100;

/// Where a process may run, so that what is measured and what measures do not get into each
/// other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The first CPU, alone: a HAProxy that finds one CPU runs one thread.
    Measured,
    /// The others.
    Measuring,
    /// Anywhere, as deployed.
    Anywhere,
}

/// The words before a command that put it in its place. None where there is nothing to choose.
pub(super) fn pinned(place: Place) -> Vec<String> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = match place {
        Place::Measured => "0".to_owned(),
        Place::Measuring => format!("1-{}", count.saturating_sub(1)),
        Place::Anywhere => return Vec::new(),
    };
    if count < 2 || Command::new("taskset").arg("-V").output().is_err() {
        return Vec::new();
    }
    ["taskset", "-c", &cpus].map(str::to_owned).to_vec()
}

/// A command in its place.
pub(super) fn command(place: Place, program: &Path) -> Command {
    let mut words = pinned(place).into_iter();
    match words.next() {
        None => Command::new(program),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
    }
}

/// The CPU time that a process has used.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name in parentheses may hold blanks; user and system time are the 12th and 13th
    // field after it.
    let (_, fields) = text.rsplit_once(')').context("a stat file has no name")?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or_default())
        .sum();
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// The CPU time of the first thread of every process that was started with a path below a
/// folder, to the nanosecond: all of it, where they run one thread.
pub(super) fn cpu_below(folder: &Path) -> Duration {
    let all = processes_of(folder).into_iter();
    let used = |pid: u32| -> Option<Duration> {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    };
    all.filter_map(|process| used(process.pid)).sum()
}

/// A line of `/proc/<pid>/status` in MiB, as `VmRSS`.
pub(super) fn memory(pid: u32, line: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib: f64 = text
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{path} has no {line}"))?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sees_oneself() {
        let pid = std::process::id();
        assert!(memory(pid, "VmRSS").unwrap() > 1.0);
        let before = cpu(pid).unwrap();
        let mut sum = 0_u64;
        while cpu(pid).unwrap() < before + Duration::from_millis(30) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        assert!(memory(pid, "VmNothing").is_err());
    }
}
