//! The carrier that traffic really goes through: a supervised HAProxy.

mod dry_run;
mod ports;

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use proxy_core::{Port, RouteOrder, RouteTable};
use proxy_haproxy::{
    AddressBook, Applier, ApplyStep, ConfigDir, Diagnostic, Haproxy, HaproxyState, OldWorkers,
    ProcessSettings, RenderSettings, RenderedConfig, Renderer, RoutingForm, Staged, Start,
    StartError, Validate, ValidateError, Validator, probe_bind,
};
use tokio::{sync::Mutex, time::Instant};

use super::{
    Applied, ApplyError, Carrier, CarrierCondition, CheckError, DryRun, Reload,
    catalog::CatalogFollower, entry::EntryPorts, names::NameFollower, places::Places,
};
use crate::{certificates::Certificates, chain::chain, settings::RefusedConfig};

/// How long a change waits for the names of new services, and their instances in the catalog. What does
/// not resolve by then is served as soon as it does.
const NAMES_DEADLINE: Duration = Duration::from_secs(2);

/// What the carrier needs to know.
#[derive(Debug)]
pub(crate) struct CarrierSettings {
    pub(crate) binary: PathBuf,
    pub(crate) configs_path: PathBuf,
    pub(crate) run: proxy_haproxy::RunPath,
    pub(crate) render: RenderSettings,
    /// Where the admin API listens.
    pub(crate) api: SocketAddr,
    /// Whether a configuration that is refused is logged.
    pub(crate) refused: RefusedConfig,
}

/// A supervised HAProxy. It is started with the first table, so that no port answers before there
/// is something to answer with.
pub(crate) struct HaproxyCarrier {
    settings: CarrierSettings,
    validator: Validator,
    names: Arc<NameFollower>,
    certificates: Arc<Certificates>,
    entry: EntryPorts,
    /// Where there is a catalog.
    catalog: Option<Arc<CatalogFollower>>,
    /// Only the engine's turn renders, so nothing ever waits for it.
    renderer: StdMutex<Renderer>,
    stage: Mutex<Stage>,
    /// What is live, for readers that must not wait for an apply.
    shown: StdMutex<Shown>,
}

/// Where the carrier stands. Only the engine's turn takes the lock, so nothing ever waits for it.
enum Stage {
    Before(Option<ConfigDir>),
    Running(Applier<Arc<Haproxy>>),
}

#[derive(Default)]
struct Shown {
    /// The configuration. Its form is what the next one keeps at the border.
    config: Option<RenderedConfig>,
    /// The ports that connections come in on.
    ports: BTreeSet<Port>,
    haproxy: Option<Arc<Haproxy>>,
    starting: Option<String>,
    ending: bool,
}

/// A configuration on disk, beside the live one.
enum Written {
    /// It is the live one.
    Live,
    /// Only its map and its servers differ from the live one: nothing that HAProxy checks.
    Good(Staged),
    /// HAProxy has not judged it yet.
    New(Staged),
}

/// A configuration that HAProxy would take.
pub(crate) struct Candidate {
    config: RenderedConfig,
    /// What is followed once it is live.
    places: Places,
    /// The ports that connections come in on.
    ports: BTreeSet<Port>,
    /// None where it is live already, byte for byte.
    staged: Option<Staged>,
    /// HAProxy was started with it to see whether it is good.
    started: bool,
}

// === impl Written ===

impl Written {
    fn into_staged(self) -> Option<Staged> {
        match self {
            Self::Live => None,
            Self::Good(staged) | Self::New(staged) => Some(staged),
        }
    }
}

// === impl HaproxyCarrier ===

impl HaproxyCarrier {
    /// A carrier that was not started.
    ///
    /// # Errors
    /// When the folder of configurations cannot be used.
    pub(crate) fn new(
        settings: CarrierSettings,
        names: Arc<NameFollower>,
        certificates: Arc<Certificates>,
        catalog: Option<Arc<CatalogFollower>>,
    ) -> Result<Self, proxy_haproxy::ConfigDirError> {
        let dir = ConfigDir::open(&settings.configs_path)?;
        Ok(Self {
            validator: Validator::new(&settings.binary),
            entry: EntryPorts::new(settings.render.binds().to_vec(), settings.api),
            renderer: StdMutex::new(Renderer::new(settings.render.clone())),
            settings,
            names,
            certificates,
            catalog,
            stage: Mutex::new(Stage::Before(Some(dir))),
            shown: StdMutex::default(),
        })
    }

    /// Ends HAProxy: no new connections, those that are open may finish until the deadline. An apply
    /// that is under way ends first, so that a HAProxy that is just being started is ended too.
    pub(crate) async fn shutdown(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        self.shown().ending = true;
        let stage = tokio::time::timeout_at(until, self.stage.lock()).await;
        let haproxy = self.shown().haproxy.clone();
        if let Some(haproxy) = haproxy {
            let left = until.saturating_duration_since(Instant::now());
            let stopped = haproxy.shutdown(left).await;
            tracing::info!(?stopped, "HAProxy ended");
        }
        drop(stage);
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn form(&self) -> Option<RoutingForm> {
        self.shown().config.as_ref().map(RenderedConfig::form)
    }

    fn render(&self, table: &RouteTable, book: &AddressBook) -> Result<RenderedConfig, CheckError> {
        let form = self.form();
        let mut renderer = self.renderer.lock().unwrap_or_else(PoisonError::into_inner);
        renderer.set_certificates(self.certificates.set());
        let rendered = renderer.render(table, form, book);
        rendered.map_err(|error| CheckError::Rejected {
            words: chain(&error),
        })
    }

    /// What is known of where everything is, after what is new was looked up.
    async fn look_up(&self, places: &Places) -> AddressBook {
        let names = self.names.look_up(&places.hosts, NAMES_DEADLINE);
        let Some(catalog) = &self.catalog else {
            return names.await;
        };
        let slots = catalog.look_up(&places.keys, NAMES_DEADLINE);
        let (book, slots) = tokio::join!(names, slots);
        book.with_slots(slots)
    }

    async fn stage(&self, config: &RenderedConfig) -> Result<Written, CheckError> {
        let unable = |why: proxy_core::BoxError| CheckError::Unable { why };
        let stage = self.stage.lock().await;
        match &*stage {
            Stage::Running(applier) => {
                let step = applier.step_to(config);
                if step == ApplyStep::None {
                    return Ok(Written::Live);
                }
                let staged = applier.stage(config).await;
                let staged = staged.map_err(|error| unable(error.into()))?;
                Ok(match step {
                    // HAProxy's own text stays as it was but for addresses, and was found good.
                    ApplyStep::Runtime => Written::Good(staged),
                    _ => Written::New(staged),
                })
            }
            Stage::Before(Some(dir)) => {
                let staged = dir.stage(config);
                staged
                    .map(Written::New)
                    .map_err(|error| unable(error.into()))
            }
            Stage::Before(None) => Err(unable(
                "the start of HAProxy failed half-way; restart the proxy".into(),
            )),
        }
    }

    /// Asks HAProxy whether it would take what was written, where that is not known already. Gives what
    /// it warns of.
    async fn judge(&self, written: &Written) -> Result<Vec<Diagnostic>, CheckError> {
        let Written::New(staged) = written else {
            return Ok(Vec::new());
        };
        let judged = self.validator.validate(&staged.main_path()).await;
        if let (Err(ValidateError::Refused { .. }), RefusedConfig::Logged) =
            (&judged, self.settings.refused)
        {
            let config = std::fs::read_to_string(staged.main_path()).unwrap_or_default();
            let config = proxy_haproxy::redacted(&config);
            tracing::error!("HAProxy would not take this configuration:\n{config}");
        }
        judged.map_err(|error| match error {
            ValidateError::Refused { .. } => CheckError::Rejected {
                words: chain(&error),
            },
            error => CheckError::Unable { why: error.into() },
        })
    }

    /// The first configuration. Where a HAProxy of ours runs it is taken over with what it serves and
    /// then reloaded, so that its own configuration stays the one to fall back to; else this one
    /// goes to disk and HAProxy is started with it.
    async fn start(&self, stage: &mut Stage, candidate: Candidate) -> Result<Applied, ApplyError> {
        let Stage::Before(slot) = stage else {
            return Err(ApplyError::new("HAProxy was started already"));
        };
        let mut dir = match slot.take() {
            Some(dir) => dir,
            None => ConfigDir::open(&self.settings.configs_path).map_err(ApplyError::new)?,
        };
        let CarrierSettings { binary, run, .. } = &self.settings;
        let process = ProcessSettings::new(binary, dir.main_path(), run.clone());
        let runs = UnixStream::connect(run.master_socket()).is_ok();
        let has_config = dir.active().is_ok_and(|active| active.is_some());
        let mut staged = candidate.staged;
        if !(runs && has_config) {
            let ready = match staged.take() {
                Some(staged) => dir.activate(staged).map(|_| ()).map_err(ApplyError::new),
                None => Err(ApplyError::new("the first configuration was not written")),
            };
            // Where no HAProxy of ours holds the ports, nobody else may.
            let ready = ready.and_then(|()| if runs { Ok(()) } else { self.probe() });
            if let Err(error) = ready {
                *slot = Some(dir);
                return Err(error);
            }
        }
        let haproxy = match Haproxy::start(process).await {
            Ok(haproxy) => Arc::new(haproxy),
            Err(error) => {
                // What it could not start with is no configuration to go back to.
                if staged.is_none() {
                    let _ = dir.restore_previous();
                }
                *slot = Some(dir);
                return Err(match error {
                    // It has the ports to itself: what it read, or what that wants, is to blame.
                    StartError::Exited { .. } => ApplyError::Refused {
                        words: chain(&error),
                    },
                    error => ApplyError::new(error),
                });
            }
        };
        self.shown().haproxy = Some(Arc::clone(&haproxy));
        if haproxy.started() == Start::TakenOver {
            tracing::info!("took over the HAProxy that was running");
        }
        let fresh = haproxy.started() == Start::Fresh && staged.is_none();
        let mut applier = Applier::new(dir, haproxy);
        let loaded = match staged {
            Some(staged) => applier.apply_staged(staged).await.map(|_| ()),
            None if fresh => {
                applier = applier.with_running_config(candidate.config);
                Ok(())
            }
            None => applier.reload_again().await.map(|_| ()),
        };
        *stage = Stage::Running(applier);
        loaded?;
        Ok(Applied::Started)
    }

    /// Whether the binds can be made. HAProxy's own check does not see a port in use, and a reload
    /// that then fails costs seconds of refused connections (measured), so they are tried first.
    fn probe(&self) -> Result<(), ApplyError> {
        for bind in self.settings.render.binds() {
            probe_bind(bind).map_err(ApplyError::new)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Carrier for HaproxyCarrier {
    type Candidate = Candidate;

    async fn check(&self, table: &RouteTable) -> Result<Candidate, CheckError> {
        self.check_entry(table).await?;
        let places = Places::of(table);
        let book = self.look_up(&places).await;
        let config = self.render(table, &book)?;
        let written = self.stage(&config).await?;
        for warning in self.judge(&written).await? {
            tracing::debug!(%warning, "HAProxy warns of the configuration");
        }
        Ok(Candidate {
            config,
            places,
            ports: table.tcp_ports().collect(),
            staged: written.into_staged(),
            started: false,
        })
    }

    async fn dry_run(&self, table: &RouteTable) -> Result<DryRun, CheckError> {
        self.try_out(table).await
    }

    async fn check_by_start(&self, table: &RouteTable) -> Result<Candidate, CheckError> {
        let master = self.settings.run.master_socket();
        let is_first = matches!(&*self.stage.lock().await, Stage::Before(Some(_)));
        // One that runs goes on with what it has unless this is known to be good.
        if !is_first || UnixStream::connect(master).is_ok() {
            return self.check(table).await;
        }
        let places = Places::of(table);
        let book = self.look_up(&places).await;
        let config = self.render(table, &book)?;
        let staged = self.stage(&config).await?.into_staged();
        let candidate = |staged, started| Candidate {
            config: config.clone(),
            places: places.clone(),
            ports: table.tcp_ports().collect(),
            staged,
            started,
        };
        match self
            .apply(candidate(staged, false), Reload::IfDifferent)
            .await
        {
            Ok(_) => Ok(candidate(None, true)),
            Err(error) => Err(CheckError::Unable { why: error.into() }),
        }
    }

    async fn apply(&self, candidate: Candidate, force: Reload) -> Result<Applied, ApplyError> {
        let mut stage = self.stage.lock().await;
        if self.shown().ending {
            return Err(ApplyError::new("this replica shuts down"));
        }
        let config = candidate.config.clone();
        let (places, ports) = (candidate.places.clone(), candidate.ports.clone());
        let applied = match (&mut *stage, force) {
            (Stage::Before(_), _) => {
                self.shown().starting = None;
                let started = self.start(&mut stage, candidate).await;
                if let Err(error) = &started {
                    self.shown().starting = Some(chain(error));
                }
                started
            }
            (Stage::Running(applier), Reload::Always)
                if applier.running() == Some(candidate.config.digest()) =>
            {
                let again = applier.reload_again().await;
                again.map(|_| Applied::Reloaded).map_err(ApplyError::from)
            }
            (Stage::Running(applier), _) => match candidate.staged {
                None if candidate.started => Ok(Applied::Started),
                None => Ok(Applied::Unchanged),
                Some(staged) => match applier.apply_staged(staged).await {
                    Ok(proxy_haproxy::Applied::Unchanged { .. }) => Ok(Applied::Unchanged),
                    Ok(proxy_haproxy::Applied::Runtime { .. }) => Ok(Applied::Runtime),
                    Ok(_) => Ok(Applied::Reloaded),
                    Err(error) => Err(error.into()),
                },
            },
        };
        if let Err(ApplyError::Unable { .. }) = &applied {
            // HAProxy may have taken it all the same: what it holds then is nobody else's.
            self.shown().ports.extend(&ports);
        }
        let applied = applied?;
        {
            let mut shown = self.shown();
            (shown.config, shown.ports) = (Some(config), ports);
        }
        if let Some(catalog) = &self.catalog {
            catalog.want(&places.keys);
        }
        self.names.want(places.hosts);
        Ok(applied)
    }

    async fn moved(&self) {
        let instances = async {
            match &self.catalog {
                Some(catalog) => catalog.moved().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.names.moved() => {}
            () = instances => {}
        }
    }

    fn config_text(&self) -> Option<String> {
        let shown = self.shown();
        shown.config.as_ref().map(|it| it.main_text().to_owned())
    }

    fn digest(&self) -> Option<String> {
        let shown = self.shown();
        shown.config.as_ref().map(|it| it.digest().to_string())
    }

    fn route_order(&self) -> RouteOrder {
        self.settings.render.order()
    }

    fn rules(&self) -> usize {
        self.shown()
            .config
            .as_ref()
            .map_or(0, RenderedConfig::rules)
    }

    async fn old_workers(&self) -> Option<OldWorkers> {
        let haproxy = self.shown().haproxy.clone()?;
        haproxy.old_workers().await.ok()
    }

    async fn statistics(&self) -> Result<String, String> {
        let haproxy = self.shown().haproxy.clone();
        let haproxy = haproxy.ok_or_else(|| "HAProxy was not started yet".to_owned())?;
        haproxy.statistics().await.map_err(|error| chain(&error))
    }

    fn condition(&self) -> CarrierCondition {
        let shown = self.shown();
        let Some(haproxy) = &shown.haproxy else {
            return match &shown.starting {
                Some(why) => CarrierCondition::Down(why.clone()),
                None => CarrierCondition::NotStarted,
            };
        };
        let state = haproxy.state().borrow().clone();
        match state {
            HaproxyState::Running { .. } => CarrierCondition::Running,
            HaproxyState::Starting => CarrierCondition::Starting,
            HaproxyState::Down { why, attempts, .. } => {
                CarrierCondition::Down(format!("{why:?}, {attempts} starts failed since"))
            }
            _ => CarrierCondition::Down("it was ended".to_owned()),
        }
    }
}

impl fmt::Debug for HaproxyCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HaproxyCarrier")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
