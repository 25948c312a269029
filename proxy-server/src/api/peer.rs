//! What replicas tell each other. Not for people; the format may change with any release, and a
//! replica that does not understand another's announcement follows the store all the same.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use proxy_core::{Revision, ServiceName, ViewSeq};
use proxy_peers::Realm;

use super::{Api, answer::Answered};
use crate::{
    announce::{Announcement, INSTANCE_HEADER, MOST_WAIT, PeerAnswer},
    chain::chain,
    store::{self, RegisterCall, ReplicatedStore},
};

/// What is left of the caller's wait for its own way back.
const WAY_BACK: Duration = Duration::from_millis(500);

pub(super) async fn announce(
    State(api): State<Api>,
    uri: Uri,
    headers: HeaderMap,
    Json(announcement): Json<Announcement>,
) -> Response {
    let me = api.instance.as_str();
    // A signature is over the query; the header is all that a release before that says.
    let header = headers
        .get(INSTANCE_HEADER)
        .and_then(|from| from.to_str().ok());
    let from = Realm::caller(uri.query()).or(header);
    let outcome = if from == Some(me) {
        // Discovery names this replica too; it has applied the change before it told anyone.
        Ok(())
    } else {
        let wait = announcement.wait(api.wait_timeout, MOST_WAIT);
        let wait = wait.saturating_sub(WAY_BACK);
        let reach = announcement.reach;
        let taken = async {
            match &api.registers {
                None if announcement.is_among_replicas() => Err(format!(
                    "it shares a store (CONSUL_ADDRESS) and the caller does not; {SAME_STORE}"
                )),
                None => follow(&api, announcement).await,
                Some(_) if announcement.is_of_a_store() => Err(format!(
                    "it shares no store and the caller does (CONSUL_ADDRESS); {SAME_STORE}"
                )),
                Some(store) => hear(&api, store, announcement).await,
            }
        };
        let taken = tokio::time::timeout(wait, taken).await;
        taken.unwrap_or_else(|_| Err(late(&api, reach)))
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
    named(&api, (status, Json(answer)))
}

/// What to do about replicas that do not keep their table in the same way.
const SAME_STORE: &str = "give all replicas of one proxy the same CONSUL_ADDRESS";

/// Why what was announced was not live here in time.
fn late(api: &Api, reach: Option<Revision>) -> String {
    let own = api.store.view().revision;
    match (reach, own) {
        (Some(reach), Some(own)) if reach.epoch != own.epoch && api.registers.is_none() => {
            format!(
                "it holds another history than the caller: epoch {} in place of {}. Either one of them has not seen yet that the store was restored, or they have different stores, and are two proxies with one PROXY_INSTANCE_NAME; {SAME_STORE}",
                own.epoch, reach.epoch
            )
        }
        _ => "not live here in time; it goes on".to_owned(),
    }
}

/// Replicas without a shared store compare what they hold.
pub(super) async fn registers(State(api): State<Api>, Json(call): Json<RegisterCall>) -> Response {
    let Some(store) = &api.registers else {
        let message = "this replica has a shared store (CONSUL_ADDRESS) and the caller has none: give all replicas of one proxy the same; nothing was changed";
        return named(&api, Answered::refused(StatusCode::CONFLICT, message));
    };
    match store::answer(store, call).await {
        Ok(answer) => named(&api, Json(answer)),
        Err(error) => {
            let message = format!("{}; what is held and served is what it was", chain(&error));
            named(
                &api,
                Answered::refused(StatusCode::INTERNAL_SERVER_ERROR, message),
            )
        }
    }
}

/// An answer that names this replica.
pub(super) fn named(api: &Api, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Ok(me) = HeaderValue::from_str(api.instance.as_str()) {
        response.headers_mut().insert(INSTANCE_HEADER, me);
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
    serve(api, wanted, &names).await
}

/// Waits until a view is live here with all of these services.
async fn serve(api: &Api, view: ViewSeq, names: &BTreeSet<ServiceName>) -> Result<(), String> {
    let served = api
        .engine
        .served(view)
        .await
        .map_err(|why| why.to_string())?;
    match names.iter().find_map(|name| served.held_back(name)) {
        Some(why) => Err(why),
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

/// Without one: what is told is taken in, and what was too much to tell is asked for.
async fn hear(
    api: &Api,
    store: &ReplicatedStore,
    announcement: Announcement,
) -> Result<(), String> {
    let heard = store.hear(announcement.registers).await;
    let heard = heard.map_err(|error| chain(&error))?;
    if let Some(why) = heard.left_out {
        // It will not come by itself.
        return Err(chain(&why));
    }
    let covering = store.covering(&announcement.stamps).await;
    let names = announcement.stamps.into_keys().collect();
    serve(api, heard.view.max(covering), &names).await
}

/// Replicas tell each other their certificates, sealed.
pub(super) async fn certificates(State(api): State<Api>, body: Bytes) -> Response {
    let (exchange, engine) = (Arc::clone(&api.exchange), api.engine.clone());
    let answer = async move { exchange.answer(&body, &engine).await };
    match api.works.run(answer).await {
        Ok(Ok(sealed)) => named(&api, sealed),
        Ok(Err(error)) => {
            let answered = Answered::refused(StatusCode::CONFLICT, error.to_string());
            named(&api, answered)
        }
        Err(error) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            named(&api, Answered::refused(status, error.to_string()))
        }
    }
}
