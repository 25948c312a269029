//! Lists that are right, short, wrong and gone, against an engine with a scripted carrier.

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::Ordering::SeqCst},
};

use proxy_core::{Change, MemoryStore, Revision, RouteStore, Service, ServiceName};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Respond, ResponseTemplate,
    matchers::{method, path},
};

use super::*;
use crate::{
    engine::{Engine, Parts},
    settings::{MapSource, Settings},
    testing::{Notes, Scripted, newer, put, store},
};

mod bench;
mod denied;
mod lacking;
mod refused;

pub(super) use bench::*;

#[tokio::test]
async fn services_of_the_environment_are_one_reload_and_a_bad_one_hurts_no_other() {
    let bench = Bench::new().await;
    let before = bench.carrier.reloads.load(SeqCst);
    let settings = [
        ("DFP_SERVICE_SERVICE_NAME", "plain"),
        ("DFP_SERVICE_SERVICE_PATH_1", "/plain"),
        ("DFP_SERVICE_PORT_1", "8080"),
        ("DFP_SERVICE_1_SERVICE_NAME", "one"),
        ("DFP_SERVICE_1_SERVICE_PATH", "/one"),
        ("DFP_SERVICE_1_PORT", "81"),
        ("DFP_SERVICE_2_SERVICE_NAME", "no-port"),
        ("DFP_SERVICE_2_SERVICE_PATH", "/two"),
        // A gap.
        ("DFP_SERVICE_7_SERVICE_NAME", "seven"),
        ("DFP_SERVICE_7_SERVICE_DOMAIN", "acme.com"),
        ("DFP_SERVICE_7_PORT", "87"),
    ];
    bench.start(&settings);
    let all = [("one", 81), ("plain", 8080), ("seven", 87)];
    let all: BTreeMap<String, u16> = all.map(|(name, port)| (name.to_owned(), port)).into();
    bench.until(|services| *services == all).await;
    assert_eq!(bench.carrier.reloads.load(SeqCst), before + 1);
    assert_eq!(bench.source("one"), Some(Source::Environment));

    // Another replica, or the next start, changes nothing.
    let revision = bench.revision();
    bench.start(&settings);
    bench.engine.change(request(put("after"))).await.unwrap();
    assert_eq!(
        bench.revision().unwrap().number,
        revision.unwrap().number + 1
    );
}

#[tokio::test]
async fn what_vanished_from_the_listeners_list_is_removed_and_nothing_else_ever() {
    let bench = Bench::new().await;
    bench.engine.change(request(put("by-hand"))).await.unwrap();
    let script = Script::default();
    let (a, b) = (entry("a"), entry("b"));
    let both = list(&[a.clone(), b]);
    script.say([both.clone()]);
    let server = listener(&script).await;
    bench.start(&[
        ("LISTENER_ADDRESS", &server.uri()),
        ("REPEAT_RELOAD", "true"),
        ("RELOAD_INTERVAL", "100"),
    ]);
    bench.until(|services| services.len() == 3).await;
    assert_eq!(bench.source("a"), Some(Source::Listener));
    assert_eq!(bench.source("by-hand"), None);

    // Empty, broken, refused, without a name: nothing may go, not even for a moment.
    let revision = bench.revision();
    let nameless = list(&[json!({ "servicePath": "/x" })]);
    let short = list(&[a]);
    let half = ResponseTemplate::new(200).set_body_string(r#"[{"serviceName":"a""#);
    let not_there = ResponseTemplate::new(503);
    for bad in [list(&[]), half, not_there, nameless] {
        script.say([bad.clone(), bad.clone(), bad.clone(), bad, both.clone()]);
        script.asked(6).await;
        assert_eq!(bench.revision(), revision);
    }
    // Nor may it with two short lists in a row.
    let twice = [short.clone(), short.clone(), both.clone()];
    script.say(twice.clone().into_iter().chain(twice));
    script.asked(8).await;
    assert_eq!(bench.revision(), revision);
    // A list that could not be read parts those before from those after.
    script.say([
        short.clone(),
        short.clone(),
        ResponseTemplate::new(500),
        short.clone(),
        short.clone(),
        both.clone(),
    ]);
    script.asked(8).await;
    assert_eq!(bench.revision(), revision);
    assert_eq!(bench.names(), ["a", "b", "by-hand"]);

    script.say([both.clone()]);
    script.asked(3).await;
    assert_eq!(
        bench.revision(),
        revision,
        "what is so already is no change"
    );

    script.say([short]);
    bench.until(|services| !services.contains_key("b")).await;
    assert_eq!(bench.names(), ["a", "by-hand"]);
}

#[tokio::test]
async fn a_listener_says_what_has_no_replica_and_what_is_wrong_hurts_no_other() {
    let bench = Bench::new().await;
    bench.engine.change(request(put("by-hand"))).await.unwrap();
    let script = Script::default();
    let mut wrong = entry("wrong");
    wrong["port"] = "eighty".into();
    script.say([list(&[entry("a"), wrong.clone(), entry("b")])]);
    let server = listener(&script).await;
    let sources = bench.start(&[
        ("LISTENER_ADDRESS", &server.uri()),
        ("REPEAT_RELOAD", "true"),
        ("RELOAD_INTERVAL", "60000"),
    ]);
    bench.until(|services| services.len() == 3).await;
    assert_eq!(bench.names(), ["a", "b", "by-hand"]);

    // A list takes away what came from a list.
    let idle = ["a", "by-hand"].map(|name| {
        let mut idle = entry(name);
        idle["replicas"] = "0".into();
        idle
    });
    let [a, by_hand] = idle;
    script.say([list(&[a, by_hand, wrong, entry("b")])]);
    let told = sources.ask_listeners().await.unwrap();
    assert_eq!((told.listed, told.again, told.shortfall), (4, false, None));
    assert!(
        told.refused
            .first
            .keys()
            .next()
            .unwrap()
            .starts_with("wrong of")
    );
    assert_eq!(bench.names(), ["b", "by-hand"]);
    assert!(sources.listener_was_read());

    script.say([ResponseTemplate::new(500)]);
    let refused = sources.ask_listeners().await.unwrap_err();
    assert!(refused.contains("500"), "{refused}");
    assert_eq!(bench.names(), ["b", "by-hand"]);
}

#[tokio::test]
async fn a_listener_is_asked_until_it_answers_and_then_left_alone() {
    let bench = Bench::new().await;
    let script = Script::default();
    let broken = ResponseTemplate::new(500);
    script.say([broken.clone(), broken, list(&[entry("a")])]);
    let server = listener(&script).await;
    let sources = bench.start(&[
        ("LISTENER_ADDRESS", &server.uri()),
        ("RELOAD_INTERVAL", "100"),
    ]);
    assert!(!sources.listener_was_read());
    bench.until(|services| services.contains_key("a")).await;
    assert_eq!(bench.source("a"), Some(Source::Listener));
    assert_eq!(script.0.lock().unwrap().1, 3);
    assert!(Sources::none().ask_listeners().await.is_err());
}

const REPEATED: [(&str, &str); 2] = [("REPEAT_RELOAD", "true"), ("RELOAD_INTERVAL", "100")];

fn repeated(uri: &str) -> [(&str, &str); 3] {
    [("LISTENER_ADDRESS", uri), REPEATED[0], REPEATED[1]]
}

#[tokio::test]
async fn what_was_removed_a_moment_ago_comes_back_with_one_question() {
    let bench = Bench::new().await;
    let script = Script::default();
    script.say([list(&[entry("a")])]);
    let server = listener(&script).await;
    let sources = bench.start(&[("LISTENER_ADDRESS", &server.uri())]);
    bench.until(|services| services.contains_key("a")).await;

    // It is removed from the store, and HAProxy has not said yet that it is live.
    let gate = bench.carrier.gate.lock().await;
    let engine = bench.engine.clone();
    let removal = Change::Remove("a".parse().unwrap());
    let removed = tokio::spawn(async move { engine.change(request(removal)).await });
    while bench.stored("a").is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.names(), ["a"], "the engine shows what was");
    let asked = tokio::spawn(async move { sources.ask_listeners().await });
    script.asked(2).await;
    drop(gate);
    removed.await.unwrap().unwrap();
    assert_eq!(asked.await.unwrap().unwrap().listed, 1);
    assert!(bench.stored("a").is_some());
}

#[tokio::test]
async fn an_operators_word_stands_until_the_list_says_something_new() {
    let bench = Bench::new().await;
    let script = Script::default();
    script.say([list(&[entry("a"), entry("b")])]);
    let server = listener(&script).await;
    let uri = server.uri();
    let sources = bench.start(&repeated(&uri));
    bench.until(|services| services.len() == 2).await;
    bench.reconfigure("a", 81).await;
    let revision = bench.revision();
    script.say([list(&[entry("a"), entry("b")])]);
    script.asked(4).await;
    // Nor does another replica, or this one after a restart.
    bench.start(&repeated(&uri));
    script.asked(10).await;
    assert_eq!((bench.port("a"), bench.revision()), (81, revision));
    assert_eq!(bench.source("a"), None);
    let stored = bench.stored("a").unwrap();
    assert_eq!(stored.overruled().unwrap().source(), Source::Listener);

    // The same as the list, by hand, is the listener's own call.
    bench.reconfigure("b", 80).await;
    assert_eq!(bench.source("b"), Some(Source::Listener));
    assert_eq!(bench.revision(), revision);

    // What is the operator's is not removed with what the list lacks.
    script.say([list(&[entry("c")])]);
    bench.until(|services| !services.contains_key("b")).await;
    assert_eq!(bench.names(), ["a", "c"]);

    let mut new = entry("a");
    new["port"] = "82".into();
    script.say([list(&[new.clone(), entry("c")])]);
    bench.until(|services| services.get("a") == Some(&82)).await;
    assert_eq!(bench.source("a"), Some(Source::Listener));

    // Whoever asks for the list by name wants what it says.
    bench.reconfigure("a", 83).await;
    script.asked(2).await;
    assert_eq!(bench.port("a"), 83);
    sources.ask_listeners().await.unwrap();
    assert_eq!(bench.port("a"), 82);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_told_and_hurts_no_other() {
    let bench = Bench::new().await;
    let script = Script::default();
    let all = ["a", "b", "c"].map(entry);
    script.say([list(&all)]);
    let server = listener(&script).await;
    let sources = bench.start(&repeated(&server.uri()));
    bench.until(|services| services.len() == 3).await;
    let report = || sources.reports().next().unwrap().1;
    assert!(report().is_well(), "{:?}", report());

    // One that is no text, and one that is gone: the first stays, the other goes.
    let [a, mut b, _] = all;
    b["servicePath"] = json!({ "not": "text" });
    script.say([list(&[a.clone(), b.clone()])]);
    bench.until(|services| !services.contains_key("c")).await;
    assert_eq!(bench.names(), ["a", "b"]);
    let said = report();
    assert_eq!((said.listed, said.refused.count), (Some(1), 1), "{said:?}");
    let (called, why) = said.refused.first.first_key_value().unwrap();
    assert!(called.starts_with("b of http://"), "{called}");
    assert!(why.contains("servicePath"), "{why}");

    // One without a name that can be read may be any: nothing goes while it is there.
    let nameless = json!({ "serviceName": "no name", "port": "80" });
    script.say([list(&[b, nameless])]);
    script.asked(6).await;
    assert_eq!(bench.names(), ["a", "b"]);
    let said = report();
    assert!(
        said.trouble.as_ref().unwrap().contains("no name"),
        "{said:?}"
    );
    script.say([list(&[a, entry("b")])]);
    script.asked(2).await;
    let mut well = sources.reports[0].1.clone();
    let well = well.wait_for(SourceReport::is_well);
    tokio::time::timeout(PATIENCE, well).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_list_that_suddenly_lacks_most_removes_nothing_until_somebody_asks() {
    let bench = Bench::new().await;
    let script = Script::default();
    let all = ["a", "b", "c", "d"].map(entry);
    script.say([list(&all)]);
    let server = listener(&script).await;
    let sources = bench.start(&repeated(&server.uri()));
    bench.until(|services| services.len() == 4).await;
    script.say([list(&all[..1])]);
    script.asked(6).await;
    assert_eq!(bench.names(), ["a", "b", "c", "d"]);
    let mut doubted = sources.reports[0].1.clone();
    let doubted = doubted.wait_for(|report| report.doubted.count == 3);
    tokio::time::timeout(PATIENCE, doubted)
        .await
        .unwrap()
        .unwrap();
    sources.ask_listeners().await.unwrap();
    assert_eq!(bench.names(), ["a"]);
}

#[tokio::test]
async fn who_asks_is_told_of_an_empty_list_that_is_not_believed() {
    let bench = Bench::new().await;
    let script = Script::default();
    script.say([list(&[])]);
    let server = listener(&script).await;
    let sources = bench.start(&[("LISTENER_ADDRESS", &server.uri())]);
    let told = sources.ask_listeners().await.unwrap();
    assert_eq!((told.listed, told.shortfall), (0, None), "nothing is kept");
    script.say([list(&[entry("a"), entry("b")]), list(&[])]);
    let told = sources.ask_listeners().await.unwrap();
    assert_eq!((told.listed, told.shortfall), (2, None));
    let told = sources.ask_listeners().await.unwrap();
    assert_eq!(told.shortfall, Some(Shortfall::Empty { kept: 2 }));
    assert_eq!(bench.names(), ["a", "b"]);
}

#[tokio::test]
async fn who_asks_is_told_what_did_not_get_through_and_has_it_tried_again() {
    let bench = Bench::new().await;
    let script = Script::default();
    script.say([list(&[entry("a"), entry("b")])]);
    let server = listener(&script).await;
    bench.carrier.unable.store(true, SeqCst);
    let sources = bench.start(&repeated(&server.uri()));
    let told = sources.ask_listeners().await.unwrap();
    assert!(told.again, "{told:?}");
    assert!(bench.names().is_empty());

    bench.carrier.bad.lock().unwrap().insert("b");
    bench.carrier.unable.store(false, SeqCst);
    bench.until(|services| services.contains_key("a")).await;
    let told = sources.ask_listeners().await.unwrap();
    assert_eq!((told.again, told.refused.count), (false, 1), "{told:?}");
    // What was refused is left alone for a while, but not for who asks.
    bench.carrier.bad.lock().unwrap().clear();
    let told = sources.ask_listeners().await.unwrap();
    assert_eq!((told.again, told.refused.count), (false, 0), "{told:?}");
    assert_eq!(bench.names(), ["a", "b"]);

    // One of two does not answer.
    let silent = format!("{},http://127.0.0.1:1", server.uri());
    let sources = bench.start(&repeated(&silent));
    let told = sources.ask_listeners().await.unwrap();
    let Some(Shortfall::Part(why)) = told.shortfall else {
        panic!("{told:?}");
    };
    assert!(why.contains("http://127.0.0.1:1"), "{why}");
}

#[tokio::test]
async fn what_a_newer_release_wrote_is_not_replaced_by_what_a_list_says() {
    let bench = Bench::new().await;
    let script = Script::default();
    script.say([list(&[entry("a"), entry("b")])]);
    let server = listener(&script).await;
    let sources = bench.start(&repeated(&server.uri()));
    bench.until(|services| services.len() == 2).await;
    bench.store.put_document(newer("a"));
    let mut new = entry("a");
    new["port"] = "81".into();
    script.say([list(&[new, entry("b"), entry("c")])]);
    bench.until(|services| services.contains_key("c")).await;
    let mut reports = sources.reports_of(Source::Listener);
    let refused = reports.wait_for(|report| report.refused.count == 1);
    let refused = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    let why = refused.unwrap().refused.first.values().next().cloned();
    assert!(why.unwrap().contains("cannot read of a,"));
    // Nor is it removed with what the list lacks.
    script.say([list(&[entry("c")])]);
    bench.until(|services| !services.contains_key("b")).await;
    let doubted = reports.wait_for(|report| report.doubted.first.contains_key("a"));
    tokio::time::timeout(PATIENCE, doubted)
        .await
        .unwrap()
        .unwrap();
    let view = bench.store.view();
    let name: ServiceName = "a".parse().unwrap();
    assert_eq!(view.stored.document(&name), Some(&newer("a")));
    assert_eq!(bench.names(), ["a", "c"]);
}

/// A place that does not say whether something is gone.
struct Silent(usize);

#[async_trait::async_trait]
impl follow::List for Silent {
    async fn read(&mut self) -> Result<follow::Listing, String> {
        Err("silent".to_owned())
    }

    async fn is_gone(&mut self, _: &ServiceName) -> Result<bool, String> {
        self.0 += 1;
        Err("silent".to_owned())
    }

    async fn changed(&mut self) {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_place_that_does_not_answer_is_asked_once_for_all_that_is_missing() {
    let bench = Bench::new().await;
    let pace = Pace {
        again: None,
        retry: Duration::from_secs(1),
        confirm: Duration::from_secs(1),
        patience: None,
    };
    let intake = Intake::new(bench.way(), Source::Docker);
    let mut follower = Follower::new(Silent(0), intake, pace, watch::channel(false).0);
    let names = ["a", "b", "c"].map(|name| name.parse().unwrap());
    let mut said = Vec::new();
    assert!(follower.remove(names.to_vec(), &mut said).await);
    assert_eq!(follower.list.0, 1);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said.iter().all(|(_, why)| why.ends_with("silent")),
        "{said:?}"
    );
}
