//! Something on disk that survives the end of the process at any instant.
//!
//! Two files: `<name>.base` holds the whole, replaced by one rename; `<name>.log` holds a change per
//! line on top of it, appended and synced. A change costs its own size; the base is written anew when
//! the log has outgrown it. What a crash may leave is a torn last line, which was never acknowledged
//! and is dropped, or a log that the base already holds or replaced: whoever reads it tells by the
//! lines themselves which of them count.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version of the files, which every base names as its `format`.
pub(super) const FORMAT: u32 = 1;
/// The log is folded into the base once it holds more lines than this and than the base has parts:
/// rare enough to cost nothing, often enough to keep the start short.
const MIN_LOG_LINES: usize = 1_000;

/// Something on disk.
#[derive(Debug)]
pub(crate) struct Journal {
    base_path: PathBuf,
    log: File,
    log_path: PathBuf,
    lines: usize,
    /// The length of the log up to its last whole line.
    length: u64,
    /// The log could not be cut back to its last whole line: nothing may be appended any more.
    torn: bool,
    folder: Folder,
}

/// Whether the folder is known to name the log after a crash of the machine.
#[derive(Debug, PartialEq, Eq)]
enum Folder {
    Unsynced,
    Synced,
}

/// What went wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("{path}: cannot {doing}")]
    Io {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    /// It failed half-way: the next start may find what was not acknowledged.
    #[error("{path}: cannot {doing}; what was to be written may be found there at the next start")]
    Doubtful {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{path}: written by a newer release (format {format}); update this replica")]
    Newer { path: PathBuf, format: u32 },
    #[error(
        "{path}: it cannot be read: {problem}; restore it from a backup, or move it away to start without it"
    )]
    Corrupt { path: PathBuf, problem: String },
    #[error("a change could not be written down: {problem}")]
    Encode { problem: String },
}

/// Only the format, to tell a newer file from a broken one.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

// === impl Journal ===

impl Journal {
    /// Opens or creates the journal `<folder>/<name>.*` and reads what it holds: the base, and the
    /// lines of the log.
    pub(super) fn open<B: DeserializeOwned, L: DeserializeOwned>(
        folder: &Path,
        name: &str,
    ) -> Result<(Self, Option<B>, Vec<L>), JournalError> {
        let base_path = folder.join(format!("{name}.base"));
        let log_path = folder.join(format!("{name}.log"));
        fs::create_dir_all(folder).map_err(io_error(folder, "create the folder"))?;
        let base = read_base(&base_path)?;
        let mut log = open_log(&log_path)?;
        let (lines, length) = read_log(&mut log, &log_path)?;
        let found = log.metadata().map_err(io_error(&log_path, "measure"))?;
        let mut journal = Self {
            base_path,
            log,
            log_path,
            lines: lines.len(),
            length,
            torn: false,
            folder: Folder::Unsynced,
        };
        if found.len() > 0 {
            // What is read here counts from now on, and was perhaps never synced.
            journal.sync_folder()?;
            journal.cut_torn_line()?;
        }
        Ok((journal, base, lines))
    }

    /// Appends a line; once this returns it is on disk. After an error it is not in the journal, or may be
    /// found there at the next start ([`JournalError::Doubtful`]) unless another is appended until then.
    pub(super) fn append(&mut self, line: &impl Serialize) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(line).map_err(|problem| JournalError::Encode {
            problem: problem.to_string(),
        })?;
        line.push(b'\n');
        if self.torn {
            self.cut_torn_line()?;
        }
        self.sync_folder()?;
        let written = self
            .log
            .write_all(&line)
            .and_then(|()| self.log.sync_data());
        if let Err(source) = written {
            // What was half written must not stand in front of the next commit.
            self.torn = true;
            return Err(match self.cut_torn_line() {
                Ok(()) => io_error(&self.log_path, "append")(source),
                Err(_) => doubtful(&self.log_path, "append")(source),
            });
        }
        self.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.lines += 1;
        Ok(())
    }

    /// Whether somebody removed its files, or put others in their place: what is appended then is nowhere at the next
    /// start. Writing all of it anew makes them again.
    pub(super) fn is_lost(&self) -> bool {
        let is_ours = |log: fs::Metadata, named: fs::Metadata| {
            (log.dev(), log.ino()) == (named.dev(), named.ino())
        };
        let log = self.log.metadata().and_then(|log| {
            let named = fs::metadata(&self.log_path)?;
            Ok(is_ours(log, named))
        });
        !matches!(log, Ok(true)) || !self.base_path.exists()
    }

    /// Whether the log has outgrown a base of so many parts.
    pub(super) fn wants_rewrite(&self, parts: usize) -> bool {
        self.lines > MIN_LOG_LINES.max(parts)
    }

    /// Replaces everything by this base, in one step.
    pub(super) fn rewrite(&mut self, base: &impl Serialize) -> Result<(), JournalError> {
        let text = serde_json::to_vec(base).map_err(|problem| JournalError::Encode {
            problem: problem.to_string(),
        })?;
        if self.is_lost() {
            let folder = folder_of(&self.log_path);
            fs::create_dir_all(folder).map_err(io_error(folder, "create the folder"))?;
            self.log = open_log(&self.log_path)?;
        }
        replace_file(&self.base_path, &text)?;
        self.folder = Folder::Synced;
        // A crash here leaves a log that the base holds already, or took the place of.
        self.log
            .set_len(0)
            .map_err(doubtful(&self.log_path, "empty"))?;
        self.log
            .sync_data()
            .map_err(doubtful(&self.log_path, "sync"))?;
        (self.lines, self.length) = (0, 0);
        Ok(())
    }

    /// From now on the log takes nothing, and cannot be cut either.
    #[cfg(test)]
    pub(super) fn break_log(&mut self) {
        self.log = File::open(&self.log_path).unwrap();
    }

    /// From now on the disk is as it should be.
    #[cfg(test)]
    pub(super) fn mend_log(&mut self) {
        let log = OpenOptions::new().append(true).open(&self.log_path);
        self.log = log.unwrap();
    }

    /// A log that was made is only there after a crash if its folder was synced. The first line waits for that, and
    /// a start with an empty log does not.
    fn sync_folder(&mut self) -> Result<(), JournalError> {
        if self.folder == Folder::Synced {
            return Ok(());
        }
        sync_folder_of(&self.log_path).map_err(io_error(&self.log_path, "sync the folder of"))?;
        self.folder = Folder::Synced;
        Ok(())
    }

    fn cut_torn_line(&mut self) -> Result<(), JournalError> {
        self.log
            .set_len(self.length)
            .and_then(|()| self.log.sync_data())
            .map_err(io_error(&self.log_path, "cut a torn line off"))?;
        self.torn = false;
        Ok(())
    }
}

/// Writes a file so that a reader finds the old text or the new one, and never a part: a temporary
/// file beside it, synced, renamed over it, and the folder synced.
pub(crate) fn replace_file(path: &Path, text: &[u8]) -> Result<(), JournalError> {
    let folder = folder_of(path);
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(io_error(path, "replace"))?;
    sync_folder_of(path).map_err(doubtful(path, "sync the folder of"))
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn open_log(path: &Path) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).read(true).append(true);
    // Services have password hashes.
    let opened = options.mode(0o600).open(path);
    opened.map_err(io_error(path, "open"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn read_base<B: DeserializeOwned>(path: &Path) -> Result<Option<B>, JournalError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, "read")(error)),
    };
    let corrupt = |problem: serde_json::Error| JournalError::Corrupt {
        path: path.to_owned(),
        problem: problem.to_string(),
    };
    let Format { format } = serde_json::from_slice(&text).map_err(corrupt)?;
    if format > FORMAT {
        let path = path.to_owned();
        return Err(JournalError::Newer { path, format });
    }
    serde_json::from_slice(&text).map(Some).map_err(corrupt)
}

/// The lines of a log and the length of what is whole. A torn last line is left out; a broken line
/// in front of others is corruption, which must not pass as a shorter history.
fn read_log<L: DeserializeOwned>(
    log: &mut File,
    path: &Path,
) -> Result<(Vec<L>, u64), JournalError> {
    log.seek(SeekFrom::Start(0))
        .map_err(io_error(path, "read"))?;
    let mut reader = BufReader::new(&*log);
    let (mut lines, mut length) = (Vec::new(), 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .read_until(b'\n', &mut line)
            .map_err(io_error(path, "read"))?;
        if line.last() != Some(&b'\n') {
            return Ok((lines, length));
        }
        match serde_json::from_slice(&line) {
            Ok(read) => lines.push(read),
            Err(problem) => {
                return Err(JournalError::Corrupt {
                    path: path.to_owned(),
                    problem: format!("line {}: {problem}", lines.len() + 1),
                });
            }
        }
        length += u64::try_from(read).unwrap_or(u64::MAX);
    }
}

fn doubtful(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Doubtful {
        path: path.clone(),
        doing,
        source,
    }
}

fn io_error(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io {
        path: path.clone(),
        doing,
        source,
    }
}
