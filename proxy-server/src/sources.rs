//! Services from elsewhere: the environment, swarm listeners, the labels of Docker's services. One way leads from all of them into the engine.
//!
//! Whatever is read elsewhere is parsed like a call ([`Rules`]), compared with the table, and sent to the
//! engine as changes like any other ([`Intake`]): many at once are one turn, one that is bad hurts no other,
//! and what is there already is no change, so that several replicas may read the same. A source writes what
//! it wants once, and again when it wants something else ([`claim`]). What it keeps bears its name in the
//! document; only that is removed when the source says so, and never because a list came back short or failed
//! ([`missing`]).

mod claim;
#[cfg(feature = "docker")]
mod docker;
mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod given;
mod intake;
mod intent;
mod listener;
mod missing;
mod report;
mod rules;
mod templates;

use std::{sync::Arc, time::Duration};

use proxy_core::{RouteStore, Source};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) use intent::{Intent, Rules};
pub(crate) use report::{Shortfall, SourceReport, Told};
pub(crate) use rules::ParameterRules;

use crate::{
    engine::EngineHandle,
    settings::{Repeat, SourceSettings},
};
use follow::{Follower, Pace};
use given::Given;
use intake::{Intake, Way};
use listener::Listeners;
use missing::Patience;

/// How many may wait for the listeners to be asked.
const MOST_ASKING: usize = 64;
/// How long somebody who asks waits for what the listeners say.
const ASK_DEADLINE: Duration = Duration::from_secs(30);

/// The pause after Docker did not answer.
#[cfg(feature = "docker")]
const DOCKER_RETRY: Duration = Duration::from_secs(5);
/// The pause before a list that lacks something is held to the next.
#[cfg(feature = "docker")]
const DOCKER_CONFIRM: Duration = Duration::from_millis(500);
/// Docker is asked for each service that its list lacks, so there is little to doubt.
#[cfg(feature = "docker")]
const DOCKER_PATIENCE: Patience = Patience {
    looks: 2,
    least: Duration::ZERO,
    doubted: Duration::ZERO,
};

/// How many lists of listeners in a row must lack a service: they have nothing else to say of it, and tell of
/// a removal by themselves as well.
const LISTENER_LOOKS: u32 = 3;
/// How long listeners' lists must lack most of what they had: longer than it takes to notice and mend a
/// listener that lost its sight of the swarm.
const LISTENER_DOUBTED: Duration = Duration::from_secs(600);

/// Somebody who asked for a list to be read again, and waits for what came of it.
type Asking = oneshot::Sender<Result<Told, String>>;

/// What the API knows of services from elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// How calls are read.
    pub(crate) rules: Rules,
    listener: Option<Listener>,
    reports: Vec<(Source, watch::Receiver<SourceReport>)>,
}

#[derive(Clone, Debug)]
struct Listener {
    asked: mpsc::Sender<Asking>,
    /// Whether a list was read and brought in whole.
    read_once: watch::Receiver<bool>,
}

/// Starts to follow whatever the settings name.
///
/// # Errors
/// When a client for listeners cannot be made.
pub(crate) fn start(
    settings: SourceSettings,
    parameters: ParameterRules,
    (engine, store): (&EngineHandle, &Arc<dyn RouteStore>),
    stop: &CancellationToken,
) -> anyhow::Result<(Sources, Vec<JoinHandle<()>>)> {
    let rules = Rules {
        only_instance: settings.only_instance.map(Arc::from),
        parameters,
    };
    let way = Way {
        engine: engine.clone(),
        store: Arc::clone(store),
        rules: rules.clone(),
    };
    let intake = |source| Intake::new(way.clone(), source);
    let (mut tasks, mut reports) = (Vec::new(), Vec::new());
    if !settings.given.is_empty() {
        let given = Given::new(settings.given, intake(Source::Environment));
        reports.push((Source::Environment, given.reports()));
        tasks.push(tokio::spawn(given.bring(stop.clone())));
    }
    let mut listener = None;
    if let Some(settings) = settings.listener {
        // Only what is asked for again and again can vanish.
        let (again, patience) = match settings.repeat {
            Repeat::Always => {
                let patience = Patience {
                    looks: LISTENER_LOOKS,
                    least: settings.interval.saturating_mul(LISTENER_LOOKS - 1),
                    doubted: LISTENER_DOUBTED,
                };
                (Some(settings.interval), Some(patience))
            }
            Repeat::WhenAsked => (None, None),
        };
        let (asked, asking) = mpsc::channel(MOST_ASKING);
        let (read, read_once) = watch::channel(false);
        let pace = Pace {
            again,
            retry: settings.interval,
            confirm: settings.interval,
            patience,
        };
        let listeners = Listeners::new(settings.urls)?;
        let follower = Follower::new(listeners, intake(Source::Listener), pace, read);
        reports.push((Source::Listener, follower.reports()));
        tasks.push(tokio::spawn(follower.run(asking, stop.clone())));
        listener = Some(Listener { asked, read_once });
    }
    #[cfg(feature = "docker")]
    if let Some(settings) = settings.docker {
        let pace = Pace {
            again: Some(settings.interval),
            retry: DOCKER_RETRY,
            confirm: DOCKER_CONFIRM,
            patience: Some(DOCKER_PATIENCE),
        };
        let labels = docker::Labels::new(settings.host);
        let read = watch::channel(false).0;
        let follower = Follower::new(labels, intake(Source::Docker), pace, read);
        reports.push((Source::Docker, follower.reports()));
        // Nobody asks for labels: Docker tells what changes.
        let nobody = mpsc::channel(1).1;
        tasks.push(tokio::spawn(follower.run(nobody, stop.clone())));
    }
    let sources = Sources {
        rules,
        listener,
        reports,
    };
    Ok((sources, tasks))
}

// === impl Sources ===

impl Sources {
    /// None of them.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            rules: Rules::default(),
            listener: None,
            reports: Vec::new(),
        }
    }

    /// Waits until each place was read and brought in once.
    #[cfg(test)]
    pub(crate) async fn brought(&self) {
        for (_, report) in &self.reports {
            let mut report = report.clone();
            report.wait_for(|it| it.listed.is_some()).await.unwrap();
        }
    }

    /// How each place is where services come from.
    pub(crate) fn reports(&self) -> impl Iterator<Item = (Source, SourceReport)> {
        let reports = self.reports.iter();
        reports.map(|(source, report)| (*source, report.borrow().clone()))
    }

    /// How one of them is, from now on.
    #[cfg(test)]
    pub(crate) fn reports_of(&self, source: Source) -> watch::Receiver<SourceReport> {
        let mut reports = self.reports.iter();
        let (_, report) = reports.find(|(of, _)| *of == source).unwrap();
        report.clone()
    }

    /// Whether the listeners were asked with success; false also where there are none.
    pub(crate) fn listener_was_read(&self) -> bool {
        let read = self.listener.as_ref().map(|listener| &listener.read_once);
        read.is_some_and(|read| *read.borrow())
    }

    /// Whether there is a listener to ask.
    ///
    /// # Errors
    /// That there is none.
    pub(crate) fn has_listener(&self) -> Result<(), String> {
        self.listener().map(drop)
    }

    fn listener(&self) -> Result<&Listener, String> {
        let none = || "there is no listener to ask; set LISTENER_ADDRESS".to_owned();
        self.listener.as_ref().ok_or_else(none)
    }

    /// Asks the listeners for their services now, and says what came of it.
    ///
    /// # Errors
    /// That there is no listener, or why they did not answer.
    pub(crate) async fn ask_listeners(&self) -> Result<Told, String> {
        let listener = self.listener()?;
        let (asking, answer) = oneshot::channel();
        let sent = listener.asked.try_send(asking);
        sent.map_err(|_| "too many wait for the listeners already; try again".to_owned())?;
        match tokio::time::timeout(ASK_DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("this replica shuts down".to_owned()),
            Err(_) => Err(format!(
                "no answer within {} s; it goes on",
                ASK_DEADLINE.as_secs()
            )),
        }
    }
}

#[cfg(test)]
mod tests;
