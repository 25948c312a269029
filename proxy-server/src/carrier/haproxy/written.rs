//! Configurations on disk that are not live yet, and what HAProxy says of them.

use proxy_haproxy::{ApplyStep, Diagnostic, RenderedConfig, Staged, Validate as _, ValidateError};

use super::{HaproxyCarrier, Stage, unrunnable::Unrunnable};
use crate::{carrier::CheckError, chain::chain, settings::RefusedConfig};

/// A configuration on disk, beside the live one.
pub(super) enum Written {
    /// It is the live one.
    Live,
    /// Only its map and its servers differ from the live one: nothing that HAProxy checks.
    Good(Staged),
    /// The same, but not all of the servers' lines are ours: HAProxy has not judged it yet.
    Told(Staged),
    /// HAProxy has not judged it yet.
    New(Staged),
}

// === impl Written ===

impl Written {
    pub(super) fn into_staged(self) -> Option<Staged> {
        match self {
            Self::Live => None,
            Self::Good(staged) | Self::Told(staged) | Self::New(staged) => Some(staged),
        }
    }
}

// === impl HaproxyCarrier ===

impl HaproxyCarrier {
    pub(super) async fn stage(&self, config: &RenderedConfig) -> Result<Written, CheckError> {
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
                    ApplyStep::RuntimeIfValid => Written::Told(staged),
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
    pub(super) async fn judge(&self, written: &Written) -> Result<Vec<Diagnostic>, CheckError> {
        match written {
            Written::New(staged) | Written::Told(staged) => self.validate(staged).await,
            Written::Live | Written::Good(_) => Ok(Vec::new()),
        }
    }

    /// Asks HAProxy whether it would take what was written.
    pub(super) async fn validate(&self, staged: &Staged) -> Result<Vec<Diagnostic>, CheckError> {
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
            error => CheckError::Unable {
                why: Unrunnable::check(error),
            },
        })
    }
}
