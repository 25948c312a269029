//! Answers: the status and the JSON object for what the engine said.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use proxy_core::{
    CommitId, Conflict, ConflictOutcome, DeadRoute, FieldErrors, ParamWarning, ParamsError,
    RefusalKind, StoreCondition, StoreTrouble,
};
use serde_json::{Map, Value, json};

use super::Api;
use crate::{
    carrier::CarrierCondition,
    engine::{Answer, ChangeError, ReplicaRow, ReplicaStatus, Snapshot, WaitFor, not_read},
};

/// Past this many rules every answer warns: a request then spends more than a tenth of a millisecond
/// on them.
const MANY_RULES: usize = 500;

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Answered {
    status: StatusCode,
    fields: Map<String, Value>,
}

/// What HAProxy does while something is not live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// It serves what it served.
    AsBefore,
    /// It does not run, or never did.
    Nothing,
}

// === impl Answered ===

impl Answered {
    pub(super) fn ok(message: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, message.into())
    }

    pub(super) fn refused(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, message.into())
    }

    /// Nobody knows whether it was done; its identity tells later.
    pub(super) fn unknown(id: CommitId, message: String) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, message).of_unknown_end(id)
    }

    fn of_unknown_end(self, id: CommitId) -> Self {
        self.with("Stored", Value::Null).with("Id", id.to_string())
    }

    /// There is no table to speak of yet.
    pub(super) fn not_loaded(snapshot: &Snapshot) -> Self {
        let why = match &snapshot.view.condition {
            StoreCondition::Starting { trouble } => not_read(trouble.as_ref()),
            _ => "what was read is judged for the first time".to_owned(),
        };
        let message =
            format!("the table was not read from the store yet; try again; see status: {why}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    fn new(status: StatusCode, message: String) -> Self {
        let word = if status.is_success() { "OK" } else { "NOK" };
        let mut fields = Map::new();
        fields.insert("Status".into(), word.into());
        fields.insert("Message".into(), message.into());
        Self { status, fields }
    }

    /// Adds a field.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// Adds several fields; `Status` and `Message` stay as they are.
    pub(super) fn with_all(mut self, more: Map<String, Value>) -> Self {
        for (name, value) in more {
            self.fields.entry(name).or_insert(value);
        }
        self
    }

    /// With what became of something else that the call asked for too. The worse of the two decides.
    pub(super) fn and(self, other: Option<Self>, name: &str) -> Self {
        let Some(other) = other else { return self };
        let is_worse = self.status.is_success() && !other.status.is_success();
        let mut this = self.with(name, other.fields.clone());
        if is_worse {
            this.status = other.status;
            for name in ["Status", "Message"] {
                let value = other.fields.get(name).cloned();
                this.fields.insert(name.into(), value.unwrap_or_default());
            }
        }
        this
    }

    /// With something more that is worth saying.
    pub(super) fn warn(mut self, warning: Option<String>) -> Self {
        let Some(warning) = warning else { return self };
        let warnings = self
            .fields
            .entry("Warnings")
            .or_insert(Value::Array(Vec::new()));
        if let Some(all) = warnings.as_array_mut() {
            all.push(warning.into());
        }
        self
    }

    /// The object, for those who write it as text.
    pub(super) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// What was called, for the metrics: a dry run is none of the calls that change something.
    pub(super) fn operation(&self, called: &'static str) -> &'static str {
        match self.fields.contains_key("DryRun") {
            true => "dry_run",
            false => called,
        }
    }

    /// Whether it tells of success, in one word for the metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self.status {
            StatusCode::OK | StatusCode::ACCEPTED => "ok",
            StatusCode::BAD_GATEWAY => "partial",
            StatusCode::GATEWAY_TIMEOUT => "unknown",
            status if status.is_client_error() => "refused",
            _ => "failed",
        }
    }

    /// What the engine answered to a change. `done` says in words what was asked for.
    pub(super) fn change(
        answer: Result<Answer, ChangeError>,
        done: &str,
        warnings: &[ParamWarning],
        meanwhile: Meanwhile,
    ) -> Self {
        match answer {
            Ok(answer) => Self::changed(&answer, done, warnings, meanwhile),
            Err(error) => error.into(),
        }
    }

    fn changed(
        answer: &Answer,
        done: &str,
        warnings: &[ParamWarning],
        meanwhile: Meanwhile,
    ) -> Self {
        let missing: Vec<_> = answer
            .replicas
            .iter()
            .filter(|row| row.status != ReplicaStatus::Applied)
            .collect();
        let quorum = answer.wait == WaitFor::Quorum && answer.wait.is_met(&answer.replicas);
        let (status, message) = match (&answer.failure, missing.as_slice()) {
            _ if answer.wait == WaitFor::Nobody => (
                StatusCode::ACCEPTED,
                format!("{done} in the store; this replica and the others make it live next"),
            ),
            (_, missing) if quorum => (
                StatusCode::OK,
                format!(
                    "{done} on {} of {} replicas",
                    answer.replicas.len() - missing.len(),
                    answer.replicas.len()
                ),
            ),
            (Some(why), _) => (
                StatusCode::BAD_GATEWAY,
                format!(
                    "stored, and not live here: {why}; {} and this is tried again",
                    meanwhile.words()
                ),
            ),
            (None, []) => (StatusCode::OK, done.to_owned()),
            (None, missing) => (
                StatusCode::BAD_GATEWAY,
                format!(
                    "stored and live here; {} of {} replicas did not confirm in time; those that share the store follow it by themselves",
                    missing.len(),
                    answer.replicas.len()
                ),
            ),
        };
        let mut said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        if quorum && let Some(why) = &answer.failure {
            said.push(format!("it is not live here, and tried again: {why}"));
        }
        said.extend(remarks(&answer.conflicts, &answer.dead, answer.rules));
        if answer.commits > 1 {
            said.push(format!(
                "the change was too large for one commit and took {}",
                answer.commits
            ));
        }
        Self::new(status, message)
            .with("Stored", true)
            .with("Revision", revision(answer.revision))
            .with("Warnings", said)
            .with("Peers", answer.replicas.iter().map(row).collect::<Vec<_>>())
    }
}

impl Answered {
    /// What became of something that is stored here, and of what the other replicas were told of it.
    pub(super) fn of_replicas(
        done: &str,
        failure: Option<&str>,
        rows: &[ReplicaRow],
        who: WaitFor,
    ) -> Self {
        let missing = rows
            .iter()
            .filter(|row| row.status != ReplicaStatus::Applied);
        let missing = missing.count();
        let (status, message) = match failure {
            _ if !rows.is_empty() && who.is_met(rows) => (StatusCode::OK, done.to_owned()),
            Some(why) => (
                StatusCode::BAD_GATEWAY,
                format!("stored, and not live here: {why}"),
            ),
            None if missing == 0 => (StatusCode::OK, done.to_owned()),
            None => (
                StatusCode::BAD_GATEWAY,
                format!(
                    "stored and live here; {missing} of {} replicas did not confirm in time; they ask for it within a minute",
                    rows.len()
                ),
            ),
        };
        Self::new(status, message)
            .with("Stored", true)
            .with("Peers", rows.iter().map(row).collect::<Vec<_>>())
    }
}

// === impl Meanwhile ===

impl Meanwhile {
    pub(super) fn of(api: &Api) -> Self {
        match api.carrier.condition() {
            CarrierCondition::Running => Self::AsBefore,
            _ => Self::Nothing,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::AsBefore => "what ran before runs on",
            Self::Nothing => "HAProxy does not run",
        }
    }
}

impl From<ChangeError> for Answered {
    fn from(error: ChangeError) -> Self {
        let (status, commits) = match &error {
            ChangeError::Plan { commits, .. } => (StatusCode::CONFLICT, *commits),
            ChangeError::Overtaken | ChangeError::Unreadable { .. } => (StatusCode::CONFLICT, 0),
            ChangeError::Rejected { commits, .. } => (StatusCode::BAD_REQUEST, *commits),
            ChangeError::StoreRefused { commits, .. }
            | ChangeError::StoreDenied { commits, .. } => (StatusCode::FORBIDDEN, *commits),
            ChangeError::Unknown { commits, .. } => (StatusCode::GATEWAY_TIMEOUT, *commits),
            ChangeError::Lost => (StatusCode::INTERNAL_SERVER_ERROR, 0),
            ChangeError::Unable { commits, .. }
            | ChangeError::Unavailable { commits, .. }
            | ChangeError::Contended { commits, .. } => (StatusCode::SERVICE_UNAVAILABLE, *commits),
            ChangeError::Starting {
                trouble: Some(StoreTrouble::Denied(_)),
            } => (StatusCode::FORBIDDEN, 0),
            ChangeError::Starting { .. } | ChangeError::Busy | ChangeError::ShuttingDown => {
                (StatusCode::SERVICE_UNAVAILABLE, 0)
            }
        };
        let answered = Self::new(status, error.to_string());
        match &error {
            ChangeError::Unknown { id, .. } => answered.of_unknown_end(*id),
            ChangeError::Lost => answered.with("Stored", Value::Null),
            _ => answered.with("Stored", commits > 0),
        }
    }
}

impl From<FieldErrors> for Answered {
    fn from(refused: FieldErrors) -> Self {
        let status = match refused.kind {
            RefusalKind::NoRoute => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        let errors: Vec<Value> = refused
            .errors
            .iter()
            .map(|error| {
                json!({
                    "Parameter": error.parameter,
                    "Value": error.value,
                    "Problem": error.problem,
                    "Allowed": error.allowed,
                })
            })
            .collect();
        Self::new(status, format!("{refused}; nothing was changed"))
            .with("Stored", false)
            .with("Errors", errors)
    }
}

impl From<ParamsError> for Answered {
    fn from(error: ParamsError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            format!("{error}; nothing was changed"),
        )
        .with("Stored", false)
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        (self.status, Json(Value::Object(self.fields))).into_response()
    }
}

/// What is worth saying of routes that a change brings, and of how many rules there are with it.
pub(super) fn remarks(conflicts: &[Conflict], dead: &[DeadRoute], rules: usize) -> Vec<String> {
    let mut said: Vec<String> = conflicts.iter().map(conflict).collect();
    said.extend(dead.iter().map(|dead| {
        let (service, claim, excluded) = (&dead.service, &dead.claim, &dead.excluded);
        format!("{claim} of the service {service} can never match: it excludes {excluded} itself")
    }));
    if rules > MANY_RULES {
        said.push(format!(
            "every request walks {rules} rules of about 0.24 us each: routes with conditions, exclusions or matchers other than path and path_beg cost them"
        ));
    }
    said
}

/// A revision as an object, or null.
pub(super) fn revision(revision: Option<proxy_core::Revision>) -> Value {
    revision.map_or(Value::Null, |revision| {
        json!({
            "Epoch": revision.epoch.to_string(),
            "Number": revision.number,
            "Id": revision.id.to_string(),
        })
    })
}

fn conflict(conflict: &Conflict) -> String {
    let (claim, service, other) = (&conflict.claim, &conflict.service, &conflict.other);
    match conflict.outcome {
        ConflictOutcome::HidesOther => format!(
            "{claim} is also claimed by the service {other}, whose route can now never match: {service} comes first"
        ),
        ConflictOutcome::Hidden => format!(
            "{claim} is also claimed by the service {other}, which comes first: this route of {service} can never match"
        ),
        _ => format!(
            "{claim} is also claimed by the service {other}; the one with more conditions goes first"
        ),
    }
}

fn row(row: &ReplicaRow) -> Value {
    json!({
        "Address": row.address,
        "Instance": row.instance,
        "Status": row.status.word(),
        "Milliseconds": u64::try_from(row.took.as_millis()).unwrap_or(u64::MAX),
        "Reason": row.reason,
    })
}
