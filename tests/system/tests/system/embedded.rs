//! One replica without Consul: what it acknowledged survives anything.

use testkit::{
    haproxy::DemoBackend,
    topology::{Failure, Plan},
};

use crate::story::reconfigure;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_acknowledged_change() -> Result<(), Failure> {
    let mut topology = Plan::replicas(1).setting("MODE", "default").start().await?;
    let demo = DemoBackend::start("hello").await?;
    let here = "&outboundHostname=127.0.0.1";
    let mut acknowledged = Vec::new();
    for life in 0..4 {
        // Calls go on until the kill cuts them off.
        for number in 0..20 {
            let name = format!("s{life}-{number}");
            let call = format!("{}{here}", reconfigure(&name, &format!("/{name}/"), &demo));
            let replica = topology.replica(1);
            let killed = number == 12 + life;
            if killed {
                let pid = i32::try_from(replica.pid().ok_or("it runs")?)?;
                let (answer, ()) = tokio::join!(replica.call(&call), async {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                });
                if answer.is_ok_and(|answer| answer.status == 200) {
                    acknowledged.push(name);
                }
                break;
            }
            let answer = replica.call(&call).await?;
            assert_eq!(answer.status, 200, "{}", answer.text);
            acknowledged.push(name);
        }
        let replica = topology.replica_mut(1);
        replica.kill();
        replica.start()?;
        let replica = topology.replica(1);
        replica
            .until_state("the table is live", |state| state["Revision"].is_object())
            .await?;
        let services = replica.call("config?type=json").await?.json;
        for name in &acknowledged {
            assert!(
                services.get(name).is_some(),
                "{name} was acknowledged and is lost"
            );
            assert_eq!(replica.request(&format!("/{name}/")).await?.status, 200);
        }
    }
    assert!(acknowledged.len() > 40);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_carried_from_one_proxy_to_another() -> Result<(), Failure> {
    let topology = Plan::replicas(2).setting("MODE", "default").start().await?;
    let demo = DemoBackend::start("hello").await?;
    for name in ["one", "two"] {
        let call = format!(
            "{}&outboundHostname=127.0.0.1",
            reconfigure(name, &format!("/{name}"), &demo)
        );
        assert_eq!(topology.replica(1).call(&call).await?.status, 200);
    }
    let other = format!(
        "{}&outboundHostname=127.0.0.1",
        reconfigure("three", "/three", &demo)
    );
    assert_eq!(topology.replica(2).call(&other).await?.status, 200);
    let table = topology.replica(1).call("export").await?.text;
    let imported = topology
        .replica(2)
        .post("import", "application/json", table.clone().into_bytes())
        .await?;
    assert_eq!(imported.status, 200, "{}", imported.text);
    assert_eq!(topology.replica(2).request("/one").await?.status, 200);
    assert_eq!(topology.replica(2).request("/three").await?.status, 404);
    // A file with one bad service changes nothing.
    let bad = table.replace("/two", "/t wo");
    let refused = topology
        .replica(2)
        .post("import", "application/json", bad.into_bytes())
        .await?;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(topology.replica(2).request("/two").await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consul_distribute_waits_for_every_replica() -> Result<(), Failure> {
    let topology = Plan::replicas(3).start().await?;
    let demo = DemoBackend::start("hello").await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    let call = format!("{}&distribute=true", reconfigure("go-demo", "/demo", &demo));
    for _ in 0..2 {
        let answer = topology.replica(1).call(&call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(
            answer.json["Peers"].as_array().map(Vec::len),
            Some(3),
            "{}",
            answer.text
        );
    }
    for replica in &topology.replicas {
        assert_eq!(replica.request("/demo").await?.status, 200);
    }
    let removed = topology
        .replica(3)
        .call("remove?serviceName=go-demo&distribute=true")
        .await?;
    assert_eq!(removed.status, 200, "{}", removed.text);
    for replica in &topology.replicas {
        assert_eq!(replica.request("/demo").await?.status, 404);
    }
    Ok(())
}

/// A start reads what is stored with HAProxy itself; where that refuses it, one service must not keep
/// the others down.
#[tokio::test(flavor = "multi_thread")]
async fn what_haproxy_no_longer_starts_with_is_quarantined() -> Result<(), Failure> {
    let mut topology = Plan::replicas(1).setting("MODE", "default").start().await?;
    let demo = DemoBackend::start("hello").await?;
    let here = "&outboundHostname=127.0.0.1";
    for name in ["good", "bad", "fine"] {
        let call = format!("{}{here}", reconfigure(name, &format!("/{name}"), &demo));
        assert_eq!(topology.replica(1).call(&call).await?.status, 200);
    }
    let replica = topology.replica_mut(1);
    replica.terminate().await?;
    // A template that makes one of them a line that HAProxy does not know.
    let template = concat!(
        include_str!("../../../../proxy-haproxy/src/render/global.cfg.j2"),
        include_str!("../../../../proxy-haproxy/src/render/frontend.cfg.j2"),
        include_str!("../../../../proxy-haproxy/src/render/backends.cfg.j2"),
        include_str!("../../../../proxy-haproxy/src/render/tcp.cfg.j2"),
    );
    let end = "{% set options = backend.options %}\n";
    assert!(template.contains(end));
    let broken =
        format!("{end}{{% if backend.server == \"bad\" %}}\n    nonsense\n{{% endif %}}\n");
    let path = replica.home().join("template.j2");
    std::fs::write(&path, template.replace(end, &broken))?;
    replica.set("CFG_TEMPLATE_PATH", &path.display().to_string());
    replica.start()?;
    let replica = topology.replica(1);
    let served = replica.until_status("/good", 200).await;
    served.map_err(|why| format!("{why}\n{}", replica.log()))?;
    replica.until_status("/fine", 200).await?;
    replica.until_status("/bad", 404).await?;
    let is_held = |state: &serde_json::Value| state["Quarantined"].to_string().contains("nonsense");
    replica.until_state("the culprit is named", is_held).await?;
    assert!(!replica.config().await?.contains("nonsense"));
    Ok(())
}
