//! The story, tried once: one reconfigure, then the demo service through every replica.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{API_PORT, HTTP_PORT, SERVICE};
use crate::demo::GREETING;
use crate::http::{Answer, get};

/// How long the call may take: the server's own wait for its replicas, and a little.
const CALL_DEADLINE: Duration = Duration::from_secs(15);

/// How long a replica may take to serve what was confirmed. The answer came after
/// each was live, so this is slack for a busy machine.
const SERVE_DEADLINE: Duration = Duration::from_secs(5);

/// The first of the two lines to try.
pub(super) fn reconfigure_url(replica: IpAddr, port: u16) -> String {
    format!("http://{replica}:{API_PORT}{}", reconfigure_target(port))
}

fn reconfigure_target(port: u16) -> String {
    format!(
        "/v1/docker-flow-proxy/reconfigure?serviceName={SERVICE}&servicePath=/demo&port={port}&distribute=true"
    )
}

/// Plays both lines and checks the answers, on every replica.
pub(super) async fn try_once(replicas: Vec<IpAddr>, reconfigure: &str) -> Result<()> {
    let Some(first) = replicas.first() else {
        bail!("there is no replica");
    };
    let target = reconfigure
        .split_once(&format!(":{API_PORT}"))
        .map_or("/", |(_, target)| target);
    let api = SocketAddr::new(*first, API_PORT);
    let answer = get(api, "GET", target, CALL_DEADLINE).await?;
    if answer.status != 200 {
        bail!(
            "reconfigure answered {}: {}",
            answer.status,
            answer.body.trim()
        );
    }
    for replica in replicas {
        let http = SocketAddr::new(replica, HTTP_PORT);
        expect(http, "/demo/hello", |answer| {
            answer.status == 200 && answer.body == GREETING
        })
        .await?;
        expect(http, "/nope", |answer| answer.status == 404).await?;
    }
    eprintln!("xtask: the story holds on every replica");
    Ok(())
}

async fn expect(address: SocketAddr, target: &str, holds: impl Fn(&Answer) -> bool) -> Result<()> {
    let start = Instant::now();
    loop {
        let asked = get(address, "GET", target, SERVE_DEADLINE).await;
        if asked.as_ref().is_ok_and(&holds) {
            return Ok(());
        }
        if start.elapsed() > SERVE_DEADLINE {
            match asked {
                Ok(answer) => bail!(
                    "http://{address}{target} answered {}: {}",
                    answer.status,
                    answer.body.trim()
                ),
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
