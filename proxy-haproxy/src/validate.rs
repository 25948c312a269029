//! `haproxy -c` as a function: for whoever must know that HAProxy takes a configuration before it
//! becomes current.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    diagnostic::{Diagnostic, Severity},
    program::Program,
};

/// A check reads files and resolves nothing (the renderer's doing), so it takes milliseconds; half
/// a second for 10,000 services. Past this it hangs.
pub const DEFAULT_VALIDATE_DEADLINE: Duration = Duration::from_secs(20);

/// Checks at once: the search for a culprit runs several, and each takes a core.
pub const DEFAULT_PARALLEL_VALIDATIONS: usize = 4;

/// The most that is kept of what HAProxy says; a table of wrong lines says it once per line.
const MAX_OUTPUT_BYTES: u64 = 256 * 1024;

/// Whether HAProxy takes a configuration.
#[async_trait]
pub trait Validate: Send + Sync + std::fmt::Debug {
    /// Checks the configuration whose main file is given. Gives what HAProxy warns of. Cancel safe.
    async fn validate(&self, main: &Path) -> Result<Vec<Diagnostic>, ValidateError>;
}

/// Asks the HAProxy binary.
#[derive(Clone, Debug)]
pub struct Validator {
    program: Program,
    deadline: Duration,
    slots: Arc<Semaphore>,
}

/// Why a configuration was not found valid. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateError {
    /// HAProxy refuses it.
    #[error("HAProxy refuses the configuration: {}", summary(diagnostics))]
    Refused {
        /// Everything that HAProxy says, in its order.
        diagnostics: Vec<Diagnostic>,
        /// How it ended.
        status: ExitStatus,
    },
    /// HAProxy did not answer in time and was ended.
    #[error("the check of the configuration took longer than {0:?} and was ended")]
    Deadline(Duration),
    /// HAProxy cannot be run.
    #[error("{} cannot be run; is it the program of an HAProxy that is installed?", binary.display())]
    Run {
        /// The binary.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

// === impl Validator ===

impl Validator {
    /// Checks with this HAProxy.
    #[must_use]
    pub fn new(program: impl Into<Program>) -> Self {
        Self {
            program: program.into(),
            deadline: DEFAULT_VALIDATE_DEADLINE,
            slots: Arc::new(Semaphore::new(DEFAULT_PARALLEL_VALIDATIONS)),
        }
    }

    /// How long one check may take, the wait for a free slot included.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How many checks may run at once; at least one. Clones share the slots.
    #[must_use]
    pub fn with_parallel(self, count: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(count.max(1))),
            ..self
        }
    }

    async fn run(&self, main: &Path) -> Result<(ExitStatus, String), io::Error> {
        // The semaphore is never closed; without a slot the check just goes ahead.
        let _slot = self.slots.acquire().await;
        let mut child = self
            .program
            .command()
            .arg("-c")
            .arg("-f")
            .arg(main)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A check that is cancelled or late leaves no process.
            .kill_on_drop(true)
            .spawn()?;
        let text = match child.stderr.take() {
            Some(stderr) => read_bounded(stderr).await?,
            None => String::new(),
        };
        Ok((child.wait().await?, text))
    }
}

#[async_trait]
impl Validate for Validator {
    async fn validate(&self, main: &Path) -> Result<Vec<Diagnostic>, ValidateError> {
        let (status, text) = timeout(self.deadline, self.run(main))
            .await
            .map_err(|_| ValidateError::Deadline(self.deadline))?
            .map_err(|source| ValidateError::Run {
                binary: self.program.binary().to_path_buf(),
                source,
            })?;
        let mut diagnostics = Diagnostic::parse_all(&text);
        if status.success() {
            diagnostics.retain(|diagnostic| diagnostic.severity != Severity::Notice);
            return Ok(diagnostics);
        }
        Err(ValidateError::Refused {
            diagnostics,
            status,
        })
    }
}

// === impl ValidateError ===

impl ValidateError {
    /// What HAProxy refuses, where it did.
    pub fn alerts(&self) -> impl Iterator<Item = &Diagnostic> {
        let all = match self {
            Self::Refused { diagnostics, .. } => diagnostics.as_slice(),
            _ => &[],
        };
        all.iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Alert)
    }

    /// Whether asking again without a change may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// The first alert, which is the cause; those after it mostly follow from it.
fn summary(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .find(|diagnostic| diagnostic.severity == Severity::Alert)
        .or(diagnostics.first())
        .map_or_else(|| "it does not say why".to_owned(), ToString::to_string)
}

/// Keeps the beginning and reads on to the end, so that the writer never waits for us.
async fn read_bounded(mut from: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut kept = Vec::new();
    (&mut from)
        .take(MAX_OUTPUT_BYTES)
        .read_to_end(&mut kept)
        .await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&kept).into_owned())
}
