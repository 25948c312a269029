//! `import`: the table becomes what a file says, as one change: what the file lacks is removed.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri},
};
use proxy_core::{Change, Params, RawConfig, ServiceName};

use super::{
    Api,
    answer::{Answered, Meanwhile},
    dry_run::{Mode, tried},
    export::{EXPORT_FORMAT, Export},
    request::Whole,
    wait::{Manner, manner_of},
};
use crate::engine::ChangeRequest;

pub(super) async fn import(State(api): State<Api>, uri: Uri, Whole(body): Whole) -> Answered {
    let answered = run(&api, &uri, &body).await;
    api.metrics
        .change(answered.operation("import"), answered.outcome());
    answered
}

async fn run(api: &Api, uri: &Uri, body: &Bytes) -> Answered {
    let mut params = match Params::from_query(uri.query().unwrap_or_default()) {
        Ok(params) => params,
        Err(error) => return error.into(),
    };
    let Manner { wait, mode } = match manner_of(api, &mut params) {
        Ok(manner) => manner,
        Err(refused) => return refused,
    };
    let wanted = match read(body, api.raw) {
        Ok(wanted) => wanted,
        Err(message) => {
            let message = format!("{message}; nothing was changed");
            return Answered::refused(StatusCode::BAD_REQUEST, message).with("Stored", false);
        }
    };
    let count = wanted.len();
    let changes = wanted.into_values().collect();
    let request = ChangeRequest::whole(changes, wait);
    if mode == Mode::Tried {
        return tried(api, request, &[]).await;
    }
    let answer = api.engine.change(request).await;
    Answered::change(
        answer,
        &format!("the table is the file's: {count} services"),
        &[],
        Meanwhile::of(api),
    )
}

/// Every service of the file, or everything that is wrong with it.
fn read(body: &[u8], raw_text: RawConfig) -> Result<BTreeMap<ServiceName, Change>, String> {
    let export: Export = serde_json::from_slice(body)
        .map_err(|problem| format!("the body is not what export gives: {problem}"))?;
    if export.format != EXPORT_FORMAT {
        return Err(format!(
            "the file has format {}; this release reads {EXPORT_FORMAT}",
            export.format
        ));
    }
    let mut wanted = BTreeMap::new();
    let mut problems = Vec::new();
    for document in export.services {
        match document.service() {
            Ok(service) => {
                let raw = service.options().raw_parameters();
                if raw_text == RawConfig::Refused && !raw.is_empty() {
                    problems.push(format!(
                        "the service {} holds raw HAProxy text ({}), which is switched off here (ALLOW_RAW_CONFIG=false)",
                        document.name(),
                        raw.join(", ")
                    ));
                }
                let change = Change::Put(Arc::clone(service));
                if wanted.insert(document.name().clone(), change).is_some() {
                    problems.push(format!("the service {} occurs twice", document.name()));
                }
            }
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    match problems.is_empty() {
        true => Ok(wanted),
        false => Err(problems.join("; ")),
    }
}
