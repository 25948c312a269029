//! HAProxy's binary, and what it is started with: for whoever checks or runs a configuration.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::process::Command;

/// The HAProxy that is run, looked up on `PATH` where it is a bare name. A copy is cheap.
#[derive(Clone, Debug)]
pub struct Program {
    binary: PathBuf,
    /// What of our environment it must not have.
    hidden: Arc<[OsString]>,
}

// === impl Program ===

impl Program {
    /// This binary, with all of our environment.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            hidden: Arc::default(),
        }
    }

    /// Keeps variables of our own environment from HAProxy, which puts `${NAME}` into whatever its
    /// configuration says and into what it says of one (configuration manual, section 2.3): those that hold
    /// secrets. HAProxy has all others. One that is taken over keeps the environment that it was started
    /// with.
    #[must_use]
    pub fn without_variables(self, names: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            hidden: names.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for variable in self.hidden.iter() {
            command.env_remove(variable);
        }
        command
    }
}

// With all of our environment, as [`Program::new`].

impl From<PathBuf> for Program {
    fn from(binary: PathBuf) -> Self {
        Self::new(binary)
    }
}

impl From<&Path> for Program {
    fn from(binary: &Path) -> Self {
        Self::new(binary)
    }
}

impl From<&str> for Program {
    fn from(binary: &str) -> Self {
        Self::new(binary)
    }
}
