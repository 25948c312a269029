//! What replicas tell each other. Not for people; the format may change with any release, and a
//! replica that does not understand another's announcement follows the store all the same.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use proxy_core::{Change, Revision};

use super::Api;
use crate::{
    announce::{Announcement, INSTANCE_HEADER, MOST_WAIT, PeerAnswer, Sharing},
    chain::chain,
    engine::{ChangeRequest, Wait},
};

/// What is left of the caller's wait for its own way back.
const WAY_BACK: Duration = Duration::from_millis(500);

pub(super) async fn announce(
    State(api): State<Api>,
    headers: HeaderMap,
    Json(announcement): Json<Announcement>,
) -> Response {
    let me = api.instance.as_str();
    let outcome = if headers.get(INSTANCE_HEADER).is_some_and(|from| from == me) {
        // Discovery names this replica too; it has applied the change before it told anyone.
        Ok(())
    } else {
        let wait = announcement.wait(api.wait_timeout, MOST_WAIT);
        let wait = wait.saturating_sub(WAY_BACK);
        let taken = match api.sharing {
            Sharing::Shared => tokio::time::timeout(wait, follow(&api, announcement)).await,
            Sharing::Own => tokio::time::timeout(wait, repeat(&api, announcement)).await,
        };
        taken.unwrap_or_else(|_| Err("not live here in time; it goes on".to_owned()))
    };
    let status = match outcome {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let answer = PeerAnswer {
        instance: api.instance.clone(),
        revision: api.engine.snapshot().revision(),
        reason: outcome.err(),
    };
    let mut response = (status, Json(answer)).into_response();
    if let Ok(me) = HeaderValue::from_str(me) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(INSTANCE_HEADER), me);
    }
    response
}

/// With a shared store: what is told is offered to the store, which settles it.
async fn follow(api: &Api, announcement: Announcement) -> Result<(), String> {
    let mut wanted = api.engine.snapshot().view.seq;
    let records = announcement.records.iter();
    let mut names: BTreeSet<_> = records
        .flat_map(|record| record.services.keys().cloned())
        .collect();
    names.extend(announcement.names);
    for record in announcement.records {
        let offered = api.store.offer(Arc::unwrap_or_clone(record)).await;
        wanted = wanted.max(offered.map_err(|error| chain(&error))?);
    }
    if let Some(reach) = announcement.reach {
        wanted = wanted.max(reached(api, &reach).await);
    }
    let served = api
        .engine
        .served(wanted)
        .await
        .map_err(|why| why.to_string())?;
    match names.iter().find_map(|name| served.quarantined.get(name)) {
        Some(held) => Err(format!("it is quarantined: {}", held.why)),
        None => Ok(()),
    }
}

/// Waits until the store has shown a revision or a later one.
async fn reached(api: &Api, reach: &Revision) -> proxy_core::ViewSeq {
    let mut view = api.store.view();
    while !view.revision.is_some_and(|at| at.reaches(reach)) {
        view = api.store.changed(view.seq).await;
    }
    view.seq
}

/// With a store of its own: the change is made here as if a caller had asked for it.
async fn repeat(api: &Api, announcement: Announcement) -> Result<(), String> {
    let mut changes = Vec::new();
    for (name, document) in announcement.repeated {
        changes.push(match document {
            Some(document) => {
                let service = document.service().map_err(ToString::to_string)?;
                Change::Put(Arc::clone(service))
            }
            None => Change::Remove(name),
        });
    }
    let request = ChangeRequest::new(changes, Wait::here());
    let answer = api
        .engine
        .change(request)
        .await
        .map_err(|error| error.to_string())?;
    match answer.failure {
        Some(why) => Err(why.to_string()),
        None => Ok(()),
    }
}
