//! Services of Consul's catalog: their instances come and go under load, without a reload or a failed
//! request.

use testkit::{
    consul::{ClusterOptions, ConsulCluster, Registration},
    haproxy::DemoBackend,
    load::{Connections, Load, LoadPlan, Transport},
    topology::{Failure, Plan, Replica, Topology, until},
};

use crate::maps::applies;

/// An instance that runs and its registration.
struct Instance {
    demo: DemoBackend,
    entry: Registration,
}

impl Instance {
    async fn start(service: &str, id: &str) -> Result<Self, Failure> {
        let demo = DemoBackend::start("web").await?;
        let entry = Registration::new(service, id, demo.address());
        Ok(Self { demo, entry })
    }

    async fn registered(topology: &Topology, service: &str, id: &str) -> Result<Self, Failure> {
        let instance = Self::start(service, id).await?;
        consul(topology)?.register(&instance.entry).await?;
        Ok(instance)
    }

    /// Waits until it is asked again, by requests alone: HAProxy's checks only connect.
    async fn until_asked(&self) -> Result<(), Failure> {
        let before = self.demo.requests();
        until("an instance to be asked", || async {
            match self.demo.requests() > before + 2 {
                true => Ok(()),
                false => Err(format!("{before} requests").into()),
            }
        })
        .await
    }

    /// Waits until it is not asked any more while others are.
    async fn until_quiet(&self, load: &mut Load) -> Result<(), Failure> {
        for _ in 0..100 {
            let before = self.demo.requests();
            let reached = load.report().answered + 50;
            load.answered(reached).await?;
            if self.demo.requests() == before {
                return Ok(());
            }
        }
        Err("it is still asked".into())
    }
}

fn consul(topology: &Topology) -> Result<&ConsulCluster, Failure> {
    topology.consul.as_ref().ok_or("no Consul".into())
}

async fn start(replicas: usize) -> Result<Topology, Failure> {
    let plan = Plan::replicas(replicas)
        .setting("MODE", "default")
        .consul(ClusterOptions::servers(1));
    plan.start().await
}

async fn configured(replica: &Replica, more: &str) -> Result<(), Failure> {
    let call = format!("reconfigure?serviceName=web&servicePath=/web{more}");
    let answer = replica.call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    Ok(())
}

fn load(replica: &Replica) -> Load {
    Load::start(&LoadPlan {
        address: replica.http(),
        transport: Transport::Plain,
        host: "localhost".to_owned(),
        path: "/web".to_owned(),
        expect: "web".to_owned(),
        rate: 200,
        clients: 8,
        connections: Connections::KeptAlive,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_and_go_without_a_reload_or_a_failed_request() -> Result<(), Failure> {
    let mut topology = start(2).await?;
    // Nothing is registered yet, and the answer says so.
    for more in ["&distribute=true", "&dryRun=true"] {
        let call = format!("reconfigure?serviceName=web&servicePath=/web{more}");
        let answer = topology.replica(1).call(&call).await?;
        let told = answer.json["Warnings"].to_string();
        assert_eq!(answer.status, 200, "{}", answer.text);
        for part in ["nothing is registered as web", "the parameter port"] {
            assert!(told.contains(part), "{}", answer.text);
        }
    }
    assert_eq!(topology.replica(1).request("/web").await?.status, 503);
    let one = Instance::registered(&topology, "web", "web-1").await?;
    for number in [1, 2] {
        topology.replica(number).until_status("/web", 200).await?;
    }
    let replica = topology.replica(1);
    let again = replica
        .call("reconfigure?serviceName=web&servicePath=/web")
        .await?;
    assert_eq!(
        again.json["Warnings"],
        serde_json::json!([]),
        "{}",
        again.text
    );
    let reloads = applies(replica, "reloaded").await?;
    let mut load = load(replica);
    let two = Instance::registered(&topology, "web", "web-2").await?;
    two.until_asked().await?;

    // A failing check takes it out, and a passing one back in.
    let consul = consul(&topology)?;
    consul
        .register(&two.entry.clone().status("critical"))
        .await?;
    two.until_quiet(&mut load).await?;
    consul.register(&two.entry).await?;
    two.until_asked().await?;
    // So does maintenance, and so does the end of the registration.
    consul.maintain(&two.entry).await?;
    two.until_quiet(&mut load).await?;
    let three = Instance::registered(&topology, "web", "web-3").await?;
    three.until_asked().await?;
    consul.deregister(&one.entry).await?;
    one.until_quiet(&mut load).await?;
    drop(one);

    // Where all checks fail, HAProxy's own decide.
    consul
        .register(&three.entry.clone().status("critical"))
        .await?;
    let reached = load.report().answered + 200;
    load.answered(reached).await?;
    three.until_asked().await?;

    // A rolling deployment: each new one before an old one goes.
    let mut running = vec![three];
    for nth in 4..8 {
        let new = Instance::registered(&topology, "web", &format!("web-{nth}")).await?;
        new.until_asked().await?;
        let old = running.remove(0);
        consul.deregister(&old.entry).await?;
        old.until_quiet(&mut load).await?;
        running.push(new);
    }
    assert_eq!(applies(replica, "reloaded").await?, reloads, "no reload");
    assert!(applies(replica, "runtime").await? >= 10);

    // More than there are slots is one reload.
    for nth in 0..4 {
        let id = format!("more-{nth}");
        running.push(Instance::registered(&topology, "web", &id).await?);
    }
    for instance in &running {
        instance.until_asked().await?;
    }
    // It is counted once it is done, and they are asked before.
    until("the reload to be counted", || async {
        match applies(replica, "reloaded").await? - reloads {
            1 => Ok(()),
            other => Err(format!("{other} are counted").into()),
        }
    })
    .await?;
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");

    // What is on disk is what runs, on every replica; and a start without Consul serves it.
    for number in [1, 2] {
        until("a replica runs what is registered", || async {
            let config = topology.replica(number).config().await?;
            let is_there = |instance: &Instance| {
                let server = format!(" {} check\n", instance.demo.address());
                config.contains(&server)
            };
            let free = config.matches(" check disabled\n").count();
            match running.iter().all(is_there) && free == 3 {
                true => Ok(()),
                false => Err(config.into()),
            }
        })
        .await?;
    }
    topology.consul.as_mut().ok_or("no Consul")?.kill(0);
    let replica = topology.replica_mut(1);
    replica.terminate().await?;
    replica.start()?;
    replica.until_status("/web", 200).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_colours_loses_no_request() -> Result<(), Failure> {
    let topology = start(1).await?;
    let replica = topology.replica(1);
    let mut blue = Vec::new();
    let mut green = Vec::new();
    for nth in 1..=2 {
        blue.push(Instance::registered(&topology, "web-blue", &format!("b{nth}")).await?);
        green.push(Instance::registered(&topology, "web-green", &format!("g{nth}")).await?);
    }
    configured(replica, "&serviceColor=blue").await?;
    replica.until_status("/web", 200).await?;
    let reloads = applies(replica, "reloaded").await?;
    let mut load = load(replica);
    for _ in 0..5 {
        for (color, (to, from)) in [("green", (&green, &blue)), ("blue", (&blue, &green))] {
            configured(replica, &format!("&serviceColor={color}")).await?;
            for instance in to {
                instance.until_asked().await?;
            }
            for instance in from {
                instance.until_quiet(&mut load).await?;
            }
        }
    }
    assert_eq!(applies(replica, "reloaded").await?, reloads, "no reload");
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_check_takes_whatever_is_registered() -> Result<(), Failure> {
    let topology = start(1).await?;
    let replica = topology.replica(1);
    let [good, bad] = ["a", "b"].map(|id| Instance::start("web", id));
    let (good, bad) = (good.await?, bad.await?);
    let consul = consul(&topology)?;
    consul.register(&good.entry).await?;
    consul
        .register(&bad.entry.clone().status("critical"))
        .await?;
    configured(replica, "&skipCheck=true").await?;
    let config = replica.config().await?;
    for instance in [&good, &bad] {
        let server = format!(" {}\n", instance.demo.address());
        assert!(config.contains(&server), "{server} {config}");
    }
    let load = load(replica);
    bad.until_asked().await?;
    load.stop().await;
    // And with checks only the one that passes.
    configured(replica, "&skipCheck=false").await?;
    let config = replica.config().await?;
    assert!(config.contains(&format!(" {} check\n", good.demo.address())));
    assert!(
        !config.contains(&bad.demo.address().to_string()),
        "{config}"
    );
    Ok(())
}
