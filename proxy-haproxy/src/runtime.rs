//! The runtime API of a worker: a map is replaced and servers move while it serves, without a reload.
//!
//! A few keys of a map are changed where they are: one command each, in an order in which every request gets
//! the old answer or the new one, each looked up before and afterwards. Otherwise all entries go into a
//! version of the map that no request sees, that version is read back and compared whole, and one
//! command makes it the one that is served. So requests meet the old map or the new one, and a
//! transfer that went wrong is never served.

use std::{collections::BTreeSet, io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::{Instant, timeout_at},
};

use crate::routing::map::{Edit, between, in_order};

mod certificates;
mod servers;

pub use certificates::CertificateChange;
pub use servers::{Admission, ServerChange, ServerLine, ServerPlace};

pub(crate) use certificates::{certificates_between, change_certificates};
pub(crate) use servers::{change_servers, changes_between};

#[cfg(any(test, fuzzing))]
pub(crate) fn read_answers(text: &str) {
    let _ = field(text, "Pid: ");
    let _ = field(text, "curr_ver=");
    let _ = chunks(text);
    servers::read_answers(text);
}

/// For all of a change. A hundred thousand entries take about a second (measured: 10,000 take
/// 0.1 s); past this a reload is the shorter way.
pub(crate) const DEFAULT_RUNTIME_DEADLINE: Duration = Duration::from_secs(5);

/// More keys than this are sent with all others, as one new map: 10,000 keys take about as long as a
/// hundred that are changed one by one.
const MAX_EDITS: usize = 50;

/// HAProxy drops payloads that do not fit into its buffer of 16 KiB and hangs up. One line more than
/// this fits well.
const MAX_CHUNK_BYTES: usize = 8 * 1024;

/// What ends every answer on a connection that was told `prompt`.
const PROMPT: &[u8] = b"\n> ";

/// What HAProxy puts before an entry: its address, and what stands around it.
const MAX_BYTES_BEFORE_ENTRY: usize = 32;

/// The most bytes of an answer other than the list of a map.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why a map was not replaced or a server not moved, or may not have been. A reload settles it either way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// What reloads has no way to do it.
    #[error("there is no runtime API to change anything with; nothing was changed")]
    Unsupported,
    /// The worker that answered is not the one that serves.
    #[error("the worker {pid} answered on the runtime socket, which is not the one that serves")]
    OtherWorker {
        /// Its process.
        pid: u32,
    },
    /// The conversation failed.
    #[error("{operation} {what} over the runtime socket failed")]
    Io {
        /// What was done.
        operation: &'static str,
        /// With what.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// HAProxy said something else than it says on success.
    #[error("{operation} {what} was answered with {answer:?}")]
    Answer {
        /// What was done.
        operation: &'static str,
        /// With what.
        what: String,
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
    /// Whether some or all of what was to change may have changed all the same.
    #[must_use]
    pub fn may_be_served(&self) -> bool {
        matches!(
            self,
            Self::Io { operation, .. } | Self::Answer { operation, .. }
                if [COMMITTING, CHANGING].contains(operation)
        )
    }
}

const ASKING: &str = "asking for";
const PREPARING: &str = "preparing";
const ADDING: &str = "adding to";
const READING: &str = "reading back";
const COMMITTING: &str = "committing";
const CHANGING: &str = "changing";

/// The most bytes of `show stat`: 20,000 servers have 10 MiB.
const MAX_STATISTICS_BYTES: usize = 32 * 1024 * 1024;

/// What `show stat` says: CSV with a line of headings.
pub(crate) async fn statistics(socket: &Path) -> io::Result<String> {
    let mut cli = Cli::connect(socket).await?;
    cli.ask_for("show stat\n", MAX_STATISTICS_BYTES).await
}

/// Makes one map out of another on the worker that listens on a socket, which must be one of
/// `workers`. `name` is the map's as the configuration writes it; the texts are what its file held
/// and holds.
pub(crate) async fn change_map(
    socket: &Path,
    workers: &[u32],
    name: &str,
    old: &str,
    new: &str,
) -> Result<(), RuntimeError> {
    let cli = connect(socket, workers, &the_map(name)).await?;
    let few = between(old, new, MAX_EDITS)
        .and_then(|edits| in_order(&edits))
        .filter(|edits| edits.iter().all(is_plain));
    match few {
        Some(edits) => edit_map(cli, name, &edits).await,
        None => replace_map(cli, name, new).await,
    }
}

fn fail(what: &str, operation: &'static str) -> impl FnOnce(io::Error) -> RuntimeError {
    move |source| RuntimeError::Io {
        operation,
        what: what.to_owned(),
        source,
    }
}

fn unlike(what: &str, operation: &'static str, answer: &str) -> RuntimeError {
    RuntimeError::Answer {
        operation,
        what: what.to_owned(),
        answer: answer.chars().take(200).collect(),
    }
}

/// How errors call a map.
fn the_map(name: &str) -> String {
    format!("the map {name}")
}

/// `what` is what the conversation is about.
async fn connect(socket: &Path, workers: &[u32], what: &str) -> Result<Cli, RuntimeError> {
    let fail = |operation| fail(what, operation);
    let mut cli = Cli::connect(socket).await.map_err(fail(ASKING))?;
    let info = cli.ask("show info\n").await.map_err(fail(ASKING))?;
    let pid = field(&info, "Pid: ").ok_or_else(|| unlike(what, ASKING, &info))?;
    if !workers.contains(&pid) {
        return Err(RuntimeError::OtherWorker { pid });
    }
    Ok(cli)
}

/// Whether key and values are words to HAProxy's command line as they are.
fn is_plain(edit: &Edit<'_>) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "/|?*._-~%:".contains(c);
    let texts = [Some(edit.key), edit.from, edit.to];
    let mut texts = texts.into_iter().flatten();
    texts.all(|text| !text.is_empty() && text.chars().all(fits))
}

/// Makes edits one after the other.
async fn edit_map(mut cli: Cli, name: &str, edits: &[Edit<'_>]) -> Result<(), RuntimeError> {
    for edit in edits {
        cli.expect(name, edit.key, edit.from, READING).await?;
    }
    for Edit { key, from, to } in edits {
        let command = match (from, to) {
            (None, Some(to)) => format!("add map {name} {key} {to}\n"),
            (Some(_), Some(to)) => format!("set map {name} {key} {to}\n"),
            (_, None) => format!("del map {name} {key}\n"),
        };
        let answer = cli
            .ask(&command)
            .await
            .map_err(fail(&the_map(name), CHANGING))?;
        if !answer.trim().is_empty() {
            return Err(unlike(&the_map(name), CHANGING, &answer));
        }
    }
    for edit in edits {
        cli.expect(name, edit.key, edit.to, CHANGING).await?;
    }
    Ok(())
}

/// Replaces all entries at once.
async fn replace_map(mut cli: Cli, name: &str, text: &str) -> Result<(), RuntimeError> {
    let what = &the_map(name);
    let fail = |operation| fail(what, operation);
    let unlike = |operation, answer: &str| unlike(what, operation, answer);
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

/// A conversation with one worker about itself. It goes on through a reload, until the worker ends or hangs
/// up (HAProxy does after ten silent seconds).
pub(crate) struct Worker(Cli);

/// What a worker says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerInfo {
    pub(crate) pid: u32,
    /// It takes no new connections.
    pub(crate) stopping: bool,
}

impl Worker {
    pub(crate) async fn connect(socket: &Path) -> io::Result<Self> {
        Cli::connect(socket).await.map(Self)
    }

    pub(crate) async fn info(&mut self) -> io::Result<WorkerInfo> {
        self.0.until = Instant::now() + DEFAULT_RUNTIME_DEADLINE;
        let said = self.0.ask("show info\n").await?;
        let told = (field(&said, "\nPid: "), field(&said, "\nStopping: "));
        let (Some(pid), Some(stopping)) = told else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        Ok(WorkerInfo {
            pid,
            stopping: stopping != 0,
        })
    }
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
        let until = Instant::now() + DEFAULT_RUNTIME_DEADLINE;
        let stream = timeout_at(until, UnixStream::connect(socket)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let mut this = Self { stream, until };
        this.ask("prompt\n").await?;
        Ok(this)
    }

    /// Looks a key of a map up, which must have this value, or be in no entry.
    async fn expect(
        &mut self,
        map: &str,
        key: &str,
        value: Option<&str>,
        operation: &'static str,
    ) -> Result<(), RuntimeError> {
        let question = format!("get map {map} {key}\n");
        let what = &the_map(map);
        let answer = self.ask(&question).await.map_err(fail(what, operation))?;
        let is_told = answer.starts_with("type=") && answer.contains(", found=");
        let entry = format!(", key=\"{key}\", value=\"");
        let found = answer
            .split_once(&entry)
            .and_then(|(_, rest)| rest.split('"').next());
        if is_told && found == value {
            Ok(())
        } else {
            Err(unlike(what, operation, &answer))
        }
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
