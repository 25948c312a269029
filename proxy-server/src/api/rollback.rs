//! `rollback`: the table of an earlier revision, as a new change that goes the way of every other.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{StatusCode, Uri},
};
use proxy_core::{Change, Params, RecordedChange, ServiceName, StoredTable};

use super::{
    Api,
    answer::{Answered, Meanwhile},
    dry_run::{Mode, tried},
    history::{missing, number},
    wait::{Manner, manner_of},
};
use crate::{engine::ChangeRequest, past::table_at};

pub(super) async fn rollback(State(api): State<Api>, uri: Uri) -> Answered {
    let run = run(&api, uri.query().unwrap_or_default()).await;
    let answered = run.unwrap_or_else(|refused| refused.with("Stored", false));
    api.metrics
        .change(answered.operation("rollback"), answered.outcome());
    answered
}

async fn run(api: &Api, query: &str) -> Result<Answered, Answered> {
    let mut params = Params::from_query(query)?;
    let Manner { wait, mode } = manner_of(api, &mut params)?;
    let wanted = params.get("revision").ok_or_else(|| missing("revision"))?;
    let wanted = number("revision", wanted)?;
    if !api.engine.snapshot().is_loaded() {
        return Err(Answered::not_loaded(&api.engine.snapshot()));
    }
    let view = api.store.view();
    let then = table_at(&*api.store, &view, wanted).await?;
    // Only what differs: what another replica changes meanwhile is its own business.
    let differing = then.changes_since(&view.stored);
    let changes = changes(differing, &view.stored)?;
    let count = changes.len();
    let request = ChangeRequest::restored(changes, wait);
    if mode == Mode::Tried {
        let answered = tried(api, request, &[]).await;
        return Ok(answered.with("RestoredRevision", wanted));
    }
    let answer = api.engine.change(request).await;
    let done = match count {
        0 => format!("the table is that of revision {wanted} already"),
        n => format!("the table of revision {wanted} is restored: {n} services changed"),
    };
    Ok(Answered::change(answer, &done, &[], Meanwhile::of(api))
        .with("RestoredRevision", wanted)
        .with("Wait", wait.who.word()))
}

/// The changes that make those documents so: removals first, as what they free (an ACL name) may be
/// used by what comes. What differs in nothing but who keeps it stays as it is.
fn changes(
    differing: BTreeMap<ServiceName, RecordedChange>,
    now: &StoredTable,
) -> Result<Vec<Change>, Answered> {
    let (mut removals, mut puts, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (name, change) in differing {
        match change.after.as_deref().map(proxy_core::Document::service) {
            None => removals.push(Change::Remove(name)),
            Some(Ok(service)) => {
                // What is held of a service that is lost or cannot be read is not what is stored.
                let there = now.service(&name);
                let there = there.filter(|_| !now.degraded().contains_key(&name));
                if !there.is_some_and(|there| there.says_the_same_as(service)) {
                    // It is the operator's word, and stands as such.
                    let service = Arc::clone(service).said_by_an_operator();
                    puts.push(Change::Put(service));
                }
            }
            Some(Err(problem)) => problems.push(problem.to_string()),
        }
    }
    if !problems.is_empty() {
        let message = format!("{}; nothing was changed", problems.join("; "));
        return Err(Answered::refused(StatusCode::CONFLICT, message));
    }
    removals.append(&mut puts);
    Ok(removals)
}
