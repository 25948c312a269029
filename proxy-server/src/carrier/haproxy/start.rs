//! The start of HAProxy: afresh, or by taking over the one that runs.

use std::{os::unix::net::UnixStream, sync::Arc};

use proxy_haproxy::{
    Applier, ConfigDir, Haproxy, LeftHaproxy, ProcessSettings, Start, StartError, probe_bind,
};

use super::{Candidate, CarrierSettings, HaproxyCarrier, Stage, unrunnable::Unrunnable};
use crate::{
    carrier::{Applied, ApplyError},
    chain::chain,
};

impl HaproxyCarrier {
    /// The first configuration. Where a HAProxy of ours runs it is taken over with what it serves and
    /// then reloaded, so that its own configuration stays the one to fall back to; else this one
    /// goes to disk and HAProxy is started with it.
    pub(super) async fn start(
        &self,
        stage: &mut Stage,
        candidate: Candidate,
    ) -> Result<Applied, ApplyError> {
        let Stage::Before(slot) = stage else {
            return Err(ApplyError::new("HAProxy was started already"));
        };
        let mut dir = match slot.take() {
            Some(dir) => dir,
            None => ConfigDir::open(&self.settings.configs_path).map_err(ApplyError::new)?,
        };
        let CarrierSettings { program, run, .. } = &self.settings;
        let process = ProcessSettings::new(program.clone(), dir.main_path(), run.clone());
        let runs = self.is_left();
        let has_config = dir.active().is_ok_and(|active| active.is_some());
        let mut staged = candidate.staged;
        if !(runs && has_config) {
            let ready = match staged.take() {
                Some(staged) => dir.activate(staged).map(|_| ()).map_err(ApplyError::new),
                None => Err(ApplyError::new("the first configuration was not written")),
            };
            // Where no HAProxy of ours holds the ports, nobody else may.
            let ready = match ready {
                Ok(()) if !runs => self.probe().await,
                ready => ready,
            };
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
                    error => ApplyError::new(Unrunnable::start(error)),
                });
            }
        };
        self.shown().haproxy = Some(Arc::clone(&haproxy));
        self.launched.notify_waiters();
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

    /// Whether the HAProxy of an earlier run is there to be taken over.
    pub(super) fn is_left(&self) -> bool {
        UnixStream::connect(self.settings.run.master_socket()).is_ok()
    }

    /// Whether the binds can be made. HAProxy's own check does not see a port in use, and a reload
    /// that then fails costs seconds of refused connections (measured), so they are tried first.
    async fn probe(&self) -> Result<(), ApplyError> {
        let mut binds = self.settings.render.binds().iter();
        let Some(error) = binds.find_map(|bind| probe_bind(bind).err()) else {
            return Ok(());
        };
        // One of ours whose sockets somebody removed holds them: the new one takes over from it.
        match LeftHaproxy::find(&self.settings.run).await {
            Ok(Some(_)) => {
                tracing::warn!(
                    run_path = %self.settings.run.folder().display(),
                    "a HAProxy of this proxy runs, and its sockets in RUN_PATH are gone; another one takes over from it"
                );
                Ok(())
            }
            _ => Err(ApplyError::new(error)),
        }
    }
}
