//! Finds every replica behind a DNS name and asks each for `/ping`:
//!
//!     cargo run --example tell_everyone -- tasks.proxy 8080 [NAME_SERVER:PORT]

use std::sync::Arc;
use std::time::Duration;

use proxy_peers::{
    Broadcast, BroadcastSettings, Call, Condition, DnsDiscover, FollowSettings, Method,
    NameServers, OwnAddresses, Peers, Repeat,
};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "tasks.proxy".to_owned());
    let port = arguments.next().unwrap_or_else(|| "8080".to_owned());
    let servers = match arguments.next() {
        Some(server) => NameServers::Given(vec![server.parse()?]),
        None => NameServers::System,
    };

    // Follow the name: the answer's time to live decides when it is asked for again.
    let source = DnsDiscover::new(&name, port.parse()?, servers);
    let peers = Peers::follow(Arc::new(source), FollowSettings::default());
    let known = peers.refresh(Duration::from_secs(3)).await;
    if let Condition::Stale { reason, .. } = known.condition() {
        println!("not answered: {reason}");
    }

    // Leave ourselves out, and call the rest at once.
    let own = OwnAddresses::of_listener(format!("0.0.0.0:{port}").parse()?)?;
    let call = Call::new(Method::GET, "/v1/docker-flow-proxy/ping")?.repeat(Repeat::Harmless);
    let broadcast = Broadcast::over_http(BroadcastSettings::default())?;
    let report = broadcast.call(&own.others(known.peers()), &call).await;

    for row in report.rows() {
        println!(
            "{:<22} {:<12} {:>5} ms  {}",
            row.address().to_string(),
            row.outcome(),
            row.took().as_millis(),
            row.reason().unwrap_or_default()
        );
    }
    peers.shutdown().await;
    Ok(())
}
