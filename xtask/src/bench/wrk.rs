//! As many requests as go through: `wrk`, or where there is none a small generator of ours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::haproxy::get;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::processes::{self, Place};

/// Connections that are kept open and busy.
const CONNECTIONS: usize = 32;
/// What a generator may take longer than it was told to.
const GRACE: Duration = Duration::from_secs(20);

/// What makes the load.
#[derive(Debug, Clone)]
pub(super) enum Generator {
    Wrk(PathBuf),
    /// A connection per request, so slower; ratios hold all the same.
    Own,
}

impl Generator {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Wrk(_) => "wrk, 32 kept connections",
            Self::Own => "xtask's own generator, a connection per request",
        }
    }

    /// Sends for a while; says how many requests were answered a second, all with 200.
    pub(super) async fn run(&self, address: SocketAddr, path: &str, span: Duration) -> Result<f64> {
        match self {
            Self::Wrk(binary) => wrk(binary, address, path, span).await,
            Self::Own => own(address, path, span).await,
        }
    }
}

async fn wrk(binary: &Path, address: SocketAddr, path: &str, span: Duration) -> Result<f64> {
    let mut command = processes::command(Place::Measuring, binary);
    command
        .args(["-t1", &format!("-c{CONNECTIONS}")])
        .arg(format!("-d{}s", span.as_secs()))
        .arg(format!("http://{address}{path}"))
        .stdin(Stdio::null());
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output();
    let output = timeout(span + GRACE, output)
        .await
        .context("wrk does not end")??;
    read(&String::from_utf8_lossy(&output.stdout))
}

/// The rate, unless an answer was not what it should be.
fn read(text: &str) -> Result<f64> {
    if let Some(line) = text
        .lines()
        .find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        bail!("wrk: {}", line.trim());
    }
    text.lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("Requests/sec:")?
                .trim()
                .parse()
                .ok()
        })
        .with_context(|| format!("wrk says no rate: {text}"))
}

async fn own(address: SocketAddr, path: &str, span: Duration) -> Result<f64> {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let path = path.to_owned();
        clients.spawn(async move {
            let mut answered = 0_u32;
            while begun.elapsed() < span {
                let answer = get(address, "localhost", &path).await?;
                if answer.status != 200 {
                    bail!("status {} for {path}", answer.status);
                }
                answered += 1;
            }
            Ok(answered)
        });
    }
    let mut total = 0;
    while let Some(client) = clients.join_next().await {
        total += client??;
    }
    Ok(f64::from(total) / begun.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_and_a_wrong_answer_is_an_error() {
        let good = "  2 threads\n  55 requests in 1.00s, 6KB read\nRequests/sec:  51234.56\nTransfer/sec: 1MB\n";
        assert_eq!(read(good).unwrap(), 51_234.56);
        assert!(read(&format!("{good}  Non-2xx or 3xx responses: 55\n")).is_err());
        assert!(read("unable to connect").is_err());
    }
}
