//! A whole replica inside another program: starts it in a temporary folder without Consul,
//! says where it listens, and ends it after some seconds (the first argument, 5 by default).

use std::time::Duration;

use proxy_server::{MapSource, Server, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let home = tempfile::Builder::new().prefix("replica").tempdir()?;
    let below = |name: &str| home.path().join(name).display().to_string();
    let settings = Settings::read(&MapSource::new([
        ("IP", "127.0.0.1".to_owned()),
        ("PORT", "18080".to_owned()),
        ("BIND_ADDRESS", "127.0.0.1".to_owned()),
        ("DEFAULT_PORTS", "18000".to_owned()),
        ("CONFIGS_PATH", below("cfg")),
        ("RUN_PATH", below("run")),
        ("STATE_PATH", below("state")),
    ]))?;
    let server = Server::start(settings).await?;
    eprintln!(
        "the admin API is http://{}/v1/docker-flow-proxy/",
        server.address()
    );
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    server.shutdown(Duration::from_secs(8)).await;
    Ok(())
}
