//! What the supervisor needs to know.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{program::Program, run_path::RunPath};

/// A start takes a tenth of a second; reading 10,000 services a second. A port in use takes two.
pub const DEFAULT_START_DEADLINE: Duration = Duration::from_secs(15);

/// A reload takes what a start takes; a busy machine takes longer.
pub const DEFAULT_RELOAD_DEADLINE: Duration = Duration::from_secs(30);

/// The pause before the second start in a row; the first is at once, as nothing is served meanwhile.
pub const DEFAULT_RESTART_DELAY: Duration = Duration::from_millis(200);

/// Pauses between starts grow up to this.
pub const DEFAULT_RESTART_DELAY_LIMIT: Duration = Duration::from_secs(10);

/// The pause between looks at whether HAProxy's processes answer, and how long each may take to: about 40 s until one
/// that hangs is ended.
pub const DEFAULT_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What the supervisor needs to know.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    program: Program,
    config: PathBuf,
    run: RunPath,
    start_deadline: Duration,
    reload_deadline: Duration,
    pub(super) restart_delay: Duration,
    pub(super) restart_delay_limit: Duration,
    pub(super) look_interval: Duration,
}

impl ProcessSettings {
    /// This HAProxy, with this
    /// configuration ([`ConfigDir::main_path`](crate::ConfigDir::main_path)) and its sockets in this
    /// run path.
    #[must_use]
    pub fn new(program: impl Into<Program>, config: impl Into<PathBuf>, run: RunPath) -> Self {
        Self {
            program: program.into(),
            config: config.into(),
            run,
            start_deadline: DEFAULT_START_DEADLINE,
            reload_deadline: DEFAULT_RELOAD_DEADLINE,
            restart_delay: DEFAULT_RESTART_DELAY,
            restart_delay_limit: DEFAULT_RESTART_DELAY_LIMIT,
            look_interval: DEFAULT_LOOK_INTERVAL,
        }
    }

    /// How long HAProxy may take to serve after it was started.
    #[must_use]
    pub fn with_start_deadline(self, start_deadline: Duration) -> Self {
        Self {
            start_deadline,
            ..self
        }
    }

    /// How long a reload may take, the wait for one before it included.
    #[must_use]
    pub fn with_reload_deadline(self, reload_deadline: Duration) -> Self {
        Self {
            reload_deadline,
            ..self
        }
    }

    /// The pauses between starts that fail: the first, and what they grow to.
    #[must_use]
    pub fn with_restart_delays(self, first: Duration, limit: Duration) -> Self {
        Self {
            restart_delay: first,
            restart_delay_limit: limit.max(first),
            ..self
        }
    }

    /// How often HAProxy's processes are asked whether they still answer, and how long each may take to. One that is
    /// silent four times in a row hangs, and is ended.
    #[must_use]
    pub fn with_look_interval(self, look_interval: Duration) -> Self {
        Self {
            look_interval,
            ..self
        }
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    pub(super) fn run(&self) -> &RunPath {
        &self.run
    }

    pub(super) fn master_socket(&self) -> &Path {
        Path::new(self.run.master_socket())
    }

    pub(super) fn start_deadline(&self) -> Duration {
        self.start_deadline
    }

    pub(super) fn reload_deadline(&self) -> Duration {
        self.reload_deadline
    }

    /// What makes a master ours: these arguments, at the end of its command line. HAProxy adds
    /// others before them when it re-executes itself.
    pub(super) fn arguments(&self) -> Vec<String> {
        vec![
            "-W".to_owned(),
            "-db".to_owned(),
            "-S".to_owned(),
            master_bind(&self.run),
            "-f".to_owned(),
            self.config.to_string_lossy().into_owned(),
        ]
    }
}

/// What a master of a run path is told to bind.
pub(super) fn master_bind(run: &RunPath) -> String {
    format!("{},mode,600", run.master_socket())
}
