//! The carrier that traffic really goes through: a supervised HAProxy.

mod certificates;
mod dry_run;
mod heal;
pub(super) mod held;
mod loading;
mod ports;
mod start;
mod unrunnable;
mod written;

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use proxy_core::{Port, RouteOrder, RouteTable};
use proxy_haproxy::{
    AddressBook, Applier, ConfigDir, Haproxy, HaproxyState, InstanceBook, OldWorkers, Program,
    RenderSettings, RenderedConfig, Renderer, RoutingForm, Staged, Validator,
};
use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};

use self::held::Held;
use super::{
    Applied, ApplyError, Carrier, CarrierCondition, CheckError, DEFAULT_BEARS, DryRun, LoadError,
    Reload, catalog::CatalogFollower, entry::EntryPorts, names::NameFollower, places::Places,
};
use crate::{
    certificates::{Certificates, Step},
    chain::chain,
    settings::RefusedConfig,
};

/// How long a change waits for the names of new services, and their instances in the catalog. What does
/// not resolve by then is served as soon as it does.
const NAMES_DEADLINE: Duration = Duration::from_secs(2);

/// What the carrier needs to know.
#[derive(Debug)]
pub(crate) struct CarrierSettings {
    pub(crate) program: Program,
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
    /// HAProxy was started, or taken over.
    launched: Notify,
}

/// Where the carrier stands. The engine's turn takes the lock, and so do the few dry runs that are let in at once,
/// each for as long as it writes a configuration beside the live one.
enum Stage {
    Before(Option<ConfigDir>),
    Running(Applier<Arc<Haproxy>>),
}

#[derive(Default)]
struct Shown {
    /// The configuration. Its form is what the next one keeps at the border.
    config: Option<RenderedConfig>,
    /// What the templates of its services saw.
    instances: InstanceBook,
    /// What of the catalog did not go with them.
    blamed: held::Blamed,
    /// The ports that connections come in on.
    ports: BTreeSet<Port>,
    haproxy: Option<Arc<Haproxy>>,
    starting: Option<String>,
    ending: bool,
}

/// A configuration that HAProxy would take.
pub(crate) struct Candidate {
    table: RouteTable,
    config: RenderedConfig,
    /// What is followed once it is live.
    places: Places,
    /// What the templates of its services saw.
    instances: InstanceBook,
    /// The services of which they did not see what the catalog shows.
    held: Held,
    /// None where it is live already, byte for byte.
    staged: Option<Staged>,
    /// It was loaded to see whether it is good, and how.
    loaded: Option<Applied>,
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
        let shown = Shown {
            // What was good before goes on where the catalog shows something else by now.
            instances: catalog.as_ref().map(|it| it.live()).unwrap_or_default(),
            ..Shown::default()
        };
        Ok(Self {
            validator: Validator::new(settings.program.clone()),
            entry: EntryPorts::new(settings.render.binds().to_vec(), settings.api),
            renderer: StdMutex::new(Renderer::new(settings.render.clone())),
            settings,
            names,
            certificates,
            catalog,
            stage: Mutex::new(Stage::Before(Some(dir))),
            shown: StdMutex::new(shown),
            launched: Notify::new(),
        })
    }

    /// Ends HAProxy: no new connections, those that are open may finish until the deadline. An apply
    /// that is under way ends first, so that a HAProxy that is just being started is ended too.
    pub(crate) async fn shutdown(&self, deadline: Duration) {
        let begun = Instant::now();
        self.shown().ending = true;
        let stage = tokio::time::timeout(deadline, self.stage.lock()).await;
        let haproxy = self.shown().haproxy.clone();
        if let Some(haproxy) = haproxy {
            let left = deadline.saturating_sub(begun.elapsed());
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
        let showing = self.certificates.showing();
        renderer.set_certificates(self.certificates.set(), showing.authorities());
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
        let known = catalog.look_up(places, NAMES_DEADLINE);
        let (book, known) = tokio::join!(names, known);
        known.beside(book)
    }

    /// Makes a candidate live, whatever is to blame where it is not loaded.
    async fn make_live(&self, candidate: Candidate, force: Reload) -> Result<Applied, ApplyError> {
        let mut stage = self.stage.lock().await;
        if self.shown().ending {
            return Err(ApplyError::new("this replica shuts down"));
        }
        let config = candidate.config.clone();
        let places = candidate.places.clone();
        let table = candidate.table.clone();
        let ports: BTreeSet<Port> = table.tcp_ports().collect();
        let (instances, held) = (candidate.instances.clone(), candidate.held.clone());
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
            (Stage::Running(applier), Reload::Anew) => {
                applier.forget_running();
                let applied = applier.apply(&candidate.config).await;
                applied.map(|_| Applied::Reloaded).map_err(ApplyError::from)
            }
            (Stage::Running(applier), _) => match candidate.staged {
                None => Ok(candidate.loaded.unwrap_or(Applied::Unchanged)),
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
            shown.blamed.retain(|key, blame| {
                places.templated.contains(key) && !blame.sees(&instances, key)
            });
            for blame in shown.blamed.values_mut() {
                blame.serves(&table);
            }
            shown.instances = instances.clone();
        }
        self.certificates.serves(&table);
        if let Some(catalog) = &self.catalog {
            catalog.want(&places, instances, held);
        }
        self.names.want(places.hosts);
        Ok(applied)
    }
}

#[async_trait]
impl Carrier for HaproxyCarrier {
    type Candidate = Candidate;

    async fn check(&self, table: &RouteTable) -> Result<Candidate, CheckError> {
        self.begin_certificates().await;
        self.check_entry(table).await?;
        let places = Places::of(table);
        let book = self.look_up(&places).await;
        let good = self.check_with_good_instances(table, &book).await?;
        Ok(Candidate {
            table: table.clone(),
            held: self.held_of(&places, &book, &good.instances),
            config: good.config,
            places,
            instances: good.instances,
            staged: good.written.into_staged(),
            loaded: None,
        })
    }

    async fn dry_run(&self, table: &RouteTable) -> Result<DryRun, CheckError> {
        self.try_out(table).await
    }

    async fn check_by_loading(&self, table: &RouteTable) -> Result<Candidate, LoadError> {
        self.try_to_load(table).await
    }

    async fn renew(&self, table: &RouteTable) -> Result<(), CheckError> {
        self.renew_certificates(table).await
    }

    async fn would_show(&self, table: &RouteTable, step: Step) -> Result<(), CheckError> {
        self.try_certificate(table, step).await
    }

    async fn apply(&self, candidate: Candidate, force: Reload) -> Result<Applied, ApplyError> {
        let table = candidate.table.clone();
        match self.make_live(candidate, force).await {
            Ok(applied @ (Applied::Started | Applied::Reloaded)) => {
                self.certificates.prove();
                Ok(applied)
            }
            Err(ApplyError::Refused { words }) => self.without_unloadable(&table, words).await,
            other => other,
        }
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
            () = self.blamed_are_due() => {}
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

    fn bears(&self) -> usize {
        let shown = self.shown();
        let text = shown.config.as_ref().map(RenderedConfig::main_text);
        text.and_then(max_reloads).unwrap_or(DEFAULT_BEARS)
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

    fn serves(&self) -> bool {
        let was_begun = self.shown().haproxy.is_some();
        match was_begun {
            true => self.condition() == CarrierCondition::Running,
            false => self.is_left(),
        }
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
                CarrierCondition::Down(format!("{why}, {attempts} starts failed since"))
            }
            _ => CarrierCondition::Down("it was ended".to_owned()),
        }
    }
}

/// What a configuration says of the reloads that a replaced worker lives through. The last line counts.
fn max_reloads(text: &str) -> Option<usize> {
    let mut said = text.lines().filter_map(|line| {
        let (keyword, rest) = line.trim_start().split_once(char::is_whitespace)?;
        let is_it = keyword == "mworker-max-reloads";
        is_it.then(|| rest.split_whitespace().next()?.parse().ok())?
    });
    said.next_back()
}

impl fmt::Debug for HaproxyCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HaproxyCarrier")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::max_reloads;

    #[test]
    fn what_the_configuration_says_last_of_reloads_counts() {
        let rendered = "global\n    mworker-max-reloads 20\n    nosplice\n\tmworker-max-reloads  3 # few\ndefaults\n    # mworker-max-reloads 9\n";
        assert_eq!(max_reloads(rendered), Some(3));
        assert_eq!(max_reloads("global\n    nosplice\n"), None);
    }
}
