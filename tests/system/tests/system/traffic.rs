//! Traffic that nothing we do may touch.

use testkit::{
    haproxy::DemoBackend,
    load::{Connections, Load, LoadPlan, Transport},
    topology::{Failure, Plan, Replica, until},
};

use crate::story::reconfigure;

/// Requests per second of each load.
const RATE: u32 = 500;

fn load(replica: &Replica, connections: Connections) -> Load {
    Load::start(&LoadPlan {
        address: replica.http(),
        transport: Transport::Plain,
        host: "localhost".to_owned(),
        path: "/steady".to_owned(),
        expect: "steady".to_owned(),
        rate: RATE,
        clients: 8,
        connections,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_reconfigures_and_a_killed_server_fail_no_request() -> Result<(), Failure> {
    let mut topology = Plan::replicas(1).setting("MODE", "default").start().await?;
    let demo = DemoBackend::start("steady").await?;
    let here = "&outboundHostname=127.0.0.1";
    let steady = format!("{}{here}", reconfigure("steady", "/steady", &demo));
    assert_eq!(topology.replica(1).call(&steady).await?.status, 200);
    let mut loads =
        [Connections::KeptAlive, Connections::OneEach].map(|kind| load(topology.replica(1), kind));

    for round in 0..30 {
        for load in &mut loads {
            let reached = load.report().answered + 50;
            load.answered(reached).await?;
        }
        let call = format!(
            "{}{here}",
            reconfigure(&format!("s{round}"), &format!("/s{round}"), &demo)
        );
        let answer = topology.replica(1).call(&call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(topology.replica(1).masters().len(), 1);

    // The server is killed: HAProxy serves on, and the next server takes it over.
    let master = topology.replica(1).masters();
    topology.replica_mut(1).kill();
    for load in &mut loads {
        let reached = load.report().answered + 200;
        load.answered(reached).await?;
    }
    topology.replica_mut(1).start()?;
    let replica = topology.replica(1);
    replica
        .until_state("the table is live", |state| state["Revision"].is_object())
        .await?;
    let call = format!("{}{here}", reconfigure("after", "/after", &demo));
    assert_eq!(replica.call(&call).await?.status, 200);
    assert_eq!(replica.request("/after").await?.status, 200);
    assert_eq!(replica.request("/s29").await?.status, 200);
    assert_eq!(
        replica.masters(),
        master,
        "it was taken over, and there is one"
    );

    for load in loads {
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{report:?}");
        assert!(report.answered > 1_000, "{report:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_of_itself_is_replaced() -> Result<(), Failure> {
    use testkit::haproxy::{Request, request};
    let topology = Plan::replicas(1).setting("MODE", "default").start().await?;
    let demo = DemoBackend::start("hello").await?;
    let call = format!(
        "{}&outboundHostname=127.0.0.1",
        reconfigure("go-demo", "/demo", &demo)
    );
    assert_eq!(topology.replica(1).call(&call).await?.status, 200);
    let forged = Request::get("/demo")
        .with_header("Host", "localhost")
        .with_header("X-Forwarded-For", "6.6.6.6")
        .with_header("X-Forwarded-Proto", "https");
    assert_eq!(
        request(topology.replica(1).http(), &forged).await?.status,
        200
    );
    let head = demo.last_head().to_lowercase();
    assert!(!head.contains("6.6.6.6"), "{head}");
    assert_eq!(head.matches("x-forwarded-for:").count(), 1, "{head}");
    assert!(head.contains("x-forwarded-proto: http\r\n"), "{head}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_a_line_per_request_when_it_is_asked_for() -> Result<(), Failure> {
    let plan = Plan::replicas(1)
        .setting("MODE", "default")
        .setting("ACCESS_LOG", "true")
        .setting("LOG_FORMAT", "json");
    let topology = plan.start().await?;
    let replica = topology.replica(1);
    assert_eq!(replica.request("/who-goes-there").await?.status, 404);
    until("the line is written", async || {
        match replica.log().contains("GET /who-goes-there HTTP/1.1") {
            true => Ok(()),
            false => Err(replica.log().into()),
        }
    })
    .await?;
    let own = replica.log();
    let own = own
        .lines()
        .find(|line| line.contains("the admin API listens"));
    let line: serde_json::Value = serde_json::from_str(own.ok_or("no line of the server's own")?)?;
    assert_eq!(line["level"], "INFO");
    Ok(())
}
