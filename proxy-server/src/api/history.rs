//! `history` and `diff`: what changed, when, and by which replica.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use proxy_core::{CommitRecord, Document, HistoryError, Params, RecordedChange, ServiceName};
use serde_json::{Map, Value, json};

use super::{
    Api,
    answer::{Answered, revision},
    text::{Form, plain, table},
};
use crate::{
    chain::chain,
    past::{PastError, table_at},
};

/// Commits in one answer: unless another number is given, at most, and at most with documents,
/// which may be half a megabyte a commit.
const USUAL: usize = 20;
pub(super) const MOST: usize = 200;
pub(super) const MOST_FULL: usize = 50;
/// Commits that are read at a time while those of one service are looked for.
const PAGE: usize = 64;
/// The most services that a diff lists.
const MOST_DIFFERING: usize = 1_000;

pub(super) async fn history(State(api): State<Api>, uri: Uri) -> Response {
    let asked = match Asked::read(uri.query().unwrap_or_default()) {
        Ok(_) if !api.engine.snapshot().is_loaded() => {
            return Answered::not_loaded(&api.engine.snapshot()).into_response();
        }
        Ok(asked) => asked,
        Err(refused) => return refused.into_response(),
    };
    match (asked.commits(&api).await, asked.form) {
        (Err(error), _) => Answered::from(error).into_response(),
        (Ok(commits), Form::Json) => {
            let rows: Vec<Value> = commits.iter().map(|it| described(it, asked.full)).collect();
            Answered::ok(format!("{} commits, newest first", rows.len()))
                .with("Commits", rows)
                .into_response()
        }
        (Ok(commits), Form::Text) => plain(StatusCode::OK, as_text(&commits)),
    }
}

/// What of the history somebody asks for.
struct Asked {
    limit: usize,
    before: Option<u64>,
    service: Option<ServiceName>,
    full: bool,
    form: Form,
}

// === impl Asked ===

impl Asked {
    fn read(query: &str) -> Result<Self, Answered> {
        let params = Params::from_query(query)?;
        let full = match params.get("full") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(refused("full", other, "true or false")),
        };
        let most = if full { MOST_FULL } else { MOST };
        let limit = match params.get("limit") {
            None => USUAL.min(most),
            Some(text) => match text.parse() {
                Ok(limit) if (1..=most).contains(&limit) => limit,
                _ => return Err(refused("limit", text, &format!("1 to {most}"))),
            },
        };
        let before = params.get("before").map(|text| number("before", text));
        let service = params.get("service").map(|text| {
            text.parse()
                .map_err(|_| refused("service", text, "the name of a service"))
        });
        Ok(Self {
            limit,
            before: before.transpose()?,
            service: service.transpose()?,
            full,
            form: Form::of(&params)?,
        })
    }

    /// The commits that are asked for, newest first.
    async fn commits(&self, api: &Api) -> Result<Vec<Arc<CommitRecord>>, PastError> {
        let Some(service) = &self.service else {
            return Ok(api.store.history(self.before, self.limit).await?);
        };
        let (mut found, mut before) = (Vec::new(), self.before);
        loop {
            let page = api.store.history(before, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            let next = last.revision.number;
            for record in page {
                let touched = record.services.get(service).is_some_and(changed);
                if touched && found.len() < self.limit {
                    found.push(record);
                }
            }
            // Numbers that do not fall would be a loop without an end.
            if found.len() == self.limit || before.is_some_and(|before| next >= before) {
                return Ok(found);
            }
            before = Some(next);
        }
    }
}

fn changed(change: &RecordedChange) -> bool {
    change.before != change.after
}

fn kind(change: &RecordedChange) -> &'static str {
    match (&change.before, &change.after) {
        (None, Some(_)) => "added",
        (_, None) => "removed",
        (Some(_), Some(_)) => "replaced",
    }
}

fn described(record: &CommitRecord, full: bool) -> Value {
    let changes = record.services.iter().filter(|(_, change)| changed(change));
    let services: Vec<Value> = changes
        .map(|(name, change)| service(name, change, full))
        .collect();
    json!({
        "Revision": revision(Some(record.revision)),
        "At": at(record),
        "Origin": record.origin.as_str(),
        "Services": services,
    })
}

fn service(name: &ServiceName, change: &RecordedChange, full: bool) -> Value {
    let mut fields = Map::new();
    fields.insert("ServiceName".into(), name.as_str().into());
    fields.insert("Change".into(), kind(change).into());
    if full {
        let shown = |document: &Option<Arc<Document>>| document.as_ref().map(|it| it.shown());
        fields.insert("Before".into(), json!(shown(&change.before)));
        fields.insert("After".into(), json!(shown(&change.after)));
    }
    Value::Object(fields)
}

/// When the origin's clock said it was.
fn at(record: &CommitRecord) -> Option<String> {
    let since = Duration::from_millis(record.at_unix_ms);
    let time = std::time::UNIX_EPOCH.checked_add(since)?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}

fn as_text(commits: &[Arc<CommitRecord>]) -> String {
    let row = |record: &Arc<CommitRecord>| {
        let changes = record.services.iter().filter(|(_, change)| changed(change));
        let services: Vec<_> = changes
            .map(|(name, change)| format!("{} {name}", kind(change)))
            .collect();
        vec![
            record.revision.number.to_string(),
            at(record).unwrap_or_default(),
            record.origin.to_string(),
            services.join(", "),
        ]
    };
    let rows: Vec<_> = commits.iter().map(row).collect();
    table(&["REVISION", "AT", "FROM", "SERVICES"], &rows)
}

/// What changed between two revisions.
pub(super) async fn diff(State(api): State<Api>, uri: Uri) -> Response {
    match differing(&api, uri.query().unwrap_or_default()).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

async fn differing(api: &Api, query: &str) -> Result<Response, Answered> {
    let params = Params::from_query(query)?;
    let form = Form::of(&params)?;
    let from = params.get("from").ok_or_else(|| missing("from"))?;
    let from = number("from", from)?;
    let to = params
        .get("to")
        .map(|text| number("to", text))
        .transpose()?;
    if !api.engine.snapshot().is_loaded() {
        return Err(Answered::not_loaded(&api.engine.snapshot()));
    }
    let view = api.store.view();
    let to = to.or(view.revision.map(|it| it.number)).unwrap_or(0);
    let older = table_at(&*api.store, &view, from).await?;
    let newer = table_at(&*api.store, &view, to).await?;
    let changes = newer.changes_since(&older);
    let shown = || changes.iter().take(MOST_DIFFERING);
    let left_out = changes.len().saturating_sub(MOST_DIFFERING);
    let message = format!(
        "{} services differ between revision {from} and {to}",
        changes.len()
    );
    if form == Form::Text {
        let mut text = format!("{message}\n");
        for (name, change) in shown() {
            let (sign, lines) = match kind(change) {
                "added" => ('+', [None, change.after.as_ref()]),
                "removed" => ('-', [change.before.as_ref(), None]),
                _ => ('~', [change.before.as_ref(), change.after.as_ref()]),
            };
            text.push_str(&format!("{sign} {name}\n"));
            for (sign, document) in ["-", "+"].into_iter().zip(lines) {
                let shown = document.map(|document| document.shown());
                text.extend(shown.map(|shown| format!("    {sign} {shown}\n")));
            }
        }
        return Ok(plain(StatusCode::OK, text));
    }
    let services: Vec<_> = shown().map(|(name, it)| service(name, it, true)).collect();
    Ok(Answered::ok(message)
        .with("From", from)
        .with("To", to)
        .with("Services", services)
        .with("LeftOut", left_out)
        .into_response())
}

/// The number of a revision.
pub(super) fn number(parameter: &str, text: &str) -> Result<u64, Answered> {
    let allowed = "the number of a revision, as history shows it";
    text.parse().map_err(|_| refused(parameter, text, allowed))
}

pub(super) fn missing(parameter: &str) -> Answered {
    let message = format!(
        "{parameter}: it is missing; allowed: the number of a revision, as history shows it; nothing was changed"
    );
    Answered::refused(StatusCode::BAD_REQUEST, message)
}

fn refused(parameter: &str, value: &str, allowed: &str) -> Answered {
    let value: String = value.chars().take(80).collect();
    let message =
        format!("{parameter}: {value:?} is not allowed; allowed: {allowed}; nothing was changed");
    Answered::refused(StatusCode::BAD_REQUEST, message)
}

impl From<PastError> for Answered {
    fn from(error: PastError) -> Self {
        let status = match &error {
            PastError::Unknown { .. } => StatusCode::NOT_FOUND,
            PastError::Gone { .. } => StatusCode::GONE,
            PastError::History(HistoryError::NotKept) => StatusCode::NOT_IMPLEMENTED,
            PastError::Moved | PastError::History(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let message = format!("{}; nothing was changed", chain(&error));
        let answered = Self::refused(status, message);
        match error {
            PastError::Gone { oldest, .. } => answered.with("Oldest", oldest),
            PastError::Unknown { newest, .. } => answered.with("Newest", newest),
            _ => answered,
        }
    }
}
