//! Following a list of services that is kept elsewhere: what it names is brought in, what it lacks is removed,
//! the latter only once nobody can doubt it.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use proxy_core::ServiceName;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Asking, Told,
    claim::Look,
    intake::{Brought, Intake, Taken, Unreadable, Wanted},
    missing::{Missing, Patience},
    report::{Named, Reporter, Shortfall, SourceReport},
};

/// How long reading a list may take, and how long asking for all that it lacks.
const LIST_DEADLINE: Duration = Duration::from_secs(20);
/// For ever, where nothing is waited for.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A list of services that is kept elsewhere.
#[async_trait]
pub(super) trait List: Send + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    async fn read(&mut self) -> Result<Listing, String>;

    /// Whether a service that the list lacks is gone for sure. Cancel safe.
    ///
    /// # Errors
    /// Why that cannot be known now, in words.
    async fn is_gone(&mut self, service: &ServiceName) -> Result<bool, String>;

    /// A service is removed of which it said that it is gone.
    fn removed(&mut self, _service: &ServiceName) {}

    /// Waits until the list may have changed. Cancel safe.
    async fn changed(&mut self);
}

/// A list as it was read.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) services: Vec<Wanted>,
    /// What cannot be read of it.
    pub(super) unreadable: Vec<Unreadable>,
    /// Whether what it lacks may be taken for gone.
    pub(super) extent: Extent,
}

/// How much of a list was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// Some of it is known to be missing, and why.
    Part(String),
    /// There is nothing in it, which nobody believes.
    Empty,
}

/// How often a list is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// After a success; none: only when it changed or somebody asks.
    pub(super) again: Option<Duration>,
    /// After a failure.
    pub(super) retry: Duration,
    /// After a list that lacks something.
    pub(super) confirm: Duration,
    /// What it takes to believe one; none: nothing is ever removed.
    pub(super) patience: Option<Patience>,
}

/// Follows one list.
pub(super) struct Follower<L> {
    pub(super) list: L,
    intake: Intake,
    pace: Pace,
    /// Told of the first list that was brought in.
    read: watch::Sender<bool>,
    reporter: Reporter,
    missing: Missing,
}

// === impl Follower ===

impl<L: List> Follower<L> {
    pub(super) fn new(list: L, intake: Intake, pace: Pace, read: watch::Sender<bool>) -> Self {
        Self {
            list,
            intake,
            pace,
            read,
            reporter: Reporter::default(),
            missing: Missing::default(),
        }
    }

    /// How the list is, from now on.
    pub(super) fn reports(&self) -> watch::Receiver<SourceReport> {
        self.reporter.reports()
    }

    /// Follows the list until it is stopped.
    pub(super) async fn run(mut self, mut asking: mpsc::Receiver<Asking>, stop: CancellationToken) {
        let loaded = self.intake.loaded();
        tokio::select! {
            loaded = loaded => if !loaded { return stop.cancelled().await },
            () = stop.cancelled() => return,
        }
        let mut who: Vec<Asking> = Vec::new();
        loop {
            let look = match who.as_slice() {
                [] => Look::OfItself,
                _ => Look::Asked,
            };
            let (next, said) = tokio::select! {
                once = self.once(look) => once,
                () = stop.cancelled() => return,
            };
            for asking in who.drain(..) {
                // Who hung up needs no answer.
                let _ = asking.send(said.clone());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(next) => {}
                () = self.list.changed() => {}
                () = unstuck(&self.intake, self.pace.retry) => {}
                Some(asked) = asking.recv() => who.push(asked),
            }
            while let Ok(asked) = asking.try_recv() {
                who.push(asked);
            }
        }
    }

    /// Reads the list once and brings it in. When to read it next, and what is said to who asked.
    async fn once(&mut self, look: Look) -> (Duration, Result<Told, String>) {
        let read = timeout(LIST_DEADLINE, self.list.read()).await;
        let read = read.unwrap_or_else(|_| Err(no_answer()));
        let Listing {
            services,
            unreadable,
            extent,
        } = match read {
            Ok(listing) => listing,
            Err(why) => {
                self.trouble(Some(&why));
                // Lists in a row, and this is none.
                self.missing.clear();
                return (self.pace.retry, Err(why));
            }
        };
        let shortfall = match &extent {
            Extent::Part(why) => Some(Shortfall::Part(why.clone())),
            Extent::Empty => match self.intake.kept().len() {
                0 => None,
                kept => Some(Shortfall::Empty { kept }),
            },
            Extent::Whole => None,
        };
        self.trouble(shortfall.as_ref().map(|shortfall| match shortfall {
            Shortfall::Part(why) => why,
            Shortfall::Empty { .. } => "the list is empty",
        }));
        let count = services.len();
        let Brought {
            mut named,
            mut again,
        } = self.intake.bring(services, look).await;
        named.extend(unreadable.iter().flat_map(|it| it.names.iter().cloned()));
        let mut said: Vec<(String, String)> = Vec::new();
        let mut unlisted = None;
        match (extent, self.pace.patience) {
            (Extent::Whole, Some(patience)) => {
                self.intake.forget_but(&named);
                let now = Instant::now();
                let kept = self.intake.kept();
                let judged = self.missing.judge(&kept, &named, patience, (look, now));
                let much = judged.doubted.iter();
                said.extend(much.map(|name| (name.to_string(), MUCH.to_owned())));
                again |= self.remove(judged.gone, &mut said).await;
                unlisted = Some(NOT_YET);
            }
            (Extent::Whole, None) => unlisted = Some(NEVER_REMOVED),
            _ => self.missing.clear(),
        }
        self.report(count, &unreadable, said.iter().cloned().collect());
        // Who asked is told of everything that is served on.
        if let Some(why) = unlisted {
            let kept = self.intake.kept();
            let unlisted = kept.difference(&named).map(|name| name.to_string());
            let known: BTreeSet<String> = said.iter().map(|(name, _)| name.clone()).collect();
            let unlisted = unlisted.filter(|name| !known.contains(name));
            said.extend(unlisted.map(|name| (name, why.to_owned())));
        }
        if !again {
            self.read
                .send_if_modified(|read| !std::mem::replace(read, true));
        }
        let next = match self.pace.again.unwrap_or(NEVER) {
            _ if again => self.pace.retry,
            next if self.missing.is_undecided() => next.min(self.pace.confirm),
            next => next,
        };
        let told = Told {
            listed: count,
            again,
            shortfall,
            refused: self.reporter.refused(),
            doubted: said.into_iter().collect(),
        };
        (next, Ok(told))
    }

    /// Removes services that lists lack, where their place says that they are gone; what is served on is said.
    /// Whether something is to be tried again.
    pub(super) async fn remove(
        &mut self,
        gone: Vec<ServiceName>,
        said: &mut Vec<(String, String)>,
    ) -> bool {
        let until = Instant::now() + LIST_DEADLINE;
        let (mut again, mut silent) = (false, None);
        for name in gone {
            let asked = match silent.take() {
                // The others would wait as long, one after another.
                Some(why) => Err(why),
                None => timeout_at(until, self.list.is_gone(&name))
                    .await
                    .unwrap_or_else(|_| Err(no_answer())),
            };
            match asked {
                Ok(true) => again |= self.take_away(name, said).await,
                Ok(false) => said.push((name.to_string(), NOT_GONE.to_owned())),
                Err(why) => {
                    let words = format!("{NOT_GONE}: it could not be asked for: {why}");
                    said.push((name.to_string(), words));
                    silent = Some(why);
                }
            }
        }
        again || silent.is_some()
    }

    /// Removes a service that is gone; what is refused is said. Whether it is to be tried again.
    async fn take_away(&mut self, name: ServiceName, said: &mut Vec<(String, String)>) -> bool {
        match self.intake.take_away(&name).await {
            Taken::Away => {
                self.missing.forget(&name);
                self.list.removed(&name);
            }
            Taken::Refused(why) => said.push((name.to_string(), format!("{REFUSED}: {why}"))),
            Taken::Again => return true,
        }
        false
    }

    /// Says once, and not with every look, that the list cannot be read or can be read again.
    fn trouble(&self, why: Option<&str>) {
        let from = self.intake.from();
        self.reporter.say(|report| {
            match (report.trouble.is_some(), why) {
                (false, Some(why)) => tracing::warn!(
                    from,
                    why,
                    "services from elsewhere cannot be read, or not all of them; those that are known are served on, nothing is removed, and it is tried again"
                ),
                (true, None) => {
                    tracing::info!(from, "services from elsewhere can be read again");
                }
                _ => {}
            }
            report.trouble = why.map(str::to_owned);
        });
    }

    fn report(&self, listed: usize, unreadable: &[Unreadable], doubted: Named) {
        let from = self.intake.from();
        let unreadable = unreadable.iter();
        let unreadable = unreadable.map(|it| (it.called.clone(), it.why.clone()));
        let unreadable: Vec<_> = unreadable.collect();
        self.reporter.say(|report| {
            // What was said with the last list is not said again.
            for (called, why) in &unreadable {
                if report.refused.first.get(called) != Some(why) {
                    tracing::error!(
                        from,
                        service = called,
                        why,
                        "a service from elsewhere cannot be read; the others are not touched by it"
                    );
                }
            }
            for (service, why) in &doubted.first {
                if !report.doubted.first.contains_key(service) {
                    tracing::warn!(
                        from,
                        service,
                        why,
                        "a list lacks a service, which is served on"
                    );
                }
            }
            report.listed = Some(listed);
            report.refused = self.intake.refused().chain(unreadable).collect();
            report.doubted = doubted;
        });
    }
}

/// Why a service is served on that a list lacks.
const MUCH: &str = "the list suddenly lacks most of what it had: it is believed after a while, or where somebody asks for it (reload?fromListener=true)";

const NOT_YET: &str = "the list lacks it: it is removed once the next lists lack it as well";

const NEVER_REMOVED: &str = "the list lacks it, and nothing is removed because a list lacks it (REPEAT_RELOAD=false): remove it by name, if the listener does not";

const REFUSED: &str = "the list lacks it, and its removal is refused";

const NOT_GONE: &str = "the list lacks it, and it is not known to be gone";

fn no_answer() -> String {
    format!("no answer within {} s", LIST_DEADLINE.as_secs())
}

/// Waits until what could not be removed is worth another try, at its own pace: each costs a check.
async fn unstuck(intake: &Intake, pause: Duration) {
    intake.unstuck().await;
    sleep(pause).await;
}
