//! Services of the environment: brought in once, at the start.

use std::{collections::BTreeSet, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    claim::Look,
    intake::{Intake, Wanted},
    report::{Reporter, SourceReport},
};
use crate::settings::GivenService;

/// The pause before what could not be brought in is tried again: no store, no HAProxy.
const RETRY: Duration = Duration::from_secs(5);

/// The services of the environment.
pub(super) struct Given {
    services: Vec<GivenService>,
    intake: Intake,
    reporter: Reporter,
}

// === impl Given ===

impl Given {
    pub(super) fn new(services: Vec<GivenService>, intake: Intake) -> Self {
        Self {
            services,
            intake,
            reporter: Reporter::default(),
        }
    }

    /// How they are, from now on.
    pub(super) fn reports(&self) -> watch::Receiver<SourceReport> {
        self.reporter.reports()
    }

    /// Brings them in as soon as there is a table, until each is stored, or is refused and nothing of what
    /// may stand in its way changes. Then waits to be stopped.
    pub(super) async fn bring(self, stop: CancellationToken) {
        let Self {
            services,
            mut intake,
            reporter,
        } = self;
        let (mut list, mut unreadable) = (Vec::new(), Vec::new());
        for service in services {
            let called = service.prefix;
            let wanted = match service.params {
                Ok(params) => Wanted::new(called.clone(), params).map_err(|problem| problem.why),
                Err(why) => Err(why),
            };
            match wanted {
                Ok(wanted) => list.push(wanted),
                Err(why) => {
                    tracing::error!(
                        service = called,
                        why,
                        "a service of the environment cannot be read; the others are not touched by it"
                    );
                    unreadable.push((called, why));
                }
            }
        }
        let brought = async {
            if !intake.loaded().await {
                return;
            }
            let mut open = list.clone();
            loop {
                let again = intake.bring(open.clone(), Look::OfItself).await.again;
                reporter.say(|report| {
                    report.listed = Some(list.len());
                    report.refused = intake.refused().chain(unreadable.clone()).collect();
                });
                match again {
                    true => tokio::time::sleep(RETRY).await,
                    false => {
                        // What was brought in is an operator's from now on, to change and to remove.
                        let refused: BTreeSet<_> = intake.refused().map(|(it, _)| it).collect();
                        open.retain(|wanted| refused.contains(&wanted.called));
                        intake.unstuck().await;
                    }
                }
            }
        };
        tokio::select! {
            () = brought => stop.cancelled().await,
            () = stop.cancelled() => {}
        }
    }
}
