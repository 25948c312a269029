//! From a rendered configuration to one that is served: the single writer of what HAProxy reads.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    file::{Active, ConfigDir, ConfigDirError, Staged},
    reload::{Reload, ReloadError, Reloaded, Serving},
    rendered::{Digest, MAIN_FILE, MAP_FILE, RenderedConfig},
    runtime::{
        CertificateChange, RuntimeError, ServerChange, ServerLine, certificates_between,
        changes_between,
    },
    tls::CRT_LIST_FILE,
};

/// Makes configurations current and has them loaded, one at a time. Where only the map, the addresses and admissions of
/// servers and certificates differ from what is served, HAProxy is told these instead, and on any doubt it is reloaded. Disk comes first, so that a
/// HAProxy that is restarted at any moment reads what it is about to be told.
#[derive(Debug)]
pub struct Applier<R> {
    dir: Arc<Mutex<ConfigDir>>,
    reload: R,
    running: Option<Running>,
}

/// What HAProxy is known to serve.
#[derive(Clone, Debug)]
struct Running {
    digest: Digest,
    /// None until it was read from disk.
    config: Option<RenderedConfig>,
}

/// What it takes to make a configuration the one that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplyStep {
    /// Nothing: it is served.
    None,
    /// The runtime API: only the routes in its map, what its servers are and certificates differ from
    /// what is served. There is nothing in it that HAProxy has not checked, so it need not be validated;
    /// certificates are looked at before, by [`CertificateProbe`](crate::CertificateProbe).
    Runtime,
    /// The same once it was validated: among the servers that differ are lines with options that are not
    /// ours, and HAProxy takes of a server that runs what it would not start with.
    RuntimeIfValid,
    /// A reload.
    Reload,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// It is served.
    Loaded {
        /// The configuration on disk.
        active: Active,
        /// The reload.
        reloaded: Reloaded,
    },
    /// It is served, without a reload: only its map and its servers are others, and HAProxy
    /// was told these.
    Runtime {
        /// The configuration on disk.
        active: Active,
        /// How long telling it took.
        took: Duration,
    },
    /// It was served already, byte for byte.
    Unchanged {
        /// What tells it from others.
        digest: Digest,
    },
}

/// Why a configuration is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// It could not be written. What was served is served, and what was on disk is on disk.
    #[error("the configuration cannot be written; HAProxy serves the one before")]
    Disk(#[from] ConfigDirError),
    /// It was written and HAProxy did not load it. On disk is the one before again.
    #[error("the configuration is not loaded; the one before is on disk again")]
    Reload(#[source] ReloadError),
    /// As [`ApplyError::Reload`], and the one before could not be put back: a HAProxy that is
    /// restarted reads the one that was not loaded.
    #[error(
        "the configuration is not loaded, and the one before cannot be put back on disk: {restore}"
    )]
    NotRestored {
        /// Why it was not loaded.
        #[source]
        reload: ReloadError,
        /// Why the one before is not on disk.
        restore: ConfigDirError,
    },
    /// The runtime ended while files were written.
    #[error("the writing of the configuration was interrupted by the end of the program")]
    Interrupted,
}

// === impl Applier ===

impl<R: Reload> Applier<R> {
    /// Writes to a folder and reloads what reads it. What runs is not known, so the first
    /// configuration is loaded even if it is the one on disk.
    #[must_use]
    pub fn new(dir: ConfigDir, reload: R) -> Self {
        Self {
            dir: Arc::new(Mutex::new(dir)),
            reload,
            running: None,
        }
    }

    /// Says what HAProxy is known to serve, as after [`Start::Fresh`](crate::Start::Fresh): what was
    /// on disk when it was started.
    #[must_use]
    pub fn with_running(self, digest: Digest) -> Self {
        Self {
            running: Some(Running {
                digest,
                config: None,
            }),
            ..self
        }
    }

    /// As [`Applier::with_running`], with all of it, so that the first step can be one at run time.
    #[must_use]
    pub fn with_running_config(self, config: RenderedConfig) -> Self {
        Self {
            running: Some(Running::new(config)),
            ..self
        }
    }

    /// What HAProxy serves, where that is known.
    #[must_use]
    pub fn running(&self) -> Option<Digest> {
        self.running.as_ref().map(|running| running.digest)
    }

    /// What it takes to make a configuration the one that is served, as far as is known here.
    pub fn step_to(&self, config: &RenderedConfig) -> ApplyStep {
        let Some(running) = &self.running else {
            return ApplyStep::Reload;
        };
        let known = running.config.as_ref();
        if running.digest == config.digest() {
            ApplyStep::None
        } else {
            match known.and_then(|known| Difference::between(known, config)) {
                Some(difference) if difference.is_all_ours() => ApplyStep::Runtime,
                Some(_) => ApplyStep::RuntimeIfValid,
                None => ApplyStep::Reload,
            }
        }
    }

    /// What does the reloads.
    pub fn reload_handle(&self) -> &R {
        &self.reload
    }

    /// Writes a configuration beside the current one, to be validated.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it.
    pub async fn stage(&self, config: &RenderedConfig) -> Result<Staged, ApplyError> {
        let config = config.clone();
        self.on_disk(move |dir| dir.stage(&config)).await
    }

    /// Makes a configuration the one that is served. Does not validate it: see
    /// [`Validate`](crate::Validate).
    ///
    /// Not cancel safe: dropped in the middle, the configuration may be on disk and not loaded. Run
    /// it where nothing cancels it.
    ///
    /// # Errors
    /// When it cannot be written or HAProxy does not load it; [`ApplyError::serving`] tells what is
    /// served.
    pub async fn apply(&mut self, config: &RenderedConfig) -> Result<Applied, ApplyError> {
        let digest = config.digest();
        if self.running() == Some(digest) {
            return Ok(Applied::Unchanged { digest });
        }
        let staged = self.stage(config).await?;
        self.apply_staged(staged).await
    }

    /// As [`Applier::apply`], for a configuration that was staged and found valid.
    ///
    /// # Errors
    /// As [`Applier::apply`].
    pub async fn apply_staged(&mut self, staged: Staged) -> Result<Applied, ApplyError> {
        let digest = staged.digest();
        if self.running() == Some(digest) {
            return Ok(Applied::Unchanged { digest });
        }
        self.read_running().await;
        let config = staged.config().clone();
        let mut before = self.running.take();
        let active = match self.on_disk(move |dir| dir.activate(staged)).await {
            Ok(active) => active,
            Err(error) => {
                self.running = before;
                return Err(error);
            }
        };
        let known = before.as_ref().and_then(|known| known.config.as_ref());
        if let Some(difference) = known.and_then(|known| Difference::between(known, &config)) {
            let begun = Instant::now();
            match self.tell(&difference).await {
                Ok(()) => {
                    self.running = Some(Running::new(config));
                    let took = begun.elapsed();
                    return Ok(Applied::Runtime { active, took });
                }
                Err((error, serving)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "HAProxy cannot be told what changed while it serves; it is reloaded"
                    );
                    if serving != Serving::Previous {
                        before = None;
                    }
                }
            }
        }
        match self.reload.reload().await {
            Ok(reloaded) => {
                self.running = Some(Running::new(config));
                Ok(Applied::Loaded { active, reloaded })
            }
            Err(reload) => {
                if reload.serving() == Serving::Previous {
                    self.running = before;
                }
                match self.on_disk(ConfigDir::restore_previous).await {
                    // The first configuration of all has nothing before it.
                    Ok(_) | Err(ApplyError::Disk(ConfigDirError::NoPrevious(_))) => {
                        Err(ApplyError::Reload(reload))
                    }
                    Err(ApplyError::Disk(restore)) => {
                        Err(ApplyError::NotRestored { reload, restore })
                    }
                    Err(other) => Err(other),
                }
            }
        }
    }

    /// Tells HAProxy what is different; else why it could not be told, and what is served.
    async fn tell(&self, difference: &Difference<'_>) -> Result<(), (RuntimeError, Serving)> {
        let untold = |error: RuntimeError| match error.may_be_served() {
            true => (error, Serving::Unknown),
            false => (error, Serving::Previous),
        };
        if !difference.certificates.is_empty() {
            let changes = &difference.certificates;
            let changed = self.reload.change_certificates(changes).await;
            changed.map_err(untold)?;
        }
        let is_begun = !difference.certificates.is_empty();
        let untold = |error: RuntimeError| match is_begun {
            true => (error, Serving::Unknown),
            false => untold(error),
        };
        // The servers first: a route that is new finds them where they are.
        if !difference.servers.is_empty() {
            let changed = self.reload.change_servers(&difference.servers).await;
            changed.map_err(untold)?;
        }
        let Some((old, new)) = difference.map else {
            return Ok(());
        };
        let changed = self.reload.change_map(MAP_FILE, old, new).await;
        changed.map_err(|error| match difference.servers.is_empty() {
            true => untold(error),
            false => (error, Serving::Unknown),
        })
    }

    /// Has HAProxy read what is on disk again.
    ///
    /// # Errors
    /// When it does not. Where something else stood there than HAProxy serves, what it serves is written over it.
    pub async fn reload_again(&mut self) -> Result<Reloaded, ApplyError> {
        let read = self.on_disk(|dir| dir.active_config()).await;
        let served = self.served();
        let active = match (read, &served) {
            // What HAProxy would read is not there.
            (Err(_) | Ok(None), Some(served)) => {
                self.write_over(served.clone()).await?;
                Some(served.clone())
            }
            (read, _) => read?,
        };
        let before = self.running.take();
        match self.reload.reload().await {
            Ok(reloaded) => {
                self.running = active.map(Running::new);
                Ok(reloaded)
            }
            Err(reload) => {
                if reload.serving() == Serving::Previous {
                    self.running = before;
                }
                let Some(served) = served else {
                    return Err(ApplyError::Reload(reload));
                };
                match self.write_over(served).await {
                    Ok(_) => Err(ApplyError::Reload(reload)),
                    Err(ApplyError::Disk(restore)) => {
                        Err(ApplyError::NotRestored { reload, restore })
                    }
                    Err(other) => Err(other),
                }
            }
        }
    }

    /// Writes what HAProxy served last to disk where something else stands there: for one that ended and does not
    /// start with what it finds. Nothing is reloaded; the next start reads it. Gives what was written; none where it
    /// stands there, or what was served is not known.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn put_back(&mut self) -> Result<Option<Active>, ApplyError> {
        match self.served() {
            Some(served) => self.write_over(served).await,
            None => Ok(None),
        }
    }

    /// What HAProxy is known to serve, where all of it is.
    fn served(&self) -> Option<RenderedConfig> {
        self.running.as_ref()?.config.clone()
    }

    /// Makes a configuration that was checked before the one on disk, whatever stands there.
    async fn write_over(&self, config: RenderedConfig) -> Result<Option<Active>, ApplyError> {
        self.on_disk(move |dir| {
            let stands = dir.active().ok().flatten();
            if stands.is_some_and(|active| active.digest == config.digest()) {
                return Ok(None);
            }
            let staged = dir.stage(&config)?;
            dir.activate(staged).map(Some)
        })
        .await
    }

    /// Takes nothing for granted of what runs and of what is on disk: the next configuration is written
    /// and loaded whole, be it the one that runs.
    pub fn forget_running(&mut self) {
        self.running = None;
    }

    /// The text of the current `haproxy.cfg`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn active_text(&self) -> Result<Option<String>, ApplyError> {
        self.on_disk(|dir| dir.active_text()).await
    }

    /// Learns what runs from the disk, where only its digest is known.
    async fn read_running(&mut self) {
        let Some(Running {
            digest,
            config: None,
        }) = self.running
        else {
            return;
        };
        // Not known, it costs a reload that was not needed, and nothing else.
        let config = self.on_disk(|dir| dir.active_config()).await.ok().flatten();
        if let Some(config) = config.filter(|config| config.digest() == digest) {
            self.running = Some(Running::new(config));
        }
    }

    /// Runs file work where it blocks nobody.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut ConfigDir) -> Result<T, ConfigDirError> + Send + 'static,
    ) -> Result<T, ApplyError> {
        let dir = Arc::clone(&self.dir);
        let task = tokio::task::spawn_blocking(move || {
            // The folder is whole after a crash at any step, so also after a panic.
            work(&mut dir.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(task.await.map_err(|_| ApplyError::Interrupted)??)
    }
}

// === impl Running ===

impl Running {
    fn new(config: RenderedConfig) -> Self {
        Self {
            digest: config.digest(),
            config: Some(config),
        }
    }
}

/// What HAProxy can be told while it serves, where that is all in which two configurations differ.
struct Difference<'a> {
    /// The old and the new text of the map.
    map: Option<(&'a str, &'a str)>,
    servers: Vec<ServerChange>,
    certificates: Vec<CertificateChange>,
}

impl<'a> Difference<'a> {
    fn between(old: &'a RenderedConfig, new: &'a RenderedConfig) -> Option<Self> {
        let rest = |config: &'a RenderedConfig| {
            let told = |name: &str| [MAP_FILE, MAIN_FILE, CRT_LIST_FILE].contains(&name);
            let contents = config.contents();
            contents.filter(move |(name, content)| !told(name) && !content.is_secret())
        };
        if !rest(old).eq(rest(new)) {
            return None;
        }
        Some(Self {
            map: match (old.map_text(), new.map_text()) {
                (Some(old), Some(new)) => (old != new).then_some((old, new)),
                (None, None) => None,
                _ => return None,
            },
            servers: changes_between(old.main_text(), new.main_text())?,
            certificates: certificates_between(old, new)?,
        })
    }

    /// Whether there is nothing in it that HAProxy has not checked.
    fn is_all_ours(&self) -> bool {
        let mut servers = self.servers.iter();
        servers.all(|change| change.line == ServerLine::Own)
    }
}

// === impl ApplyError ===

impl ApplyError {
    /// What is served now.
    #[must_use]
    pub fn serving(&self) -> Serving {
        match self {
            Self::Disk(_) => Serving::Previous,
            Self::Reload(reload) | Self::NotRestored { reload, .. } => reload.serving(),
            Self::Interrupted => Serving::Unknown,
        }
    }

    /// Whether HAProxy read it and would not load it, so that the configuration itself is to blame, or
    /// something that it wants of the machine and `haproxy -c` does not try.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Reload(ReloadError::Refused { .. })
                | Self::NotRestored {
                    reload: ReloadError::Refused { .. },
                    ..
                }
        )
    }
}

#[cfg(test)]
mod tests;
