//! `dryRun=true` on a real system: everything is said as it will be, and nothing is done.

use serde_json::Value;
use testkit::{
    haproxy::DemoBackend,
    topology::{Failure, Plan, Replica},
};

use crate::story::reconfigure;

/// What a dry run must leave as it was: the revision, the configuration, the process that runs.
async fn standing(replica: &Replica) -> Result<(Value, String, Vec<u32>), Failure> {
    let status = replica.call("status").await?.json;
    let reloads = replica.metrics().await?;
    let reloads = reloads.lines().find(|line| {
        line.starts_with("proxy_applies_total{outcome=\"reloaded\",reason=\"change\"}")
    });
    let config = replica.config().await?;
    let said = Value::from(vec![
        status.get("Revision").cloned().unwrap_or_default(),
        reloads.into(),
    ]);
    Ok((said, config, replica.masters()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_the_truth_and_leaves_no_trace() -> Result<(), Failure> {
    let plan = Plan::replicas(1).setting("MODE", "default");
    let topology = plan.setting("ROUTING", "map").start().await?;
    let demo = DemoBackend::start("hello").await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    topology.dns.set("other", [demo.address().ip()]);
    let replica = topology.replica(1);
    let made = replica
        .call(&reconfigure("go-demo", "/demo", &demo))
        .await?;
    assert_eq!(made.status, 200, "{}", made.text);
    let before = standing(replica).await?;

    let other = reconfigure("other", "/other", &demo);
    let path = reconfigure("go-demo", "/demo,/more", &demo);
    let regex = format!("{}&pathType=path_reg", reconfigure("bad", "/$*", &demo));
    for (call, status, effect, line) in [
        (other.as_str(), 200, "reload", "+backend other-be"),
        (path.as_str(), 200, "runtime", "+"),
        (
            "remove?serviceName=go-demo",
            200,
            "reload",
            "-backend go-demo-be",
        ),
        ("remove?serviceName=nobody", 200, "none", ""),
        ("reload?", 200, "reload", ""),
        // Only HAProxy's own check refuses this one.
        (regex.as_str(), 400, "", ""),
    ] {
        let answer = replica.call(&format!("{call}&dryRun=true")).await?;
        assert_eq!(answer.status, status, "{call}: {}", answer.text);
        assert_eq!(
            answer.json["Effect"].as_str().unwrap_or(""),
            effect,
            "{}",
            answer.text
        );
        let diff = answer.json["Diff"].as_str().unwrap_or("");
        assert!(diff.contains(line), "{line:?} is not in\n{diff}");
        assert_eq!(standing(replica).await?, before, "{call}");
    }
    assert_eq!(replica.request("/other").await?.status, 404);
    // What was said is what then happens.
    let made = replica.call(&other).await?;
    assert_eq!(made.status, 200, "{}", made.text);
    assert!(replica.config().await?.contains("backend other-be"));
    let tried = replica.call(&format!("{other}&dryRun=true")).await?;
    assert_eq!(tried.json["Effect"], "none", "{}", tried.text);
    Ok(())
}
