//! Services from elsewhere: the environment, swarm listeners, the labels of Docker's services. One way leads from all of them into the engine.
//!
//! Whatever is read elsewhere is parsed like a call ([`Rules`]), compared with the table, and sent to the
//! engine as changes like any other ([`Intake`]): many at once are one turn, one that is bad hurts no other,
//! and what is there already is no change, so that several replicas may read the same. What a source keeps
//! bears its name in the document; only that is removed when the source says so, and never because a list
//! came back short or failed ([`follow`]).

#[cfg(feature = "docker")]
mod docker;
mod follow;
mod given;
mod intake;
mod intent;
mod listener;
mod rules;

use std::{sync::Arc, time::Duration};

use proxy_core::Source;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) use intent::{Intent, Rules};
pub(crate) use rules::ParameterRules;

use crate::{
    engine::EngineHandle,
    settings::{Repeat, SourceSettings},
};
use follow::{Follower, Pace};
use intake::Intake;
use listener::Listeners;

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

/// Somebody who asked for a list to be read again, and waits for how many services it had.
type Asking = oneshot::Sender<Result<usize, String>>;

/// What the API knows of services from elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// How calls are read.
    pub(crate) rules: Rules,
    listener: Option<Listener>,
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
    engine: &EngineHandle,
    stop: &CancellationToken,
) -> anyhow::Result<(Sources, Vec<JoinHandle<()>>)> {
    let rules = Rules {
        only_instance: settings.only_instance.map(Arc::from),
        parameters,
    };
    let intake = |place, source| Intake::new(engine.clone(), rules.clone(), place, source);
    let mut tasks = Vec::new();
    if !settings.given.is_empty() {
        let bring = given::bring(settings.given, intake("environment", None), stop.clone());
        tasks.push(tokio::spawn(bring));
    }
    let mut listener = None;
    if let Some(settings) = settings.listener {
        // Only what is asked for again and again can vanish, so only that is marked as theirs.
        let (source, again) = match settings.repeat {
            Repeat::Always => (Some(Source::Listener), Some(settings.interval)),
            Repeat::WhenAsked => (None, None),
        };
        let (asked, asking) = mpsc::channel(MOST_ASKING);
        let (read, read_once) = watch::channel(false);
        let pace = Pace {
            again,
            retry: settings.interval,
            confirm: settings.interval,
        };
        let follower = Follower::new(
            Listeners::new(settings.urls)?,
            intake("listener", source),
            pace,
            read,
        );
        tasks.push(tokio::spawn(follower.run(asking, stop.clone())));
        listener = Some(Listener { asked, read_once });
    }
    #[cfg(feature = "docker")]
    if let Some(settings) = settings.docker {
        let pace = Pace {
            again: Some(settings.interval),
            retry: DOCKER_RETRY,
            confirm: DOCKER_CONFIRM,
        };
        let labels = docker::Labels::new(settings.host);
        let intake = intake("docker", Some(Source::Docker));
        let follower = Follower::new(labels, intake, pace, watch::channel(false).0);
        // Nobody asks for labels: Docker tells what changes.
        let nobody = mpsc::channel(1).1;
        tasks.push(tokio::spawn(follower.run(nobody, stop.clone())));
    }
    Ok((Sources { rules, listener }, tasks))
}

// === impl Sources ===

impl Sources {
    /// None of them.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            rules: Rules::default(),
            listener: None,
        }
    }

    /// Whether the listeners were asked with success; false also where there are none.
    pub(crate) fn listener_was_read(&self) -> bool {
        let read = self.listener.as_ref().map(|listener| &listener.read_once);
        read.is_some_and(|read| *read.borrow())
    }

    /// Asks the listeners for their services now, and says how many they have.
    ///
    /// # Errors
    /// That there is no listener, or why they did not answer.
    pub(crate) async fn ask_listeners(&self) -> Result<usize, String> {
        let Some(listener) = &self.listener else {
            return Err("there is no listener to ask; set LISTENER_ADDRESS".to_owned());
        };
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
