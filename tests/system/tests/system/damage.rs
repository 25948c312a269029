//! What somebody does to HAProxy behind the proxy's back: it serves again, with no operator.

use std::path::Path;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{
    haproxy::DemoBackend,
    topology::{Failure, Plan, Replica, Topology, until},
};

use crate::story::reconfigure;

/// One replica with one service.
async fn serving() -> Result<(Topology, DemoBackend), Failure> {
    let topology = Plan::replicas(1).setting("ON_END", "leave").start().await?;
    let demo = DemoBackend::start("hello").await?;
    topology.dns.set("go-demo", [demo.address().ip()]);
    let call = reconfigure("go-demo", "/demo", &demo);
    let answer = topology.replica(1).call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    topology.replica(1).until_status("/demo", 200).await?;
    Ok((topology, demo))
}

/// Ends HAProxy as the kernel does where memory runs out, and waits until it is gone.
async fn end_hard(replica: &Replica) -> Result<(), Failure> {
    let masters = replica.masters();
    for master in &masters {
        kill(Pid::from_raw(i32::try_from(*master)?), Signal::SIGKILL)?;
    }
    until("the masters are gone", async || {
        let left = replica.masters();
        match left.iter().any(|pid| masters.contains(pid)) {
            true => Err(format!("{left:?} run").into()),
            false => Ok(()),
        }
    })
    .await
}

/// A worker serves for a moment after its master, so that its answers tell nothing.
async fn until_written(file: &Path, text: &str) -> Result<(), Failure> {
    until(
        "it is written again",
        async || match std::fs::read_to_string(file)? {
            there if there == text => Ok(()),
            there => Err(there.into()),
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_comes_back_though_its_configuration_was_damaged() -> Result<(), Failure> {
    let (topology, _demo) = serving().await?;
    let replica = topology.replica(1);
    let folder = replica.home().join("cfg");
    let file = folder.join("current/haproxy.cfg");
    let rendered = std::fs::read_to_string(&file)?;

    std::fs::write(&file, "this is no configuration\n")?;
    end_hard(replica).await?;
    until_written(&file, &rendered).await?;
    replica.until_status("/demo", 200).await?;

    // A reload reads what stands there, and does not leave what is not loaded.
    std::fs::write(&file, "this is no configuration\n")?;
    let answer = replica.call("reload").await?;
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert_eq!(std::fs::read_to_string(&file)?, rendered);
    assert_eq!(replica.request("/demo").await?.status, 200);

    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        match path.is_dir() && !path.is_symlink() {
            true => std::fs::remove_dir_all(path)?,
            false => std::fs::remove_file(path)?,
        }
    }
    end_hard(replica).await?;
    until_written(&folder.join("haproxy.cfg"), &rendered).await?;
    replica.until_status("/demo", 200).await?;
    Ok(())
}

/// Nobody can ask the HAProxy that was left, and it holds the ports.
#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_whose_sockets_are_gone_is_replaced_at_the_start() -> Result<(), Failure> {
    let (mut topology, _demo) = serving().await?;
    topology.replica_mut(1).kill();
    let run = topology.replica(1).home().join("run");
    // After a reload a master replaces itself, and binds its socket again.
    let master = run.join("haproxy-master.sock");
    until("the master answers", async || {
        Ok(std::os::unix::net::UnixStream::connect(&master).map(drop)?)
    })
    .await?;
    for entry in std::fs::read_dir(run)? {
        std::fs::remove_file(entry?.path())?;
    }
    topology.replica_mut(1).start()?;
    let replica = topology.replica(1);
    replica.until_serving().await?;
    until("one master serves, and tells what it counts", async || {
        let counts = replica.call("metrics").await?;
        match (replica.masters().len(), counts.status) {
            (1, 200) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    })
    .await?;
    replica.until_status("/demo", 200).await?;
    assert_eq!(
        replica.call("remove?serviceName=go-demo").await?.status,
        200
    );
    for _ in 0..20 {
        assert_eq!(replica.request("/demo").await?.status, 404);
    }
    Ok(())
}
