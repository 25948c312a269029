//! Services for connections and not for requests: every replica binds their port, and one that cannot
//! says so.

use std::net::{SocketAddr, TcpListener};

use testkit::{
    consul::ClusterOptions,
    haproxy::{Greeted, Greeter, client_hello},
    topology::{API_PORT, Failure, HTTP_PORT, Plan, Replica, Topology},
};

/// Free on every replica's own address.
const ENTRY_PORT: u16 = 7379;

fn entry(replica: &Replica) -> SocketAddr {
    SocketAddr::new(replica.http().ip(), ENTRY_PORT)
}

fn call(name: &str, greeter: &Greeter, more: &str) -> String {
    let (ip, port) = (greeter.address().ip(), greeter.address().port());
    format!(
        "reconfigure?serviceName={name}&reqMode=tcp&srcPort={ENTRY_PORT}&port={port}&outboundHostname={ip}{more}"
    )
}

async fn who(replica: &Replica, hello: &[u8]) -> Result<String, Failure> {
    Ok(Greeted::connect(entry(replica), hello).await?.name)
}

async fn cluster() -> Result<Topology, Failure> {
    let plan = Plan::replicas(2).consul(ClusterOptions::servers(1));
    plan.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_takes_connections_and_names_lead_on() -> Result<(), Failure> {
    let topology = cluster().await?;
    let [db, tls] = [Greeter::start("db").await?, Greeter::start("tls").await?];
    let default = call("db", &db, "&distribute=true");
    let by_name = call("tls", &tls, "&serviceDomain=*.acme.com&distribute=true");
    for call in [default, by_name] {
        let answer = topology.replica(1).call(&call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for replica in &topology.replicas {
        assert_eq!(who(replica, b"hello").await?, "db");
        assert_eq!(
            who(replica, &client_hello(Some("a.acme.com"))).await?,
            "tls"
        );
        assert_eq!(who(replica, &client_hello(Some("b.com"))).await?, "db");
        assert_eq!(replica.request("/").await?.status, 404);
    }
    // A second default of the port is taken, and told that it loses.
    let late = call("late", &tls, "&distribute=true");
    let answer = topology.replica(2).call(&late).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(
        answer.text.contains(&format!("port {ENTRY_PORT}")),
        "{}",
        answer.text
    );
    let gone = topology
        .replica(2)
        .call("remove?serviceName=db&distribute=true")
        .await?;
    assert_eq!(gone.status, 200, "{}", gone.text);
    for replica in &topology.replicas {
        assert_eq!(who(replica, b"hello").await?, "tls");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_cannot_be_had_is_refused_and_nothing_changes() -> Result<(), Failure> {
    let topology = cluster().await?;
    let replica = topology.replica(1);
    let db = Greeter::start("db").await?;
    replica.until_serving().await?;
    let before = replica.config().await?;
    let holder = TcpListener::bind(entry(replica))?;
    for (port, why) in [
        (ENTRY_PORT, "something else listens there"),
        (HTTP_PORT, "DEFAULT_PORTS"),
        (API_PORT, "the admin API listens there"),
    ] {
        let asked = call("db", &db, "").replace(&ENTRY_PORT.to_string(), &port.to_string());
        let answer = replica.call(&asked).await?;
        assert_eq!(answer.status, 400, "{}", answer.text);
        let told = answer.text.contains(why) && answer.text.contains(&format!("srcPort {port}"));
        assert!(told, "{}", answer.text);
        assert_eq!(answer.json["Stored"], false, "{}", answer.text);
    }
    assert_eq!(replica.config().await?, before);
    drop(holder);
    let answer = replica.call(&call("db", &db, "&distribute=true")).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(who(replica, b"hello").await?, "db");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_port_is_taken_says_so_and_serves_the_rest() -> Result<(), Failure> {
    let topology = cluster().await?;
    let [one, two] = [topology.replica(1), topology.replica(2)];
    let db = Greeter::start("db").await?;
    let holder = TcpListener::bind(entry(two))?;
    let answer = one.call(&call("db", &db, "&distribute=true")).await?;
    assert_eq!(answer.status, 502, "{}", answer.text);
    assert!(
        answer.text.contains("something else listens there"),
        "{}",
        answer.text
    );
    assert_eq!(who(one, b"hello").await?, "db");
    // Others are served there all the same, and this one once the port is free.
    let web = "reconfigure?serviceName=web&servicePath=/web&port=1&outboundHostname=127.0.0.1&distribute=true";
    let answer = one.call(web).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(two.request("/web").await?.status, 503);
    drop(holder);
    two.until_state("it binds the port that is free now", |_| {
        std::net::TcpStream::connect(entry(two)).is_ok()
    })
    .await?;
    assert_eq!(who(two, b"hello").await?, "db");
    Ok(())
}
