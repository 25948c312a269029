//! Configurations on disk that are not live yet, and what HAProxy says of them.

use proxy_haproxy::{
    ApplyStep, Diagnostic, Extras, RenderedConfig, Staged, Validate as _, ValidateError,
};

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
        let refused = match judged {
            Ok(warnings) => return Ok(warnings),
            Err(ref refused @ ValidateError::Refused { .. }) => refused,
            Err(error) => {
                return Err(CheckError::Unable {
                    why: Unrunnable::check(error),
                });
            }
        };
        let config = std::fs::read_to_string(staged.main_path()).unwrap_or_default();
        if let RefusedConfig::Logged = self.settings.refused {
            let config = proxy_haproxy::redacted(&config);
            tracing::error!("HAProxy would not take this configuration:\n{config}");
        }
        let first = refused.alerts().find_map(|alert| alert.line);
        let setting = first.and_then(|line| setting(&config, line, self.settings.render.extras()));
        let words = chain(refused);
        Err(CheckError::Rejected {
            words: match setting {
                Some(setting) => format!(
                    "{words}; the line stands in the setting {setting}: correct it there and start the proxy anew"
                ),
                None => words,
            },
        })
    }
}

/// The setting in which an operator wrote a line of a configuration, if it is one of theirs.
fn setting(config: &str, line: usize, extras: &Extras) -> Option<&'static str> {
    let before: Vec<&str> = config.lines().take(line).collect();
    let said = before.last()?.trim();
    let begins = |line: &&&str| line.starts_with(|first: char| first.is_ascii_alphabetic());
    let section = before.iter().rev().find(begins)?;
    let (setting, lines) = match section.split_whitespace().next()? {
        "global" => ("EXTRA_GLOBAL", &extras.global),
        "frontend" => ("EXTRA_FRONTEND", &extras.frontend),
        _ => return None,
    };
    lines
        .iter()
        .any(|own| own.trim() == said)
        .then_some(setting)
}

#[cfg(test)]
mod tests {
    use proxy_core::{RawLimits, RawLines};

    use super::*;

    #[test]
    fn a_line_of_an_operators_own_has_the_name_of_its_setting() {
        let lines = |text| RawLines::of_text(text, RawLimits::default()).unwrap();
        let mut extras = Extras::default();
        extras.global = lines("nonsense foo");
        extras.frontend = lines("acl a path /");
        let config = "global\n    maxconn 1\n    nonsense foo\n\nfrontend services\n    acl a path /\n    acl b path /\nbackend x\n    nonsense foo\n";
        let told: Vec<_> = (0..=10)
            .map(|line| setting(config, line, &extras))
            .collect();
        let mut expected = [None; 11];
        expected[3] = Some("EXTRA_GLOBAL");
        expected[6] = Some("EXTRA_FRONTEND");
        assert_eq!(told, expected);
    }
}
