//! What operators do: look at all replicas at once, wait for most of them, look back and go back,
//! accept a loss, and probe health.

use serde_json::Value;
use testkit::{
    consul::ClusterOptions,
    haproxy::DemoBackend,
    topology::{Failure, Plan, Replica, Topology, until},
};

use crate::story::reconfigure;

const KEY: &str = "docker-flow/services/go-demo";

/// Three replicas on one Consul server, with this interval between checks for drift.
async fn swarm(drift_check: &str) -> Result<(Topology, DemoBackend), Failure> {
    let plan = Plan::replicas(3).setting("DRIFT_CHECK_INTERVAL", drift_check);
    let topology = plan.consul(ClusterOptions::servers(1)).start().await?;
    let demo = DemoBackend::start("hello").await?;
    for service in ["go-demo", "second", "third"] {
        topology.dns.set(service, [demo.address().ip()]);
    }
    Ok((topology, demo))
}

async fn changed(replica: &Replica, call: &str) -> Result<Value, Failure> {
    let answer = replica.call(&format!("{call}&wait=all")).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    Ok(answer.json)
}

async fn posted(replica: &Replica, path: &str) -> Result<(u16, Value), Failure> {
    let answer = replica.post(path, "text/plain", Vec::new()).await?;
    Ok((answer.status, answer.json))
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["Peers"].as_array().cloned().unwrap_or_default()
}

fn words(rows: &[Value], name: &str) -> Vec<String> {
    let word = |row: &Value| row[name].as_str().unwrap_or_default().to_owned();
    rows.iter().map(word).collect()
}

/// Somebody changes a document behind the log's back, and the third replica, which knows nothing
/// yet, reads the changed one.
async fn meddle(topology: &mut Topology) -> Result<(), Failure> {
    let consul = topology.consul_mut();
    let document = consul.get(KEY).await?.ok_or("the document is not there")?;
    let document = String::from_utf8(document)?;
    let other = document.replace("/demo", "/elsewhere");
    assert_ne!(other, document);
    consul.put(KEY, other.as_bytes()).await?;
    topology.replica_mut(3).crash();
    topology.replica(3).wipe()?;
    topology.replica_mut(3).start()?;
    let third = topology.replica(3);
    third.until_status("/elsewhere", 200).await?;
    // HAProxy serves it a moment before the replica says so.
    let told = |state: &Value| state["Services"] == 1;
    third.until_state("it tells what it serves", told).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_every_replica_and_points_at_drift() -> Result<(), Failure> {
    let (mut topology, demo) = swarm("0").await?;
    let call = reconfigure("go-demo", "/demo", &demo);
    changed(topology.replica(1), &call).await?;
    let state = topology.replica(2).call("status?peers=true").await?.json;
    let peers = rows(&state);
    assert_eq!(words(&peers, "Place"), ["current"; 3], "{state}");
    assert_eq!(state["Drift"], false);
    let digests = words(&peers, "TableDigest");
    assert!(
        digests
            .iter()
            .all(|it| Some(&**it) == state["TableDigest"].as_str())
    );
    let servers = state["Store"]["Servers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    // Nobody listens at the first address, and the second answers.
    assert_ne!(servers[0]["Last"], "ok", "{state}");
    assert_eq!(servers[1]["Last"], "ok", "{state}");

    meddle(&mut topology).await?;
    let state = topology.replica(1).call("status?peers=true").await?.json;
    assert_eq!(state["Drift"], true, "{state}");
    let mut places = words(&rows(&state), "Place");
    places.sort();
    assert_eq!(places, ["current", "current", "drifted"], "{state}");

    topology.replica_mut(3).crash();
    let state = topology.replica(1).call("status?peers=true").await?.json;
    let mut places = words(&rows(&state), "Place");
    places.sort();
    assert_eq!(places, ["current", "current", "unreachable"], "{state}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_drifted_is_found_and_healed() -> Result<(), Failure> {
    let (mut topology, demo) = swarm("1").await?;
    changed(topology.replica(1), &reconfigure("go-demo", "/demo", &demo)).await?;
    meddle(&mut topology).await?;
    for replica in &topology.replicas {
        replica.until_status("/elsewhere", 200).await?;
        replica.until_status("/demo", 404).await?;
    }
    // What HAProxy runs is told a moment after it runs.
    let first = topology.replica(1);
    until("nobody drifts", async || {
        let state = first.call("status?peers=true").await?;
        match state.json["Drift"] == false {
            true => Ok(()),
            false => Err(state.text.into()),
        }
    })
    .await?;
    let counted = first.metrics().await?;
    let line = "proxy_drift_total{against=\"store\"} 1\n";
    assert!(counted.contains(line), "{counted}");
    let log = first.log();
    let mut lines = log.lines();
    let told = lines.find(|line| line.contains("the store held other documents"));
    assert!(
        told.is_some_and(|line| line.contains("services=\"go-demo\"")),
        "{log}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_is_enough_for_those_who_say_so() -> Result<(), Failure> {
    let (mut topology, demo) = swarm("0").await?;
    topology.replica_mut(3).crash();
    let call = reconfigure("go-demo", "/demo", &demo);
    let first = topology.replica(1);
    let answer = first.call(&format!("{call}&wait=quorum")).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = words(&rows(&answer.json), "Status");
    assert_eq!(told.len(), 3, "{}", answer.text);
    assert_eq!(told.iter().filter(|word| *word == "applied").count(), 2);
    assert_eq!(topology.replica(2).request("/demo").await?.status, 200);

    let answer = first.call(&format!("{call}&wait=all&timeout=2")).await?;
    assert_eq!((answer.status, &answer.json["Stored"]), (502, &true.into()));
    let missing: Vec<_> = rows(&answer.json)
        .into_iter()
        .filter(|row| row["Status"] != "applied")
        .collect();
    assert_eq!(missing.len(), 1, "{}", answer.text);
    assert!(missing[0]["Reason"].is_string(), "{}", answer.text);

    topology.replica_mut(2).crash();
    let first = topology.replica(1);
    let answer = first.call(&format!("{call}&wait=quorum&timeout=2")).await?;
    assert_eq!(answer.status, 502, "{}", answer.text);
    let answer = first.call(&format!("{call}&wait=none")).await?;
    assert_eq!(answer.status, 202, "{}", answer.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_looks_back_and_goes_back() -> Result<(), Failure> {
    let (mut topology, demo) = swarm("0").await?;
    changed(topology.replica(1), &reconfigure("go-demo", "/demo", &demo)).await?;
    let good = changed(
        topology.replica(2),
        &reconfigure("second", "/second", &demo),
    )
    .await?;
    changed(
        topology.replica(3),
        &reconfigure("go-demo", "/moved", &demo),
    )
    .await?;
    changed(topology.replica(1), "remove?serviceName=second").await?;
    let good = good["Revision"]["Number"].as_u64().ok_or("no revision")?;

    let first = topology.replica(1);
    let history = topology.replica(2).call("history?limit=3").await?.json;
    let commits = history["Commits"].as_array().cloned().unwrap_or_default();
    let told: Vec<_> = commits
        .iter()
        .map(|commit| {
            let service = &commit["Services"][0];
            let words = [&service["ServiceName"], &service["Change"]];
            words.map(|word| word.as_str().unwrap_or_default().to_owned())
        })
        .collect();
    assert_eq!(
        told,
        [
            ["second", "removed"],
            ["go-demo", "replaced"],
            ["second", "added"]
        ],
        "{history}"
    );
    assert_ne!(commits[0]["Origin"], commits[1]["Origin"], "{history}");
    let diff = first.call(&format!("diff?from={good}")).await?.json;
    let differing = diff["Services"].as_array().cloned().unwrap_or_default();
    assert_eq!(
        words(&differing, "Change"),
        ["replaced", "removed"],
        "{diff}"
    );

    let (status, answer) = posted(first, &format!("rollback?revision={good}&wait=all")).await?;
    assert_eq!((status, rows(&answer).len()), (200, 3), "{answer}");
    for replica in &topology.replicas {
        assert_eq!(replica.request("/demo").await?.status, 200);
        assert_eq!(replica.request("/second").await?.status, 200);
        assert_eq!(replica.request("/moved").await?.status, 404);
    }
    let now = answer["Revision"]["Number"].as_u64().ok_or("no revision")?;
    let (status, answer) = posted(first, &format!("rollback?revision={}", now + 1)).await?;
    assert_eq!((status, &answer["Newest"]), (404, &now.into()), "{answer}");

    // The log loses its beginning, as it does after a thousand commits.
    let oldest = format!("docker-flow/log/{good}");
    topology.consul_mut().delete(&oldest).await?;
    let (status, answer) = posted(topology.replica(1), "rollback?revision=1").await?;
    assert_eq!((status, &answer["Oldest"]), (410, &good.into()), "{answer}");
    assert_eq!(topology.replica(1).request("/second").await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_lost_is_kept_until_it_is_accepted() -> Result<(), Failure> {
    let (mut topology, demo) = swarm("1").await?;
    changed(topology.replica(1), &reconfigure("go-demo", "/demo", &demo)).await?;
    changed(
        topology.replica(1),
        &reconfigure("second", "/second", &demo),
    )
    .await?;
    topology.consul_mut().delete(KEY).await?;
    // Every tenth check reads the store whole.
    for replica in &topology.replicas {
        let lost = |state: &Value| state["Degraded"]["go-demo"].is_string();
        replica.until_state("the loss is noticed", lost).await?;
        assert_eq!(replica.request("/demo").await?.status, 200);
    }
    let first = topology.replica(1);
    let (status, answer) = posted(first, "accept").await?;
    assert_eq!(
        (status, &answer["Lost"][0]),
        (400, &"go-demo".into()),
        "{answer}"
    );
    assert_eq!(posted(first, "accept?serviceName=second").await?.0, 409);
    let (status, answer) = posted(first, "accept?serviceName=go-demo&wait=all").await?;
    assert_eq!(status, 200, "{answer}");
    for replica in &topology.replicas {
        assert_eq!(replica.request("/demo").await?.status, 404);
        assert_eq!(replica.request("/second").await?.status, 200);
        let well = |state: &Value| state["Degraded"] == serde_json::json!({});
        replica.until_state("all is well", well).await?;
    }
    Ok(())
}

/// So many replicas that leave an empty store alone, with one service.
async fn holding(replicas: usize) -> Result<(Topology, DemoBackend), Failure> {
    let plan = Plan::replicas(replicas)
        .setting("ON_EMPTY_STORE", "hold")
        .consul(ClusterOptions::servers(1));
    let topology = plan.start().await?;
    let demo = DemoBackend::start("hello").await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    changed(topology.replica(1), &reconfigure("go-demo", "/demo", &demo)).await?;
    Ok((topology, demo))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_emptied_on_purpose_is_accepted() -> Result<(), Failure> {
    let (mut topology, _demo) = holding(2).await?;
    topology.consul_mut().wipe().await?;
    for replica in &topology.replicas {
        let wiped = |state: &Value| state["Store"]["Condition"] == "wiped";
        replica.until_state("it is wiped", wiped).await?;
    }
    let first = topology.replica(1);
    assert_eq!(posted(first, "accept").await?.0, 400);
    assert_eq!(first.request("/demo").await?.status, 200);
    let (status, answer) = posted(first, "accept?all=true&distribute=true").await?;
    assert_eq!(
        (status, &answer["Dropped"][0], &answer["Stored"]),
        (200, &"go-demo".into(), &true.into()),
        "{answer}"
    );
    assert_eq!(
        answer["Peers"].as_array().map(Vec::len),
        Some(2),
        "{answer}"
    );
    assert!(
        answer["Revision"].is_object() || answer["Revision"].is_number(),
        "{answer}"
    );
    // It was waited for.
    for replica in &topology.replicas {
        assert_eq!(replica.request("/demo").await?.status, 404);
        let live = |state: &Value| state["Store"]["Condition"] == "live";
        replica.until_state("it follows the store", live).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_without_its_head_still_shows_is_not_said_to_be_dropped() -> Result<(), Failure>
{
    let (mut topology, _demo) = holding(1).await?;
    topology.consul_mut().delete("docker-flow/head").await?;
    let replica = topology.replica(1);
    let wiped = |state: &Value| state["Store"]["Condition"] == "wiped";
    replica.until_state("it is wiped", wiped).await?;
    let (status, answer) = posted(replica, "accept?all=true").await?;
    assert_eq!(
        (status, &answer["Dropped"]),
        (200, &Value::Array(Vec::new())),
        "{answer}"
    );
    assert_eq!(replica.request("/demo").await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_a_store_is_ready_and_one_without_a_table_is_not() -> Result<(), Failure>
{
    let (mut topology, demo) = swarm("0").await?;
    changed(topology.replica(1), &reconfigure("go-demo", "/demo", &demo)).await?;
    let ready = topology.replica(1).probe("readyz").await?;
    assert_eq!(ready.status, 200, "{}", ready.text);
    assert_eq!(ready.json["Warnings"], Value::Array(Vec::new()));

    topology.consul_mut().kill(0);
    topology.replica_mut(3).crash();
    topology.replica(3).wipe()?;
    topology.replica_mut(3).start()?;
    let stale = |state: &Value| state["Stale"] == true;
    topology
        .replica(1)
        .until_state("it is stale", stale)
        .await?;
    let ready = topology.replica(1).probe("readyz").await?;
    assert_eq!(ready.status, 200, "{}", ready.text);
    let warning = ready.json["Warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("last known table"), "{}", ready.text);

    let third = topology.replica(3);
    let starting = until("it answers", async || Ok(third.probe("readyz").await?)).await?;
    assert_eq!(starting.status, 503, "{}", starting.text);
    assert_eq!(third.probe("healthz").await?.status, 200);
    topology.consul_mut().restart(0)?;
    let third = topology.replica(3);
    until("it is ready", async || {
        match third.probe("readyz").await?.status {
            200 => Ok(()),
            other => Err(format!("{other}").into()),
        }
    })
    .await
}

/// Docker Flow Proxy's `reload?recreate=true`: what stands in the files does not count.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_somebody_edited_is_recreated() -> Result<(), Failure> {
    let plan = Plan::replicas(1).consul(ClusterOptions::servers(1));
    let topology = plan.start().await?;
    let replica = topology.replica(1);
    let demo = DemoBackend::start("hello").await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    let call = reconfigure("go-demo", "/demo", &demo);
    assert_eq!(replica.call(&call).await?.status, 200);
    replica.until_status("/demo", 200).await?;
    let file = replica.home().join("cfg/current/haproxy.cfg");
    let rendered = std::fs::read_to_string(&file)?;

    // Somebody edits the file by hand. A reload without more reads it as it stands.
    std::fs::write(
        &file,
        rendered.replace("path_beg /demo", "path_beg /edited"),
    )?;
    assert_eq!(replica.call("reload").await?.status, 200);
    replica.until_status("/edited", 200).await?;
    replica.until_status("/demo", 404).await?;
    // Twice, since the second one finds what is live as it should be.
    for _ in 0..2 {
        let before = reloads(replica).await?;
        let answer = replica.call("reload?recreate=true").await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json.get("Warnings"), None, "{}", answer.text);
        assert_eq!(std::fs::read_to_string(&file)?, rendered);
        replica.until_status("/demo", 200).await?;
        assert_eq!(replica.request("/edited").await?.status, 404);
        assert_eq!(reloads(replica).await?, before + 1);
    }

    // Edited and not loaded, it is written anew as well.
    std::fs::write(&file, "this is no configuration\n")?;
    let answer = replica.call("reload?recreate=true").await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(std::fs::read_to_string(&file)?, rendered);
    let answer = replica.call("reload?recreate=perhaps").await?;
    assert_eq!(answer.status, 400, "{}", answer.text);
    Ok(())
}

/// How often HAProxy was reloaded because somebody asked for it.
async fn reloads(replica: &Replica) -> Result<u64, Failure> {
    let metrics = replica.metrics().await?;
    let mut lines = metrics.lines();
    let name = "proxy_applies_total{outcome=\"reloaded\",reason=\"asked\"} ";
    let count = lines.find_map(|line| line.strip_prefix(name));
    Ok(count.map_or(Ok(0), str::parse)?)
}
