//! What a request costs HAProxy in each form of the rules: the reason of `MAX_ACL_RULES`.
//!
//! `cargo test -p proxy-haproxy --all-features --test real -- --ignored --nocapture cost` needs
//! `wrk`. It compares CPU time and not requests a second, which other programs on the machine move.

use std::{process::Stdio, time::Duration};

use proxy_haproxy::{AddressBook, Haproxy, RenderedConfig, Routing, render};

use crate::{
    bench::{Bench, at, running, table},
    differential::answering,
};

const SERVICES: [usize; 8] = [1, 3, 5, 7, 10, 20, 50, 100];
const ROUNDS: usize = 12;

/// Nanoseconds of CPU that all threads of a process took so far.
fn cpu(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let times = tasks.map(|task| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    times.sum()
}

/// Nanoseconds of CPU for one request.
async fn measure(bench: &Bench, haproxy: &Haproxy, path: &str) -> f64 {
    let (_, workers) = running(haproxy, None).await;
    let before = cpu(workers[0]);
    let url = format!("http://{}{path}", bench.address());
    let wrk = tokio::process::Command::new("wrk")
        .args(["-t1", "-c16", "-d1s", &url])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let spent = cpu(workers[0]) - before;
    let told = String::from_utf8(wrk.stdout).unwrap();
    assert!(!told.contains("Non-2xx"), "{told}");
    let requests = told.split(" requests in ").next().unwrap();
    let requests: f64 = requests.split(' ').next_back().unwrap().parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a figure for a person")]
    let spent = spent as f64;
    spent / requests
}

#[tokio::test]
#[ignore = "a measurement of some minutes, by hand"]
async fn of_a_request_for_the_last_of_many_services() {
    let server = Bench::new();
    let (server_haproxy, mut applier) = server.serve::<&str>(&[]).await;
    let one = server.render(&[at("server", "/", server.address())]);
    applier.apply(&answering(&one)).await.unwrap();

    let bench = Bench::new();
    let (haproxy, mut applier) = bench.serve::<&str>(&[]).await;
    println!("services  form  ns a request (least of {ROUNDS})");
    let mut least = std::collections::BTreeMap::new();
    for _ in 0..ROUNDS {
        for count in SERVICES {
            let names = (0..count).map(|n| format!("s{n:03}x"));
            let queries: Vec<_> = names
                .map(|name| at(&name, &format!("/{name}"), server.address()))
                .collect();
            let path = format!("/s{:03}x", count - 1);
            for (form, routing) in [("acl", Routing::Acl), ("map", Routing::Map)] {
                let settings = bench.render_settings().with_routing(routing);
                let config = render(&table(&queries), &settings, &AddressBook::new()).unwrap();
                let text = config
                    .main_text()
                    .replacen("global\n", "global\n    nbthread 1\n", 1);
                let config: RenderedConfig = config
                    .clone()
                    .with_file(proxy_haproxy::MAIN_FILE.parse().unwrap(), text);
                applier.apply(&config).await.unwrap();
                let found = measure(&bench, &haproxy, &path).await;
                let known = least.entry((count, form)).or_insert(found);
                *known = found.min(*known);
            }
        }
    }
    for ((count, form), least) in least {
        println!("{count:8}  {form}  {least:8.0}");
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
    server_haproxy.shutdown(Duration::from_secs(5)).await;
}
