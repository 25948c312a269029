//! `import`: the table becomes what a file says, as one change: what the file lacks is removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    let (wanted, missing) = wanted;
    let count = wanted.len();
    let changes = wanted.into_values().collect();
    let left = (!missing.is_empty()).then(|| {
        let names: Vec<&str> = missing.iter().map(ServiceName::as_str).collect();
        format!(
            "where the file comes from these could not be read, so what is stored of them is left as it is: {}",
            names.join(", ")
        )
    });
    let request = ChangeRequest::whole(changes, wait).sparing(missing);
    if mode == Mode::Tried {
        return tried(api, request, &[]).await.warn(left);
    }
    let answer = api.engine.change(request).await;
    let done = format!("the table is the file's: {count} services");
    Answered::change(answer, &done, &[], Meanwhile::of(api)).warn(left)
}

/// What a file asks for: its services, and those that it says it lacks.
type Read = (BTreeMap<ServiceName, Change>, BTreeSet<ServiceName>);

/// Every service of the file, or everything that is wrong with it.
fn read(body: &[u8], raw_text: RawConfig) -> Result<Read, String> {
    let export: Export = serde_json::from_slice(body)
        .map_err(|problem| format!("the body is not what export gives: {problem}"))?;
    if export.format != EXPORT_FORMAT {
        return Err(format!(
            "the file has format {}; this release reads {EXPORT_FORMAT}",
            export.format
        ));
    }
    let missing = export.missing().cloned().collect();
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
        true => Ok((wanted, missing)),
        false => Err(problems.join("; ")),
    }
}
