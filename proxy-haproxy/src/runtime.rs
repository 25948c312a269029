//! The runtime API of a worker: a map is replaced while it serves, without a reload.
//!
//! The entries go into a version of the map that no request sees, that version is read back and
//! compared whole, and one command makes it the one that is served. So requests meet the old map or
//! the new one, and a transfer that went wrong is never served.

use std::{collections::BTreeSet, io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::{Instant, timeout_at},
};

/// For all of a replacement. A hundred thousand entries take about a second (measured: 10,000 take
/// 0.1 s); past this a reload is the shorter way.
pub(crate) const DEFAULT_MAP_DEADLINE: Duration = Duration::from_secs(5);

/// HAProxy drops payloads that do not fit into its buffer of 16 KiB and hangs up. One line more than
/// this fits well.
const MAX_CHUNK_BYTES: usize = 8 * 1024;

/// What ends every answer on a connection that was told `prompt`.
const PROMPT: &[u8] = b"\n> ";

/// What HAProxy puts before an entry: its address, and what stands around it.
const MAX_BYTES_BEFORE_ENTRY: usize = 32;

/// The most bytes of an answer other than the list of a map.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why a map was not replaced, or may not have been. A reload settles it either way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// What reloads has no way to do it.
    #[error("there is no runtime API to change a map with; nothing was changed")]
    Unsupported,
    /// The worker that answered is not the one that serves.
    #[error("the worker {pid} answered on the runtime socket, which is not the one that serves")]
    OtherWorker {
        /// Its process.
        pid: u32,
    },
    /// The conversation failed.
    #[error("{operation} the map {map} over the runtime socket failed")]
    Io {
        /// What was done.
        operation: &'static str,
        /// With which map.
        map: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// HAProxy said something else than it says on success.
    #[error("{operation} the map {map} was answered with {answer:?}")]
    Answer {
        /// What was done.
        operation: &'static str,
        /// With which map.
        map: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// The map that arrived is not the one that was sent. It was not made the one that is served.
    #[error(
        "the map {map} arrived with {missing} entries missing and {strange} that were not sent; it is not served"
    )]
    Incomplete {
        /// The map.
        map: String,
        /// Entries that are missing.
        missing: usize,
        /// Entries that were not sent.
        strange: usize,
    },
}

impl RuntimeError {
    /// Whether the new map may be the one that is served all the same.
    #[must_use]
    pub fn may_be_served(&self) -> bool {
        matches!(
            self,
            Self::Io { operation, .. } | Self::Answer { operation, .. } if *operation == COMMITTING
        )
    }
}

const ASKING: &str = "asking for";
const PREPARING: &str = "preparing";
const ADDING: &str = "adding to";
const READING: &str = "reading back";
const COMMITTING: &str = "committing";

/// Replaces the entries of a map on the worker that listens on a socket, which must be one of
/// `workers`. `name` is the map's as the configuration writes it; `text` is what its file holds.
pub(crate) async fn replace_map(
    socket: &Path,
    workers: &[u32],
    name: &str,
    text: &str,
) -> Result<(), RuntimeError> {
    let fail = |operation| {
        move |source| RuntimeError::Io {
            operation,
            map: name.to_owned(),
            source,
        }
    };
    let unlike = |operation, answer: &str| RuntimeError::Answer {
        operation,
        map: name.to_owned(),
        answer: answer.chars().take(200).collect(),
    };
    let mut cli = Cli::connect(socket).await.map_err(fail(ASKING))?;
    let info = cli.ask("show info\n").await.map_err(fail(ASKING))?;
    let pid = field(&info, "Pid: ").ok_or_else(|| unlike(ASKING, &info))?;
    if !workers.contains(&pid) {
        return Err(RuntimeError::OtherWorker { pid });
    }
    let prepared = cli.ask(&format!("prepare map {name}\n")).await;
    let prepared = prepared.map_err(fail(PREPARING))?;
    let version: u32 =
        field(&prepared, "New version created: ").ok_or_else(|| unlike(PREPARING, &prepared))?;
    for chunk in chunks(text) {
        let question = format!("add map @{version} {name} <<\n{chunk}\n");
        let answer = cli.ask(&question).await.map_err(fail(ADDING))?;
        // For each line of the payload HAProxy asks for more with `+ `.
        if answer.contains(|c: char| !matches!(c, '+' | ' ' | '\n')) {
            return Err(unlike(ADDING, &answer));
        }
    }

    let sent: BTreeSet<&str> = text.lines().collect();
    let bound = text.len() + (sent.len() + 1) * MAX_BYTES_BEFORE_ENTRY + MAX_ANSWER_BYTES;
    let question = format!("show map @{version} {name}\n");
    let found = cli.ask_for(&question, bound).await.map_err(fail(READING))?;
    let mut missing = sent;
    let mut strange = 0;
    for line in found.lines().filter(|line| !line.is_empty()) {
        let entry = line.split_once(' ').map_or("", |(_, entry)| entry);
        strange += usize::from(!missing.remove(entry));
    }
    if strange > 0 || !missing.is_empty() {
        return Err(RuntimeError::Incomplete {
            map: name.to_owned(),
            missing: missing.len(),
            strange,
        });
    }

    let committed = cli.ask(&format!("commit map @{version} {name}\n")).await;
    let committed = committed.map_err(fail(COMMITTING))?;
    let maps = cli.ask("show map\n").await.map_err(fail(COMMITTING))?;
    let shown = maps
        .lines()
        .find(|line| line.contains(&format!("({name})")));
    let current = shown.and_then(|line| field(line, "curr_ver="));
    if !committed.trim().is_empty() || current != Some(version) {
        return Err(unlike(COMMITTING, &format!("{committed}{maps}")));
    }
    Ok(())
}

/// The number behind some words.
fn field(answer: &str, words: &str) -> Option<u32> {
    let (_, rest) = answer.split_once(words)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Whole lines, as many at once as one payload holds.
fn chunks(text: &str) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    for line in text.lines() {
        let last = chunks.last_mut();
        match last.filter(|chunk| chunk.len() + line.len() < MAX_CHUNK_BYTES) {
            Some(chunk) => chunk.extend([line, "\n"]),
            None => chunks.push(format!("{line}\n")),
        }
    }
    chunks
}

/// A conversation with one worker. It stays with that worker through a reload, so it is held for one
/// change only.
struct Cli {
    stream: UnixStream,
    /// When it must be over.
    until: Instant,
}

impl Cli {
    async fn connect(socket: &Path) -> io::Result<Self> {
        let until = Instant::now() + DEFAULT_MAP_DEADLINE;
        let stream = timeout_at(until, UnixStream::connect(socket)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let mut this = Self { stream, until };
        this.ask("prompt\n").await?;
        Ok(this)
    }

    async fn ask(&mut self, question: &str) -> io::Result<String> {
        self.ask_for(question, MAX_ANSWER_BYTES).await
    }

    /// Asks, and reads up to the prompt.
    async fn ask_for(&mut self, question: &str, most: usize) -> io::Result<String> {
        let exchange = async {
            self.stream.write_all(question.as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(PROMPT) {
                if answer.len() > most {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the answer is too long",
                    ));
                }
                if self.stream.read_buf(&mut answer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            answer.truncate(answer.len() - PROMPT.len());
            String::from_utf8(answer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        timeout_at(self.until, exchange)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests;
