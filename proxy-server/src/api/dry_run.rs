//! `dryRun=true`: what a change would do, and nothing of it done.

use proxy_core::{ChangeKind, ParamWarning, Params, PlannedChange};
use proxy_haproxy::ApplyStep;
use serde_json::{Value, json};

use super::{
    Api,
    answer::{Answered, remarks, revision},
    request::flag,
};
use crate::{dry_run::Tried, engine::ChangeRequest};

/// Whether a change is to be made or only to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Made,
    Tried,
}

// === impl Mode ===

impl Mode {
    /// Takes `dryRun` out of the parameters.
    pub(super) fn take(params: &mut Params) -> Result<Self, Answered> {
        let tried = flag(params, "dryRun")?;
        params.take("dryRun");
        Ok(if tried { Self::Tried } else { Self::Made })
    }
}

/// Tries a change and says what it would do.
pub(super) async fn tried(
    api: &Api,
    request: ChangeRequest,
    warnings: &[ParamWarning],
) -> Answered {
    let answered = match api.dry_runs.of(request).await {
        Ok(tried) => described(api, &tried, warnings),
        Err(error) => error.into(),
    };
    answered.with("DryRun", true)
}

fn described(api: &Api, tried: &Tried, warnings: &[ParamWarning]) -> Answered {
    let plan = &tried.plan;
    let mut said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    said.extend(remarks(&plan.conflicts, &plan.dead, tried.rules));
    said.extend(tried.warnings.iter().cloned());
    let changes: Vec<Value> = plan.changes.iter().map(change).collect();
    let message = format!(
        "dry run: {}; {}; nothing was changed",
        counted(&plan.changes),
        effect(tried.step)
    );
    Answered::ok(message)
        .with("Stored", false)
        .with("Effect", word(tried.step))
        .with("Changes", changes)
        .with("Revision", revision(api.store.view().revision))
        .with("Warnings", said)
        .with("Diff", tried.diff.text.as_str())
        .with("DiffLeftOut", tried.diff.left_out)
}

fn counted(changes: &[PlannedChange]) -> String {
    let count = |kind| changes.iter().filter(|it| it.kind == kind).count();
    let counts = [
        (ChangeKind::Added, "added"),
        (ChangeKind::Replaced, "replaced"),
        (ChangeKind::Removed, "removed"),
    ];
    let counts = counts.map(|(kind, word)| (count(kind), word));
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| match count {
            1 => format!("1 service would be {word}"),
            n => format!("{n} services would be {word}"),
        })
        .collect();
    match told.as_slice() {
        [] => "the table would stay as it is".to_owned(),
        told => told.join(", "),
    }
}

fn change(change: &PlannedChange) -> Value {
    json!({ "ServiceName": change.service.as_str(), "Change": kind(change.kind) })
}

fn kind(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Replaced => "replaced",
        ChangeKind::Removed => "removed",
        _ => "unchanged",
    }
}

fn word(step: ApplyStep) -> &'static str {
    match step {
        ApplyStep::None => "none",
        ApplyStep::Runtime => "runtime",
        _ => "reload",
    }
}

fn effect(step: ApplyStep) -> &'static str {
    match step {
        ApplyStep::None => "nothing would be done to HAProxy",
        ApplyStep::Runtime => "HAProxy would be told while it runs on, without a reload",
        _ => "HAProxy would be reloaded",
    }
}
