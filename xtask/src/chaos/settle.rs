//! After the last fault: every replica comes to one table, serves it, and it is one that the calls
//! can have made.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use testkit::haproxy::serving_masters_of;
use testkit::topology::Replica;
use tokio::time::{sleep, timeout};

use super::clients::{SERVICES, service, services};
use super::history::{Call, History, Outcome, Value, Wish, paths};
use super::judge::{judge_answers, judge_end, judge_sights};
use super::stage::Stage;

/// Within this all replicas have one table, after the last fault.
pub(super) const PROMISE: Duration = Duration::from_secs(10);
/// How long is waited beyond, to tell late from never.
const AT_LAST: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);
const LOOK_DEADLINE: Duration = Duration::from_secs(2);
/// How often the end is looked at before it must stand still.
const LOOKS_AT_END: usize = 10;
/// Paths that must not be served, tried per service and replica: the latest.
const GONE_TRIED: usize = 12;

/// Waits until all replicas say the same. Gives where they stand then.
pub(super) async fn converge(stage: &Stage) -> Result<Json, String> {
    let start = Instant::now();
    loop {
        match agreed(stage).await {
            Ok(stand) => return Ok(stand),
            Err(why) if start.elapsed() > AT_LAST => {
                return Err(format!("no common table within {AT_LAST:?}: {why}"));
            }
            Err(_) => sleep(LOOK).await,
        }
    }
}

async fn agreed(stage: &Stage) -> Result<Json, String> {
    let mut first: Option<(Json, String)> = None;
    for (number, replica) in stage.topology.replicas.iter().enumerate() {
        let whole = standing(replica).await;
        let whole = whole.map_err(|why| format!("replica {}: {why}", number + 1))?;
        match &first {
            None => first = Some(whole),
            Some(first) if *first == whole => {}
            Some(first) => {
                return Err(format!(
                    "replica 1 stands at {} and replica {} at {}",
                    first.0,
                    number + 1,
                    whole.0
                ));
            }
        }
    }
    first
        .map(|(stand, _)| stand)
        .ok_or_else(|| "there is no replica".to_owned())
}

/// Where a replica stands and its table, if all is well there.
async fn standing(replica: &Replica) -> Result<(Json, String), String> {
    let status = ask(replica, "status").await?;
    let status: Json = serde_json::from_str(&status).map_err(|why| why.to_string())?;
    let empty = |name: &str| {
        status.get(name).is_some_and(|held| {
            held.is_null() || held.as_object().is_some_and(serde_json::Map::is_empty)
        })
    };
    let well = status.get("Stale") == Some(&Json::Bool(false))
        && status.pointer("/Haproxy/Condition") == Some(&Json::from("running"))
        && ["Failure", "Quarantined", "Degraded"]
            .into_iter()
            .all(empty);
    if !well {
        return Err(status.to_string());
    }
    let id = status.pointer("/Revision").cloned().unwrap_or_default();
    let table = ask(replica, "export").await?;
    if !table.contains(id.get("Id").and_then(Json::as_str).unwrap_or("?")) {
        return Err(format!("status says {id} and the table is another already"));
    }
    Ok((id, table))
}

async fn ask(replica: &Replica, what: &str) -> Result<String, String> {
    let answer = timeout(LOOK_DEADLINE, replica.call(what)).await;
    let answer = answer.map_err(|_| format!("{what}: no answer"))?;
    let answer = answer.map_err(|why| format!("{what}: {why}"))?;
    match answer.status {
        200 => Ok(answer.text),
        _ => Err(format!("{what}: {} {}", answer.status, answer.text)),
    }
}

/// Asks what became of the calls whose answer named a commit and no outcome. The replica that made
/// it can tell for certain, as long as it lives; another one only that it is stored, if it is.
pub(super) async fn settle_lost(stage: &Stage, history: &History) -> Vec<String> {
    let lost: Vec<_> = history
        .events()
        .calls
        .iter()
        .filter_map(|call| Some((call.id, call.replica, call.life, call.commit.clone()?)))
        .collect();
    let mut objections = Vec::new();
    for (id, maker, life, commit) in lost {
        let Ok(replica) = stage.replica(maker) else {
            continue;
        };
        let answer = ask(replica, &format!("status?id={commit}")).await;
        let stored = answer.as_ref().ok().and_then(|text| {
            let json: Json = serde_json::from_str(text).ok()?;
            json.pointer("/Outcome/Stored")?.as_bool()
        });
        let Some(stored) = stored else {
            if life == Some(stage.lives.get(maker)) {
                objections.push(format!("what became of call {id} is not known: {answer:?}"));
            }
            continue;
        };
        let now = history.now();
        let mut events = history.events();
        if let Some(call) = events.calls.iter_mut().find(|call| call.id == id) {
            call.commit = None;
            call.said = format!("{}; and later: stored = {stored}", call.said);
            if stored {
                // When it was stored is not known, only that it is.
                (call.outcome, call.ended) = (Outcome::Stored, now);
            } else {
                call.outcome = Outcome::Refused;
            }
        }
    }
    objections
}

/// Checks what was answered and seen on the way, since the last time.
pub(super) fn judge_way(history: &History) -> Vec<String> {
    let (calls, sights) = {
        let mut events = history.events();
        let sights = std::mem::take(&mut events.sights);
        (events.calls.clone(), sights)
    };
    let mut objections = judge_answers(&calls);
    objections.extend(judge_sights(&calls, &sights));
    objections
}

/// Checks the end against the history. What a caller gave up on may still be under way: it is looked
/// at again where the table moved meanwhile.
pub(super) async fn judge_end_of(stage: &Stage, history: &History, stand: Json) -> Vec<String> {
    let mut before = stand;
    for _ in 0..LOOKS_AT_END {
        let objections = look_at_end(stage, history).await;
        match converge(stage).await {
            Ok(after) if after == before => return objections,
            Ok(after) => before = after,
            Err(why) => return vec![why],
        }
    }
    vec!["the table goes on moving although nobody calls".to_owned()]
}

/// On every replica what it says, and what it serves.
async fn look_at_end(stage: &Stage, history: &History) -> Vec<String> {
    let calls = history.events().calls.clone();
    let mut objections = Vec::new();
    for (number, replica) in stage.topology.replicas.iter().enumerate() {
        let here = |why: String| format!("replica {}: {why}", number + 1);
        let Some(all) = services(replica.api()).await else {
            objections.push(here("it does not say what it serves".to_owned()));
            continue;
        };
        let ends: Vec<_> = (0..SERVICES)
            .map(service)
            .map(|name| (Value::read(all.get(&name)), name))
            .map(|(value, name)| (name, value))
            .collect();
        objections.extend(judge_end(&calls, &ends).into_iter().map(here));
        objections.extend(served(replica, &calls, &ends).await.into_iter().map(here));
        objections.extend(on_disk(replica).await.into_iter().map(here));
    }
    objections
}

/// Asks HAProxy itself, for what should be there and for what should not.
async fn served(replica: &Replica, calls: &[Call], ends: &[(String, Value)]) -> Vec<String> {
    let mut objections = Vec::new();
    for (name, value) in ends {
        let current = match value {
            Value::Of(id) => Some(*id),
            _ => None,
        };
        let others = calls.iter().rev().filter(|call| {
            call.service == *name && call.wish != Wish::Remove && Some(call.id) != current
        });
        let there = current.into_iter().flat_map(paths).map(|path| (path, 200));
        let gone = others.take(GONE_TRIED).flat_map(|call| paths(call.id));
        for (path, status) in there.chain(gone.map(|path| (path, 404))) {
            match replica.request(&path).await {
                Ok(answer) if answer.status == status => {}
                other => objections.push(format!(
                    "HAProxy should answer {path} of {name} with {status}: {other:?}"
                )),
            }
        }
    }
    objections
}

/// What is live stands on disk, and one HAProxy runs it.
async fn on_disk(replica: &Replica) -> Vec<String> {
    let mut objections = Vec::new();
    let file = fs::read_to_string(replica.home().join("cfg/haproxy.cfg"));
    match (file, ask(replica, "config").await) {
        (Ok(file), Ok(live)) if file == live => {}
        (file, live) => objections.push(format!(
            "haproxy.cfg is not what is live:\n{}\n--- live:\n{}",
            file.unwrap_or_else(|why| why.to_string()),
            live.unwrap_or_else(|why| why),
        )),
    }
    let end = Instant::now() + PROMISE;
    loop {
        let masters = serving_masters_of(replica.home());
        match masters.len() {
            1 => return objections,
            _ if Instant::now() < end => sleep(LOOK).await,
            _ => {
                objections.push(format!("HAProxy masters: {masters:?}"));
                return objections;
            }
        }
    }
}
