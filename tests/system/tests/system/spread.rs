//! Services that are spread over all addresses of a name, and clients that stay with their server.

use std::net::{IpAddr, Ipv4Addr};

use testkit::{
    consul::ClusterOptions,
    haproxy::{DemoBackend, HttpAnswer, Request, request},
    topology::{Failure, Plan, Replica, Topology, until},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixStream},
};

/// Servers on addresses of their own with one port, each of which says who it is.
async fn tasks(count: u8) -> Result<Vec<DemoBackend>, Failure> {
    let mut tasks = Vec::new();
    let mut port = 0;
    for nth in 1..=count {
        let at = (Ipv4Addr::new(127, 77, 0, nth), port).into();
        let task = DemoBackend::start_at(at, &format!("task {nth}")).await?;
        port = task.address().port();
        tasks.push(task);
    }
    Ok(tasks)
}

fn named(topology: &Topology, tasks: &[DemoBackend]) {
    let addresses: Vec<IpAddr> = tasks.iter().map(|task| task.address().ip()).collect();
    topology.dns.set("tasks.web", addresses);
}

async fn configured(replica: &Replica, task: &DemoBackend, more: &str) -> Result<(), Failure> {
    let port = task.address().port();
    let call = format!("reconfigure?serviceName=web&servicePath=/web&port={port}{more}");
    let answer = replica.call(&call).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    Ok(())
}

async fn until_all_asked(replica: &Replica, tasks: &[DemoBackend]) -> Result<(), Failure> {
    for task in tasks {
        let before = task.requests();
        until("every task to be asked", || async {
            let answer = replica.request("/web").await?;
            match task.requests() > before {
                true => Ok(()),
                false => Err(format!("{answer:?}").into()),
            }
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_spread_over_all_addresses_of_a_name() -> Result<(), Failure> {
    let topology = Plan::replicas(1).start().await?;
    let replica = topology.replica(1);
    let tasks = tasks(3).await?;
    named(&topology, &tasks[..2]);
    configured(replica, &tasks[0], "&discoveryType=DNS&replicas=2").await?;
    until_all_asked(replica, &tasks[..2]).await?;
    assert_eq!(tasks[2].requests(), 0);
    // What is new is found without a call, and what is gone is asked no more.
    named(&topology, &tasks[1..]);
    until_all_asked(replica, &tasks[1..]).await?;
    until("the first task to be left alone", || async {
        let before = tasks[0].requests();
        for _ in 0..10 {
            assert_eq!(replica.request("/web").await?.status, 200);
        }
        match tasks[0].requests() == before {
            true => Ok(()),
            false => Err("it is asked".into()),
        }
    })
    .await?;
    Ok(())
}

fn cookie(answer: &HttpAnswer) -> Option<String> {
    let lines = answer.head.lines();
    let mut set = lines.filter_map(|line| line.split_once(": "));
    let (_, value) = set.find(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))?;
    Some(value.split(';').next()?.to_owned())
}

async fn with_cookie(replica: &Replica, cookie: &str) -> Result<HttpAnswer, Failure> {
    let asked = Request::get("/web")
        .with_header("Host", "localhost")
        .with_header("Cookie", cookie);
    Ok(request(replica.http(), &asked).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_with_its_server_on_every_replica() -> Result<(), Failure> {
    let plan = Plan::replicas(2).consul(ClusterOptions::servers(1));
    let topology = plan.start().await?;
    let replicas = [topology.replica(1), topology.replica(2)];
    let tasks = tasks(3).await?;
    named(&topology, &tasks);
    let more = "&sessionType=sticky-server&replicas=3&distribute=true";
    configured(replicas[0], &tasks[0], more).await?;
    for replica in replicas {
        until_all_asked(replica, &tasks).await?;
    }
    let first = replicas[0].request("/web").await?;
    let cookie = cookie(&first).ok_or_else(|| format!("no cookie: {first:?}"))?;
    for _ in 0..10 {
        for replica in replicas {
            assert_eq!(with_cookie(replica, &cookie).await?.body, first.body);
        }
    }
    // A rolling update takes another task away: this client stays. Then its own: it is served by others.
    let own = |task: &DemoBackend| {
        first.body
            == format!(
                "task {}",
                task.address()
                    .ip()
                    .to_string()
                    .rsplit('.')
                    .next()
                    .unwrap_or_default()
            )
    };
    let (mine, others): (Vec<_>, Vec<_>) = tasks.into_iter().partition(own);
    let kept: Vec<IpAddr> = [&mine[0], &others[0]]
        .map(|task| task.address().ip())
        .into();
    topology.dns.set("tasks.web", kept);
    until("the other task to be left alone", || async {
        let before = others[1].requests();
        for _ in 0..10 {
            assert_eq!(replicas[0].request("/web").await?.status, 200);
        }
        match others[1].requests() == before {
            true => Ok(()),
            false => Err("it is asked".into()),
        }
    })
    .await?;
    for replica in replicas {
        assert_eq!(with_cookie(replica, &cookie).await?.body, first.body);
    }
    topology.dns.set("tasks.web", [others[0].address().ip()]);
    for replica in replicas {
        until("another task to answer", || async {
            let answer = with_cookie(replica, &cookie).await?;
            assert_eq!(answer.status, 200, "{answer:?}");
            match answer.body == first.body {
                true => Err("its own task answers".into()),
                false => Ok(()),
            }
        })
        .await?;
    }
    Ok(())
}

/// Whether HAProxy takes the only server of a backend for alive.
async fn lives(replica: &Replica, backend: &str) -> Result<bool, Failure> {
    let mut socket = UnixStream::connect(replica.home().join("run/haproxy.sock")).await?;
    let question = format!("show servers state {backend}\n");
    socket.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let line = answer.lines().nth(2).ok_or_else(|| answer.clone())?;
    // be_id be_name srv_id srv_name srv_addr srv_op_state
    Ok(line.split(' ').nth(5) != Some("0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn check_resolvers_finds_a_dead_server_before_anybody_asks() -> Result<(), Failure> {
    let topology = Plan::replicas(1).start().await?;
    let replica = topology.replica(1);
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    for (name, more) in [("checked", "&checkResolvers=true"), ("plain", "")] {
        topology.dns.set(name, [IpAddr::from([127, 0, 0, 1])]);
        let call = format!("reconfigure?serviceName={name}&servicePath=/{name}&port={port}{more}");
        let answer = replica.call(&call).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    until("the dead server to be found", || async {
        match lives(replica, &format!("checked-be{port}")).await? {
            true => Err("it is taken for alive".into()),
            false => Ok(()),
        }
    })
    .await?;
    assert!(lives(replica, &format!("plain-be{port}")).await?);
    Ok(())
}
