//! The master socket of HAProxy: what runs, and the order to reload.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

/// One question to a healthy master takes a millisecond.
pub(crate) const DEFAULT_ASK_DEADLINE: Duration = Duration::from_secs(2);

const MAX_ANSWER_BYTES: u64 = 1024 * 1024;

/// What runs, as `show proc` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processes {
    pub(crate) master: u32,
    /// Reloads in a row that failed.
    pub(crate) failed: u64,
    /// Workers that serve, by age; after a failed reload HAProxy 3 lists the one that still serves
    /// under `old`.
    pub(crate) workers: Vec<u32>,
    /// Workers that finish their connections.
    pub(crate) old: Vec<u32>,
    /// How long ago the oldest of these was started.
    pub(crate) oldest: Duration,
}

/// Asks one question of a HAProxy socket. A connection per question: one that stays open would stay
/// with its worker through a reload.
pub(crate) async fn ask(socket: &Path, question: &str, deadline: Duration) -> io::Result<String> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{question}\n").as_bytes()).await?;
        // HAProxy answers and hangs up once it has seen the end of the questions.
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream
            .take(MAX_ANSWER_BYTES)
            .read_to_end(&mut answer)
            .await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(deadline, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Asks what runs.
pub(crate) async fn processes(socket: &Path, deadline: Duration) -> io::Result<Processes> {
    let answer = ask(socket, "show proc", deadline).await?;
    Processes::parse(&answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no master in `show proc`"))
}

impl Processes {
    pub(crate) fn parse(answer: &str) -> Option<Self> {
        let mut this = Self::default();
        let mut old = false;
        for line in answer.lines() {
            match line.trim() {
                "# workers" => old = false,
                "# old workers" => old = true,
                "# programs" | "# old programs" => break,
                _ => {}
            }
            let mut words = line.split_whitespace();
            let (Some(pid), Some(kind)) = (
                words.next().and_then(|word| word.parse().ok()),
                words.next(),
            ) else {
                continue;
            };
            match kind {
                "master" => {
                    this.master = pid;
                    this.failed = line
                        .split_once("[failed: ")
                        .and_then(|(_, rest)| rest.split(']').next()?.parse().ok())
                        .unwrap_or(0);
                }
                "worker" if old => {
                    this.old.push(pid);
                    let age = words.nth(1).and_then(uptime).unwrap_or_default();
                    this.oldest = this.oldest.max(age);
                }
                "worker" => this.workers.push(pid),
                _ => {}
            }
        }
        (this.master != 0).then_some(this)
    }

    pub(crate) fn all_workers(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().chain(&self.old).copied()
    }
}

/// An uptime as `show proc` writes it: `1d02h03m04s`.
fn uptime(text: &str) -> Option<Duration> {
    let mut seconds = 0;
    let mut rest = text;
    for (unit, length) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        let (count, after) = rest.split_once(unit)?;
        seconds += count.parse::<u64>().ok()?.checked_mul(length)?;
        rest = after;
    }
    Some(Duration::from_secs(seconds))
}

/// Whether a worker no longer accepts connections, asked through the master. A worker that is gone
/// accepts none.
pub(crate) async fn is_stopping(
    master: &Path,
    worker: u32,
    deadline: Duration,
) -> io::Result<bool> {
    let answer = ask(master, &format!("@!{worker} show info"), deadline).await?;
    Ok(!answer.lines().any(|line| line.trim() == "Stopping: 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn show_proc_is_read() {
        let answer = "\
#<PID>          <type>          <reloads>       <uptime>        <version>
1162            master          5 [failed: 2]   0d00h02m07s     2.6.12
# workers
1271            worker          1               0d00h00m00s     2.6.12
# old workers
1233            worker          3               0d00h00m43s     2.6.12
1201            worker          4               1d02h03m04s     2.6.12
# programs
9               tool            0               0d00h00m43s     -
";
        assert_eq!(
            Processes::parse(answer).unwrap(),
            Processes {
                master: 1162,
                failed: 2,
                workers: vec![1271],
                old: vec![1233, 1201],
                oldest: Duration::from_secs(93_784),
            }
        );
        assert_eq!(Processes::parse("Unknown command\n"), None);
    }
}
